"""The record of a run: a round trip, and a refusal that names the file and the reason."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ltviz import schema
from ltviz.datasets import digits_lt
from ltviz.files import save_record
from ltviz.objective import Bound
from ltviz.run import RunFileError, compact, load_run, load_runs, narrow, run_stem, stopped_id
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


def test_a_run_equals_what_was_saved_and_read_and_no_other(run, tmp_path):
    back = load_run(run.save(tmp_path / "whole"))
    assert run == back and hash(run) == hash(back) and run in [back] and len({run, back}) == 1
    milestones = dataclasses.replace(back, recipe={**back.recipe, "milestones": (1, 2)})
    assert milestones == dataclasses.replace(back, recipe={**back.recipe, "milestones": [1, 2]})
    assert run == dataclasses.replace(run, provenance={"seconds": 3.0})
    others = [
        load_run(run.save(tmp_path / "small", small=True)),
        dataclasses.replace(run, id="0"),
        dataclasses.replace(run, seed=1),
        dataclasses.replace(run, label="another"),
        dataclasses.replace(run, logits=run.logits + 1),
        dataclasses.replace(run, history={**run.history, "loss": run.history["loss"][:-1]}),
        dataclasses.replace(run, head_bias=np.ones(3)),
        "run", None, 0,
    ]  # fmt: skip
    assert [run == other for other in others] == [False] * len(others) and run not in others
    assert (run == run.logits) is False and run != run.logits


@pytest.mark.parametrize("name", ["my.pt", "a.pth", "run.SAFETENSORS", "x.json", "runs.npz"])
def test_a_name_of_another_kind_of_file_is_no_folder(run, tmp_path, name):
    with pytest.raises(ValueError, match=r"path=.*expected a folder, or a file that ends in .safetensors"):
        run.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).mkdir()
    assert run.save(tmp_path / name).parent == tmp_path / name
    assert run.save(tmp_path / "v1.0").parent == tmp_path / "v1.0"


def test_a_run_without_a_network_that_answers_says_what_to_do(run):
    collected = dataclasses.replace(run, method="collected", network=None)
    diverged = dataclasses.replace(run, status="diverged")
    for one, words in ((collected, "collect keeps no network; ask your own module"), (diverged, "training diverged")):
        for ask in (one.model, lambda one=one: one.predict(np.zeros((1, 8, 8), np.uint8))):
            with pytest.raises(ValueError, match=words):
                ask()


def test_a_small_record_keeps_what_tables_need_and_says_what_it_lacks(run, tmp_path):
    path = run.save(tmp_path / "small.safetensors", small=True)
    small = load_run(path)
    assert path.stat().st_size < 25_000 and small.logits is None and small.network is None
    np.testing.assert_array_equal(small.per_class, run.per_class)
    with pytest.raises(ValueError, match="keeps no logits"):
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
    [
        (1.0, np.float16),
        (60_000.0, np.float16),
        (65_504.0, np.float16),
        (65_505.0, np.float32),
        (70_000.0, np.float32),
        (np.inf, np.float32),
        (1e-9, np.float32),
    ],
)
def test_features_are_narrowed_only_where_nothing_is_lost(value, kept):
    features = np.array([[value, value / 3]], np.float32)
    small = compact(features)
    assert small.dtype == kept
    np.testing.assert_allclose(small.astype(np.float32), features, rtol=1e-3)
    mixed = np.array([[1.0, 1e-9, 0.0]], np.float32)  # nothing beside 1.0
    assert compact(mixed).dtype == np.float16
    for none in (np.zeros((0, 4), np.float32), np.zeros((2, 3), np.float32)):
        assert compact(none).dtype == np.float16 and compact(none).shape == none.shape


@pytest.mark.parametrize(
    ("values", "kept"),
    [([0, 255], np.uint8), ([0, 256], np.uint16), ([-1, 9], np.int16), ([0, 70_000], np.uint32), ([], np.int64),
     ([0.5], np.float64)],
)  # fmt: skip
def test_whole_numbers_take_the_room_they_need(values, kept):
    values = np.array(values, np.float64 if 0.5 in values else np.int64)
    assert narrow(values).dtype == kept and np.array_equal(narrow(values), values)


def test_a_record_narrows_whole_numbers_and_gives_them_back_wide(run, tmp_path):
    with safe_open(run.save(tmp_path), framework="np") as file:
        assert file.get_tensor("targets").dtype == np.uint8 and file.get_tensor("history/stage").dtype == np.uint8
    back = load_runs(tmp_path)[0]
    for name in ("counts", "confusion", "targets", "train_targets"):
        assert getattr(back, name).dtype == np.int64 and np.array_equal(getattr(back, name), getattr(run, name))
    assert back.history["epoch"].dtype == np.int64
    assert {name: value.dtype for name, value in back.network.items()} == {n: v.dtype for n, v in run.network.items()}


# ------------------------------------------------------------------------------------------------------------- identity
def test_a_decision_under_another_rule_is_a_run_of_its_own(run):
    from ltviz import metrics
    from ltviz.study.runs import redecide

    one, two, three = (redecide(run, "logit_adjusted", tau=tau) for tau in (1, 1.0, 2))
    assert one.id == two.id and len({run.id, one.id, three.id, redecide(run, "tau_norm").id}) == 4
    assert one.confusion.tolist() != run.confusion.tolist()
    expected = metrics.ece(metrics.probabilities(one.scores, "softmax"), one.targets)
    assert one.ece == expected != run.ece and run.ece == metrics.ece(metrics.probabilities(run.logits), run.targets)
    again = redecide(one, "logit_adjusted", tau=2)  # rules do not add up
    assert again.id == three.id and again.label == three.label and np.array_equal(again.scores, three.scores)
    fewer = dataclasses.replace(run, **{n: getattr(run, n)[:50] for n in ("targets", "logits", "features")})
    assert redecide(fewer, "logit_adjusted", tau=1).id != one.id


def test_filters_know_aliases_and_refuse_what_no_run_has(run, tmp_path):
    run.save(tmp_path, small=True)
    balanced = train("class_balanced", digits_lt(), epochs=1, progress=False)
    balanced.save(tmp_path, small=True)
    assert [r.id for r in load_runs(tmp_path, method="cb")] == [balanced.id]
    with pytest.raises(ValueError, match="no run in .* has a 'bta' .did you mean 'beta'"):
        load_runs(tmp_path, bta=0.9)


def test_a_stopped_run_is_named_by_its_request_and_every_weight():
    network = {"head.weight": np.eye(3, dtype=np.float32), "head.bias": np.zeros(3, np.float32)}
    own = stopped_id("0123456789ab", network)
    assert own == stopped_id("0123456789ab", {name: network[name].copy() for name in reversed(network)})
    others = [stopped_id("0123456789ac", network), stopped_id("0123456789ab", {"head.weight": network["head.weight"]})]
    others += [
        stopped_id("0123456789ab", {**network, name: values + np.float32(1e-6)}) for name, values in network.items()
    ]
    assert len({own, "0123456789ab", *others}) == 6 and all(len(one) == 12 for one in (own, *others))


@pytest.mark.parametrize(
    ("parts", "stem"),
    [
        (("digits_lt", "digits", "focal (gamma=2)", 3), "digits_lt-digits-focal_gamma_2-seed3"),
        (("", "", "ce", 0), "ce-seed0"),
        (("a", "__.b._", "..", 0), "a-b-seed0"),
        (("XaX", "Z0.5z", "c", np.int64(7)), "XaX-Z0.5z-c-seed7"),
    ],
)
def test_the_name_of_a_file_is_made_of_letters_digits_and_dots(parts, stem):
    assert run_stem(*parts) == stem


def test_a_long_name_keeps_its_end(run):
    assert run_stem("digits_lt", "digits", "x" * 200, 12) == "x" * 143 + "-seed12"
    bare = dataclasses.replace(run, data={}, recipe={})
    assert bare.filename == f"data-ce-seed0-{run.id}.safetensors"


# --------------------------------------------------------------------------------------------------- what a run answers
def test_a_run_says_what_it_is(run):
    assert repr(run) == f"ce on digits_lt, seed 0: finished after 3 epochs, test accuracy {run.accuracy:.1%}"
    other = dataclasses.replace(run, status="diverged", label="mine", data={}, history={})
    assert repr(other) == "mine on data, seed 0: diverged after 0 epochs"
    assert dataclasses.replace(run, label="").name == "ce"


def test_the_table_by_hand(run):
    table = run.table()
    predicted, right = run.confusion.sum(0), run.confusion.diagonal()
    for j, name in enumerate(run.class_names):
        row, recall = table.loc[name], right[j] / 50
        assert row["recall"] == pytest.approx(recall) and row["count"] == run.counts[j]
        assert row["precision"] == pytest.approx(right[j] / max(predicted[j], 1))
        assert row["f1"] == pytest.approx(2 * right[j] / (predicted[j] + 50))
        assert row["weight norm"] == pytest.approx(np.sqrt((run.head_weight[j].astype(float) ** 2).sum()))
        norms = np.sqrt((run.features[run.targets == j].astype(float) ** 2).sum(1))
        assert row["feature norm"] == pytest.approx(norms.mean(), rel=2e-3)
    assert "feature norm" not in dataclasses.replace(run, class_feature_norm=None).table()


def test_posthoc_rules_by_hand(run):
    """Re-deciding takes the stored logits, features, head and counts, each where the rule says so."""
    prior = run.counts / run.counts.sum()
    np.testing.assert_allclose(run.posthoc("logit_adjusted", tau=0.5), run.logits - 0.5 * np.log(prior), atol=1e-5)
    features, weight = run.features.astype(np.float64), run.head_weight.astype(np.float64)
    expected = features @ (weight / np.linalg.norm(weight, axis=1, keepdims=True) ** 0.7).T
    np.testing.assert_allclose(run.posthoc("tau_norm", tau=0.7), expected, rtol=1e-4, atol=1e-4)
    train_features, train_targets = run.gallery()
    assert train_features.dtype == torch.float32 and train_targets.dtype == torch.int64
    np.testing.assert_array_equal(train_features.numpy(), run.train_features.astype(np.float32))
    means = np.stack([run.train_features[run.train_targets == j].astype(np.float64).mean(0) for j in range(10)])
    expected = -((features[:, None] - means) ** 2).sum(2)
    np.testing.assert_allclose(run.posthoc("ncm", form="plain"), expected, rtol=1e-3, atol=1e-3)


def test_a_rule_sees_what_the_network_gave(run, monkeypatch):
    """The scale as well, which none of the rules that come with the package asks for."""

    def decide(bound, out, counts, gallery):
        assert out.features.dtype == torch.float32 and out.scale == 16.0
        np.testing.assert_array_equal(out.logits.numpy(), run.logits)
        np.testing.assert_array_equal(out.features.numpy(), run.features.astype(np.float32))
        np.testing.assert_array_equal(out.head_weight.numpy(), run.head_weight)
        assert counts.tolist() == run.counts.tolist() and len(gallery()[1]) == 314 and not torch.is_grad_enabled()
        return 2 * out.logits

    monkeypatch.setattr(Bound, "decide", decide)
    found = dataclasses.replace(run, scale=16.0).posthoc("tau_norm")
    assert isinstance(found, np.ndarray) and np.array_equal(found, 2 * run.logits)


def test_what_a_record_lacks_is_named(run):
    adjusted = dataclasses.replace(run, scores=run.logits + 1)
    assert run.decided is run.logits and adjusted.decided is adjusted.scores
    for name, call in [
        ("logits", lambda run: run.decided), ("features", lambda run: run.posthoc("tau_norm")),
        ("train_features", lambda run: run.gallery()),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=rf"^this record of 'ce' keeps no features|logits of .* \({name}\)"):
            call(dataclasses.replace(run, **{name: None}))
    with pytest.raises(ValueError, match="ce has no post-hoc rule; these have: (.+, )?tau_norm(, .+)?$"):
        run.posthoc("ce")


def test_a_small_record_keeps_the_first_images(run, tmp_path):
    adjusted = dataclasses.replace(run, scores=run.logits + 1)
    back = load_run(adjusted.save(tmp_path, small=True, images=7))
    for name in ("targets", "logits", "scores", "features"):
        np.testing.assert_array_equal(getattr(back, name), getattr(adjusted, name)[:7])
    assert back.train_features is back.train_targets is back.network is None
    whole = load_run(adjusted.save(tmp_path / "whole"))
    for name in ("targets", "scores", "train_targets", "class_feature_norm", "head_bias"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(adjusted, name))
    for name, values in run.network.items():
        np.testing.assert_array_equal(whole.network[name], values)
    for name, values in run.history.items():
        np.testing.assert_array_equal(whole.history[name], values)
    for wrong in ({"small": "no"}, {"images": 1.5}, {"images": -1}, {"path": 3}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
            run.save(**{"path": tmp_path, **wrong})


def test_a_smaller_record_of_a_run_replaces_no_larger_one(run, tmp_path):
    whole = run.save(tmp_path)
    kept = whole.read_bytes()
    assert run.save(tmp_path, small=True) == run.save(tmp_path, small=True, images=50) == whole
    assert load_run(run.save(tmp_path / "small", small=True)).save(tmp_path) == whole, "small as it is"
    assert whole.read_bytes() == kept and load_run(whole).network.keys() == run.network.keys()
    small = run.save(tmp_path / "small", small=True)
    for images in (50, 7, 0):
        assert load_run(run.save(small, small=True, images=images)).logits.shape == (50, 10)
    assert load_run(run.save(small, small=True, images=60)).logits.shape == (60, 10)
    assert load_run(run.save(small)).network is not None, "a whole one takes the place of a small one"


def test_another_run_and_a_damaged_file_are_replaced(run, tmp_path):
    path = run.save(tmp_path / "run.safetensors")
    other = dataclasses.replace(run, id="0123456789ab")
    assert load_run(other.save(path, small=True)).id == other.id
    content = bytearray(run.save(path).read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert load_run(run.save(path, small=True)).network is None
    named = dataclasses.replace(run, label="renamed")
    whole = named.save(path)
    assert load_run(run.save(whole)).label == "ce", "one of the same size is written anew"


def test_runs_come_by_label_and_seed_and_by_what_was_asked(run, tmp_path):
    def kept(label, seed, number, **more):
        one = dataclasses.replace(run, label=label, seed=seed, id=f"{number:012x}", **more)
        one.save(tmp_path / f"{9 - number}.safetensors", small=True)
        return one.id

    b0 = kept("b", 0, 1, method="focal", settings={"gamma": 1.0}, status="stopped")
    a1 = kept("a", 1, 2, data={**run.data, "name": "mine"})
    a0 = kept("a", 0, 3, recipe={**run.recipe, "name": "own"}, settings={"gamma": 2.0, "beta": None})

    def found(**filters):
        return [one.id for one in load_runs(str(tmp_path), **filters)]

    assert found() == [a0, a1, b0]
    assert found(gamma=1) == [b0] == found(status="stopped") == found(method=["focal", "cb"])
    assert found(method=("focal",)) == [b0]
    assert found(gamma=[1.0, 2.0]) == [a0, b0] and found(gamma=2, seed=0) == [a0] and found(gamma=2, seed=1) == []
    assert found(data="mine") == [a1] == found(seed=1) and found(recipe="own") == [a0]
    assert found(recipe=["own", "digits"], data={"digits_lt"}) == [a0, b0] and found(beta=None) == [a0, a1, b0]
    assert found(gamma=np.array([1.0, 2.0])) == [a0, b0] and found(seed=np.arange(2)) == [a0, a1, b0]
    assert found(settings={"gamma": 1}) == [b0] and found(settings={"gamma": 3}) == []
    assert found(status="finished") == [a0, a1] and found(status=["diverged"]) == []
    for wrong in ({"status": "finsihed"}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
            found(**wrong)
    assert found(method="strange") == []
    with pytest.raises(ValueError, match="no run in .* has a 'gama' .did you mean 'gamma'"):
        load_runs(tmp_path, gama=1)
    (tmp_path / "empty").mkdir()
    assert load_runs(tmp_path / "empty", gama=1, data="x", recipe="x", method="ce") == []
    for wrong in (None, "", 3):
        with pytest.raises(ValueError, match="^folder="):
            load_runs(wrong)


def test_a_file_that_calls_itself_a_run_is_asked_before_it_is_believed(tmp_path):
    """Whole, but without most of what a run has: no filter fits it, and without one it is refused by name."""
    save_record(tmp_path / "odd.safetensors", "run", {"id": "0" * 12, "seed": 3}, {"counts": np.arange(3)})
    assert load_runs(tmp_path, data="x") == load_runs(tmp_path, recipe="x") == load_runs(tmp_path, seed=1) == []
    with pytest.raises(ValueError, match="^no run in .* has a 'gamma'"):
        load_runs(tmp_path, gamma=1)
    with pytest.raises(RunFileError, match="odd.safetensors: not a whole run .it lacks"):
        load_runs(tmp_path)
    (tmp_path / "odd.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="an empty file; it is passed over"):
        assert load_runs(tmp_path, data="x", recipe="x") == []


def test_numbers_of_numpy_are_kept_as_numbers(run, tmp_path):
    odd = dataclasses.replace(run, scale=np.float32(16), seed=np.int64(3), ece=np.float64(0.5))
    back = load_run(odd.save(tmp_path, small=True))
    assert (back.scale, back.seed, back.ece) == (16.0, 3, 0.5)


def test_an_array_that_the_kept_record_lacks_is_written_however_small(run, tmp_path):
    path = run.save(tmp_path / "run.safetensors")
    more = dataclasses.replace(run, network={**run.network, "steps": np.array(1)}, train_features=None)
    assert load_run(more.save(path)).network["steps"] == 1


# ---------------------------------------------------------------------------------------------------------- the schema
def parts(run, **changes):
    meta, arrays = run._parts(False, 0)
    return meta, {name: value for name, value in {**arrays, **changes}.items() if value is not None}


@pytest.mark.parametrize("name", ["counts", "confusion"])
def test_what_a_run_cannot_do_without(run, name):
    with pytest.raises(ValueError, match=f"^it lacks {name}$"):
        schema.check_run(*parts(run, **{name: None}))


def test_the_schema_takes_what_a_run_may_hold(run):
    one_class = np.full(500, 9)
    schema.check_run(*parts(run, targets=one_class, train_targets=run.train_targets * 0))
    schema.check_run(*parts(run, targets=one_class.astype(np.uint8), counts=run.counts.astype(np.int32)))
    schema.check_run(*parts(run, **{"network/head.flag": np.array(True), "network/steps": np.array(3, np.uint8)}))
    schema.check_run(*parts(run, **{"network/odd": np.full((2, 3), np.nan)}))
    schema.check_run(*parts(run, **{"history/term/ce": np.array([1.0, np.nan, 0.0])}))
    schema.check_run(*parts(run, class_means=run.class_means * np.nan, class_feature_norm=np.full(10, np.nan)))
    for name in ("head_bias", "targets", "logits", "features", "train_features", "history/lr", "class_means"):
        schema.check_run(*parts(run, **{name: None}))
    meta, arrays = parts(run, head_weight=np.full((10, 64), np.inf))
    for status in ("stopped", "diverged"):
        schema.check_run({**meta, "status": status, "scale": 16, "ece": None, "parent": "0" * 12}, arrays)
    schema.check_run(*parts(run, **{name: values[:0] for name, values in arrays.items() if "train_" in name}))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("train_targets", np.full(314, 10), "train_targets: expected class numbers from 0 to 9"),
        ("train_targets", np.full(314, -1), "train_targets: expected class numbers from 0 to 9"),
        ("train_targets", np.zeros(313, int), r"expected the shape \(m\) with m=31[34]|train_features: .*m=313"),
        ("targets", np.zeros(500), "targets: expected whole numbers, got float64"),
        ("features", np.zeros((500, 63), np.float32), "expected the shape .n, d. with .*d=64.*, got .500, 63."),
        ("class_means", np.zeros((10, 63), np.float32), "class_means: .*with k=10, d=64, got .10, 63."),
        ("scores", np.full((500, 10), np.inf, np.float32), "scores: expected finite numbers in a finished run"),
        ("counts", np.array([114, *[1] * 8, -1]), "counts: expected numbers of images, none negative"),
        ("history/epoch", np.zeros(3), "history/epoch: expected whole numbers"),
        ("history/term/ce", np.zeros(4), r"history/term/ce: expected the shape \(e\) with e=3, got \(4,\)"),
        ("history/term/ce", np.zeros((3, 1)), r"history/term/ce: expected the shape \(e\)"),
        ("history/term/ce", np.zeros(3, int), "history/term/ce: expected real numbers, got int64"),
        ("network/x", np.array("text"), "network/x: expected real numbers, got <U4"),
        ("network/x", np.zeros(2, complex), "network/x: expected real numbers, got complex128"),
        ("strange", np.zeros(2), "unknown entry 'strange'"),
    ],
)
def test_the_schema_names_what_is_wrong(run, name, value, words):
    with pytest.raises(ValueError, match=f"^{words}|{words}$"):
        schema.check_run(*parts(run, **{name: value}))


def test_the_description_has_its_entries_and_no_others(run):
    meta = parts(run)[0]
    for change in ({}, {"probability": "sigmoid"}, {"status": "stopped"}, {"status": "diverged"}):
        schema.check_meta({**meta, **change})
    for name in ("method", "settings", "data", "recipe", "seed", "class_names", "ece", "status", "id", "label",
                 "probability", "provenance"):  # fmt: skip
        with pytest.raises(ValueError, match=rf"it lacks \['{name}'\], and has \[\]"):
            schema.check_meta({key: value for key, value in meta.items() if key != name})
    with pytest.raises(ValueError, match=r"it lacks \[\], and has \['strange'\]"):
        schema.check_meta({**meta, "strange": 1})
    wrong = {
        "method": (None, 3), "label": (None, ["a"]), "settings": (None, [1]), "data": ({"name": 3}, "x"),
        "recipe": ({}, 3), "provenance": (None,), "class_names": (tuple("abcdefghij"), "abcdefghij", [1] * 10),
        "seed": (None, True, 2**31), "ece": (True, "1", [0.1]), "scale": (False, "16"), "status": (None, "Finished"),
        "probability": (None, ""), "id": (None, "0123456789AB", "0" * 11, "0" * 13, 123456789012),
        "parent": ("", "0" * 13, "g" * 12, 3),
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"^{name}(\.name)?=.*expected (?!None)"):
                schema.check_meta({**meta, name: value})
