"""Any classifier as a run: the right numbers, nothing left changed, and a refusal that names what does not fit."""

import tracemalloc
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from ltviz.collector import collect

NAMES = ["a", "b", "c"]
# Most tests are not about the counts, and take those of the one loader that they have.
pytestmark = pytest.mark.filterwarnings("ignore:counts. taken from the loader:UserWarning")


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
    (labels(lambda y: nn.functional.one_hot(y, 4)), "loader: .*got the shape .25, 4. for 3 classes"),
    (labels(lambda y: torch.full((len(y), 3), 1 / 3)), "loader: .*not one-hot; of soft labels"),
    (labels(lambda y: y + 0.5), "loader: .*got [0-9.]+ .float32.; classes have whole numbers"),
    (labels(lambda y: y - 100), "loader: .*got -100; if it marks images without a label, ignore=-100"),
    (labels(lambda y: y + 2), "loader: .*as there are 3 classes, got 2 to 4"),
    (labels(lambda y: torch.where(y == 2, 3, y)), "loader: .*as there are 3 classes, got 0 to 3"),
    (labels(lambda y: ["cat"] * len(y)), "loader: it names 1 classes .cat., expected 3; pass class_names"),
    (labels(lambda y: ["cat", None] + ["dog"] * (len(y) - 2)), "loader: no label at position 1 .None."),
    (labels(lambda y: y.bool()), "loader: .*True and False are two classes, but there are 3"),
    (labels(lambda y: y[:-1]), "model: expected logits of shape .24, k.* got .25, 3."),
    (labels(lambda y: None), "loader: "),
    (lambda batches: {"loader": [dict(x=x, z=y) for x, y in batches]}, "loader: .*labels.*a mapping with 'x', 'z'"),
    (lambda batches: {"loader": [dict(a=x, y=y) for x, y in batches]}, "loader: .*images.*a mapping with 'a', 'y'"),
    (lambda batches: {"loader": [dict(x=x, y=y, label=y) for x, y in batches]}, "loader: expected one entry with lab"),
    (
        lambda batches: {"loader": [(x.long(), y) for x, y in batches]},
        "model: it cannot take a batch of shape .25, 6. of torch.int64",
    ),
    (
        lambda batches: {"loader": [(x[:, :5], y) for x, y in batches]},
        "model: it cannot take a batch of shape .25, 5. of torch.float32",
    ),
    (lambda batches: {"loader": [(x, y, y) for x, y in batches]}, "loader: .*a tuple of 3"),
    (lambda batches: {"loader": [x for x, _ in batches]}, "loader: .*got a Tensor"),
    (lambda batches: {"loader": []}, "loader: it gave no batch"),
    (lambda batches: {"loader": 3}, "loader=3"),
    (lambda batches: {"loader": [(x.numpy(), y) for x, y in batches]}, "loader: expected images as a tensor"),
    (lambda batches: {"head": "0"}, "head='0' is a hidden layer: its weight has shape .5, 6., but there are 3 logits"),
    (lambda batches: {"head": "1"}, "head='1' is a BatchNorm1d inside the model, not a classifier"),
    (lambda batches: {"head": "nowhere"}, "head='nowhere' is no module.*'0', 'fc'"),
    (lambda batches: {"head": 3}, "head=3 is no module"),
    (lambda batches: {"forward": "f"}, "forward='f': expected a function"),
    (lambda batches: {"forward": lambda model, batch: batch[0]}, "forward: expected it to return .logits, labels."),
    (lambda batches: {"ignore": 0.5}, "ignore=0.5: expected the label"),
    (lambda batches: {"seed": -1}, "seed=-1"),
    (lambda batches: {"training": 3}, "training=3"),
    (lambda batches: {"training": []}, "training: it gave no batch"),
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
        (lambda z: (z[:, 0], 3), "model: .*got a tuple without any"),
        (lambda z: {"out": z}, "model: .*a mapping with 'out', none of them 'logits'"),
        (
            lambda z: z.softmax(1),
            "model: its outputs are probabilities, expected logits: leave out the model's last so",
        ),
        (lambda z: z.argmax(1), "model: .*got .25,. of torch.int64"),
        (lambda z: z * float("nan"), "model: its logits hold NaN"),
        (lambda z: z[0], "model: .*got .3,."),
        (lambda z: z[:, :1], "model: .*k > 1, got .25, 1.*; of one logit z for two classes, forward returns"),
    ],
)
def test_answers_that_are_no_logits_are_named(model, batches, change, match):
    with pytest.raises(ValueError, match=match):
        collect(other(change)(model), batches)


