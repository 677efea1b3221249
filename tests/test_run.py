"""The record of a run: a round trip, and a refusal that names the file and the reason."""

import dataclasses
import json

import numpy as np
import pytest

from ltviz import schema
from ltviz.datasets import digits_lt
from ltviz.run import RunFileError, compact, load_run, load_runs
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


def test_a_file_beside_runs_that_is_none_does_not_block_the_folder(run, tmp_path):
    run.save(tmp_path, small=True)
    train("ce", digits_lt(), epochs=1, progress=False, checkpoint=tmp_path / "a.safetensors")
    (tmp_path / "notes.safetensors").mkdir()
    with pytest.warns(UserWarning) as said:
        assert [r.id for r in load_runs(tmp_path)] == [run.id]
    assert ["a.safetensors: a checkpoint" in str(w.message) for w in said] == [True, False]
    assert "notes.safetensors: this is a folder" in str(said[1].message)


# ------------------------------------------------------------------------------------------------------------ refusals
def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFileError, match="gone.safetensors.*no such file"):
        load_run(tmp_path / "gone.safetensors")
    with pytest.raises(ValueError, match="path=None"):
        load_run(None)


@pytest.mark.parametrize("keep", [4, 50, 5000])
def test_a_damaged_file_is_refused(run, tmp_path, keep):
    path = run.save(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunFileError, match="cut.safetensors.*damaged"):
        load_run(path)


def test_one_flipped_bit_in_any_part_is_noticed(run, tmp_path):
    path = run.save(tmp_path / "bit.safetensors", small=True)
    whole = path.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 300).astype(int):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        try:
            back = load_run(path)
        except RunFileError:
            continue
        assert np.array_equal(back.confusion, run.confusion) and back.id == run.id  # a space in the header


WRONG = [
    ({"confusion": np.eye(10)}, "confusion: expected whole numbers"),
    ({"confusion": np.eye(9, dtype=int)}, "confusion: expected the shape"),
    ({"confusion": -np.eye(10, dtype=int)}, "confusion: .*none negative"),
    ({"head_weight": np.zeros((1, 64), np.float32)}, "head_weight: expected the shape .k, d."),
    ({"head_weight": np.full((10, 64), np.nan, np.float32)}, "head_weight: expected finite"),
    ({"targets": np.full(500, 10)}, "targets: expected class numbers from 0 to 9"),
    ({"logits": np.zeros((499, 10), np.float32)}, "expected the shape"),
    ({"class_names": ["a"]}, "class_names=.*each of the 10 classes"),
    ({"class_names": ["a", 1]}, "class_names=.*a list of texts"),
    ({"id": "x/../../../evil"}, "id='x/../../../evil': expected 12 digits"),
    ({"id": ""}, "id='': expected 12 digits"),
    ({"parent": "../x"}, "parent='../x'"),
    ({"seed": -1}, "seed=-1"),
    ({"seed": "0"}, "seed='0'"),
    ({"status": "done"}, "status='done'"),
    ({"probability": "logit"}, "probability='logit'"),
    ({"settings": [1]}, r"settings=\[1\]"),
    ({"data": {}}, "data.name=None"),
    ({"ece": "low"}, "ece='low'"),
    ({"history": {"loss": np.zeros(3), "lr": np.zeros(4)}}, "history/lr: expected the shape"),
    ({"history": {"speed": np.zeros(3)}}, "unknown entry 'history/speed'"),
]


@pytest.mark.parametrize(("change", "match"), WRONG)
def test_a_run_that_is_not_sound_is_neither_written_nor_read(run, tmp_path, monkeypatch, change, match):
    wrong = dataclasses.replace(run, **change)
    with pytest.raises(ValueError, match=match):
        wrong.save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(schema, "check_run", lambda *parts: None)
        path = wrong.save(tmp_path / "a.safetensors")
    with pytest.raises(RunFileError, match=f"a.safetensors: not a whole run.*{match}"):
        load_run(path)


def test_nothing_of_a_run_leads_out_of_its_folder(run, tmp_path):
    """Names are free text; what they become in a file's name is not."""
    named = dataclasses.replace(run, label="../../evil", data={**run.data, "name": "a/b"}, recipe={"name": "../x"})
    path = named.save(tmp_path / "runs", small=True)
    assert path.parent == tmp_path / "runs" and path.name == f"a_b-x-evil-seed0-{run.id}.safetensors"
    assert load_run(path).name == "../../evil"


# ---------------------------------------------------------------------------------------------------- lost in narrowing
@pytest.mark.parametrize(
    ("value", "kept"),
    [(1.0, np.float16), (60_000.0, np.float16), (70_000.0, np.float32), (np.inf, np.float32), (1e-9, np.float32)],
)
def test_features_are_narrowed_only_where_nothing_is_lost(value, kept):
    features = np.array([[value, value / 3]], np.float32)
    small = compact(features)
    assert small.dtype == kept
    np.testing.assert_allclose(small.astype(np.float32), features, rtol=1e-3)
    mixed = np.array([[1.0, 1e-9, 0.0]], np.float32)  # nothing beside 1.0
    assert compact(mixed).dtype == np.float16


# ------------------------------------------------------------------------------------------------------------- identity
def test_a_decision_under_another_rule_is_a_run_of_its_own(run):
    from ltviz import metrics
    from ltviz.study.runs import redecide

    one, two, three = (redecide(run, "logit_adjusted", tau=tau) for tau in (1, 1.0, 2))
    assert one.id == two.id and len({run.id, one.id, three.id, redecide(run, "tau_norm").id}) == 4
    assert one.confusion.tolist() != run.confusion.tolist()
    expected = metrics.ece(metrics.probabilities(one.scores, "softmax"), one.targets)
    assert one.ece == expected != run.ece and run.ece == metrics.ece(metrics.probabilities(run.logits), run.targets)
    assert redecide(one, "logit_adjusted", tau=2).id not in (three.id, one.id)


def test_filters_know_aliases_and_refuse_what_no_run_has(run, tmp_path):
    run.save(tmp_path, small=True)
    balanced = train("class_balanced", digits_lt(), epochs=1, progress=False)
    balanced.save(tmp_path, small=True)
    assert [r.id for r in load_runs(tmp_path, method="cb")] == [balanced.id]
    with pytest.raises(ValueError, match="no run in .* has a 'bta' .did you mean 'beta'"):
        load_runs(tmp_path, bta=0.9)
