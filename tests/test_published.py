import importlib

import numpy as np
import pytest

from ltviz import methods
from ltviz.published import GROUPS, METRICS, published

module = importlib.import_module("ltviz.published")

#: Every method of the course that has published numbers.
KEYS = {
    "ce",
    "sigmoid",
    "focal",
    "class_balanced",
    "l2_constrained",
    "normface",
    "cosface",
    "am_softmax",
    "arcface",
    "ring",
    "up",
    "dual_ring",
    "darl",
    "dual",
    "ldam",
    "ldam_drw",
    "ce_drw",
    "ce_drs",
    "contrastive",
    "range",
    "lmle",
    "crl",
    "cdb",
    "tricdb",
    "logit_adjustment",
    "balanced_softmax",
    "equalization",
    "logit_adjusted",
    "class_balanced_sampling",
    "square_root_sampling",
    "progressive_sampling",
    "crt",
    "lws",
    "tau_norm",
    "ncm",
    "fslwf",
    "oltr",
}


@pytest.mark.parametrize(
    "dataset, ratio, method, group, metric, value",
    [
        ("CIFAR-10-LT", 100, "CE (softmax)", "A", "error", 29.64),
        ("CIFAR-10-LT", 200, "best class-balanced", "A", "error", 31.11),
        ("CIFAR-10-LT", 100, "Dual Loss", "-", "error", 24.10),
        ("CIFAR-10-LT", 50, "LDAM-DRW", "A", "error", 18.97),
        ("CIFAR-10-LT", 100, "logit adjustment post-hoc, best tau", "B", "error", 19.08),
        ("CIFAR-10-LT", 100, "BALMS, strong augmentation", "C", "error", 15.1),
        ("CIFAR-10-LT", 200, "TriCDB-CE", "F", "f1", 65),
        ("CIFAR-100-LT", 10, "BBN", "A'", "error", 40.88),
        ("CIFAR-100-LT", 100, "CDB-CE", "D", "error", 57.43),
        ("CIFAR-100-LT", 100, "logit adjustment loss, long", "B+", "error", 55.94),
        ("CIFAR-100-LT", 50, "LADE", "E", "error", 49.5),
        ("ImageNet-LT", 256, "LWS", "K", "accuracy", None),
        ("Places-LT", 996, "balanced softmax", "K", "accuracy_few", 30.5),
        ("Places-LT", 996, "TriCDB-CE", "F", "accuracy_few", 2.8),
        ("Manga109", None, "Dual Loss", "-", "map", 38.88),
        ("X-Domain", None, "CRL (instance level)", "-", "balanced_accuracy", 79.66),
    ],
)
def test_values_as_printed(dataset, ratio, method, group, metric, value):
    rows = published(dataset, ratio, method=method, group=group, metric=metric, profile=["exp", "natural"])
    if value is None:  # one row a network
        assert dict(zip(rows["network"], rows["value"], strict=True)) == {"ResNeXt-50": 49.9, "ResNet-10": 41.4}
    else:
        assert rows["value"].tolist() == [value]


def test_step_profile():
    rows = published("cifar100_lt", 100, profile="step", source="Cao et al. 2019, table 2")
    assert dict(zip(rows["key"], rows["value"], strict=True)) == {
        "ce": 61.45,
        "ldam": 60.42,
        "class_balanced": 78.69,
        "ldam_drw": 54.64,
    }


def test_every_row_is_complete():
    table = published()
    assert len(table) > 280
    assert set(table["group"]) == set(GROUPS) and set(table["metric"]) == set(METRICS)
    assert set(table["profile"]) == {"exp", "step", "natural"}
    assert table["value"].between(0, 100).all()
    assert (table[["dataset", "method", "network", "source"]] != "").all(axis=None)
    assert not table.duplicated(["dataset", "profile", "ratio", "method", "metric", "group", "network", "source"]).any()


def test_keys_are_those_of_the_course():
    found = set(published()["key"]) - {""}
    assert found == KEYS
    registry = getattr(methods, "METHODS", None)
    if registry is not None:  # a registered method that is spelt differently would lose its numbers
        near = {key.replace("_", ""): key for key in registry}
        assert not {key for key in found if key not in registry and near.get(key.replace("_", ""), key) != key}


def test_accuracy_is_comparable_with_a_run():
    table = published("CIFAR-10-LT", 100, key="ce", group="A", profile="exp")
    assert table["accuracy"].tolist() == pytest.approx([0.7036])
    places = published("Places-LT", key="ce", metric="accuracy", group="K")
    assert places["accuracy"].tolist() == pytest.approx([0.315])
    assert published(metric=["map", "accuracy_few"])["accuracy"].isna().all()


def test_filters():
    assert set(published("CIFAR-10-LT", [100, 10], profile="exp")["ratio"]) == {100, 10}
    assert published("cifar10_lt").equals(published("CIFAR-10-LT"))
    assert np.isnan(published("Manga109")["ratio"]).all()
    with pytest.raises(ValueError, match="CIFAR-100-LT"):
        published("cifar")
    with pytest.raises(ValueError, match="colour.*dataset"):
        published(colour="red")
    assert published(key="balanced_softmax").equals(published(key=["balanced_softmax"]))
    assert published(key="seesaw").empty and published(ratio=37).empty  # known, and without a number


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in module.FILTERS for value in ([], {}, object(), ["x", 3], b"A")),
        *((name, "nonsense") for name in module.FILTERS),
        *((name, 3) for name in module.FILTERS if name != "ratio"),
        *(("ratio", value) for value in (-1, 0.5, np.nan, np.inf, True, "100")),
        ("key", "balanced_sofmax"),
    ],
)
def test_a_filter_that_nothing_has_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        published(**{name: value})


def test_a_slip_is_told():
    with pytest.raises(ValueError, match="did you mean 'balanced_softmax'"):
        published(key="balanced_sofmax")
    with pytest.raises(ValueError, match="group='Z'.*'A'"):
        published(group="Z")


def test_a_missing_file_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "FILE", tmp_path / "published.csv")
    with pytest.raises(FileNotFoundError, match="checkout"):
        published()
