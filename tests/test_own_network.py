"""Networks of a reader's own in training: their classifier, weights, identity, and what a run gives back."""

import copy
import functools
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import ltviz as lt
from ltviz import workers
from ltviz.training import Trainer, make_request
from ltviz.training.own_network import OwnNetwork, as_network, find_classifier


class Small(nn.Module):
    """Convolution, BatchNorm, dropout, a linear classifier."""

    def __init__(self, k: int = 10, width: int = 4):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(width * 16, k)

    def features(self, x):
        return nn.functional.max_pool2d(torch.relu(self.norm(self.conv(x))), 2).flatten(1)

    def forward(self, x):
        return self.fc(self.drop(self.features(x)))


class Views(Small):
    """With code that needs images in torch's plain memory order."""

    def features(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return x.view(len(x), -1, 4).amax(2)


class Cosine(nn.Module):
    def __init__(self, d, k):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(k, d))

    def forward(self, f):
        return 8.0 * nn.functional.normalize(f) @ nn.functional.normalize(self.weight).T


class Normalised(Small):
    def __init__(self, k: int = 10):
        super().__init__(k)
        self.fc = Cosine(64, k)


class Wrapped(Small):
    """Logits in a mapping."""

    def forward(self, x):
        return {"loss": None, "logits": super().forward(x)}


class Answer(types.SimpleNamespace):
    pass


class AsAttribute(Small):
    def forward(self, x):
        return Answer(logits=super().forward(x))


class Pooled(Small):
    """A 1x1 convolution, averaged over places."""

    def __init__(self, k: int = 10):
        super().__init__(k)
        self.fc = nn.Conv2d(4, k, 1)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x)))).mean((2, 3))


class TwoNames(Small):
    """Its classifier stands in a list, too, and is called there."""

    def __init__(self, k: int = 10):
        super().__init__(k)
        self.parts = nn.ModuleList([self.drop, self.fc])

    def forward(self, x):
        return self.parts[1](self.parts[0](self.features(x)))


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


def fit(model, data, method="ce", **more):
    return lt.train(method, data, **{"epochs": 2, "model": model, "progress": False, **more})


def seeded(make, *arguments):
    torch.manual_seed(3)
    return make(*arguments)


# ------------------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("kind", [Small, Views, Wrapped, AsAttribute, Pooled, TwoNames], ids=lambda kind: kind.__name__)
def test_a_copy_is_trained_from_its_own_weights(kind, data):
    net = seeded(kind).eval()
    before = copy.deepcopy(net.state_dict())
    trainer = Trainer("ce", data, epochs=2, model=net)
    images = data.test_batch(slice(0, 20))
    with torch.no_grad():
        found, expected = trainer.net.eval()(images), net(images)
    expected = expected if isinstance(expected, torch.Tensor) else getattr(expected, "logits", None)
    if expected is None:
        expected = net(images)["logits"]
    torch.testing.assert_close(found.logits, expected.detach())
    torch.testing.assert_close(found.logits, found.features @ net.fc.weight.flatten(1).T + net.fc.bias)
    run = trainer.run()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()) and not net.training
    assert run.recipe["model"] == f"{kind.__name__} (own)" and run.history["loss"][1] < run.history["loss"][0]
    assert run.features.shape == (500, run.head_weight.shape[1]), "the input of the classifier"


def test_the_loop_computes_what_a_plain_one_does(data):
    """One step of gradient descent by hand, from the same order of images."""
    net = seeded(Small, 10).train()
    net.drop.p = 0.0
    trainer = Trainer("ce", data, epochs=1, model=net, lr=0.1, clip=None, warmup=0.0, momentum=0.0, weight_decay=0.0)
    epoch = trainer.begin_epoch()
    next(trainer.steps(epoch))
    index = epoch.batches[0]
    nn.functional.cross_entropy(net(data.batch(index)), data.targets[index]).backward()
    for name, parameter in net.named_parameters():
        ours = dict(trainer.net.named_parameters())[f"backbone.net.{name}".replace("backbone.net.fc", "head")]
        torch.testing.assert_close(ours, parameter - epoch.rates[0] * parameter.grad, msg=name)


