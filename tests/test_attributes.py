"""Training many attributes at once: what each method does to each attribute, the run, its file, the recorded table."""

import dataclasses
import json
import pickle
import sys

import numpy as np
import pandas
import pytest
import torch

import ltviz as lt
from ltviz import attributes, metrics
from ltviz.attributes import AttributeNet, load_attribute_run, train_attributes
from ltviz.attributes.ask import ask_method
from ltviz.attributes.train import AttributeTrainer, mean_terms
from ltviz.datasets import Attributes
from ltviz.files import RunFileError
from ltviz.methods import METHODS
from ltviz.objective import Output, Regularizer
from ltviz.training import Progress, RunControl
from tools import attributes as tool

TINY = dict(epochs=2, batch_size=16, device="cpu", progress=False)
VALUES = (("no", "yes"), ("red", "blue", "black"), ("no", "yes"))


def small(unknown: float = 0.0, n: int = 60, seed: int = 0, validation: int = 20) -> Attributes:
    """Images 4 x 4 whose rows say their attributes: bright or not, which of three rows is brightest, a rare corner."""
    rng = np.random.default_rng(seed)

    def part(n):
        targets = np.stack([rng.integers(0, 2, n), rng.integers(0, 3, n), (rng.random(n) < 0.2).astype(int)], 1)
        images = rng.integers(0, 40, (n, 1, 4, 4))
        images += 60 * targets[:, 0, None, None, None]
        images[np.arange(n), 0, targets[:, 1]] += 80
        images[:, 0, 3, 3] += 70 * targets[:, 2]
        hidden = np.where(rng.random(targets.shape) < unknown, -1, targets)
        return images.astype(np.uint8), hidden

    (x, y), (vx, vy), (tx, ty) = part(n), part(validation), part(40)
    return Attributes(x, y, vx, vy, tx, ty, ["bright", "row", "corner"], VALUES, [0.3], [0.25], {"loader": "small"})


DATA, PARTLY = small(), small(unknown=0.4)
WITHOUT_BLACK = dataclasses.replace(DATA, targets=torch.where(DATA.targets == 2, -1, DATA.targets))


def trainer(method="ce", data=DATA, **settings) -> AttributeTrainer:
    plan, _ = ask_method(method, settings)
    recipe = attributes.ask.ask_recipe(None, {"epochs": 2, "batch_size": 16})
    return AttributeTrainer(plan, data, recipe, 0, None, torch.device("cpu"))


@pytest.fixture(scope="module")
def run():
    return train_attributes("crl", PARTLY, **TINY)


# ------------------------------------------------------------------------------------------------------------ the loss
def test_the_loss_is_the_mean_over_the_attributes_of_their_own_losses():
    """Each objective sees the counts, the logits and the values of its attribute, and the labelled images alone."""
    for method, settings in (("ce", {}), ("class_balanced", {}), ("crl", {"rho": 0.6}), ("contrastive", {})):
        one = trainer(method, PARTLY, **settings)
        index = torch.arange(24)
        outs = one.net(PARTLY.batch(index))
        found = []
        for j, out in enumerate(outs):
            rows = (PARTLY.targets[:24, j] >= 0).nonzero().flatten()
            alone = Output(out.logits[rows], out.features[rows], out.head_weight, index=rows)
            objective = METHODS[method](**settings).build(PARTLY.counts[j])
            found.append(objective(alone, PARTLY.targets[rows, j]))
        learnt = [one.labels.known(outs[j], index, j) for j in range(3)]
        terms = mean_terms([one.objectives[j].terms(out, y) for j, (out, y) in enumerate(learnt)])
        torch.testing.assert_close(sum(terms.values()), torch.stack(found).mean())


