"""ltviz.training.weights: which files are read, what fits where, and what is said otherwise."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ltviz as lt
from ltviz.training import Trainer, make_request
from ltviz.training.weights import put_weights, read_weights


class Small(nn.Module):
    def __init__(self, k: int = 10, width: int = 4):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Linear(width, k)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().amax((2, 3)))


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


@pytest.fixture
def net():
    torch.manual_seed(5)
    return Small()


def kernel(trainer):
    return trainer.net.backbone.net.conv.weight.detach()


FORMS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": state, "lr": 0.1},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "net": lambda state: {"net": state, "acc": 91.2, "epoch": 3},
    "the only one": lambda state: {"student": state, "epoch": 3},
    "inside": lambda state: {"model": {"state_dict": state, "depth": 3}},
    "DataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled": lambda state: {"state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}},
    "part": lambda state: {f"net.{name}": value for name, value in state.items()},
    "without counters": lambda state: {n: v for n, v in state.items() if "num_batches" not in n},
    "double": lambda state: {n: v.double() if v.is_floating_point() else v for n, v in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_state_dict_is_read(form, net, data, tmp_path):
    torch.save(FORMS[form](net.state_dict()), tmp_path / "net.pth")
    trainer = Trainer("ce", data, model=Small, weights=tmp_path / "net.pth")
    assert torch.equal(kernel(trainer), net.conv.weight)
    assert torch.equal(trainer.net.head.weight, net.fc.weight) and torch.equal(trainer.net.head.bias, net.fc.bias)
    assert trainer.request.recipe_record["weights"] == "net.pth"


def test_safetensors_and_dicts_are_the_same_weights(net, data, tmp_path):
    state = net.state_dict()
    save_file(state, tmp_path / "net.safetensors")
    torch.save(state, tmp_path / "net.pt")
    ids = {make_request("ce", data, model=Small, weights=one).id
           for one in (state, tmp_path / "net.pt", str(tmp_path / "net.safetensors"))}  # fmt: skip
    assert len(ids) == 1 and make_request("ce", data, model=Small).id not in ids
    state["conv.bias"] = state["conv.bias"] + 1
    torch.save(state, tmp_path / "net.pt")
    assert make_request("ce", data, model=Small, weights=tmp_path / "net.pt").id not in ids, "an edited file"


def test_a_classifier_of_other_classes_is_left_out_and_one_of_these_is_taken(data, tmp_path):
    torch.manual_seed(1)
    seven, ten = Small(7), Small(10)
    with pytest.warns(UserWarning, match="a linear one of 7 classes, is replaced by a new one"):
        trainer = Trainer("ce", data, model=Small, weights=seven.state_dict())
    assert torch.equal(kernel(trainer), seven.conv.weight) and trainer.net.head.weight.shape == (10, 4)
    trainer = Trainer("ce", data, model=lambda: Small(7), weights=ten.state_dict())
    assert torch.equal(trainer.net.head.weight, ten.fc.weight)
    body = {name: value for name, value in ten.state_dict().items() if not name.startswith("fc.")}
    with pytest.warns(UserWarning, match="7 classes"):
        trainer = Trainer("ce", data, model=seven, weights=body)
    assert torch.equal(kernel(trainer), ten.conv.weight)


def test_weights_of_a_run_fit_its_model(data, tmp_path):
    for model, method in (("cnn", "ce"), (Small, "ce")):
        run = lt.train(method, data, epochs=1, model=model, progress=False)
        torch.save(run.model().state_dict(), tmp_path / "net.pt")
        trainer = Trainer("ce", data, model=model, weights=tmp_path / "net.pt", head_classes=run.class_names)
        for name, value in trainer.net.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), run.network[name], err_msg=name)


@pytest.mark.parametrize("change, words", [
    ({"conv.weight": torch.zeros(4, 3, 3, 3)}, r"conv.weight has the shape \(4, 3, 3, 3\), expected \(4, 1, 3, 3\)"),
    ({"conv.weight": None}, "conv.weight is missing"), ({"more.bias": torch.zeros(2)}, "more.bias has no place in the"),
    ({"norm.bias": torch.full((4,), float("nan"))}, "norm.bias holds NaN"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(change, words, net, data):
    state = {name: value for name, value in {**net.state_dict(), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=f"^weights='state dict'.*{words}"):
        Trainer("ce", data, model=Small, weights=state)


def test_what_is_no_file_of_weights_is_refused_by_name(net, data, tmp_path):
    torch.save(net, tmp_path / "whole.pt")
    torch.save({"a": 1}, tmp_path / "other.pt")
    torch.save(net.state_dict(), tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:900])
    torch.save({"student": net.state_dict(), "teacher": net.state_dict()}, tmp_path / "two.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "letter.pt").write_text("e")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 40)
    run = lt.train("ce", data, epochs=1, progress=False).save(tmp_path / "run.safetensors")
    for wrong, words in [
        (3, "=3: expected a file of weights"), ("", "='': expected a file"), ({}, "='state dict': it holds nothing"),
        (tmp_path / "none.pt", "there is no such file"), (tmp_path, "there is no such file"),
        (tmp_path / "whole.pt", r"it holds more than tensors.*torch.save\(model.state_dict\(\), path\)"),
        (tmp_path / "other.pt", "it holds 'a'; expected a state dict"),
        (tmp_path / "two.pt", "it holds 'student', 'teacher'; expected a state dict.* under 'state_dict', 'model_"),
        (tmp_path / "cut.pt", "it is no file of torch.save, or it is damaged or cut short"),
        (tmp_path / "empty.pt", "it is no file of torch.save, or it is damaged or cut short"),
        (tmp_path / "text.pt", "it is no file of torch.save"),
        (tmp_path / "letter.pt", "it is no file of torch.save"),
        (tmp_path / "cut.safetensors", "it is no safetensors file, or it is damaged or cut short"),
        (run, "this is a run of ltviz; continue it with start="),
        ("ResNet18_Weights.NONE", "weights that torchvision"),
        ("ResNet_Weights.IMAGENET1K_V1", "weights that torchvision publishes"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^weights.*{words}"):
            make_request("ce", data, model=Small, weights=wrong)


# ---------------------------------------------------------------------------------------------------- torchvision's own
@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch's."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def publish(folder, monkeypatch, enum):
    """A file such as torchvision publishes, with other values, under a name that fits them."""
    from torchvision.models import get_model

    torch.manual_seed(7)
    state = get_model("squeezenet1_1", weights=None).state_dict()
    torch.save(state, folder / "x.pth")
    digest = hashlib.sha256((folder / "x.pth").read_bytes()).hexdigest()[:8]
    path = (folder / "x.pth").rename(folder / f"squeezenet1_1-{digest}.pth")
    monkeypatch.setattr(type(enum), "url", property(lambda self: f"https://example.org/models/{path.name}"))
    return state, path


def test_torchvisions_weights_come_from_the_cache_alone(hub, monkeypatch):
    from torchvision.models import SqueezeNet1_1_Weights as Published

    name = "SqueezeNet1_1_Weights.IMAGENET1K_V1"
    words = (
        rf"^weights='{name}': squeezenet1_1-b8a52dc0.pth is not in torch's cache.*load_state_dict_from_url\('https://"
    )
    with pytest.raises(ValueError, match=words):
        read_weights(name)
    state, path = publish(hub, monkeypatch, Published.IMAGENET1K_V1)
    found = [read_weights(one, "torchvision:squeezenet1_1") for one in
             (name, Published.IMAGENET1K_V1, "SqueezeNet1_1_Weights.DEFAULT", "DEFAULT", "IMAGENET1K_V1")]  # fmt: skip
    assert {one.name for one in found} == {name} and len({one.digest for one in found}) == 1
    digits = lt.digits_lt()
    large = digits.images.repeat_interleave(4, 1).repeat_interleave(4, 2)
    test = digits.test_images.repeat_interleave(4, 1).repeat_interleave(4, 2)
    val = digits.val_images.repeat_interleave(4, 1).repeat_interleave(4, 2)
    data = lt.LongTailed(**{f: getattr(digits, f) for f in digits.__dataclass_fields__}
                         | {"images": large, "test_images": test, "val_images": val, "spec": {}})  # fmt: skip
    net = Trainer("ce", data, model="torchvision:squeezenet1_1", weights="DEFAULT").net
    kernel = net.backbone.net.features[0].weight
    assert torch.equal(kernel, state["features.0.weight"]) and net.head.weight.shape == (10, 512)
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(ValueError, match="is damaged or cut short; delete it"):
        read_weights(name)


def test_a_torchvision_classifier_of_these_classes_is_kept(hub):
    from torchvision.models import get_model

    torch.manual_seed(2)
    state = get_model("resnet18", weights=None, num_classes=10).state_dict()
    trainer = Trainer("ce", lt.digits_lt(), model="torchvision:resnet18", weights=state, epochs=1)
    assert torch.equal(trainer.net.head.weight, state["fc.weight"])
    assert torch.equal(trainer.net.backbone.net.conv1.weight, state["conv1.weight"])
    assert torch.equal(trainer.net.backbone.net.bn1.running_var, state["bn1.running_var"])


def test_the_entries_of_the_classifier_are_returned(net):
    other = Small(3)
    inside = put_weights(net, read_weights(other.state_dict()), "fc")
    assert {name: tuple(value.shape) for name, value in inside.items()} == {"weight": (3, 4), "bias": (3,)}
    assert torch.equal(net.conv.weight, other.conv.weight) and net.fc.weight.shape == (10, 4)