# --- labels and batches of other kinds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda y: nn.functional.one_hot(y, 3),
        lambda y: nn.functional.one_hot(y, 3).bool(),
        lambda y: y[:, None],
        lambda y: y.float(),
        lambda y: y.tolist(),
        lambda y: y.numpy().astype(np.uint8),
        lambda y: [NAMES[j] for j in y],
        lambda y: tuple(NAMES[j] for j in y),
    ],
)
def test_labels_of_any_kind_mean_the_same(model, batches, change):
    plain = collect(model, batches, class_names=NAMES)
    run = collect(model, [(x, change(y)) for x, y in batches], class_names=NAMES)
    np.testing.assert_array_equal(run.targets, plain.targets)
    assert run.targets.dtype == np.int64 and run.id == plain.id and run.accuracy == plain.accuracy


def test_what_is_taken_for_granted_is_said_once(model, batches):
    plain = collect(model, batches)
    with pytest.warns(
        UserWarning, match="loader: the classes are numbered from 1 to 3; 1 is taken for the first"
    ) as said:
        run = collect(model, [(x, y + 1) for x, y in batches], counts={1: 9, 3: 2})
    np.testing.assert_array_equal(run.targets, plain.targets)
    assert len(said) == 1 and run.counts.tolist() == [9, 0, 2] and run.class_names == ["1", "2", "3"]
    with pytest.warns(
        UserWarning, match="loader: the labels are names; their order is taken to be ant, bee, cow"
    ) as said:
        run = collect(
            model, [(x, [["bee", "ant", "cow"][j] for j in y]) for x, y in batches], counts={"bee": 4, "cow": 1}
        )
    np.testing.assert_array_equal(run.targets, np.array([1, 0, 2])[plain.targets])
    assert len(said) == 1 and run.counts.tolist() == [0, 4, 1] and run.class_names == ["ant", "bee", "cow"]


def batched(x, y, **kind):
    """A loader of these images."""
    return DataLoader(TensorDataset(x, y), **kind)


class Named(TensorDataset):
    """As torchvision's ImageFolder: `targets`, and `classes` by number."""

    def __init__(self, x, y, classes):
        super().__init__(x, y)
        self.targets, self.classes = y.tolist(), classes


def test_counts_of_the_judged_images_are_said_to_be_so(model, batches):
    with pytest.warns(UserWarning, match=r"counts: taken from the loader, .*pass counts= or training=") as said:
        run = collect(model, batches)
    assert len(said) == 1 and run.counts.tolist() == np.bincount(run.targets).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collect(model, batches, training=batches)
        collect(model, batches, counts=[3, 2, 1])


DRAWN = [
    lambda x, y: batched(x, y, sampler=WeightedRandomSampler([1.0, 9.0] * 20, 40), batch_size=8),
    lambda x, y: batched(x, y, sampler=RandomSampler(range(40), replacement=True), batch_size=8),
    lambda x, y: batched(x, y, sampler=RandomSampler(range(40), num_samples=15), batch_size=8),
    lambda x, y: batched(x, y, batch_size=32, drop_last=True),
    lambda x, y: batched(x, y, batch_size=32, drop_last=True, shuffle=True),
    lambda x, y: batched(x, y, batch_sampler=BatchSampler(WeightedRandomSampler(torch.ones(40), 8), 4, False)),
    lambda x, y: DataLoader(Named(x, y, NAMES), batch_size=32, drop_last=True),
    lambda x, y: DataLoader(
        ConcatDataset([Named(x[:9], y[:9], NAMES), TensorDataset(x[9:], y[9:])]), 32, drop_last=True
    ),
]