def test_cross_entropy_by_hand():
    """-1/a sum_j mean_i log p(y_ij): the papers' equation, with a mean for the sum over attributes."""
    one = trainer()
    index = torch.arange(10)
    p = [out.logits.softmax(1) for out in one.net(DATA.batch(index))]
    expected = -sum(p[j][i, DATA.targets[i, j]].log() for i in range(10) for j in range(3)) / 30
    assert float(one.step(index, range(3))["classification"].detach()) == pytest.approx(
        float(expected.detach()), rel=1e-5
    )


def test_what_is_not_labelled_is_left_out():
    one = trainer(data=PARTLY)
    known = PARTLY.targets[:, 2] >= 0
    out, y = one.labels.known(one.net(PARTLY.batch())[2], torch.arange(len(PARTLY)), 2)
    assert len(out.logits) == len(out.features) == len(y) == int(known.sum()) < len(PARTLY)
    assert y.equal(PARTLY.targets[known, 2])
    assert out.index.tolist() == list(range(len(y))), "numbered among the labelled ones"
    unlabelled = dataclasses.replace(PARTLY, targets=torch.cat([torch.full((20, 3), -1), PARTLY.targets[20:]]))
    one = trainer(data=unlabelled)
    before = [parameter.clone() for parameter in one.parameters]
    assert one.step(torch.arange(20), range(3)) == {}, "a batch without labels teaches nothing"
    assert all(torch.equal(a, b) for a, b in zip(before, one.parameters, strict=True))


def test_heads_do_not_share_and_the_network_does():
    net = AttributeNet("mlp", (1, 4, 4), [METHODS["ce"]().build(c) for c in DATA.counts], torch.Generator())
    outs = net(DATA.batch([0, 1]))
    assert [out.logits.shape for out in outs] == [(2, 2), (2, 3), (2, 2)]
    assert all(out.features is outs[0].features or out.features.equal(outs[0].features) for out in outs)
    outs[1].logits.sum().backward()
    assert net.heads[0].weight.grad is None and net.heads[1].weight.grad is not None
    own = AttributeNet("mlp", (1, 4, 4), [METHODS["ce"]().build(c) for c in DATA.counts], torch.Generator(), branch=5)
    outs = own(DATA.batch([0, 1]))
    assert [out.features.shape for out in outs] == [(2, 5)] * 3
    assert not outs[0].features.equal(outs[1].features)


# --------------------------------------------------------------------------------------------------------- the methods
USUAL = ("ce", "focal", "class_balanced", "logit_adjustment", "crl", "contrastive", "lmle")


@pytest.mark.parametrize("key", [*USUAL, "mtct"])
def test_every_method_learns_what_the_images_say(key):
    found = train_attributes(key, PARTLY, epochs=12, batch_size=16, device="cpu", progress=False)
    assert found.status == "finished" and found.mean_balanced_accuracy > 0.75, found
    loss = found.history["loss"]
    assert np.isfinite(loss).all() and found.history["val_balanced_accuracy"].shape == (12, 3)


@pytest.mark.parametrize("key", sorted(set(METHODS) - set(USUAL)))
def test_any_other_method_learns_or_says_why_not(key):
    method = METHODS[key]()
    one = len(method.stages) == 1 and method.stages[0].sampler == "instance"
    if one and method.key not in ("mixup",):
        found = train_attributes(key, DATA, epochs=1, batch_size=30, lr=0.01, device="cpu", progress=False)
        assert found.method == key and np.isfinite(found.history["loss"]).all()
    else:
        with pytest.raises(ValueError, match=f"method={key!r}: it (trains in stages|draws its images|blends images)"):
            train_attributes(key, DATA, **TINY)


@pytest.mark.parametrize("level", ["class", "instance"])
@pytest.mark.parametrize("comparison", ["relative", "absolute", "distribution"])
def test_every_reading_of_crl_has_its_term(level, comparison):
    found = train_attributes("crl", DATA, level=level, comparison=comparison, **TINY)
    assert set(found.history) == {"epoch", "lr", "loss", "taught", "term/classification", "term/rectification",
                                  "val_balanced_accuracy"}  # fmt: skip
    assert (found.history["term/rectification"] > 0).all()
    parts = found.history["term/classification"] + found.history["term/rectification"]
    np.testing.assert_allclose(found.history["loss"], parts, rtol=1e-6)


