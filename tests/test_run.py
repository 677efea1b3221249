"""The record of a run: a round trip, and a refusal that names the file and the reason."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from ltviz.datasets import digits_lt
from ltviz.run import RunFileError, collect, load_run, load_runs
from ltviz.training import train


@pytest.fixture(scope="module")
def run():
    return train("ce", digits_lt(), epochs=3, progress=False)


def test_a_full_record_comes_back_whole(run, tmp_path):
    back = load_run(run.save(tmp_path))
    for name in ("settings", "data", "recipe", "provenance", "class_names", "id", "label", "status", "seed"):
        assert getattr(back, name) == json.loads(json.dumps(getattr(run, name))), name
    for name in ("logits", "features", "head_weight", "confusion", "counts", "class_means", "train_features"):
        np.testing.assert_array_equal(getattr(back, name), getattr(run, name))
    assert back.history.keys() == run.history.keys() and back.network.keys() == run.network.keys()
    assert back.accuracy == run.accuracy and back.table().equals(run.table())
    again = train("ce", digits_lt(), epochs=1, start=back, progress=False)
    assert again.parent == run.id


def test_a_small_record_keeps_what_tables_need_and_says_what_it_lacks(run, tmp_path):
    path = run.save(tmp_path / "small.safetensors", small=True)
    small = load_run(path)
    assert path.stat().st_size < 25_000 and small.logits is None and small.network is None
    np.testing.assert_array_equal(small.per_class, run.per_class)
    with pytest.raises(ValueError, match="keeps no features"):
        small.posthoc("tau_norm")
    some = load_run(run.save(tmp_path / "some.safetensors", small=True, images=50))
    assert some.logits.shape == (50, 10) and some.features.shape == (50, 64) and some.network is None


def test_the_table_has_a_row_a_class(run):
    table = run.table()
    assert list(table["count"]) == list(run.counts) and list(table.index) == run.class_names
    np.testing.assert_allclose(table["recall"].mean(), run.accuracy)


def test_posthoc_needs_a_rule(run):
    with pytest.raises(ValueError, match="no post-hoc rule"):
        run.posthoc("ce")


def test_runs_are_found_by_what_was_asked(run, tmp_path):
    run.save(tmp_path, small=True)
    assert [r.id for r in load_runs(tmp_path, method="ce", seed=0, data="digits_lt", recipe="digits")] == [run.id]
    assert load_runs(tmp_path, method="focal") == [] and len(load_runs(tmp_path, seed=[0, 1])) == 1
    with pytest.raises(RunFileError, match="no such folder"):
        load_runs(tmp_path / "none")


def test_writing_is_atomic(run, tmp_path, monkeypatch):
    path = run.save(tmp_path / "a.safetensors")
    before = path.read_bytes()

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        run.save(path, small=True)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------------------------------------------------ refusals
def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFileError, match="gone.safetensors.*no such file"):
        load_run(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("keep", [4, 50, 5000])
def test_a_damaged_file_is_refused(run, tmp_path, keep):
    path = run.save(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunFileError, match="cut.safetensors.*damaged"):
        load_run(path)


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    plain, zipped = tmp_path / "plain.safetensors", tmp_path / "zipped.safetensors"
    plain.write_bytes(pickle.dumps(Bomb()))
    torch.save({"weights": torch.zeros(2)}, zipped)
    for path in (plain, zipped):
        with pytest.raises(RunFileError, match="pickle"):
            load_run(path)


def test_a_foreign_a_newer_and_an_incomplete_file_are_refused(tmp_path):
    array = {"x": np.zeros(2, np.float32)}
    cases = {"foreign": None, "newer": {"format": 99}, "incomplete": {"format": 1, "method": "ce"}}
    for name, meta in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(array, path, metadata=None if meta is None else {"ltviz": json.dumps(meta)})
    with pytest.raises(RunFileError, match="not one of ltviz"):
        load_run(tmp_path / "foreign.safetensors")
    with pytest.raises(RunFileError, match="newer ltviz.*update"):
        load_run(tmp_path / "newer.safetensors")
    with pytest.raises(RunFileError, match="lacks"):
        load_run(tmp_path / "incomplete.safetensors")


# -------------------------------------------------------------------------------------------------------- your own net
def test_any_classifier_can_be_looked_at():
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU())
    model.add_module("fc", torch.nn.Linear(5, 3))
    images, targets = torch.randn(40, 6, generator=generator), torch.randint(3, (40,), generator=generator)
    loader = [(images[:25], targets[:25]), (images[25:], targets[25:])]
    run = collect(model, loader, head="fc", counts=[9, 5, 2])
    with torch.no_grad():
        np.testing.assert_allclose(run.logits, model(images).numpy(), rtol=1e-5)
    logits = run.features.astype(np.float32) @ run.head_weight.T + run.head_bias
    np.testing.assert_allclose(logits, run.logits, atol=1e-2)
    assert run.counts.tolist() == [9, 5, 2] and run.confusion.sum() == 40
    with pytest.raises(ValueError, match="its linear layers are: .*'fc'"):
        collect(model, loader, head="classifier")


def test_filters_know_aliases_and_refuse_what_no_run_has(run, tmp_path):
    run.save(tmp_path, small=True)
    balanced = train("class_balanced", digits_lt(), epochs=1, progress=False)
    balanced.save(tmp_path, small=True)
    assert [r.id for r in load_runs(tmp_path, method="cb")] == [balanced.id]
    with pytest.raises(ValueError, match="no run in .* has a 'bta' .did you mean 'beta'"):
        load_runs(tmp_path, bta=0.9)
