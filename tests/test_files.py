"""Files: what is written is whole, what is read was checked, and nothing is left behind."""

import hashlib
import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import safetensors
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


# ------------------------------------------------------------------------------------------------------------- folders
@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep caches elsewhere")
def test_the_cache_is_ltviz_cache_else_in_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LTVIZ_CACHE", "~/mine")
    assert files.cache_folder() == tmp_path / "mine"
    for unset in ("LTVIZ_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(unset, "")
    assert files.cache_folder() == tmp_path / ".cache" / "ltviz"
    monkeypatch.delenv("LTVIZ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert files.cache_folder() == tmp_path / "xdg" / "ltviz"
    assert not list(tmp_path.iterdir()), "asking makes no folder"


@pytest.mark.parametrize("answer", [RuntimeError("no home"), "~/.cache/ltviz"])  # of newer and of older platformdirs
def test_without_a_home_the_cache_cannot_be_written(answer, monkeypatch):
    def user_cache_dir(*_, **__):
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.delenv("LTVIZ_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", user_cache_dir)
    assert files.cache_folder() == Path(os.devnull) / "ltviz"
    with pytest.raises(OSError):
        files.check_writable(files.cache_folder())


def test_the_cache_on_windows_is_one_folder_too(tmp_path, monkeypatch):
    """platformdirs would put ltviz/ltviz/Cache there."""
    from platformdirs import windows

    monkeypatch.delenv("LTVIZ_CACHE", raising=False)
    monkeypatch.setattr(windows, "get_win_folder", lambda name: str(tmp_path / name))
    monkeypatch.setattr("platformdirs.PlatformDirs", windows.Windows)
    assert files.cache_folder() == tmp_path / "CSIDL_LOCAL_APPDATA" / "ltviz"


def test_data_are_in_the_checkout_else_in_the_cache(tmp_path, monkeypatch):
    assert files.data_folder() == REPO / "data" and (files.data_folder() / "published.csv").is_file()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "ltviz" / "files.py"))
    monkeypatch.setenv("LTVIZ_CACHE", str(tmp_path / "cache"))
    assert files.data_folder() == tmp_path / "cache"


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


def test_a_folder_is_searched_by_the_descriptions_alone(record, monkeypatch):
    opened = safetensors.safe_open

    class Shut:
        def __init__(self, *arguments, **named):
            self.file = opened(*arguments, **named)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def __getattr__(self, name):
            return pytest.fail("an array is read") if name == "get_tensor" else getattr(self.file, name)

    monkeypatch.setattr("safetensors.safe_open", Shut)
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