def test_lmle_clusters_within_each_attribute():
    one = trainer("lmle", PARTLY, cluster_size=5)
    one.listen(range(3))
    for j, objective in enumerate(one.objectives):
        known = PARTLY.targets[:, j][PARTLY.targets[:, j] >= 0]
        assert len(objective.cluster) == len(known)
        values = [set(known[objective.cluster == c].tolist()) for c in objective.cluster.unique()]
        assert all(len(of) == 1 for of in values), "no cluster holds images of two values"


def test_a_curriculum_teaches_balanced_attributes_first():
    plan, _ = ask_method("mtct", {})
    imbalance = np.array([40.0, 1.0, 5.0, 2.0, np.inf, 9.0])
    taught = [plan.taught(epoch, 6, imbalance) for epoch in range(6)]
    assert taught == [[1, 3], [1, 3], [1, 2, 3, 5], [1, 2, 3, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    found = train_attributes("mtct", DATA, epochs=3, batch_size=16, device="cpu", progress=False)
    assert found.history["taught"].tolist() == [1, 2, 3] and found.settings == {"base": "ce", "stages": 3}
    first = train_attributes("mtct", DATA, epochs=1, stages=3, batch_size=16, device="cpu", progress=False)
    assert first.history["taught"].tolist() == [1]


def test_what_is_not_taught_yet_stays_as_it_began():
    one = trainer("mtct", stages=2)
    hard = int(np.argmax(DATA.imbalance))
    before = [head.weight.detach().clone() for head in one.net.heads]
    one.run_epoch()
    moved = [not torch.equal(a, b.weight) for a, b in zip(before, one.net.heads, strict=True)]
    assert moved == [j != hard for j in range(3)]


def test_a_curriculum_of_one_stage_is_its_base():
    found = [train_attributes("mtct", DATA, stages=1, base="focal", **TINY), train_attributes("focal", DATA, **TINY)]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found[0].logits, found[1].logits, strict=True))
    assert [one.label for one in found] == ["mtct base=focal stages=1", "focal"]


def test_a_loss_of_ones_own_is_trained_for_each_attribute():
    def squared(logits, targets, counts):
        assert len(counts) == logits.shape[1]
        return (logits.softmax(1) - torch.nn.functional.one_hot(targets, logits.shape[1])).square().sum(1)

    found = train_attributes(squared, DATA, **TINY)
    assert found.label == "squared" and found.id != train_attributes("ce", DATA, **TINY).id

    class Larger(Regularizer):
        def __init__(self, counts, base, strength: float = 2.0):
            super().__init__(counts, base)
            self.strength = strength

        def penalty(self, out, targets):
            return self.strength * out.features.square().mean()

    assert "term/penalty" in train_attributes(Larger, DATA, strength=3.0, **TINY).history


