"""Recipes and requests: learning rates by hand, what is recorded of a request, and the call that repeats it."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch

import ltviz
from ltviz.datasets import digits_lt
from ltviz.device import Speed
from ltviz.files import request_id
from ltviz.objective import METHODS
from ltviz.own import own_code
from ltviz.run import checksums
from ltviz.training import RECIPES, Recipe, make_data, train
from ltviz.training.recipe import find_recipe, make_recipe
from ltviz.training.request import checkpoint_path, make_request, run_id


@pytest.fixture(scope="module")
def data():
    return digits_lt(seed=0)


@pytest.fixture(scope="module")
def base(data):
    return train("ce", data, epochs=1, model="mlp:8", progress=False)


def rates(recipe, epochs, steps, images=None):
    return [recipe.learning_rate(e, s, steps, epochs, images) for e in range(epochs) for s in range(steps)]


# ----------------------------------------------------------------------------------------------------- learning rates
def test_a_cosine_without_warm_up():
    recipe = Recipe("x", "mlp", 10, lr=0.2, warmup=0.0)
    expected = [0.1 * (1 + math.cos(math.pi * step / 40)) for step in range(40)]
    np.testing.assert_allclose(rates(recipe, 10, 4), expected, rtol=1e-12)
    assert recipe.learning_rate(10, 0, 4, 10) == recipe.learning_rate(13, 2, 4, 10) == 0.0


def test_a_warm_up_by_steps():
    recipe = Recipe("x", "mlp", 4, lr=0.4, warmup=0.25)  # one epoch of four steps, then a cosine over three
    expected = [0.1, 0.2, 0.3, 0.4, *(0.2 * (1 + math.cos(math.pi * (step / 4 - 1) / 3)) for step in range(4, 16))]
    np.testing.assert_allclose(rates(recipe, 4, 4), expected, rtol=1e-12)
    part = Recipe("x", "mlp", 10, lr=1.0)  # 0.05 of 10 epochs of 5 steps: two steps and a half
    np.testing.assert_allclose(rates(part, 10, 5)[:3], [1 / 2.5, 2 / 2.5, 1.0], rtol=1e-12)
    assert rates(part, 10, 5)[3] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.1 / 9.5)))


def test_a_cosine_of_less_than_an_epoch():
    recipe = Recipe("x", "mlp", 1, lr=0.2, warmup=0.5)
    expected = [0.1, 0.2, *(0.1 * (1 + math.cos(math.pi * (step / 4 - 0.5) / 0.5)) for step in (2, 3))]
    np.testing.assert_allclose(rates(recipe, 1, 4), expected, rtol=1e-12)


def test_a_warm_up_by_epochs():
    recipe = Recipe("x", "mlp", 10, lr=0.4, warmup=0.25, warmup_by="epoch")  # two whole epochs of the 2.5
    found = rates(recipe, 10, 2)
    np.testing.assert_allclose(found[:4], [0.2, 0.2, 0.4, 0.4])
    np.testing.assert_allclose(found[4:6], [0.4, 0.4])  # epoch 2.5 is where the cosine begins
    np.testing.assert_allclose(found[6], 0.2 * (1 + math.cos(math.pi * 0.5 / 7.5)))


def test_a_warm_up_by_images():
    recipe = Recipe("x", "mlp", 4, 8, lr=0.4, warmup=0.5, warmup_by="images")  # 20 images in 3 steps of 8: not 24
    expected = [step * 8 / 20 / 2 * 0.4 if step * 8 / 20 < 2 else
                0.2 * (1 + math.cos(math.pi * (step * 8 / 20 - 2) / 2)) for step in range(10)]  # fmt: skip
    np.testing.assert_allclose(rates(recipe, 4, 3, 20)[:10], expected, rtol=1e-12)
    full = [step / 3 / 2 * 0.4 for step in range(6)]
    np.testing.assert_allclose(rates(recipe, 4, 3)[:6], full, rtol=1e-12)


def test_drops():
    recipe = Recipe("x", "mlp", 10, lr=0.4, warmup=0.0, schedule="step", milestones=(0.5, 0.8), drop=0.1)
    expected = [0.4] * 10 + [0.04] * 6 + [0.004] * 4
    np.testing.assert_allclose(rates(recipe, 10, 2), expected, rtol=1e-12)
    thirds = dataclasses.replace(recipe, milestones=(1 / 3, 2 / 3))  # epochs 3 and 7 of 10
    np.testing.assert_allclose(rates(thirds, 10, 1), [0.4] * 3 + [0.04] * 4 + [0.004] * 3, rtol=1e-12)


def test_one_spelling_of_what_has_no_effect():
    plain, step = Recipe("x", "mlp", 10), {"schedule": "step", "milestones": (0.5,)}
    for kept in (plain, *RECIPES.values(), dataclasses.replace(plain, optimizer="adam", weight_decay=0.0)):
        assert kept.effective() == kept
    for change, same in [
        ({"drop": 0.5}, {}),
        ({"optimizer": "adam", "momentum": 0.0}, {"optimizer": "adam"}),
        ({"optimizer": "adamw", "weight_decay": 0.0}, {"optimizer": "adam", "weight_decay": 0.0}),
        ({"warmup": 0.0, "warmup_by": "epoch"}, {"warmup": 0.0}),
        ({**step, "drop": 1.0, "milestones": (0.2, 0.8)}, {**step, "drop": 1.0}),
        ({**step, "warmup": 0.09, "warmup_by": "epoch"}, {**step, "warmup": 0.0}),
    ]:  # fmt: skip
        one, two = (dataclasses.replace(plain, **changed) for changed in (change, same))
        assert one != two and one.effective() == two.effective() == two, change
        assert rates(one, 10, 3, 20) == rates(two, 10, 3, 20), change
    both = dataclasses.replace(plain, **step, optimizer="adamw", momentum=0.0, warmup=0.09, warmup_by="epoch")
    assert both.effective() == dataclasses.replace(plain, **step, optimizer="adamw", warmup=0.0)
    for change in [{"warmup": 0.0, "warmup_by": "images"}, {"warmup": 0.09, "warmup_by": "epoch"}, {"momentum": 0.5}]:
        one = dataclasses.replace(plain, **change)
        assert one.effective() == one != plain, change
    # Without a warm-up, the clock of the images still moves the cosine and the drops.
    images = dataclasses.replace(plain, warmup=0.0, warmup_by="images")
    assert rates(images, 10, 3, 150) != rates(dataclasses.replace(images, warmup_by="step"), 10, 3, 150)


# ------------------------------------------------------------------------------------------------------------- recipes
def test_a_recipe_in_one_spelling():
    plain = Recipe("x", "mlp", 3)
    assert dataclasses.asdict(plain) == {
        "name": "x", "model": "mlp", "epochs": 3, "batch_size": 64, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
        "optimizer": "sgd", "schedule": "cosine", "milestones": (), "drop": 0.1, "warmup": 0.05, "warmup_by": "step",
        "clip": 1.0, "move_statistics": False, "data": None,
    }  # fmt: skip
    odd = Recipe("x", "mlp", np.int64(3), np.int32(64), np.float64(0.1), clip=np.float64(1), milestones=[],
                 move_statistics=np.bool_(False))  # fmt: skip
    assert odd == plain and type(odd.epochs) is int and type(odd.clip) is float and odd.move_statistics is False
    lists = Recipe("x", "mlp", 3, milestones=[np.float64(0.5), np.float32(0.75)], schedule="step", clip=None)
    assert lists.milestones == (0.5, 0.75) and lists.clip is None


@pytest.mark.parametrize(
    ("field", "lowest", "highest", "below", "beyond"),
    [
        ("epochs", 1, 10**6, 0, None), ("batch_size", 2, 10**6, 1, None), ("lr", 1e-12, 1e3, 0.0, None),
        ("momentum", 0.0, 0.9999, -1e-9, 1.0), ("weight_decay", 0.0, 10.0, -1e-9, None), ("drop", 0.0, 1.0, -0.1, 1.01),
        ("warmup", 0.0, 0.9999, -0.1, 1.0), ("clip", 1e-12, 1e6, 0.0, None),
    ],
)  # fmt: skip
def test_the_range_of_each_field(field, lowest, highest, below, beyond):
    for value in (lowest, highest):
        assert getattr(dataclasses.replace(RECIPES["digits"], **{field: value}), field) == value
    for value in (below, beyond, True, "1", float("nan")):
        if value is not None:
            with pytest.raises(ValueError, match=f"^{field}="):
                dataclasses.replace(RECIPES["digits"], **{field: value})


@pytest.mark.parametrize("value", [(0.8, 0.8), (0.5, 1.1), (0.5, 1.0), (-0.1, 0.5), "0.5", {0.5}, (True,), (0.5, None)])
def test_milestones_are_rising_shares(value):
    with pytest.raises(ValueError, match="^milestones=.*rising shares of the epochs"):
        dataclasses.replace(RECIPES["digits"], schedule="step", milestones=value)
    steps = dataclasses.replace(RECIPES["digits"], schedule="step", milestones=(0.1, 0.5, 0.9))
    assert steps.milestones == (0.1, 0.5, 0.9)


def test_a_cosine_has_no_milestones():
    for name, change in (("digits", {"milestones": (0.8, 0.9)}), ("cao2019", {"schedule": "cosine"})):
        with pytest.raises(ValueError, match=r'^milestones=\(0.8, 0.9\): expected \(\) with schedule="cosine"'):
            dataclasses.replace(RECIPES[name], **change)


@pytest.mark.parametrize("epochs, drops", [
    (200, [160, 180]), (100, [80, 90]), (10, [8, 9]), (6, [4, 5]), (5, [3, 4]), (4, [2, 3]), (3, [1, 2]),
    (2, [1, 2]), (1, [1, 2])])  # fmt: skip
def test_each_drop_has_an_epoch_of_its_own(epochs, drops):
    assert RECIPES["cao2019"].drops(epochs) == RECIPES["cui2019"].drops(epochs) == drops
    recipe = dataclasses.replace(RECIPES["cao2019"], warmup=0.0)
    found = [recipe.learning_rate(epoch, 0, 7, epochs) for epoch in range(epochs)]
    expected = [0.1 * 0.01 ** sum(epoch >= drop for drop in drops) for epoch in range(epochs)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == 0.1 and (epochs < 3 or found[-1] == pytest.approx(1e-5))


def test_drops_close_together_come_one_after_another():
    recipe = Recipe("x", "mlp", 40, schedule="step", milestones=(0.1, 0.12, 0.99))
    assert recipe.drops(40) == [4, 5, 39] and recipe.drops(400) == [40, 48, 396] and recipe.drops(10) == [1, 2, 9]


@pytest.mark.parametrize("value", [
    ("digits_lt",), ("digits_lt", {}, {}), ("nowhere", {}), ("digits_lt", 3), ("digits_lt", {3: 1}),
    ("nowhere", {3: 1}), {"digits_lt": {}}, "digits_lt", ({}, "digits_lt"), 3])  # fmt: skip
def test_the_data_of_a_recipe_are_a_loader_and_its_arguments(value):
    with pytest.raises(ValueError, match=r"^data=.*expected \(a loader, its arguments\): one of digits_lt, "):
        dataclasses.replace(RECIPES["digits"], data=value)
    assert dataclasses.replace(RECIPES["digits"], data=["digits_lt", {}]).data == ("digits_lt", {})


def test_the_published_protocols():
    both = [dataclasses.asdict(RECIPES[name]) for name in ("cui2019", "cao2019")]
    assert {name for name in both[0] if both[0][name] != both[1][name]} == {"name", "warmup_by"}
    assert both[0] | {"name": "", "warmup_by": ""} == {
        "name": "", "model": "resnet32", "epochs": 200, "batch_size": 128, "lr": 0.1, "momentum": 0.9,
        "weight_decay": 2e-4, "optimizer": "sgd", "schedule": "step", "milestones": (0.8, 0.9), "drop": 0.01,
        "warmup": 0.025, "warmup_by": "", "clip": None, "move_statistics": False,
        "data": ("cifar_lt", {"ratio": 100, "validation": 0}),
    }  # fmt: skip


def test_recipes_are_found_by_name_and_changed(data):
    digits = RECIPES["digits"]
    assert find_recipe("digits") is digits is find_recipe(digits)
    assert make_recipe("digits", data) == digits
    assert make_recipe(None, data, epochs=None, model=None) == digits
    assert make_recipe(None, dataclasses.replace(data, recipe="cui2019")).name == "cui2019"
    assert make_recipe("digits", data, epochs=3, model="cnn") == dataclasses.replace(digits, epochs=3, model="cnn")
    for wrong, words in [
        ("digit", "unknown recipe 'digit' .did you mean 'digits'..: expected a Recipe or one of digits, "),
        (None, "recipe=None: expected a Recipe or one of digits, "), ([], r"recipe=\[\]: expected"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{words}"):
            find_recipe(wrong)


def test_the_data_of_a_recipe():
    plain = make_data("digits")
    assert plain.fingerprint == digits_lt(ratio=50, class_order="seed", seed=0).fingerprint
    changed = make_data(RECIPES["digits"], 2, ratio=10, validation=5, test=40)
    assert changed.spec == digits_lt(ratio=10, class_order="seed", seed=2, validation=5, test=40).spec
    for wrong, hint in [("rato", "did you mean 'ratio'"), ("bunch", "it has: ratio, n_max, pro"), ("names", "test$")]:
        with pytest.raises(ValueError, match=f"^digits_lt has no argument '{wrong}'.*{hint}"):
            make_data("digits", **{wrong: 3})
    with pytest.raises(ValueError, match="^recipe='x': expected one that names its data"):
        make_data(Recipe("x", "mlp", 1))


# ------------------------------------------------------------------------------------------------------------ requests
def test_what_is_recorded_of_a_request(data):
    placed = dataclasses.replace(data, spec={**data.spec, "root": "somewhere", "download": True})
    request = make_request("focal", placed, epochs=2, gamma=1, seed=np.int64(3))
    assert request.data_record == {
        **data.spec, "name": "digits_lt", "fingerprint": data.fingerprint, "mean": data.mean.tolist(),
        "std": data.std.tolist(), "pad": 0, "flip": False,
    }  # fmt: skip
    assert request.recipe_record == {
        name: value for name, value in dataclasses.asdict(RECIPES["digits"]).items() if name != "data"
    } | {"epochs": 2}
    assert (request.seed, request.start, request.method.key) == (3, None, "focal")
    assert request.settings["gamma"] == 1.0 and request.label == request.method(**request.settings).label
    assert request.id == make_request("focal", data, epochs=2, gamma=1.0, seed=3).id
    assert make_request("ce", data).seed == 0 and make_request("ce", data).recipe == RECIPES["digits"]


PARTS = {
    "method": "ce", "settings": {"a": 1}, "class_names": ["x", "y"], "recipe": {"name": "r", "lr": 0.1}, "seed": 0,
    "data": {"fingerprint": "f", "mean": [0.5], "std": [0.2], "pad": 0, "flip": False, "name": "d", "ratio": 50},
    "parent": None, "device": "cpu", "speed": "plain",
}  # fmt: skip


def test_an_id_holds_each_part_once():
    base = run_id(**PARTS)
    changes = [
        {"method": "ce2"}, {"settings": {"a": 2}}, {"settings": {}}, {"class_names": ["y", "x"]}, {"seed": 1},
        {"recipe": {"name": "r", "lr": 0.2}}, {"parent": "0" * 12}, {"device": "cuda"}, {"speed": "fast"},
        *({"data": {**PARTS["data"], name: value}}
          for name, value in [("fingerprint", "g"), ("mean", [0.6]), ("std", [0.3]), ("pad", 1), ("flip", True)]),
    ]  # fmt: skip
    assert len({base, *(run_id(**{**PARTS, **change}) for change in changes)}) == len(changes) + 1
    for same in ({"recipe": {"name": "other", "lr": 0.1}}, {"data": {**PARTS["data"], "name": "e", "ratio": 3}},
                 {"class_names": ("x", "y")}, {"seed": np.int64(0)}):  # fmt: skip
        assert run_id(**{**PARTS, **same}) == base


def test_an_id_is_made_of_these_parts_and_nothing_else():
    parts = {name: value for name, value in PARTS.items() if name != "class_names"} | {"recipe": {"lr": 0.1}}
    parts["data"] = {"fingerprint": "f", "mean": [0.5], "std": [0.2], "pad": 0, "flip": False,
                     "class_names": ["x", "y"]}  # fmt: skip
    assert run_id(**PARTS) == run_id(**PARTS, code=None) == request_id(**parts)
    assert run_id(**PARTS, code="c") == request_id(**parts, code="c")


def test_a_request_is_named_by_what_it_holds(data, base):
    def own(logits, targets, power=2.0):
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none") ** power

    for asked in (make_request("focal", data, seed=3, gamma=0.5), make_request("ce", data, start=base, seed=1),
                  make_request(own, data, power=3.0, device="cpu", speed=Speed(bf16=True))):  # fmt: skip
        recipe, speed = asked.effective
        parent = asked.start and request_id(id=base.id, network=checksums(base.network))
        parts = (asked.method.key, asked.settings, asked.data_record, data.class_names, dataclasses.asdict(recipe))
        recorded = {name: value for name, value in parts[-1].items() if name != "data"}
        expected = run_id(*parts[:-1], recorded, asked.seed, parent, asked.device.type, str(speed),
                          own_code(asked.bound))  # fmt: skip
        assert asked.id == expected, asked.method.key
    assert own_code(asked.bound) is not None and asked.command.startswith("lt.train(own, lt.digits_lt(")
    assert asked.command.endswith("recipe='digits', seed=0, power=3.0)")
    other = dataclasses.replace(base, id="0" * 12)
    network = {name: value + 1 for name, value in base.network.items()}
    ids = {make_request("ce", data, start=one).id
           for one in (None, base, other, dataclasses.replace(base, network=network))}  # fmt: skip
    assert len(ids) == 4


def test_data_that_changed_are_refused(data):
    asked = make_request("ce", data)
    assert asked.check_data(data) is None
    for change, words in [({"targets": data.targets.flip(0)}, "images or targets"), ({"pad": 2}, "pad"),
                          ({"class_names": tuple("abcdefghij")}, "class_names")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^data: {words} changed after this run was asked for"):
            asked.check_data(dataclasses.replace(data, **change))


def test_what_has_no_effect_on_a_run_is_not_in_its_id(data):
    moves = dataclasses.replace(RECIPES["digits"], move_statistics=True)
    layout, cpu = Speed(channels_last=True, bf16=True), {"device": "cpu"}

    def effective(method="ce", model="cnn", recipe=moves, speed=layout):
        found, how = make_request(method, data, model=model, recipe=recipe, speed=speed, **cpu).effective
        return found.move_statistics, how.channels_last, how.bf16

    assert effective("crt") == (True, True, True), "a frozen backbone of convolutions"
    assert effective("crt", recipe="digits") == (False, True, True)
    assert effective("ce") == (False, True, True), "no frozen backbone"
    for model in ("mlp", "mlp:8"):
        assert effective("crt", model) == effective("ce", model) == (False, False, True), "no convolutions"
    assert effective("ce", speed=Speed()) == (False, False, False)
    for device, model, kept in (("cpu", "cnn", False), ("cuda", "cnn", True), ("cuda", "mlp", False)):
        asked = make_request("ce", data, model=model, speed=Speed(probe=True), **cpu)
        assert dataclasses.replace(asked, device=torch.device(device)).effective[1].probe is kept


def test_arguments_of_another_kind_are_refused_by_name(data, base):
    for arguments, words in [
        ({"data": 3}, "data=3: expected a data set from lt.digits_lt"),
        ({"speed": "fast"}, "speed='fast': expected an ltviz.device.Speed"),
        ({"lr": -0.3}, "lr=-0.3: expected a number above 0"), ({"name": "x"}, "ce has no setting 'name'"),
        ({"gama": 0.3}, "ce has no setting 'gama'"), ({"device": "gpu"}, "device='gpu'"),
        ({"start": dataclasses.replace(base, recipe={})}, "start: 'ce' does not say which model"),
        ({"start": dataclasses.replace(base, network=dict.fromkeys(base.network, "x"))}, "start: 'ce' does not say"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{words}"):
            make_request("ce", **{"data": data, **arguments})


def test_an_unknown_keyword_names_what_there_is(data):
    for name, words in [
        ("learning_rate", "did you mean 'lr'"), ("bs", "did you mean 'batch_size'"), ("batchsize", "mean 'batch_size'"),
        ("momentun", "did you mean 'momentum'"), ("name", "did you mean 'recipe'"), ("epoch", "did you mean 'epochs'"),
        ("wd", "did you mean 'weight_decay'"), ("checkpoints", "did you mean 'checkpoint'"),
        ("folder", "folder= is for lt.sweep and lt.train_many"),
        ("xyz", "it has: none; fields of the recipe: batch_size, lr"), ("headclasses", "did you mean 'head_classes'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^ce has no setting '{name}'.*{words}"):
            make_request("ce", data, **{name: 0.1})
    with pytest.raises(ValueError, match="^focal has no setting 'gama' .did you mean 'gamma'.*it has: gamma, form"):
        make_request("focal", data, gama=1.0)


def test_a_constant_rate(data):
    recipe = Recipe("x", "mlp", 10, lr=0.4, warmup=0.1, schedule="constant")
    assert [recipe.learning_rate(e, s, 2, 10) for e, s in ((0, 0), (0, 1), (1, 0), (9, 1))] == [0.2, 0.4, 0.4, 0.4]
    same = {"schedule": "step", "milestones": (0.3,), "drop": 1.0}
    ids = {make_request("ce", data, **fields).id for fields in ({"schedule": "constant"}, same, {"schedule": "cosine"})}
    assert len(ids) == 2
    run = train("ce", data, epochs=3, warmup=0.0, schedule="constant", lr=0.05, progress=False)
    assert run.history["lr"].tolist() == [0.05] * 3
    for wrong, words in [({"schedule": "constant", "milestones": (0.5,)}, r'\(\) with schedule="constant"'),
                         ({"schedule": "step"}, 'schedule="constant" has none')]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^milestones=.*{words}"):
            make_request("ce", data, **wrong)


def test_a_bound_method_keeps_its_settings(data):
    bound = METHODS["focal"](gamma=0.7)
    assert make_request(bound, data).settings == {**bound.settings} and bound.settings["gamma"] == 0.7
    assert make_request(bound, data, gamma=0.2).settings["gamma"] == 0.2
    assert make_request(METHODS["focal"], data).settings == make_request("focal", data).settings
    assert make_request(bound, data).id == make_request("focal", data, gamma=0.7).id


def test_the_command_repeats_the_request(data, base):
    made = "ratio=50, n_max=114, profile='exp', seed=0, class_order='fixed', validation=10, test=50"
    assert make_request("ce", data).command == f"lt.train('ce', lt.digits_lt({made}), recipe='digits', seed=0)"
    request = make_request("focal", data, gamma=1, seed=3, epochs=2, model="cnn", start=None)
    assert request.command == (
        f"lt.train('focal', lt.digits_lt({made}), recipe='digits', seed=3, epochs=2, model='cnn', gamma=1.0)"
    )
    by_hand = dataclasses.replace(data, spec={})
    assert make_request("ce", by_hand).command == "lt.train('ce', data, recipe='digits', seed=0)"
    branch = make_request("ce", data, start=base)
    assert branch.command.endswith("recipe='digits', seed=0, model='mlp:8', start=run)")
    own = Recipe("own", "mlp", 60)
    assert make_request("ce", data, recipe=own).command.endswith("recipe='own', seed=0, epochs=60, model='mlp')")


def test_a_branch_takes_the_model_of_its_start(data, base):
    assert make_request("ce", data, start=base).recipe.model == "mlp:8"
    assert make_request("ce", data, start=base, model="mlp:16").recipe.model == "mlp:16"
    assert make_request("ce", data, start=base).start is base
    with pytest.raises(ValueError, match="^start='x': expected a run from lt.train"):
        make_request("ce", data, start="x")
    with pytest.raises(ValueError, match="^start: this record of 'ce' keeps no network"):
        make_request("ce", data, start=dataclasses.replace(base, network=None))


def test_where_and_how_fast(data):
    request = make_request("ce", data, device="cpu")
    assert request.device == torch.device("cpu") and request.speed == ltviz.device.default_speed(request.device, "mlp")
    slow = Speed()
    assert make_request("ce", data, device="cpu", speed=slow).speed is slow


def test_methods_that_listen_need_validation_images():
    none = digits_lt(validation=0)
    with pytest.raises(ValueError, match="^cdb listens to the accuracy on a validation set, and digits_lt has none"):
        make_request("cdb", none)
    assert make_request("cdb", digits_lt()).method.key == "cdb" and make_request("ce", none).method.key == "ce"


def test_large_images_without_weights_are_advised_on_once(data):
    def sized(side, name):
        images = {part: getattr(data, part)[:20].expand(-1, -1, -1, 3).repeat_interleave(side // 8, 1)
                  .repeat_interleave(side // 8, 2) for part in ("images", "val_images", "test_images")}  # fmt: skip
        targets = {part: getattr(data, part)[:20] for part in ("targets", "val_targets", "test_targets")}
        counts = torch.bincount(targets["targets"], minlength=10)
        k = int((counts > 0).sum())
        return dataclasses.replace(
            data, **images, **{name: value.clamp(max=k - 1) for name, value in targets.items()}, counts=counts[:k],
            class_names=data.class_names[:k], mean=torch.full((3,), 0.5), std=torch.full((3,), 0.5), recipe="photos",
            name=name, spec={},
        )  # fmt: skip

    large = sized(136, "large")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_request("ce", sized(128, "small"))
        make_request("ce", large, model="cnn")
        make_request("ce", large, recipe="photos_many")
    with pytest.warns(
        UserWarning, match="images of 136 x 136 .*model='torchvision:resnet18', weights='ResNet18_Weights"
    ):
        assert make_request("ce", large).recipe.model == "resnet20_stem"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_request("ce", large, seed=1)


def test_where_a_checkpoint_goes(tmp_path):
    assert checkpoint_path(None) is None
    assert checkpoint_path(str(tmp_path / "a.ckpt")) == tmp_path / "a.ckpt" == checkpoint_path(tmp_path / "a.ckpt")
    for wrong in (tmp_path, "", 3):
        with pytest.raises(ValueError, match="^checkpoint="):
            checkpoint_path(wrong)
