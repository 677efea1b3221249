"""SGD where torch's kernel is not what it was. Its steps, and clip, are held to torch's in test_training.py."""

import numpy as np
import pytest
import torch
from torch import nn

from ltviz.datasets import digits_lt
from ltviz.optimizer import SGD, make_optimizer
from ltviz.training import Trainer

KERNEL = torch._fused_sgd_


def gone(monkeypatch):
    monkeypatch.delattr(torch, "_fused_sgd_")


def asks_for_more(monkeypatch):
    """Another signature, that torch's own optimiser knows of."""

    def kernel(*lists, grad_scale, found_inf, **settings):
        KERNEL(*lists, grad_scale=grad_scale, found_inf=found_inf, **settings)

    monkeypatch.setattr(torch, "_fused_sgd_", kernel)


def takes_nothing(monkeypatch):
    def kernel():
        raise AssertionError("it is never called")

    monkeypatch.setattr(torch, "_fused_sgd_", kernel)


def means_another(monkeypatch):
    """The same arguments, other steps."""
    monkeypatch.setattr(torch, "_fused_sgd_", lambda *lists, **given: KERNEL(*lists, **{**given, "nesterov": True}))


def steps(make, momentum=0.9, rate=0.1):
    """Weights and momenta after a few steps, one parameter without its first gradient, and the optimiser."""
    draw = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((5, 3, 3, 3), (7,), (8, 8), (3,))]
    parameters[0].data = parameters[0].data.contiguous(memory_format=torch.channels_last)
    groups = [{"params": parameters[:2], "weight_decay": 5e-4}, {"params": parameters[2:], "weight_decay": 0.0}]
    optimizer = make(groups, rate, momentum)
    for step in range(4):
        for parameter in parameters[: 3 if step == 0 else 4]:
            parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=draw))
        for group in optimizer.param_groups:
            group["lr"] = rate / (step + 1)
        optimizer.step()
    momenta = [optimizer.state[parameter]["momentum_buffer"] for parameter in parameters]
    return [*(parameter.detach() for parameter in parameters), *momenta], optimizer


def plain(groups, rate, momentum):
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=momentum)
    for parameter in (parameter for group in groups for parameter in group["params"]):
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_another_signature_leaves_the_numbers_as_they_are(monkeypatch, momentum):
    usual, kernel = steps(SGD, momentum)
    asks_for_more(monkeypatch)
    with pytest.raises(TypeError):
        kernel.step()
    found, _ = steps(SGD, momentum)
    assert all(torch.equal(a, b) for a, b in zip(found, usual, strict=True))


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("change", [gone, takes_nothing, means_another])
def test_without_the_kernel_steps_are_those_of_plain_sgd(monkeypatch, change, momentum, rate):
    usual, _ = steps(SGD, momentum, rate)
    known, _ = steps(plain, momentum, rate)
    change(monkeypatch)
    found, _ = steps(lambda groups, rate, momentum: make_optimizer("sgd", groups, rate, momentum, fused=True),
                     momentum, rate)  # fmt: skip
    for a, b, c in zip(found, known, usual, strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride()
        torch.testing.assert_close(a, c, rtol=1e-5, atol=1e-6)


def test_what_an_optimiser_keeps_has_one_form(monkeypatch):
    """A checkpoint reads `state` and `param_groups`, before the first step as after it."""
    kept = []
    for change in (lambda _: None, asks_for_more, takes_nothing):
        change(monkeypatch)
        parameters = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3))]
        groups = [{"params": [parameters[0]], "weight_decay": 0.1}, {"params": [parameters[1]], "weight_decay": 0.0}]
        optimizer = SGD(groups, 0.1, 0.9)
        kept.append([{name: value.shape for name, value in optimizer.state[one].items()} for one in parameters])
        assert not any(optimizer.state[one]["momentum_buffer"].any() for one in parameters)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
        assert [group["params"][0] is one for group, one in zip(optimizer.param_groups, parameters, strict=True)]
        assert "lr" not in groups[0], "the caller's own groups stay as they are"
    assert kept[0] == kept[1] == kept[2] == [{"momentum_buffer": (2, 3)}, {"momentum_buffer": (3,)}]


def test_a_run_goes_on_where_the_kernel_changes(monkeypatch, tmp_path):
    """The first epoch with the kernel, and a checkpoint; the second with torch's own optimiser. Equal bit for bit."""
    data = digits_lt(ratio=20)

    def trainer(**more):
        return Trainer("ce", data, epochs=2, device="cpu", **more)

    usual = trainer()
    rows = [usual.run_epoch(), usual.run_epoch()]
    first = trainer(checkpoint=tmp_path / "run.checkpoint")
    first.run_epoch()
    first.save_checkpoint()
    asks_for_more(monkeypatch)
    second = trainer(checkpoint=tmp_path / "run.checkpoint")
    assert second.epoch == 1
    row = second.run_epoch()
    for name, value in rows[1].items():
        np.testing.assert_array_equal(row[name], value, err_msg=name)
    for name, value in usual.net.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name]), name