@pytest.mark.parametrize("key", [key for key, one in METHODS.items() if one.posthoc and len(one().stages) == 1])
def test_a_posthoc_rule_decides_each_attribute_by_its_own_counts(key):
    plain, ruled = (train_attributes(one, DATA, **TINY) for one in ("ce", key))
    for j, counts in enumerate(DATA.counts):
        assert not np.array_equal(ruled.logits[j], plain.logits[j]), key
        if key == "logit_adjusted":
            shifted = plain.logits[j] - np.log(counts / counts.sum())
            np.testing.assert_allclose(ruled.logits[j], shifted, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ the run
def test_the_same_call_gives_the_same_bits_and_another_seed_others(run):
    again, other = train_attributes("crl", PARTLY, **TINY), train_attributes("crl", PARTLY, seed=1, **TINY)
    for name, value in run.network.items():
        assert value.tobytes() == again.network[name].tobytes(), name
    assert again.id == run.id != other.id
    assert not np.array_equal(run.logits[0], other.logits[0])


def test_a_bar_shows_what_is_trained(monkeypatch):
    shown = []

    class Bar(Progress):
        def update(self, trainer):
            shown.append((self.title, trainer.epoch, round(trainer.rows[-1]["loss"], 9)))

        def __exit__(self, *error):
            shown.append(np.mean([run.accuracy for run in self.runs]))

    monkeypatch.setattr(sys.modules["ltviz.attributes.train"], "Progress", Bar)
    found = train_attributes("ce", DATA, **TINY | {"progress": True})
    assert [one[:2] for one in shown[:2]] == [("ce on small, seed 0", 1), ("ce on small, seed 0", 2)]
    assert shown[1][2] == pytest.approx(found.history["loss"][-1]) and shown[2] == found.accuracy.mean()


def test_a_stopped_run_keeps_what_was_learned(run):
    one, control = trainer("crl", PARTLY), RunControl()
    found = one.run(control, lambda trainer: control.stop())
    assert found.status == "stopped" and found.history["epoch"].tolist() == [0]
    assert found.id != run.id and found.history["loss"][0] == run.history["loss"][0]
    assert 0.3 < found.mean_balanced_accuracy <= 1.0


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    train_attributes("lmle", DATA, **TINY)
    assert torch.equal(state, torch.get_rng_state())


def test_a_run_scores_what_it_says(run):
    assert run.targets.shape == run.predicted.shape == (40, 3)
    np.testing.assert_array_equal(run.predicted[:, 1], run.logits[1].argmax(1))
    expected = metrics.attribute_scores(run.targets, run.predicted, [2, 3, 2])
    np.testing.assert_array_equal(run.balanced_accuracy, expected.balanced)
    assert run.mean_balanced_accuracy == expected.mean and run.accuracy.tolist() == expected.accuracy.tolist()
    table = run.table()
    rare = [recall[int(c.argmin())] for recall, c in zip(expected.recall, run.counts, strict=True)]
    np.testing.assert_array_equal(table["recall of the rarest"], rare)
    np.testing.assert_array_equal(table["imbalance"], PARTLY.imbalance)
    assert repr(run) == (f"crl on 3 attributes of small, seed 0: finished after 2 epochs, mean balanced accuracy "
                         f"{run.mean_balanced_accuracy:.1%}")  # fmt: skip


def test_the_last_validation_score_is_that_of_the_network_at_the_end():
    data = dataclasses.replace(DATA, val_images=DATA.test_images, val_targets=DATA.test_targets)
    found = train_attributes("ce", data, **TINY)
    np.testing.assert_array_equal(found.history["val_balanced_accuracy"][-1], found.balanced_accuracy)
    without = train_attributes("ce", small(validation=0), **TINY)
    assert np.isnan(without.history["val_balanced_accuracy"]).all()


def test_a_run_that_is_read_is_the_one_that_was_saved(run, tmp_path):
    read = load_attribute_run(run.save(tmp_path))
    for item in dataclasses.fields(run):
        mine, other = getattr(run, item.name), getattr(read, item.name)
        if isinstance(mine, dict) and item.name in ("history", "network"):
            assert mine.keys() == other.keys()
            assert all(np.array_equal(mine[k], other[k], equal_nan=True) for k in mine)
        elif isinstance(mine, list):
            assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))
        elif isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, other)
        else:
            assert json.dumps(mine, sort_keys=True) == json.dumps(other, sort_keys=True), item.name
    slim = load_attribute_run(run.save(tmp_path / "small.safetensors", small=True))
    assert slim.network is None and slim.features is None
    assert slim.mean_balanced_accuracy == run.mean_balanced_accuracy