def test_a_pointer_of_git_lfs_and_an_empty_file_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    for content, said in [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS, not the file"),
        (b"", "an empty file$"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ForeignFile, match=f"x.safetensors: {said}"):
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


# ----------------------------------------------------------------------------------------- the same, to the last digit
def test_ids_and_checksums_are_those_of_their_text():
    """An id that changed would make every recorded run another one: worked out here from the text it stands for."""

    def sha(text, more=b""):
        return hashlib.sha256(text.encode() + more).hexdigest()

    assert request_id(b=[1, 2.5], a={"y": None, "x": "ü"}) == sha('{"a":{"x":"\\u00fc","y":null},"b":[1,2.5]}')[:12]
    x = np.arange(6.0).reshape(2, 3)
    assert checksum(x) == sha("<f8 (2, 3)", x.tobytes()) == checksum(np.asfortranarray(x))
    assert checksum(np.array(3, np.int16)) == sha("<i2 ()", b"\x03\x00")


@pytest.mark.parametrize(
    ("value", "spelling"),
    [(200.0, 200), (-3.0, -3), (2.0**53 - 1, 2**53 - 1), (2.0**53, 2.0**53), (-(2.0**53), -(2.0**53)), (1e300, 1e300),
     (2.5, 2.5), (math.inf, "float inf"), (-math.inf, "float -inf"), (math.nan, "float nan"), (np.float32(2), 2),
     (True, True), (np.bool_(False), False), ({1: (2.0, Path("a"))}, {"1": [2, "a"]})],
)  # fmt: skip
def test_the_one_spelling(value, spelling):
    found = canonical(value)
    assert found == spelling and type(found) is type(spelling)


def test_json_of_a_record():
    value = {"b": MappingProxyType({"y": np.float64(0.5), "x": Path("a/b")}), "a": [np.int64(3), (1, None)]}
    assert files.to_json(value) == '{"a": [3, [1, null]], "b": {"x": "a/b", "y": 0.5}}'
    assert files.to_json({"b": 1, "a": 2}) == '{"a": 2, "b": 1}'
    for wrong in (np.zeros(2), object(), {1, 2}):
        with pytest.raises(TypeError, match=f"^{type(wrong).__name__} .* cannot be kept in a file"):
            files.to_json({"x": wrong})


@pytest.mark.parametrize("make", [np.asfortranarray, lambda x: x[::-1], lambda x: x[:, ::2], lambda x: x.T])
def test_an_array_in_any_memory_layout_comes_back(tmp_path, make):
    x = make(np.arange(12.0).reshape(3, 4))
    save_record(tmp_path / "x", "run", {}, {"x": x})
    np.testing.assert_array_equal(read_record(tmp_path / "x", "run")[1]["x"], x)


# ----------------------------------------------------------------------------------------------- folders and left-overs
def test_folders_are_made_where_they_lack(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "file", b"x")
    write_atomically(tmp_path / "a" / "b" / "file", b"y")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"y"
    files.check_writable(tmp_path / "c" / "d")
    files.check_writable(tmp_path / "c" / "d")
    assert list((tmp_path / "c" / "d").iterdir()) == []


def test_a_folder_is_tried_with_a_file_that_reaches_the_disk(tmp_path, monkeypatch):
    sizes = []

    def sync(number):
        sizes.append(os.fstat(number).st_size)
        assert len(list(tmp_path.iterdir())) == 1
        if len(sizes) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", sync)
    files.check_writable(tmp_path)
    with pytest.raises(OSError, match="No space"):
        files.check_writable(tmp_path)
    assert sizes == [65_536] * 2 and list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        files.check_writable(tmp_path / "file")
    monkeypatch.setattr("os.open", lambda *a: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(PermissionError):  # and not that the file which was never made is missing
        files.check_writable(tmp_path)


def test_the_error_of_a_write_is_the_one_that_is_seen(tmp_path, monkeypatch):
    def gone(source, target):
        Path(source).unlink()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", gone)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", b"x")


def test_only_the_left_overs_of_dead_writers_of_this_file_go(tmp_path, monkeypatch):
    long = "x" * 200
    path, twin = tmp_path / f"{long}1", tmp_path / f"{long}2"  # alike in all that their temporary names show
    states = {111: ProcessLookupError, 222: PermissionError, 333: None}

    def kill(pid, number):
        assert number == 0
        if states[pid]:
            raise states[pid]

    monkeypatch.setattr("os.kill", kill)
    names = {
        (which, host, pid): tmp_path / f"{files._prefix(which)}{host}-{pid}-0123abcd.tmp"
        for which in (path, twin) for host in (files._HOST, "0a0b0c") for pid in (111, 222, 333, "none")
    }  # fmt: skip
    for name in names.values():
        name.touch()
    files.sweep_temporaries(path)
    assert set(names) - {key for key, name in names.items() if name.exists()} == {(path, files._HOST, 111)}
    write_atomically(path, b"x")  # names of any length that the disk takes
    assert path.read_bytes() == b"x" and max(len(name.name) for name in names.values()) < 120


def test_left_overs_that_cannot_be_removed_are_no_error(tmp_path, monkeypatch):
    files.sweep_temporaries(tmp_path / "none" / "file")
    monkeypatch.setattr("os.kill", lambda *a: (_ for _ in ()).throw(ProcessLookupError))
    left = tmp_path / f"{files._prefix(tmp_path / 'file')}{files._HOST}-111-0123abcd.tmp"
    left.touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *a, **k: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        files.sweep_temporaries(tmp_path / "file")
    assert left.exists()
    gone = left.with_name(left.name.replace("0123abcd", "4567abcd"))
    with monkeypatch.context() as patch:  # another process was as quick with one of them
        patch.setattr(Path, "glob", lambda *a: [gone, left])
        files.sweep_temporaries(tmp_path / "file")
    assert not left.exists()


def test_where_signals_end_a_process_none_is_sent(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("os.name", "nt")
        patch.setattr("os.kill", lambda *a: pytest.fail("it would end the process"))
        assert files.is_alive(111)


# ----------------------------------------------------------------------------------------------- what is taken for what
def test_a_record_whose_first_byte_is_that_of_a_pickle_is_read(tmp_path):
    """The first eight bytes are a length: it may begin with 0x80 or PK as well."""
    path, firsts = tmp_path / "x.safetensors", set()
    for n in range(0, 1200, 4):
        save_record(path, "run", {"x": "y" * n}, {"a": np.zeros(1)})
        firsts.add(path.read_bytes()[0])
        assert read_record(path, "run")[0] == {"x": "y" * n}
    assert 0x80 in firsts


def test_checkpoints_of_before_are_older_and_no_runs(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": np.zeros(2)}, path, metadata={"ltviz_checkpoint": "{}"})
    with pytest.raises(RunFileError, match="written by an older ltviz") as error:
        read_record(path, "checkpoint")
    assert not isinstance(error.value, ForeignFile)
    with pytest.raises(ForeignFile, match="not a run of ltviz"):
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


def test_to_array_takes_what_holds_numbers():
    import pandas
    import torch

    half = torch.tensor([1.0, -2.0, 3.0], dtype=torch.bfloat16, requires_grad=True)
    column = pandas.Series([1, -2, 3], index=[7, 8, 9])
    for given, kind in (
        ([1, -2, 3], "int64"), ((1.0, -2.0, 3.0), "float64"), (np.array([1, -2, 3], np.int8), "int8"),
        (torch.tensor([1, -2, 3], dtype=torch.int32), "int32"), (torch.nn.Parameter(half.data.float()), "float32"),
        (half, "float32"), (half.detach().double(), "float64"), (column, "int64"), (column.astype("Int64"), "int64"),
        (column.astype("Float32"), "float32"), (pandas.Index([1, -2, 3]), "int64"),
    ):  # fmt: skip
        found = check.to_array(given)
        assert type(found) is np.ndarray and found.dtype == kind and found.tolist() == [1, -2, 3]
        assert check.array("x", given, 1, "numbers").tolist() == [1, -2, 3]
    table = pandas.DataFrame({"a": column, "b": column})
    assert check.array("x", table, 2, "numbers").tolist() == [[1, 1], [-2, -2], [3, 3]]
    missing = check.array("x", pandas.Series([1, None], dtype="Int64"), 1, "numbers")
    assert missing[0] == 1 and np.isnan(missing[1])
    assert check.to_array(torch.tensor(3)).shape == ()


def test_a_copy_is_nobody_elses_and_in_order():
    import torch

    for given in (torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last), np.zeros((3, 4)).T):
        shared, copy = check.to_array(given, copy=False), check.to_array(given)
        given[:] = 1
        assert shared.all() and not copy.any()
        assert copy.flags.c_contiguous and not shared.flags.c_contiguous and copy.flags.writeable


@pytest.mark.parametrize(
    "value", ["abc", None, [True], [[1], [1, 2]], {0: 1}, object(), [1j], np.array([None]), [1, "2"]]
)
def test_what_is_no_array_of_numbers_is_refused(value):
    import pandas

    with pytest.raises(ValueError, match="^x=.*: expected numbers"):
        check.array("x", value, None, "numbers")
    with pytest.raises(ValueError, match="^x=.*: expected numbers"):
        check.array("x", pandas.Series(["a", "b"]), 1, "numbers")