@pytest.mark.parametrize("make", [Small, lambda: Small(10), lambda k: Small(k), functools.partial(Small, width=3)])
def test_a_factory_makes_one_network_a_seed(make, data):
    torch.manual_seed(1)
    one = Trainer("ce", data, model=make, seed=1)
    torch.manual_seed(2)
    same, other = Trainer("ce", data, model=make, seed=1), Trainer("ce", data, model=make, seed=2)
    kernel = [trainer.net.backbone.net.conv.weight for trainer in (one, same, other)]
    assert torch.equal(kernel[0], kernel[1]) and not torch.equal(kernel[0], kernel[2])
    assert one.id == same.id != other.id


def test_a_factory_is_told_the_number_of_classes(data):
    asked = []

    def by_name(width=4, num_classes=3):
        asked.append((width, num_classes))
        return Small(num_classes, width)

    def by_place(n):
        return by_name(num_classes=n)

    def kernel(k=10):  # it may mean anything
        return by_name(num_classes=k)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (by_name, by_place, kernel):
            assert Trainer("ce", data, model=make).net.head.weight.shape == (10, 64)
    assert set(asked) == {(4, 10)}


def test_the_network_of_a_run_is_one_more_network(data):
    first = fit("cnn", data)
    net = first.model()
    trainer = Trainer("ce", data, model=net)
    images = data.test_batch(slice(0, 20))
    with torch.no_grad():
        torch.testing.assert_close(trainer.net.eval()(images).logits, net(images))
    assert trainer.run().recipe["model"] == "Logits (own)"


def test_a_run_repeats_and_continues_bit_for_bit(data, tmp_path):
    """Dropout included; from a checkpoint, too."""
    one = fit(Small, data, epochs=3)
    halfway = Trainer("ce", data, epochs=3, model=Small, checkpoint=tmp_path / "a.ckpt")
    halfway.run_epoch()
    halfway.save_checkpoint()
    again = fit(Small, data, epochs=3, checkpoint=tmp_path / "a.ckpt")
    np.testing.assert_array_equal(one.logits, again.logits)
    assert one.id == again.id


def test_side_by_side_and_swept_it_is_the_same_run(data, tmp_path):
    one = fit(Small, data)
    many = lt.train_many("ce", data, model=[Small, lambda: Small(10)], epochs=2, seeds=2, progress=False)
    np.testing.assert_array_equal(next(run for run in many if run.id == one.id).logits, one.logits)
    swept = lt.sweep(["ce", "focal"], data, model=Small, epochs=2, seeds=1, lr=[0.1, 0.05], folder=tmp_path,
                     progress=False)  # fmt: skip
    assert len({run.id for run in swept}) == 4 and len(list(tmp_path.glob("*.safetensors"))) == 4
    assert {run.recipe["lr"] for run in swept} == {0.1, 0.05}


def test_what_a_worker_can_make_is_trained_there(data, monkeypatch):
    monkeypatch.setattr(workers, "count", lambda: 2)
    net, state = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), {"1.weight": torch.zeros(10, 64)}
    state["1.bias"] = torch.arange(10.0)
    asked = {"model": net, "weights": state, "augment": nn.Identity(), "epochs": 1, "lr": 0.05, "progress": False,
             "head_classes": "alphabetical"}  # fmt: skip
    many = lt.train_many("ce", data, seeds=2, device="cpu", **asked)
    assert [run.provenance["together"] for run in many] == ["2 processes"] * 2
    one = lt.train("ce", data, device="cpu", **asked)
    assert one.id == many[0].id
    np.testing.assert_array_equal(one.logits, many[0].logits)
    torch.testing.assert_close(many[0].model()(data.test_batch()), torch.from_numpy(one.logits), atol=1e-5, rtol=1e-5)
    local = lt.train_many("ce", data, seeds=2, device="cpu", model=lambda: net, epochs=1, progress=False)
    assert [run.provenance["together"] for run in local] == ["2 threads"] * 2


def test_a_branch_of_a_run_has_its_network(data):
    trainer = Trainer("ce_drw", data, epochs=4, model=Small, augment=lambda image: image.flip(-1))
    trainer.run_epoch()
    other = lt.training.branch(trainer, beta=0.0)
    assert other.request.network is trainer.request.network and other.request.augment is trainer.request.augment
    assert torch.equal(other.net.backbone.net.conv.weight, trainer.net.backbone.net.conv.weight)