def test_a_damaged_or_foreign_file_is_refused(run, tmp_path):
    path = run.save(tmp_path / "run.safetensors")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunFileError, match="checksum"):
        load_attribute_run(path)
    other = lt.train("ce", lt.digits_lt(), epochs=1, device="cpu", progress=False).save(tmp_path / "other.safetensors")
    with pytest.raises(RunFileError, match="a run of ltviz, not a run of attributes"):
        load_attribute_run(other)
    with pytest.raises(ValueError, match="path="):
        run.save(tmp_path / "run.txt")


def test_a_network_that_diverges_stops_and_says_so():
    with pytest.warns(RuntimeWarning, match="smaller rate, such as lr=1e"):
        found = train_attributes("ce", DATA, lr=1e30, clip=1e30, epochs=9, batch_size=16, device="cpu", progress=False)
    assert found.status == "diverged" and len(found.history["loss"]) < 9 and np.isnan(found.mean_balanced_accuracy)
    scores = metrics.attribute_scores(found)
    assert np.isnan([scores.balanced, scores.accuracy, *found.table().iloc[:, 1:].to_numpy().T]).all()
    assert (found.predicted == -1).all(), "no value is the answer of a network that gives no number"
    with pytest.raises(ValueError, match="ce: its training diverged, so its network gives no answers"):
        found.answers(DATA.batch())
    picture = lt.plot_attributes({"lost": found, "ce": train_attributes("ce", DATA, **TINY)})
    assert "lost undefined (1 seed)" in picture.text and np.isnan(picture.data["balanced/lost"]).all()
    assert [text.get_text() for text in picture.ax.get_legend().get_texts()][0] == "lost (1 seed): undefined"
    assert lt.plot_attributes(found).ax.get_ylim() == (pytest.approx(0.47), pytest.approx(1.02))


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("crll", {}, "method='crll': unknown.*did you mean 'crl'"),
        ("mtct", {"stages": 0}, "stages=0"),
        ("mtct", {"stage": 2}, "mtct has no setting 'stage'.*did you mean 'stages'"),
        ("mtct", {"base": "crt"}, "method='crt': it trains in stages"),
        ("mtct", {"base": 3}, "base=3"),
        ("ce", {"gamma": 2}, "ce has no setting 'gamma'"),
        ("ce", {"learning": 1}, "ce has no setting"),
        ("focal", {"gamma": "2"}, "gamma='2'"),
        (3, {}, "method=3"),
        ("ce", {"data": lt.digits_lt}, "data="),
        ("ce", {"seed": 1.5}, "seed=1.5"),
        ("ce", {"branch": 0}, "branch=0"),
        ("ce", {"branch": True}, "branch=True"),
        ("ce", {"epochs": 0}, "epochs=0"),
        ("ce", {"model": "cnnn"}, "model='cnnn'"),
        ("ce", {"recipe": "attribute"}, "recipe"),
        ("ce", {"recipe": np.zeros(2)}, r"^recipe=<ndarray of shape \(2,\)>: expected a Recipe or one of"),
        ("ce", {"device": "tpu"}, "device='tpu'"),
        ("ce", {"progress": 1}, "progress=1"),
        ("ce", {"data": dataclasses.replace(DATA, targets=torch.full((60, 3), -1))}, "no training image .*'bright'"),
        ("logit_adjustment", {"data": WITHOUT_BLACK}, "no training image has the value 'black' of 'row'"),
        ("ce", {"data": dataclasses.replace(DATA, targets=torch.ones(60, 3).long())}, "value 'no' of 'bright'"),
        (torch.nn.BCEWithLogitsLoss(), {}, r"^method=BCEWithLogitsLoss\(\): .*CrossEntropyLoss\(\).*one_hot\("),
        (
            lambda logits, targets: (logits - targets).square().mean(),
            {},
            r"^method='own_loss': given logits \(16, 2\) and targets \(16,\), whole numbers from 0 to 1, of 'bright', "
            r"it raised RuntimeError: The size of .*one_hot\(",
        ),
        (lambda logits, targets: logits, {}, r"^own_loss gave shape \(16, 2\): expected a tensor"),
        ("cdb", {"data": small(validation=0)}, "cdb listens .*validation"),
    ],
)
def test_arguments_without_a_meaning_are_refused(method, given, said):
    with pytest.raises(ValueError, match=said):
        train_attributes(method, **({"data": DATA} | TINY | given))


