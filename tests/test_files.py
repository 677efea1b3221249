"""Files: what is written is whole, what is read was checked, and nothing is left behind."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ltviz import check, files
from ltviz.files import (
    FORMAT,
    ForeignFile,
    RunFileError,
    canonical,
    checksum,
    read_record,
    request_id,
    save_record,
    write_atomically,
)

REPO = Path(files.__file__).parents[1]
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(3), "c/d": np.zeros((2, 0), np.float32)}


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "record.safetensors"
    save_record(path, "run", {"x": 1, "y": [1.5, None, "ü"]}, ARRAYS)
    return path


# ------------------------------------------------------------------------------------------------------------ identity
@pytest.mark.parametrize(
    ("one", "other"),
    [(50, 50.0), (0.5, np.float64(0.5)), ((1, 2), [1, 2.0]), ({"a": 1, "b": 2}, {"b": 2, "a": np.int64(1)}),
     (0.0, -0.0), (Path("x"), "x")],
)  # fmt: skip
def test_an_id_has_one_spelling(one, other):
    assert request_id(value=one) == request_id(value=other) and len(request_id(value=one)) == 12


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, "1"), (0.1, 0.1 + 1e-17 + 1e-16), (None, "None"), ([1, 2], [2, 1]), ({}, [])]
)
def test_what_differs_has_another_id(one, other):
    assert request_id(value=one) != request_id(value=other) and request_id(a=1) != request_id(b=1)


def test_what_has_no_spelling_is_no_part_of_an_id():
    with pytest.raises(TypeError, match="ndarray"):
        canonical({"x": np.zeros(2)})


def test_a_checksum_covers_type_shape_and_bytes():
    x = np.arange(6, dtype=np.int32)
    sums = [checksum(y) for y in (x, x.reshape(2, 3), x.astype(np.int64), x.view(np.float32), x[::-1])]
    assert len(set(sums)) == 5 and checksum(x) == checksum(x.copy()) == checksum(np.stack([x, x], 1)[:, 0])


# ------------------------------------------------------------------------------------------------------------- writing
def test_a_record_comes_back(record):
    meta, arrays = read_record(record, "run")
    assert meta == {"x": 1, "y": [1.5, None, "ü"]} and arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert arrays[name].shape == value.shape and arrays[name].dtype == value.dtype
    assert read_record(record, "run", lambda meta: meta["x"] == 2) is None


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    """Seen from outside at the moment of the exchange: the old content under the name, the new one beside it."""
    path, replace, seen = tmp_path / "file", os.replace, []
    write_atomically(path, b"old")

    def look(source, target):
        seen.append((Path(source).read_bytes(), Path(target).read_bytes(), Path(source).parent == path.parent))
        replace(source, target)

    monkeypatch.setattr("os.replace", look)
    write_atomically(path, b"new")
    assert seen == [(b"new", b"old", True)] and path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["os.fsync", "os.replace"])
def test_a_failed_write_changes_nothing_and_leaves_nothing(tmp_path, monkeypatch, where):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(where, full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_rights_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    """A process that dies between writing and renaming leaves a temporary file; a living one keeps its own."""
    code = (
        "import os, sys; from pathlib import Path; from ltviz import files; os.replace = lambda *a: os._exit(9); "
        "files.write_atomically(Path(sys.argv[1]), b'half')"
    )
    path = tmp_path / "a [1].safetensors"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=REPO, timeout=60)
    assert done.returncode == 9 and len(list(tmp_path.iterdir())) == 1
    mine = path.with_name(next(tmp_path.iterdir()).name.rsplit("-", 2)[0] + f"-{os.getpid()}-00000000.tmp")
    other = tmp_path / ".other-file.tmp"
    mine.touch(), other.touch()
    write_atomically(path, b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, mine, other])


# ------------------------------------------------------------------------------------------------------------- reading
def test_every_flipped_bit_is_noticed(record):
    """Each byte of the file, one at a time: refused, or without effect on what is read (spaces in a header)."""
    whole = record.read_bytes()
    expected = read_record(record, "run")
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        record.write_bytes(damaged)
        try:
            meta, arrays = read_record(record, "run")
        except RunFileError as error:
            assert str(record) in str(error)
            continue
        assert meta == expected[0] and arrays.keys() == expected[1].keys()
        assert all(arrays[n].tobytes() == v.tobytes() and arrays[n].shape == v.shape for n, v in expected[1].items())


def test_another_array_under_the_same_description_is_refused(record, tmp_path):
    from safetensors import safe_open

    with safe_open(record, framework="np") as file:
        meta = file.metadata()
    arrays = load_file(record)
    a = arrays["a"]
    for name, value in [("a", a[:1]), ("a", a.astype(np.float32)), ("b", np.array(4)), ("e", a)]:
        path = tmp_path / "other.safetensors"
        save_file({**arrays, name: value}, path, metadata=meta)
        with pytest.raises(RunFileError, match="damaged"):
            read_record(path, "run")


def test_what_is_no_record_is_named(record, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(RunFileError, match="no such file"):
        read_record(path, "run")
    with pytest.raises(ForeignFile, match="a folder"):
        read_record(tmp_path, "run")
    with pytest.raises(ForeignFile, match="a run of ltviz, not a checkpoint"):
        read_record(record, "checkpoint")
    save_file({"x": np.zeros(2)}, path)
    with pytest.raises(ForeignFile, match="not a run of ltviz"):
        read_record(path, "run")
    save_file({"x": np.zeros(2)}, path, metadata={"ltviz": json.dumps({"format": 1})})
    with pytest.raises(RunFileError, match="older ltviz"):
        read_record(path, "run")
    for meta, match in [({"format": FORMAT + 1, "arrays": {}}, "another ltviz"), ([1], "no record"), ({}, "no record")]:
        text = json.dumps(meta)
        save_file({}, path, metadata={"ltviz": text, "sha256": files._sha(text.encode())})
        with pytest.raises(RunFileError, match=match):
            read_record(path, "run")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ForeignFile, match="not an ordinary file"):
        read_record(tmp_path / "pipe.safetensors", "run")


def test_a_pickle_is_named_before_anything_reads_it(tmp_path, monkeypatch):
    """Nothing but the first bytes is read: with the reader of safetensors taken away, the answer is the same."""
    import pickle

    import torch

    monkeypatch.setattr("safetensors.safe_open", lambda *a, **k: pytest.fail("the file was opened as safetensors"))
    plain, zipped = tmp_path / "plain.safetensors", tmp_path / "zipped.safetensors"
    plain.write_bytes(pickle.dumps({"x": 1}))
    torch.save({"weights": torch.zeros(2)}, zipped)
    for path in (plain, zipped):
        with pytest.raises(ForeignFile, match="this is a .* which could run code"):
            read_record(path, "run")


# ----------------------------------------------------------------------------------------------------------- arguments
@pytest.mark.parametrize("value", [True, 2.5, 2.0, "3", None, float("nan"), -1, 11, np.bool_(True), [1], np.zeros(2)])
def test_no_whole_number_from_0_to_10(value):
    with pytest.raises(ValueError, match=r"^n=.*: expected a whole number from 0 to 10"):
        check.whole("n", value, 0, 10)


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("inf"), -1, 11, 1j, [1.0], np.zeros(1)])
def test_no_number_from_0_to_10(value):
    with pytest.raises(ValueError, match=r"^x=.*: expected a number from 0 to 10"):
        check.number("x", value, 0, 10)


def test_numbers_of_numpy_and_torch_are_numbers():
    import torch

    values = [check.whole("n", v) for v in (np.int8(3), torch.tensor(3), 3)]
    assert values == [3] * 3 and {type(v) for v in values} == {int}
    values = [check.number("x", v) for v in (np.float32(0.5), torch.tensor(0.5), np.array(0.5), 0.5)]
    assert values == [0.5] * 4 and {type(v) for v in values} == {float}
    assert check.flag("f", np.bool_(True)) is True and check.seeds(np.int64(2)) == [0, 1] == check.seeds(range(2))


@pytest.mark.parametrize("value", [0, -3, True, 2.0, "2", [], [1, 1], [-1], ["a"], None, 2**31])
def test_no_seeds(value):
    if value == 2**31:
        value = [value]
    with pytest.raises(ValueError, match="^seeds=.*how many seeds"):
        check.seeds(value)


def test_a_choice_suggests_the_nearest():
    assert check.choice("c", "exp", ("exp", "step")) == "exp"
    with pytest.raises(ValueError, match=r"^c='stp': expected one of 'exp', 'step' \(did you mean 'step'\?\)"):
        check.choice("c", "stp", ("exp", "step"))
    with pytest.raises(ValueError, match="^c=True"):
        check.choice("c", True, (0, 1))