@pytest.mark.parametrize("loader", DRAWN)
def test_counts_are_those_of_the_data_set_where_the_loader_repeats_or_leaves_out_images(model, batches, loader):
    x, y = (torch.cat(of) for of in zip(*batches, strict=True))
    torch.manual_seed(0)
    run = collect(model, batches, training=loader(x, y))
    assert run.counts.tolist() == np.bincount(y).tolist() and run.counts.sum() == 40
    with pytest.warns(UserWarning, match="loader: its .*; the answers are judged on the images that it gave"):
        assert collect(model, loader(x, y)).counts.tolist() == np.bincount(y).tolist()


def test_counts_of_a_part_of_a_data_set(model, batches):
    x, y = (torch.cat(of) for of in zip(*batches, strict=True))
    part = list(range(3, 30))
    for loader in (
        batched(x, y, sampler=SubsetRandomSampler(part), batch_size=8),
        batched(x, y, sampler=SubsetRandomSampler(part), batch_size=8, drop_last=True),
        DataLoader(Subset(TensorDataset(x, y), part), batch_size=8, drop_last=True),
        batched(x, y, sampler=WeightedRandomSampler([3 <= i < 30 for i in range(40)], 99), batch_size=8),
    ):
        torch.manual_seed(0)
        assert collect(model, batches, training=loader).counts.tolist() == np.bincount(y[part]).tolist()


class Hidden(Dataset):
    """Says nothing of its labels but one by one."""

    def __init__(self, x, y):
        self.rows = list(zip(x, y, strict=True))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def test_counts_that_nobody_knows_are_asked_for(model, batches):
    x, y = (torch.cat(of) for of in zip(*batches, strict=True))
    loader = DataLoader(Hidden(x, y), batch_size=32, drop_last=True)
    with pytest.warns(UserWarning, match="counts: training: its drop_last leaves out images, .*pass counts="):
        assert collect(model, batches, training=loader).counts.sum() == 32
    changed = DataLoader(Named(x, y + 5, NAMES), batch_size=32, drop_last=True, collate_fn=lambda rows: (
        torch.stack([one for one, _ in rows]), torch.stack([j for _, j in rows]) - 5))  # fmt: skip
    with pytest.warns(UserWarning, match="counts: training: .*pass counts="):  # its targets are other labels
        assert collect(model, batches, training=changed).counts.sum() == 32
    own = batched(x, y, sampler=list(range(10)), batch_size=5)
    with pytest.warns(UserWarning, match="counts: training: its list may draw an image several times.*pass counts="):
        assert collect(model, batches, training=own).counts.sum() == 10
    collect(model, batches, training=batched(x, y, batch_size=20, drop_last=True))  # it drops nothing