def test_a_convolutional_network_takes_them_too():
    found = train_attributes("crl", DATA, model="cnn", branch=4, weight_decay=1e-4, **TINY)
    assert found.recipe["model"] == "cnn" and found.recipe["branch"] == 4 and found.recipe["weight_decay"] == 1e-4


# ------------------------------------------------------------------------------------------------------------ the plot
def test_the_plot_orders_attributes_by_imbalance_and_groups_seeds(run):
    other = train_attributes("crl", PARTLY, seed=1, **TINY)
    plain = train_attributes("ce", PARTLY, **TINY)
    picture = lt.plot_attributes([run, other, plain, run])
    order = np.argsort(PARTLY.imbalance)
    np.testing.assert_allclose(picture.data["imbalance"], np.sort(PARTLY.imbalance))
    assert picture.data["names"].tolist() == [PARTLY.names[j] for j in order]
    expected = np.array([one.balanced_accuracy[order] for one in (run, other)])
    np.testing.assert_array_equal(picture.data["balanced/crl"], expected)
    assert picture.data["balanced/ce"].shape == (1, 3)
    assert f"crl {100 * expected.mean():.1f}% (2 seeds)" in picture.text
    assert not any(line.get_gid() == "reference" for line in picture.ax.lines), "an attribute of three values"
    assert picture.ax.get_xscale() == "log"


def test_the_bars_are_the_95_percent_interval_and_binary_attributes_have_a_chance(monkeypatch):
    scores = np.array([[0.9, 0.6], [0.8, 0.7], [0.85, 0.5]])
    picture = lt.plot_attributes({"CE": scores}, [1.5, 20.0], ["tall", "rare"])
    (bars,) = picture.ax.containers
    half = metrics.paired(scores[:, 0], np.zeros(3)).half
    low, high = bars[2][0].get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(0.85 - half), pytest.approx(0.85 + half))
    assert "85.0% below 10 : 1, 60.0% from there on" in picture.text
    binary = train_attributes("ce", lt.digits_attributes(), **TINY)
    assert [line.get_gid() for line in lt.plot_attributes(binary).ax.lines].count("reference") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3,), "runs=3"),
        (([],), "runs="),
        (({"CE": [0.5, 2.0]}, [1, 2]), "runs\\['CE'\\]="),
        (({"CE": [0.5]}, [1, 2]), "a=2"),
        (({"CE": [0.5, 0.5]}, [1, np.inf]), "imbalance: attribute 2 has no finite"),
        (({"CE": [0.5, 0.5]}, [1, 2], ["tall"]), "names="),
        (({}, [1, 2]), "runs="),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        lt.plot_attributes(*arguments)


def test_runs_of_other_attributes_are_not_drawn_together(run):
    renamed = dataclasses.replace(run, names=("a", "b", "c"))
    with pytest.raises(ValueError, match="different attributes"):
        lt.plot_attributes({"a": run, "b": [renamed]})
    with pytest.raises(ValueError, match="imbalance="):
        lt.plot_attributes(run, [1, 2, 3])


def test_runs_on_other_cuts_of_the_digits_are_not_drawn_together():
    first, other, split = (
        train_attributes("ce", lt.digits_attributes(**given), **TINY | {"epochs": 1})
        for given in ({}, {"ratio": 45}, {"seed": 3, "validation": 0, "ratio": 50.0})
    )
    with pytest.raises(ValueError, match="data with ratio=50 and with ratio=45 have other attributes"):
        lt.plot_attributes([first, other])
    picture = lt.plot_attributes([first, split])
    between = np.sqrt(first.imbalance * split.imbalance)
    np.testing.assert_allclose(picture.data["imbalance"], np.sort(between))
    even = dataclasses.replace(first, counts=[np.array([9, 4]), *first.counts[1:]])
    odd = dataclasses.replace(first, counts=[np.array([9, 1]), *first.counts[1:]])
    with pytest.raises(ValueError, match="imbalance of 'loop' is 2.2 : 1 in one and 9.0 : 1 in another"):
        lt.plot_attributes([even, odd])