def test_the_call_is_recorded(data, tmp_path):
    torch.save(Small().state_dict(), tmp_path / "net.pt")
    asked = make_request("ce", data, model=Small, weights=tmp_path / "net.pt", augment=nn.Identity(), lr=0.05)
    words = "recipe='digits', seed=0, model=Small, lr=0.05, weights='net.pt', augment=Identity())"
    assert asked.command.endswith(words)
    assert {name: asked.recipe_record[name] for name in ("model", "lr", "weights", "augment")} == {
        "model": "Small (own)", "lr": 0.05, "weights": "net.pt", "augment": "Identity()"
    }  # fmt: skip
    assert not {"weights", "augment"} & make_request("ce", data).recipe_record.keys()


def test_views_are_given_images_in_plain_order(data):
    assert make_request("ce", data, model=Views, device="cpu").speed == lt.device.Speed(fused=True)
    assert make_request("ce", data, model=Small, device="cpu").speed == lt.device.Speed(channels_last=True, fused=True)


def test_frozen_layers_stay_frozen(data):
    net = seeded(Small)
    net.conv.requires_grad_(False)
    run = fit(net, data)
    np.testing.assert_array_equal(run.network["backbone.net.conv.weight"], net.conv.weight.detach().numpy())
    assert not np.array_equal(run.network["backbone.net.norm.weight"], net.norm.weight.detach().numpy())
    assert run.id != fit(seeded(Small), data).id
    staged = fit(net, data, "crt", epochs=4)
    np.testing.assert_array_equal(staged.network["backbone.net.conv.weight"], net.conv.weight.detach().numpy())


@pytest.mark.parametrize("method, net, replaced", [
    ("ce", Small, None), ("ce", lambda: Small(7), "a linear one of 7 classes, .* by a new one, a linear one of 10"),
    ("normface", Small, "a linear one of 10 classes, is replaced by a new one, a cosine one of 10"),
    ("ce", Normalised, "a normalised one of 10 classes, is replaced by a new one, a linear one"),
])  # fmt: skip
def test_the_classifier_becomes_the_head_of_the_method(method, net, replaced, data):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = fit(net, data, method)
    assert len(said) == (0 if replaced is None else 1)
    if replaced:
        assert said[0].filename == __file__ or said[0].category is UserWarning
        assert __import__("re").search(replaced, str(said[0].message))
    assert run.head_weight.shape == (10, 64) and (run.scale is None) == (method == "ce")


# ------------------------------------------------------------------------------------------------------------- refusals
class Hidden(Small):
    def forward(self, x):
        return nn.functional.linear(self.features(x), self.fc.weight, self.fc.bias)


class Softened(Small):
    def forward(self, x):
        return super().forward(x).relu()


class Twice(Small):
    def forward(self, x):
        f = self.features(x)
        return self.fc(self.fc(f).tanh() @ self.fc.weight + f)


class Asks(Small):
    """It looks at its classifier's weight."""

    def forward(self, x):
        return self.fc(self.features(x) * self.fc.weight.abs().mean())


@pytest.mark.parametrize("model, words", [
    (3, "model=3: expected a name of models.MODELS"), ([], r"model=\[\]: expected"), ("resnet33", "model='resnet33'"),
    ("Net (own)", r"model: 'Net \(own\)' is a network of your own; pass it again"),
    (lambda a, b: Small(), r"model: network \(own\) needs a, b; expected a function or class of no argument"),
    (lambda: 3, r"model: network \(own\) made 3; expected a torch module"),
    (lambda: Small(-1), r"model: network \(own\) could not be made \("),
    (lambda: nn.Linear(5, 10), r"model: Linear|model: network \(own\) cannot take images as these data have them"),
    (lambda: nn.Conv2d(3, 10, 1), r"model: network \(own\) cannot take images.*of shape \(16, 1, 8, 8\)"),
    (lambda: nn.Conv2d(1, 10, 1), r"model: expected logits"),
    (Hidden, r"model: no classifier was found in Hidden \(own\) \('fc' ran 0 times"),
    (Softened, "model: no classifier was found .*'fc' is followed by a ReLU"),
    (Twice, "model: no classifier was found .*'fc' ran 2 times"),
    (Asks, "model: its classifier 'fc' is used by other parts of the network"),
])  # fmt: skip
def test_what_is_no_network_is_refused_by_name(model, words, data):
    with pytest.raises(ValueError, match=f"^{words}"):
        fit(model, data)