def test_labels_from_one_whose_last_class_is_absent_are_doubted(model, batches):
    low = [(x, y.clamp(max=1) + 1) for x, y in batches]  # 1 and 2, of three classes
    with pytest.warns(UserWarning, match=r"loader: no label is 0, and none is 3;.*class_names=range\(1, 4\)") as said:
        run = collect(model, low, counts=[3, 2, 1])
    assert len(said) == 1 and set(run.targets) == {1, 2}
    with pytest.warns(UserWarning, match="no label is 0.*subtract 1 from them"):
        collect(model, low, counts=[3, 2, 1], class_names=NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(collect(model, low, counts=[3, 2, 1], class_names=range(1, 4)).targets) == {0, 1}
        assert set(collect(model, low, training=batches).targets) == {1, 2}
        assert set(collect(model, low, counts={0: 3, 1: 2, 2: 1}).targets) == {1, 2}
    with pytest.warns(UserWarning, match="numbered from 1 to 3"):  # the training images say so, for both
        run = collect(model, low, training=[(x, y + 1) for x, y in batches])
    assert set(run.targets) == {0, 1} and set(run.train_targets) == {0, 1, 2}


def test_names_of_the_data_set(model, batches):
    x, y = (torch.cat(of) for of in zip(*batches, strict=True))
    folders = ["10", "2", "9"]  # as ImageFolder sorts them
    named = DataLoader(Named(x, y, folders), batch_size=8)
    assert collect(model, named).class_names == folders
    assert collect(model, DataLoader(Subset(named.dataset, range(30)), batch_size=8)).class_names == folders
    assert collect(model, batches, training=named).class_names == folders
    assert collect(model, named, class_names=NAMES).class_names == NAMES
    np.testing.assert_array_equal(collect(model, DataLoader(Named(x, y, ["1", "2", "3"]), 8)).targets, y)
    only = y > 0
    run = collect(model, DataLoader(Named(x[only], y[only], folders), batch_size=8))  # numbered by place: no doubt
    np.testing.assert_array_equal(run.targets, y[only])
    with pytest.raises(ValueError, match="class_names: the data set of the loader has 2 classes .*there are 3 logits"):
        collect(model, DataLoader(Named(x, y, ["a", "b"]), batch_size=8))
    with pytest.raises(ValueError, match="training: its data set and that of the loader have different classes"):
        collect(model, named, training=DataLoader(Named(x, y, folders[::-1]), batch_size=8))


def test_a_random_order_is_noted(model, batches):
    x, y = (torch.cat(of) for of in zip(*batches, strict=True))
    assert collect(model, batched(x, y, batch_size=8, shuffle=True)).provenance == {"order": "random"}
    assert "order" not in collect(model, batched(x, y, batch_size=8)).provenance


def test_what_a_data_set_raises_keeps_its_type_and_says_where(model, batches):
    class Broken(Hidden):
        def __getitem__(self, i):
            if i == 21:
                raise KeyError("no such file")
            return super().__getitem__(i)

    x, y = (torch.cat(of) for of in zip(*batches, strict=True))
    with pytest.raises(KeyError, match="no such file") as caught:
        collect(model, batches, training=DataLoader(Broken(x, y), batch_size=8))
    assert caught.value.__notes__ == [
        "training: raised by the loader or its data set while it made batch 2 (counted from 0)"
    ]


def test_outputs_of_a_sigmoid_are_no_logits(model, batches):
    with pytest.raises(ValueError, match="model: its outputs are those of a sigmoid, expected logits"):
        collect(nn.Sequential(model, nn.Sigmoid()), batches)
    with pytest.warns(UserWarning) as said:
        collect(other(lambda z: 0.5 + 0.4 * z.tanh())(model), batches)
    assert any("its outputs all lie between 0 and 1" in str(one.message) for one in said)


def test_a_classifier_that_is_written_into_the_model_is_no_layer(batches):
    class Inline(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.weight = nn.Linear(6, 5), nn.Parameter(torch.randn(3, 5))

        def forward(self, x):
            return 8 * nn.functional.linear(nn.functional.normalize(self.body(x)), nn.functional.normalize(self.weight))

    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"the model itself holds a weight \(3, 5\).*a module of its own") as said:
        collect(Inline(), batches)
    assert not any("''" in str(one.message) for one in said)


def test_whole_numbers_that_are_names_are_looked_up(model, batches):
    plain = collect(model, batches)
    run = collect(
        model, [(x, torch.tensor([7, 3, 5])[y]) for x, y in batches], class_names=[7, 3, 5], counts={3: 2, 7: 1}
    )
    np.testing.assert_array_equal(run.targets, plain.targets)
    assert run.class_names == ["7", "3", "5"] and run.counts.tolist() == [1, 2, 0]
    low = [(x, y.clamp(max=1) + 1) for x, y in batches]  # 1 and 2: the second and third class, or "1" and "2"?
    with pytest.raises(ValueError, match="loader: is 1 the class '2', by its place, or '1', by its name"):
        collect(model, low, class_names=["1", "2", "3"])


def test_two_classes_as_booleans(batches):
    net = nn.Sequential(nn.Linear(6, 2))
    run = collect(net, [(x, y == 1) for x, y in batches], class_names=["no", "yes"])
    expected = torch.cat([y for _, y in batches]) == 1
    plain = collect(net, [(x, y == 1) for x, y in batches], counts={False: 4, True: 1})
    assert plain.class_names == ["False", "True"] and plain.counts.tolist() == [4, 1]
    np.testing.assert_array_equal(run.targets, expected.numpy().astype(np.int64))


def test_images_without_a_label_are_left_out(model, batches):
    (x, y), (u, v) = batches
    gaps = [(x, torch.where(torch.arange(25) % 3 == 0, -100, y)), (u, torch.full_like(v, -100)), (u, v)]
    run = collect(model, gaps, ignore=-100)
    keep = torch.arange(25) % 3 != 0
    np.testing.assert_array_equal(run.targets, torch.cat([y[keep], v]).numpy())
    with torch.no_grad():
        np.testing.assert_allclose(run.logits, model.eval()(torch.cat([x[keep], u])).numpy(), rtol=1e-5)
    assert len(run.features) == len(run.targets)
    with pytest.raises(ValueError, match="loader: every label is -100, which is left out"):
        collect(model, [gaps[1]], ignore=-100)
    words = [(x, [NAMES[j] if i else "?" for i, j in enumerate(y)]), (u, [NAMES[j] for j in v])]
    assert len(collect(model, words, ignore="?", class_names=NAMES).targets) == 39


class Shifted(nn.Module):
    """Adds a second input, by name, as models of other libraries take them."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values, shift=None, labels=None):
        assert labels is None
        logits = self.model(pixel_values if shift is None else pixel_values + shift)
        return {"loss": None, "logits": logits}


def test_batches_as_mappings_and_outputs_with_logits(model, batches):
    plain = collect(model, batches)
    for images, labels_ in (("image", "label"), ("x", "y"), ("pixel_values", "labels"), ("img", "target")):
        run = collect(model, [{images: x, labels_: y, "path": "a"} for x, y in batches])
        np.testing.assert_array_equal(run.logits, plain.logits)
    shift = torch.ones(6)
    run = collect(Shifted(model), [{"pixel_values": x, "shift": shift, "labels": y, "other": 1} for x, y in batches])
    moved = collect(model, [(x + shift, y) for x, y in batches])
    np.testing.assert_array_equal(run.logits, moved.logits)
    np.testing.assert_array_equal(run.features, moved.features)
    run = collect(Shifted(model), [({"pixel_values": x, "shift": shift}, y) for x, y in batches])
    np.testing.assert_array_equal(run.logits, moved.logits)
    own = lambda net, batch: (net(batch[1] + shift), batch[0])  # noqa: E731
    run = collect(model, [(y, x, "third") for x, y in batches], forward=own)
    np.testing.assert_array_equal(run.logits, moved.logits)


def test_outputs_as_a_tuple(model, batches):
    plain = collect(model, batches)
    np.testing.assert_array_equal(collect(other(lambda z: (z, z[:, 0]))(model), batches).logits, plain.logits)

    class Both(nn.Module):
        def __init__(self, model, first):
            super().__init__()
            self.body, self.fc, self.first = model[:3], model.fc, first

        def forward(self, x):
            features = self.body(x)
            return (features, self.fc(features)) if self.first else (self.fc(features), features)

    for first in (True, False):  # the logits are those that a layer gives
        run = collect(Both(model, first), batches)
        np.testing.assert_array_equal(run.logits, plain.logits)
        np.testing.assert_array_equal(run.features, plain.features)
    model.fc = nn.Sequential(model.fc, nn.ReLU())  # now no layer tells
    with pytest.raises(ValueError, match="model: it returns several tensors, with 3, 5 columns; which are the logits"):
        collect(Both(model, True), batches)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_images_are_brought_to_the_type_of_the_model(model, batches, dtype):
    plain = collect(model, batches)
    run = collect(model.to(dtype), batches)
    tolerance = 1e-6 if dtype == torch.float64 else 3e-2
    np.testing.assert_allclose(run.logits, plain.logits, rtol=tolerance, atol=tolerance)
    assert run.logits.dtype == np.float32 and run.head_weight.dtype == np.float32 and run.features is not None


def test_training_images_give_counts_means_and_ncm(model, batches):
    (x, y), (u, v) = batches
    run = collect(model, [(u, v)], training=[(x, y)])
    with torch.no_grad():
        f = model.eval()[:3](x)
    np.testing.assert_array_equal(run.counts, np.bincount(y, minlength=3))
    np.testing.assert_allclose(run.class_means, [f[y == c].mean(0).numpy() for c in range(3)], atol=1e-3)
    np.testing.assert_allclose(run.train_features, f.numpy(), atol=2e-3)
    np.testing.assert_array_equal(run.train_targets, y.numpy())
    nearest = run.posthoc("ncm")
    assert nearest.shape == (15, 3) and np.isfinite(nearest).all()
    assert collect(model, [(u, v)], training=[(x + 1, y)]).id != run.id != collect(model, [(u, v)]).id
    assert collect(model, [(u, v)], training=[(x, y)], counts=[3, 2, 1]).counts.tolist() == [3, 2, 1]
    only = [(x[y != 1], y[y != 1])]
    assert np.isnan(collect(model, [(u, v)], training=only).class_means[1]).all()


def test_a_seed_and_a_name_tell_runs_apart(model, batches):
    runs = [collect(model, batches, seed=s) for s in (0, 1)]
    assert [run.seed for run in runs] == [0, 1] and runs[0].id != runs[1].id and runs[0].name == "my model"


# --- the classifier inside -------------------------------------------------------------------------------------------


class Cosine(nn.Module):
    def __init__(self, d, k, scale=7.0, features=True, weight=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(k, d))
        self.scale, self.features, self.unit = scale, features, weight

    def forward(self, x):
        x = nn.functional.normalize(x) if self.features else x
        return self.scale * x @ (nn.functional.normalize(self.weight) if self.unit else self.weight).T


def rebuilt(run):
    f, w = run.features.astype(np.float64), run.head_weight.astype(np.float64)
    if run.scale is not None:
        f, w = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (f, w))
    return (1.0 if run.scale is None else run.scale) * f @ w.T + (0.0 if run.head_bias is None else run.head_bias)


@pytest.mark.parametrize(("features", "weight"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("head", [None, "fc"])
def test_a_normalised_head_is_found_with_its_scale(model, batches, features, weight, head):
    model[2], model.fc = nn.Tanh(), Cosine(5, 3, features=features, weight=weight)
    run = collect(model, batches, head=head)
    np.testing.assert_allclose(rebuilt(run), run.logits, atol=0.02)
    if features and weight:
        assert run.scale == pytest.approx(7.0, rel=1e-5) and run.head_bias is None
        np.testing.assert_array_equal(run.head_weight, model.fc.weight.detach().numpy())
    elif features:
        np.testing.assert_allclose(np.linalg.norm(run.features.astype(float), axis=1), 7.0, rtol=1e-3)
    else:
        np.testing.assert_allclose(np.linalg.norm(run.head_weight, axis=1), 7.0, rtol=1e-5)


def test_the_head_of_a_network_of_ours_is_found(batches):
    from ltviz.models import CosineHead, Net

    run = collect(Net(nn.Sequential(nn.Linear(6, 5), nn.Tanh()), CosineHead(5, 3, 30.0)), batches)
    assert run.scale == pytest.approx(30.0, rel=1e-5)
    np.testing.assert_allclose(rebuilt(run), run.logits, atol=0.05)


@pytest.mark.parametrize("size", [1, 4])
def test_a_convolution_of_one_pixel_is_a_head(batches, size):
    net = nn.Sequential(
        nn.Linear(6, 5 * size * size), nn.Unflatten(1, (5, size, size)), nn.ReLU(), nn.Conv2d(5, 3, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    run = collect(net, batches)
    assert run.head_weight.shape == (3, 5) and run.features.shape == (40, 5)
    np.testing.assert_allclose(rebuilt(run), run.logits, atol=2e-3)
    grouped = nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 3, 1, groups=3), nn.Flatten())
    with pytest.raises(ValueError, match="head='2' is a Conv2d inside the model, not a classifier"):
        collect(grouped, batches, head="2")


def test_a_part_of_the_model_that_holds_the_head_may_be_named(model, batches):
    net = nn.Sequential()
    net.add_module("body", model[:3])
    net.add_module("classifier", nn.Sequential(nn.Dropout(0.5), model.fc))
    run, plain = collect(net, batches, head="classifier"), collect(model, batches)
    np.testing.assert_array_equal(run.head_weight, plain.head_weight)
    np.testing.assert_array_equal(run.features, plain.features)


def test_what_spreads_or_compiles_a_model_is_looked_through(model, batches):
    plain = collect(model, batches)
    for net in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        run = collect(net, [{"input": x, "y": y} for x, y in batches], head="fc")
        np.testing.assert_array_equal(run.logits, plain.logits)
        np.testing.assert_array_equal(run.features, plain.features)


class Twice(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return self.fc(self.fc(x))


class Late(nn.Module):
    """A ReLU that is seen only in the second batch."""

    def __init__(self, model):
        super().__init__()
        self.fc = nn.Linear(6, 3)
        nn.init.ones_(self.fc.bias)

    def forward(self, x):
        z = self.fc(x * (0.01 if len(x) == 25 else 10.0))
        return z.relu()


CHANGED = [
    (Twice, "'fc' ran 2 times in a batch, expected once"),
    (other(lambda z: z.relu()), "'(inner.)?fc' is followed by a ReLU"),
    (other(lambda z: z / 4), "'(inner.)?fc' is followed by a temperature: the logits are 0.25 .W f . b."),
    (other(lambda z: z.tanh()), "'(inner.)?fc' gives W f . b .*which is not the logits"),
    (Late, "'(inner.)?fc' is followed by a ReLU.*in a later batch"),
]


@pytest.mark.parametrize(("change", "match"), CHANGED)
def test_a_head_whose_output_is_changed_is_refused_and_the_run_made_without_one(model, batches, change, match):
    torch.manual_seed(1)
    net = change(model)
    with pytest.raises(ValueError, match=f"head={match}"):
        collect(net, batches, head="fc")
    with pytest.warns(UserWarning, match=f"model: no layer was found.*{match}.*neither head_weight nor feat") as said:
        run = collect(net, batches, training=batches)
    assert len(said) == 1 and run.head_weight is run.features is run.class_feature_norm is run.train_features is None
    with torch.no_grad():
        np.testing.assert_array_equal(run.logits[:25], net.eval()(batches[0][0]).numpy())
    assert run.confusion.sum() == 40 and np.isfinite(run.ece) and "weight norm" not in run.table()
    assert not any(module._forward_hooks for module in net.modules())


def test_a_scale_that_fits_one_image_has_to_fit_the_next(batches):
    """Two classes and one image: a cosine with a free scale fits any logits whose answer is the same."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("fc", nn.Linear(6, 2, bias=False))
    net.add_module("bend", nn.Tanh())
    x = batches[0][0]
    alone = [(x[i : i + 1], torch.tensor([i % 2])) for i in range(8)]
    with pytest.raises(ValueError, match="head='fc' .*not the logits"):
        collect(net, alone, head="fc")
    with pytest.warns(UserWarning, match="no layer was found"):
        assert collect(net, alone).head_weight is None
    run = collect(net[:1], alone)
    np.testing.assert_allclose(rebuilt(run), run.logits, atol=2e-3)


def test_a_run_without_a_head_is_saved_and_read(model, batches, tmp_path):
    from ltviz.run import load_run

    with pytest.warns(UserWarning):
        run = collect(other(lambda z: z.tanh())(model), batches)
    again = load_run(run.save(tmp_path))
    assert again.head_weight is None and again.id == run.id
    np.testing.assert_array_equal(again.logits, run.logits)
    with pytest.raises(ValueError, match="keeps no features of test images"):
        run.posthoc("tau_norm")


def test_a_head_of_zeros_is_one(model, batches):
    """As some networks begin: every logit is zero, and W f + b says so."""
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()
    assert not collect(model, batches).head_weight.any()


@pytest.mark.gpu
def test_a_model_on_a_gpu_is_the_same(model, batches):
    plain = collect(model, batches)
    run = collect(model.cuda(), [(x, y.cuda()) for x, y in batches], training=batches)
    np.testing.assert_allclose(run.logits, plain.logits, atol=1e-4)
    np.testing.assert_allclose(run.features, plain.features, atol=1e-2)
    np.testing.assert_array_equal(run.targets, plain.targets)
    assert next(model.parameters()).is_cuda


# --- networks of other libraries -------------------------------------------------------------------------------------


def shown_to(net, side=32):
    torch.manual_seed(0)
    run = collect(net, [(torch.randn(4, 3, side, side), torch.tensor([0, 1, 2, 3]))])
    np.testing.assert_allclose(rebuilt(run), run.logits, atol=2e-3 * np.ptp(run.logits))
    return run


@pytest.mark.parametrize(
    ("name", "d", "side", "options"),
    [
        ("resnet18", 512, 32, {}),
        ("vit_b_16", 768, 16, {"image_size": 16}),
        ("convnext_tiny", 768, 32, {}),
        ("googlenet", 1024, 32, {"init_weights": False}),
    ],
)
def test_torchvision(name, d, side, options):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net = getattr(models, name)(num_classes=4, **options)
    head = {"vit_b_16": lambda: net.heads.head, "convnext_tiny": lambda: net.classifier[2]}.get(name, lambda: net.fc)()
    nn.init.normal_(head.weight, std=0.1)
    run = shown_to(net, side)
    np.testing.assert_array_equal(run.head_weight, head.weight.detach().numpy())
    assert run.features.shape == (4, d)


def test_torchvision_squeezenet_has_a_relu_after_its_head():
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net = models.squeezenet1_1(num_classes=4)
    batch = [(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]))]
    with pytest.raises(ValueError, match="head='classifier.1' is followed by a ReLU"):
        collect(net, batch, head="classifier.1")
    with pytest.warns(UserWarning, match="'classifier.1' is followed by a ReLU"):
        assert collect(net, batch).features is None


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])
def test_timm(name):
    timm = pytest.importorskip("timm")
    shown_to(timm.create_model(name, num_classes=4))