# --------------------------------------------------------------------------------------------- what a network answers
@pytest.mark.parametrize(
    ("images", "said"),
    [
        (DATA.batch()[:0], r"images=.*at least one.*got torch.float32 \(0, 1, 4, 4\)"),
        (DATA.batch() * np.nan, "images=.*finite; 960 numbers are not"),
        (DATA.images, "images=.*got torch.uint8"),
        (DATA.batch()[:, :, :3], "images=.*of the size that crl"),
        (DATA.batch().numpy(), "images="),
    ],
)
def test_a_network_answers_to_whole_images_of_its_size(run, images, said):
    with pytest.raises(ValueError, match=said):
        run.answers(images)
    convolutional = train_attributes("ce", DATA, model="cnn", **TINY | {"epochs": 1})
    with pytest.raises(ValueError, match="images=.*of the size that ce"):
        convolutional.answers(DATA.batch()[:, :, :1, :1])


def squared(logits, targets, power: float = 2.0):
    return (logits.softmax(1) - torch.nn.functional.one_hot(targets, logits.shape[1])).abs().pow(power).sum(1)


@pytest.mark.parametrize(
    ("method", "given", "again"),
    [
        (squared, {"power": 3.0}, lambda: squared),
        ("mtct", {"base": squared}, lambda: squared),
        ("crl", {"base": squared}, lambda: METHODS["crl"](base=squared)),
    ],
)
def test_a_run_of_ones_own_loss_answers_where_the_loss_is_known(method, given, again, tmp_path):
    run = train_attributes(method, DATA, **given, **TINY)
    here = run.answers(DATA.test_batch())[1]
    for mine, other in zip(here, run.logits, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    read = load_attribute_run(run.save(tmp_path / "own.safetensors"))
    with pytest.raises(ValueError, match=r"a loss of your own, 'squared', .*; pass it: answers\(images, method="):
        read.answers(DATA.test_batch())
    with pytest.raises(ValueError, match="method='ce': expected the loss that "):
        read.answers(DATA.test_batch(), "ce")
    for mine, other in zip(here, read.answers(DATA.test_batch(), again())[1], strict=True):
        np.testing.assert_array_equal(mine, other)
    assert pickle.loads(pickle.dumps(run)).made_by is None


# -------------------------------------------------------------------------------------------------- the recorded table
def rows(gain: float) -> list[dict]:
    """A table of two methods, three seeds and two attributes; the second method is better by `gain` on the rare one."""
    found = []
    for seed, noise in enumerate((0.0, 0.01, 0.03)):
        for row, more in (("CE", 0.0), ("CRL (class level)", gain + noise / 3)):
            for name, ratio in (("tall", 1.0), ("rare", 40.0)):
                score = 0.8 + noise + (more if name == "rare" else 0.0)
                found.append({"row": row, "seed": seed, "attribute": name, "imbalance": ratio, "balanced": score})
    return found


def test_methods_are_compared_by_band_and_paired_by_seed():
    table = pandas.DataFrame(rows(0.05))
    rare, even = (attributes.compare(table, band) for band in ("beyond 15 : 1", "below 3 : 1"))
    line = rare.loc["CRL (class level)"]
    assert line["attributes"] == 1 and line["seeds"] == 3
    assert line["difference"] == pytest.approx(0.05 + 0.04 / 9) and line["low"] > 0.04
    assert line["verdict"] == "clearly better"
    assert even.loc["CRL (class level)", "difference"] == pytest.approx(0.0)
    assert np.isnan(rare.loc["CE", "difference"])
    whole = attributes.compare(table)
    assert whole.loc["CRL (class level)", "difference"] == pytest.approx(line["difference"] / 2)


def test_what_is_no_recorded_table_is_refused(tmp_path):
    for arguments, said in (((rows(0.0),), "table="), ((pandas.DataFrame(rows(0.0)), "rare"), "band='rare'")):
        with pytest.raises(ValueError, match=said):
            attributes.compare(*arguments)
    pandas.testing.assert_frame_equal(attributes.compare(), attributes.compare(attributes.recorded()))
    with pytest.raises(ValueError, match="metric='f1'"):
        attributes.compare(pandas.DataFrame(rows(0.0)), metric="f1")
    with pytest.raises(FileNotFoundError, match=r"python -m tools\.attributes"):
        attributes.recorded(tmp_path / "none.csv")
    for content in (b"", b"\xff\xfe\x00\x81", b'a,b\n1,2,3,4\n"x\n'):
        (tmp_path / "bad.csv").write_bytes(content)
        with pytest.raises(RunFileError, match=r"bad.csv: not a table as it was recorded .*tools\.attributes"):
            attributes.recorded(tmp_path / "bad.csv")
    for column in ("seed", "imbalance", "balanced"):
        with pytest.raises(ValueError, match=f"^table=.*: expected numbers in the column '{column}'"):
            attributes.compare(attributes.recorded().assign(**{column: "x"}))


def test_the_recorded_network_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(attributes.plain.__globals__, "NETWORK", tmp_path / "plain.safetensors")
    with pytest.raises(
        FileNotFoundError, match=r"plain.safetensors is not there. .*git checkout -- data.*tools.attrib"
    ):
        attributes.plain()


def test_the_tool_keeps_a_line_for_each_attribute_of_a_run(tmp_path, monkeypatch):
    short = {"CE": ("ce", {"epochs": 2}), "MTCT": ("mtct", {"epochs": 3})}
    monkeypatch.setattr(tool, "ROWS", {**tool.ROWS, **short})
    lines = tool.record(tool.Task("CE", 1)) + tool.record(tool.Task("MTCT", 1))
    tool.keep(tmp_path / "table.csv", [*lines, *lines])
    table = attributes.recorded(tmp_path / "table.csv")
    assert list(table.columns) == tool.COLUMNS and len(table) == 24 and set(table["seed"]) == {1}
    run = train_attributes("ce", lt.digits_attributes(seed=1), seed=1, epochs=2, device="cpu", progress=False)
    np.testing.assert_allclose(table[table["row"] == "CE"]["balanced"], run.balanced_accuracy, atol=1e-5)
    assert table["run"].iloc[0] == run.id


def test_the_recorded_runs_are_whole_and_of_these_data():
    table = attributes.recorded()
    assert set(table["row"]) == set(tool.ROWS) and set(table["seed"]) == set(range(5))
    assert len(table) == 12 * 5 * len(tool.ROWS) and set(table["status"]) == {"finished"}
    data = lt.digits_attributes(seed=3)
    mine = table[(table["seed"] == 3) & (table["row"] == "CE")]
    assert list(mine["attribute"]) == list(data.names)
    np.testing.assert_allclose(mine["imbalance"], data.imbalance, atol=1e-4)
    assert list(mine["positives"]) == [int(one.min()) for one in data.counts]
    ids = table.groupby(["row", "seed"])["run"].nunique()
    assert (ids == 1).all() and table["run"].nunique() == 5 * len(tool.ROWS)


def test_no_interval_of_the_picture_is_cut():
    rows = {"one": np.array([[0.2, 0.9], [0.8, 0.8], [0.5, 0.9]])}
    picture = lt.plot_attributes(rows, [3.0, 40.0], ["wide", "dark"])
    found = lt.metrics.paired(rows["one"][:, 0], np.zeros(3))
    assert found.mean - found.half < 0.2 and picture.ax.get_ylim()[0] <= max(0.0, found.mean - found.half)