def test_what_cannot_be_copied_is_refused(data):
    net = Small()
    net.kept = (net.conv.weight * 2).sum()  # torch copies no results
    with pytest.raises(ValueError, match=r"^model: Small \(own\) cannot be copied"):
        fit(net, data)


# ------------------------------------------------------------------------------------------------------------- identity
TEXT = """
class Net(nn.Module):
    def __init__(self, k=10):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(64, k)
        self.register_buffer("passing", torch.tensor({buffer}), persistent=False)
        self.settings = [1.0, {listed}]

    def forward(self, x):
        return self.fc(nn.functional.max_pool2d({act}(self.conv(x)) * SCALE, 2).flatten(1) * self.passing)
"""
ONE = {"buffer": 1.0, "listed": 1.0, "act": "torch.relu", "scale": 1.0}
OTHER = {"buffer": 2.0, "listed": 2.0, "act": "torch.tanh", "scale": 2.0}


def cell(**changes):
    """A class as a cell of a notebook makes it."""
    values = {**ONE, **changes}
    scope = {"torch": torch, "nn": nn, "SCALE": values["scale"], "__name__": "__main__"}
    exec(TEXT.format(**values), scope)
    return scope["Net"]


@pytest.mark.parametrize("change", ONE)
@pytest.mark.parametrize("form", ["class", "instance", "lambda", "partial", "method"])
def test_an_edited_network_is_another_run(change, form, data):
    def asked(**changes):
        kind = cell(**changes)
        made = {
            "class": lambda: kind, "instance": lambda: seeded(kind), "lambda": lambda: lambda: kind(),
            "partial": lambda: functools.partial(kind, 10), "method": lambda: Maker(kind).make,
        }[form]()  # fmt: skip
        return make_request("ce", data, model=made).id

    assert asked() == asked() != asked(**{change: OTHER[change]})


class Maker:
    def __init__(self, kind):
        self.kind = kind

    def make(self):
        return self.kind()


def test_what_a_factory_reads_is_part_of_the_id(data, tmp_path):
    def make():
        net = Small()
        net.load_state_dict(torch.load(tmp_path / "net.pt"))
        return net

    ids = []
    for factor in (1.0, 1.0, 2.0):
        torch.save({name: value * factor for name, value in seeded(Small).state_dict().items()}, tmp_path / "net.pt")
        ids.append(make_request("ce", data, model=make, head_classes=data.class_names).id)
    assert ids[0] == ids[1] != ids[2]


def test_a_folder_gives_no_stale_run(data, tmp_path):
    sweep = functools.partial(lt.sweep, "ce", data, epochs=2, seeds=1, folder=tmp_path, progress=False)
    first = sweep(model=cell())[0]
    other = sweep(model=cell(scale=0.1))[0]
    again = sweep(model=cell())[0]
    assert first.id == again.id != other.id and len(list(tmp_path.iterdir())) == 2
    assert first.provenance["code"] == again.provenance["code"] != other.provenance["code"]


def test_mode_and_gradients_are_no_part_of_a_network(data):
    net = seeded(Small)
    one = make_request("ce", data, model=net).id
    net.eval()(data.test_batch(slice(0, 4))).sum().backward()
    assert make_request("ce", data, model=net).id == one
    with torch.no_grad():
        net.fc.bias.add_(1.0)
    assert make_request("ce", data, model=net, head_classes=data.class_names).id != one


# ----------------------------------------------------------------------------------- the order of the classifier's rows
def trained(kind=Small, k=10):
    """A network whose classifier is none that torch draws."""
    net = seeded(kind, k)
    with torch.no_grad():
        net.fc.weight.normal_(0.0, 1.0)
        net.fc.bias.copy_(torch.arange(float(k)))
    return net


