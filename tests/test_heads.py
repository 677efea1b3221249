"""The classifier inside a network: the form that fits, and what is said of one that does not."""

import numpy as np
import pytest
import torch
from torch import nn

from ltviz import heads

RNG = np.random.default_rng(0)
F, W, B = (RNG.normal(size=size).astype(np.float32) for size in ((20, 5), (3, 5), (3,)))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("bias", [None, B])
@pytest.mark.parametrize("row", [0.0, 50.0])  # what all logits of a row share, as after a log-softmax
def test_each_form_is_found(bias, row):
    shift = (0.0 if bias is None else bias) + row * RNG.normal(size=(20, 1)).astype(np.float32)
    near = heads.EXACT

    def gives(head, z):
        f = head.sees(F) if head.scale is None else head.scale * unit(F)
        w = head.weight if head.scale is None else unit(head.weight)
        found = f @ w.T + (0.0 if head.bias is None else head.bias)
        np.testing.assert_allclose(found - found.mean(1, keepdims=True), z - z.mean(1, keepdims=True), atol=1e-3)

    for z in (F @ W.T, 4 * unit(F) @ W.T, 4 * F @ unit(W).T, 4 * unit(F) @ unit(W).T):
        gives(heads.fit_head(z + shift, F, W, bias, near), z + shift)
    cosine = heads.fit_head(4 * unit(F) @ unit(W).T, F, W, None, near)
    assert cosine.scale == pytest.approx(4.0, rel=1e-5) and cosine.bias is None
    for other in (0.5 * F @ W.T, -4 * unit(F) @ unit(W).T, np.maximum(F @ W.T, 0), F @ W[::-1].T, F @ W.T + [0, 0, 1]):
        assert heads.fit_head(other + shift, F, W, bias, near) is None


def test_watching_leaves_nothing_behind():
    layer = nn.Linear(5, 3)
    with pytest.raises(RuntimeError), heads.watching([layer]) as seen:
        layer(torch.ones(2, 5))
        assert len(seen[layer].inputs) == len(seen[layer].outputs) == 1
        layer(torch.ones(2, 4))
    assert not layer._forward_hooks and not layer._forward_hooks_with_kwargs


def seen_by(layer, *inputs):
    with heads.watching([layer]) as seen:
        outputs = [layer(one) for one in inputs]
    return heads.Layer("head", layer), seen[layer], outputs


def test_places_are_pooled():
    x = torch.randn(4, 7, 5)
    layer, seen, (out,) = seen_by(nn.Linear(5, 3), x)
    head, features = layer.fits(seen, out.mean(1))
    torch.testing.assert_close(features, x.mean(1))
    layer, seen, (out,) = seen_by(nn.Conv1d(5, 3, 1), x.mT)
    _, features = layer.fits(seen, out.mean(2))
    torch.testing.assert_close(features, x.mean(1))
    with pytest.raises(ValueError, match="its output is changed afterwards"):
        layer.fits(seen, out.amax(2))


@pytest.mark.parametrize(
    ("inputs", "change", "match"),
    [
        ([], lambda z: torch.randn(4, 3), "ran 0 times in a batch, expected once"),
        ([torch.randn(4, 5)] * 2, lambda z: z[0], "ran 2 times in a batch, expected once"),
        ([torch.randn(4, 5)], lambda z: z[0][:, :2], "is a hidden layer: its weight has shape .3, 5., but there are 2"),
        ([torch.randn(4, 5)], lambda z: z[0].relu(), "is followed by a ReLU"),
        ([torch.randn(4, 5)], lambda z: z[0] / 3, "is followed by a temperature: the logits are 0.3333 .W f"),
        ([torch.randn(4, 5)], lambda z: z[0].sigmoid(), "is followed by a sigmoid"),
        ([torch.randn(4, 5)], lambda z: z[0].tanh(), "gives W f . b .*its output is changed afterwards"),
        ([torch.randn(2, 5)], lambda z: z[0].repeat(2, 1), "sees features of shape .2, 5., but there are logits of 4"),
        ([torch.full((4, 5), float("inf"))], lambda z: torch.randn(4, 3), "sees features that hold NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_said(inputs, change, match):
    torch.manual_seed(0)
    layer, seen, outputs = seen_by(nn.Linear(5, 3), *inputs)
    with pytest.raises(ValueError, match=match):
        layer.fits(seen, change(outputs))


def test_which_layers_may_be_the_classifier():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(9, 3))
    assert [one.name for one in heads.layers(net, None, [3])] == ["1", "4"]
    assert [one.name for one in heads.layers(net, None, [4])] == []
    assert heads.matrix(net[0]) is heads.matrix(net[2]) is None and heads.matrix(net[1]) == (3, 4)
    both = nn.ModuleDict({"body": net, "tail": nn.Sequential(nn.ReLU(), nn.Linear(3, 3))})
    assert [one.name for one in heads.layers(both, "tail", [3])] == ["tail.1"]
    with pytest.raises(ValueError, match="head='0' is a Conv2d inside the model"):
        heads.layers(net, "0", [3])