def test_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, num_labels=4
    )
    net = transformers.ViTForImageClassification(config)
    nn.init.normal_(net.classifier.weight)
    batch = {"pixel_values": torch.randn(4, 3, 32, 32), "labels": torch.tensor([0, 1, 2, 3])}
    run = collect(net, [batch])
    np.testing.assert_allclose(rebuilt(run), run.logits, atol=2e-3 * np.ptp(run.logits))
    np.testing.assert_array_equal(run.head_weight, net.classifier.weight.detach().numpy())


# --- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_logits_are_streamed(known):
    """At its peak, 1.5 times the size of the logits, features included."""
    n, k = 20_000, 500
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, k))
    x, y = torch.randn(n, 4), torch.arange(n) % k
    sized = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=500)
    loader = sized if known else ((x[i : i + 500], y[i : i + 500]) for i in range(0, n, 500))
    tracemalloc.start()
    try:
        run = collect(net, loader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 1.5 * run.logits.nbytes and run.logits.shape == (n, k) and run.features.shape == (n, 32)
    with torch.no_grad():
        np.testing.assert_allclose(run.logits[-500:], net(x[-500:]).numpy(), atol=1e-5)


def test_features_that_do_not_fit_later_widen_those_before(model, batches):
    (x, y), (u, v) = batches
    model[2] = nn.Identity()
    run = collect(model, [(x, y), (1e6 * u, v)])
    with torch.no_grad():
        expected = model.eval()[:2](torch.cat([x, 1e6 * u])).numpy()
    assert run.features.dtype == np.float32
    np.testing.assert_allclose(run.features, expected, rtol=1e-3, atol=1e-3)


def test_a_model_is_a_module(batches):
    with pytest.raises(ValueError, match="model=.*torch.nn.Module"):
        collect(lambda x: x, batches)