def test_rows_stand_for_the_classes_that_head_classes_names(data):
    net, names = trained(), list(data.class_names)
    assert names != sorted(names)
    asked = {"list": (names[::-1], names[::-1]), "tuple": (tuple(names), names), "array": (np.array(names), names),
             "alphabetical": ("alphabetical", sorted(names))}  # fmt: skip
    for given, order in asked.values():
        trainer = Trainer("ce", data, model=net, head_classes=given)
        for rank, name in enumerate(names):
            assert torch.equal(trainer.net.head.weight[rank], net.fc.weight[order.index(name)])
            assert trainer.net.head.bias[rank] == order.index(name)
        assert trainer.request.recipe_record["head_classes"] == order
        assert f"head_classes={order!r}" in trainer.request.command
    ids = [make_request("ce", data, model=net, head_classes=one).id for one in (names, names[::-1], "alphabetical")]
    assert len(set(ids)) == 3 and make_request("ce", data, model=net, head_classes=sorted(names)).id == ids[2]


def test_a_kept_order_of_rows_is_said(data):
    net, words = (
        trained(),
        r"^model: the classifier of 10 classes is kept.*in the order of data.class_names \('6', '0',",
    )
    with pytest.warns(UserWarning, match=words) as said:
        trainer = Trainer("ce", data, model=net)
    assert len(said) == 1 and "head_classes='alphabetical'" in str(said[0].message)
    assert torch.equal(trainer.net.head.weight, net.fc.weight)
    assert trainer.id == make_request("ce", data, model=net, head_classes=data.class_names).id
    with pytest.warns(UserWarning, match="^model: the classifier of 10 classes is kept"):
        make_request("ce", data, model=lambda: copy.deepcopy(net))
    with pytest.warns(UserWarning, match="^weights: the classifier of 10 classes is kept"):
        make_request("ce", data, model=Small, weights=net.state_dict())
    with pytest.warns(UserWarning, match="is replaced by a new one, a cosine one"):
        make_request("normface", data, model=net)


class Drawn(Small):
    def __init__(self, k: int = 10):
        super().__init__(k)
        nn.init.normal_(self.fc.weight)


class Zeros(Small):
    def __init__(self, k: int = 10):
        super().__init__(k)
        nn.init.zeros_(self.fc.weight), nn.init.zeros_(self.fc.bias)


def test_of_a_new_classifier_nothing_is_said(data):
    """Nor where the order of the data is the one that others have (a warning is an error here)."""
    for made in (Small, Small(), Small(10, 40), Drawn, Zeros, Zeros()):
        make_request("ce", data, model=made)
    for seed in range(20):
        torch.manual_seed(seed)
        make_request("ce", data, model=Small())
    ordered = lt.digits_lt(class_order="natural")
    assert list(ordered.class_names) == sorted(ordered.class_names)
    trainer = Trainer("ce", ordered, model=(net := trained()))
    assert torch.equal(trainer.net.head.weight, net.fc.weight)


def test_the_network_of_a_run_knows_its_classes(data):
    first = fit("cnn", data, epochs=4)
    other = lt.digits_lt(class_order="seed", seed=3)
    assert other.class_names != data.class_names
    trainer = Trainer("ce", other, model=first.model())
    for rank, name in enumerate(other.class_names):
        row = first.head_weight[first.class_names.index(name)]
        np.testing.assert_array_equal(trainer.net.head.weight[rank].detach().numpy(), row)


def test_a_file_of_a_named_network_is_put_in_order_too(data, tmp_path):
    names = list(data.class_names)
    for method in ("ce", "normface"):
        run = fit("cnn", data, method)
        torch.save(run.model().state_dict(), tmp_path / "net.pt")
        trainer = Trainer(method, data, model="cnn", weights=tmp_path / "net.pt", head_classes=names[::-1])
        np.testing.assert_array_equal(trainer.net.head.weight.detach().numpy(), run.head_weight[::-1])
        np.testing.assert_array_equal(trainer.net.backbone.layers[0].weight.detach().numpy(),
                                      run.network["backbone.layers.0.weight"])  # fmt: skip


