"""Any classifier as a run: the right numbers, nothing left changed, and a refusal that names what does not fit."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from ltviz.collector import collect

NAMES = ["a", "b", "c"]


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU())
    net.add_module("fc", nn.Linear(5, 3))
    return net


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    images, targets = torch.randn(40, 6, generator=generator), torch.randint(3, (40,), generator=generator)
    return [(images[:25], targets[:25]), (images[25:], targets[25:])]


def test_any_classifier_can_be_looked_at(model, batches):
    run = collect(model, batches, counts=[9, 5, 2])
    images, targets = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    with torch.no_grad():
        np.testing.assert_allclose(run.logits, model.eval()(images).numpy(), rtol=1e-5)
    logits = run.features.astype(np.float32) @ run.head_weight.T + run.head_bias
    np.testing.assert_allclose(logits, run.logits, atol=1e-2)
    assert run.counts.tolist() == [9, 5, 2] and run.confusion.sum() == 40
    norms = np.linalg.norm(run.features.astype(np.float64), axis=1)
    expected = [norms[targets.numpy() == c].mean() for c in range(3)]
    np.testing.assert_allclose(run.class_feature_norm, expected, rtol=1e-3)
    assert run.accuracy == (run.logits.argmax(1) == targets.numpy()).mean()


def test_nothing_of_the_model_is_left_changed(model, batches):
    model.train()
    model[1].eval()  # a frozen BatchNorm in a network that trains
    state = {name: value.clone() for name, value in model.state_dict().items()}
    collect(model, batches)
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="two things"):
        collect(model, [batches[0], (1, 2, 3)])
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert not model.fc._forward_hooks and all(p.grad is None and p.requires_grad for p in model.parameters())


def test_an_id_says_all_that_was_seen(model, batches):
    """Of more than the first logits: later images, targets, counts, names and the classifier count too."""
    whole = collect(model, batches)
    (x, y), (u, v) = batches
    flipped = torch.cat([v[:-1], (v[-1:] + 1) % 3])
    others = [
        collect(model, [(x, y), (u, flipped)], counts=whole.counts),
        collect(model, [(x, y), (torch.cat([u[:-1], u[-1:] + 1]), v)]),
        collect(model, batches, counts=[9, 5, 2]),
        collect(model, batches, class_names=NAMES),
        collect(model, batches, name="another"),
        collect(model, [(x, y)]),
    ]
    assert len({whole.id, *(run.id for run in others)}) == 7
    assert collect(model, [(torch.cat([x, u]), torch.cat([y, v]))]).id != ""
    assert collect(model, batches).id == whole.id


def test_large_features_stay_what_they_are(model, batches):
    with torch.no_grad():
        model[1].weight.fill_(1e6)
    run = collect(model, batches)
    assert run.features.dtype == np.float32 and np.isfinite(run.features).all() and run.features.max() > 65_504


def test_counts_by_number_or_by_name(model, batches):
    for counts in (Counter({"a": 9, "c": 2}), {"c": np.int64(2), "a": 9.0}, (9, 0, 2), torch.tensor([9, 0, 2])):
        assert collect(model, batches, counts=counts, class_names=np.array(NAMES)).counts.tolist() == [9, 0, 2]
    assert collect(model, batches, counts=Counter([0, 0, 2])).counts.tolist() == [2, 0, 1]


def labels(change):
    """The loader with other targets."""
    return lambda batches: {"loader": [(x, change(y)) for x, y in batches]}


def other(change):
    """The model with another output."""

    class Other(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.inner, self.fc = model, model.fc

        def forward(self, x):
            return change(self.inner(x))

    return Other


WRONG = [
    (labels(lambda y: nn.functional.one_hot(y, 3)), "loader: .*got the shape .25, 3.; one-hot rows become numbers"),
    (labels(lambda y: y + 0.5), "loader: .*got torch.float32"),
    (labels(lambda y: y - 100), "loader: .*got -1?[0-9]+; leave out images without a label"),
    (labels(lambda y: y + 1), "loader: .*got 3"),
    (labels(lambda y: ["cat"] * len(y)), "loader: .*texts such as 'cat'; number the classes"),
    (labels(lambda y: y[:, None]), "loader: .*the shape .25, 1."),
    (labels(lambda y: y.bool()), "loader: .*torch.bool"),
    (labels(lambda y: None), "loader: "),
    (lambda batches: {"loader": [dict(x=x, y=y) for x, y in batches]}, "loader: .*a mapping with 'x', 'y'"),
    (lambda batches: {"loader": [(x, y, y) for x, y in batches]}, "loader: .*a tuple of 3"),
    (lambda batches: {"loader": [x for x, _ in batches]}, "loader: .*got a Tensor"),
    (lambda batches: {"loader": []}, "loader: it gave no batch"),
    (lambda batches: {"loader": 3}, "loader=3"),
    (lambda batches: {"loader": [(x.numpy(), y) for x, y in batches]}, "loader: expected images as a tensor"),
    (lambda batches: {"head": "0"}, "head='0': its weight has shape .5, 6."),
    (lambda batches: {"head": "1"}, "head='1' is a BatchNorm1d"),
    (lambda batches: {"head": "nowhere"}, "head='nowhere' is no module.*'0', 'fc'"),
    (lambda batches: {"head": None}, "head=None"),
    (lambda batches: {"counts": [1, 2]}, "counts=.*each of the 3 classes"),
    (lambda batches: {"counts": [1, -2, 3]}, "counts=.*none negative"),
    (lambda batches: {"counts": [1, 2.5, 3]}, "counts=.*whole numbers"),
    (lambda batches: {"counts": [0, 0, 0]}, "counts="),
    (lambda batches: {"counts": "many"}, "counts='many'"),
    (lambda batches: {"counts": Counter("xyz")}, "counts: 'x' is no class"),
    (lambda batches: {"class_names": ["a"]}, "class_names=.*3 different names"),
    (lambda batches: {"class_names": ["a", "a", "b"]}, "class_names="),
    (lambda batches: {"class_names": "abc"}, "class_names='abc'"),
    (lambda batches: {"name": ""}, "name=''"),
]


@pytest.mark.parametrize(("change", "match"), WRONG)
def test_what_does_not_fit_is_named(model, batches, change, match):
    arguments = {"loader": batches, **change(batches)}
    with pytest.raises(ValueError, match=match):
        collect(model, **arguments)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda z: (z, z), "model: .*got a tuple"),
        (lambda z: {"logits": z}, "model: .*got a dict"),
        (lambda z: z * float("nan"), "model: its logits hold NaN"),
        (lambda z: z[0], "model: .*got .3,."),
        (lambda z: z[:, :1], "model: .*k > 1"),
    ],
)
def test_answers_that_are_no_logits_are_named(model, batches, change, match):
    with pytest.raises(ValueError, match=match):
        collect(other(change)(model), batches)


def test_a_convolution_or_a_layer_that_runs_twice_is_no_head(batches):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x):
            return self.fc(self.fc(x))

    with pytest.raises(ValueError, match="head='fc' ran 2 times in a batch"):
        collect(Twice(), batches)
    conv = nn.Sequential(nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 3, 1), nn.Flatten())
    with pytest.raises(ValueError, match="head='1' is a Conv2d"):
        collect(conv, batches, head="1")
    with pytest.raises(ValueError, match="model=.*torch.nn.Module"):
        collect(lambda x: x, batches)