@pytest.mark.parametrize("given, more, words", [
    ("alphabetic", {}, r"='alphabetic': expected the classes of the data.*did you mean 'alphabetical'"),
    (3, {}, "=3: expected the classes of the data in the order"), ([], {}, r"=\[\]: expected the classes"),
    (list("0123456788"), {}, "these are without '9'"),
    ([*"0123456789", "9"], {}, "these are not each once"), ([*"012345678", "cat"], {}, "without '9' and with 'cat'"),
    (range(10), {}, "expected the classes of the data"), (list(range(10)), {}, "expected the classes of the data"),
    ("alphabetical", {"model": "cnn"}, "expected None where no classifier comes along"),
    ("alphabetical", {"model": lambda: trained(k=7)}, ": it names 10 classes, and the classifier has 7 rows"),
])  # fmt: skip
def test_what_names_no_order_is_refused(given, more, words, data):
    with pytest.raises(ValueError, match=f"^head_classes.*{words}"):
        make_request("ce", data, **{"model": Small, "head_classes": given, **more})


def test_a_sweep_takes_the_list_as_one_value(data, tmp_path):
    net, names = trained(), list(data.class_names)
    runs = lt.sweep("ce", data, seeds=1, epochs=1, model=net, head_classes=names[::-1], folder=tmp_path, progress=False)
    assert len(runs) == 1 and lt.load_run(next(tmp_path.glob("*"))).recipe["head_classes"] == names[::-1]


def test_a_start_matches_by_name_itself(data):
    with pytest.raises(ValueError, match="^head_classes=.*expected None with start="):
        make_request("ce", data, start=fit("mlp", data), head_classes="alphabetical")


# -------------------------------------------------------------------------------------------------- what stays as it is
def still(kind):
    net = seeded(Small).train()
    if kind in ("both", "eval"):
        net.norm.eval()
    if kind in ("both", "frozen"):
        net.norm.requires_grad_(False)
    return net


@pytest.mark.parametrize("kind", ["both", "eval", "frozen"])
@pytest.mark.parametrize("factory", [False, True])
def test_statistics_that_are_held_stay(kind, factory, data):
    net = still(kind)
    net.norm.running_mean.fill_(0.25)
    seen = []

    def look(epoch, row, network):
        seen.append(network.train().backbone.net.norm.training)

    trainer = Trainer("ce", data, epochs=2, model=(lambda: copy.deepcopy(net)) if factory else net, callbacks=look)
    trainer.run_epoch()
    modules = dict(trainer.net.backbone.net.named_modules())
    assert not modules["norm"].training and modules["conv"].training and modules["drop"].training
    run = trainer.run()
    assert seen == [False, False], "its copies, too"
    np.testing.assert_array_equal(run.network["backbone.net.norm.running_mean"], np.full(4, 0.25, np.float32))
    np.testing.assert_array_equal(run.network["backbone.net.norm.running_var"], net.norm.running_var.numpy())
    moved = not np.array_equal(run.network["backbone.net.norm.weight"], net.norm.weight.detach().numpy())
    assert moved == (kind == "eval")


def test_what_is_held_is_part_of_the_id(data):
    ids = {kind: make_request("ce", data, model=still(kind)).id for kind in ("both", "eval", "frozen", "none")}
    assert ids["both"] == ids["frozen"] and len({ids["frozen"], ids["eval"], ids["none"]}) == 3
    assert ids["none"] == make_request("ce", data, model=still("none").eval()).id, "the mode of the whole says nothing"
    held = [make_request("ce", data, model=functools.partial(still, kind)).id for kind in ("eval", "none")]
    assert held[0] != held[1]
    dropped = seeded(Small)
    dropped.drop.eval()
    trainer = Trainer("ce", data, epochs=1, model=dropped)
    assert trainer.id != ids["none"] and not trainer.net.train().backbone.net.drop.training


# --------------------------------------------------------------------------------------------------- the run afterwards
def test_a_run_continues_where_the_network_is_given_again(data, tmp_path):
    first = fit(Small, data)
    with pytest.raises(ValueError, match=r"^model: 'Small \(own\)' is a network of your own; pass it again"):
        lt.train("ce", data, epochs=1, start=first, progress=False)
    for start in (first, lt.load_run(first.save(tmp_path))):
        trainer = Trainer("ce", data, epochs=1, start=start, model=Small(10))
        np.testing.assert_array_equal(trainer.net.head.weight.detach().numpy(), first.head_weight)
        kernel = trainer.net.backbone.net.conv.weight.detach().numpy()
        np.testing.assert_array_equal(kernel, first.network["backbone.net.conv.weight"])
        assert trainer.run().parent == first.id
    with pytest.raises(ValueError, match="^start: the network of 'ce' has backbone.net.conv.bias of shape .4,., here"):
        lt.train("ce", data, epochs=1, start=first, model=functools.partial(Small, width=5), progress=False)
    with pytest.raises(ValueError, match="^weights: start= gives all weights already"):
        lt.train("ce", data, start=first, model=Small, weights=Small().state_dict())


def test_a_run_gives_its_network_back(data, tmp_path):
    run = fit(Small, data)
    net = run.model()
    assert not net.training and torch.is_grad_enabled()
    torch.testing.assert_close(net(data.test_batch()), torch.from_numpy(run.logits), atol=1e-5, rtol=1e-5)
    assert net(data.test_batch(slice(0, 2))).requires_grad, "it can be trained on"
    loaded = lt.load_run(run.save(tmp_path))
    with pytest.raises(ValueError, match="a file does not hold; pass it, or what makes it"):
        loaded.model()
    for made in (Small, Small(10), lambda k: Small(k)):
        assert torch.equal(loaded.model(made)(data.test_batch(slice(0, 9))), net(data.test_batch(slice(0, 9))))
    with pytest.raises(ValueError, match="does not fit"):
        loaded.model(functools.partial(Small, width=5))
    with pytest.raises(ValueError, match="keeps no network"):
        lt.load_run(run.save(tmp_path / "small.safetensors", small=True)).model(Small)


def test_attention_and_dropout_follow_the_seed(data):
    """A transformer: its attention is one of torch's operations that may draw, and does where it has dropout."""
    from torchvision.models import VisionTransformer

    class Grey(VisionTransformer):
        def forward(self, x):
            return super().forward(x.expand(-1, 3, -1, -1))

    for share in (0.0, 0.2):
        make = functools.partial(Grey, 8, 4, 1, 2, 8, 16, dropout=share, attention_dropout=share)
        one, two = (fit(lambda k, make=make: make(num_classes=k), data) for _ in range(2))
        np.testing.assert_array_equal(one.logits, two.logits)
        assert one.features.shape == (500, 8)


def test_a_network_that_draws_in_eval_mode_repeats(data):
    class Always(Small):
        def forward(self, x):
            return self.fc(nn.functional.dropout(self.features(x), 0.5, True))

    torch.manual_seed(1)
    one = fit(Always, data)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(one.predict(data.test_images.numpy()).logits, one.logits)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    np.testing.assert_array_equal(one.logits, fit(Always, data).logits)


def test_the_logits_among_several_outputs(data):
    class Two(Small):
        def __init__(self, k: int = 10):
            super().__init__(k)
            self.other = nn.Linear(64, 7)

        def forward(self, x):
            f = self.features(x)
            return self.other(f), self.fc(f)

    assert fit(Two, data).head_weight.shape == (10, 64)
    with pytest.raises(ValueError, match="several layers give outputs of several sizes"):
        fit(lambda: Two(12), data)


def test_on_every_device(data, device):
    run = fit(Small, data, epochs=3, device=device, augment=lambda image: image.flip(-1), callbacks=lambda *seen: None)
    assert run.status == "finished" and np.isfinite(run.logits).all() and "graph" not in run.provenance["speed"]
    assert (run.predict(data.test_images.numpy()).classes == run.logits.argmax(1)).mean() > 0.95


def test_what_makes_a_network():
    assert as_network(None) is None and as_network("cnn") == "cnn"
    own = as_network(Small)
    assert as_network(own) is own and own.name == "Small (own)" and OwnNetwork(Small()).name == "Small (own)"
    assert as_network(lambda k: Small(k)).name == "network (own)"
    assert as_network(nn.DataParallel(Small())).name == "Small (own)"


def test_the_classifier_of_known_networks():
    from torchvision.models import get_model

    images = torch.randn(4, 3, 64, 64)
    for name, layer, d in (("resnet18", "fc", 512), ("googlenet", "fc", 1024), ("convnext_tiny", "classifier.2", 768)):
        arguments = {"init_weights": False} if name == "googlenet" else {}
        net = get_model(name, weights=None, **arguments)
        found = find_classifier(net, images, name)
        assert (found.name, found.weight.shape, found.linear) == (layer, (1000, d), True)
        assert found.features.shape == (4, d)
