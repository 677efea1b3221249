"""umap-learn's compiled code is kept, and nothing is compiled that is not used."""

import importlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from ltviz import compiling


@pytest.mark.parametrize("imported", ["", "import numba; "])
def test_where_nothing_can_be_written_code_is_compiled_into_a_temporary_folder(imported, tmp_path):
    code = f"""
import os, pathlib
{imported}
from ltviz import compiling
compiling.place_compiled_code()
import numba

@numba.njit(cache=True)
def double(x):
    return 2 * x

assert double(3) == 6
folder = pathlib.Path(os.environ["NUMBA_CACHE_DIR"])
assert list(folder.rglob("*.nbc")), "kept elsewhere"
print(folder)
"""
    (tmp_path / "code.py").write_text(code)
    away = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LTVIZ_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")
    }
    away |= {"HOME": "/dev/null/home", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, tmp_path / "code.py"], env=away, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(str(tmp_path)) and not os.path.exists(done.stdout.strip()), "removed at the end"


@pytest.mark.slow
def test_what_numba_compiled_of_umap_is_read_by_later_processes(tmp_path):
    """Told by the files it keeps: the second process adds none."""
    code = "from ltviz import compiling, embedding; print(compiling.compiled()); "
    code += "embedding.compile_umap(); print(compiling.compiled())"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said, kept = [], []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        said.append(done.stdout.split("\n")[:-1])
        kept.append({path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")})
    assert said == [["False", "umap: compiling for this machine, 5 to 15 seconds, once", "True"], ["True", "True"]]
    assert len(kept[0]) > 10 and kept[0] == kept[1]
    assert not [name for name in kept[0] if "rp_trees" in name], "the search for neighbours, which nothing here needs"


INNER = """
import numba

@numba.njit(["i8(i4)", numba.float64(numba.float64)])
def double(x):
    return 2 * x

@numba.njit("f8(i8)")
def factorial(n):
    return 1.0 if n < 2 else n * factorial(n - 1)

@numba.njit("f8(f8)")
def unused(x):
    return x

@numba.njit
def both(x):
    return double(x) + factorial(4)
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages of which one imports the other, which numba compiles; what stands in it may be changed."""

    def write(inner, outer="import inner\nfrom numba import njit\nown = njit('f8(f8)')(lambda x: x + 1)"):
        (tmp_path / "inner.py").write_text(inner)
        (tmp_path / "outer.py").write_text(outer)
        importlib.invalidate_caches()
        return compiling.import_lazily("outer", "inner")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    for name in ("inner", "outer"):
        sys.modules.pop(name, None)


def signatures(function):
    return [str(types) for types in function.signatures]


def test_what_a_package_has_compiled_at_its_import_is_compiled_when_it_is_used(packages):
    """Then for the signatures it was given and no others: an argument is converted or refused, as ever."""
    usual = numba.njit
    outer = packages(INNER)
    inner = outer.inner
    assert numba.njit is usual and signatures(outer.own) == ["(float64,)"], "of another package: at once"
    assert [signatures(f) for f in (inner.double, inner.factorial, inner.unused)] == [[], [], []]
    assert inner.double(3) == 6.0 and isinstance(inner.double(3), float), "an int64 is converted"
    assert signatures(inner.double) == ["(int32,)", "(float64,)"]
    with pytest.raises(TypeError, match="No matching definition"):
        inner.double("a")
    assert inner.both(1.5) == 27.0 and signatures(inner.factorial) == ["(int64,)"], "called by a compiled function"
    assert inner.factorial(np.int32(5)) == 120.0 and signatures(inner.factorial) == ["(int64,)"]
    assert signatures(inner.unused) == []
    assert signatures(pickle.loads(pickle.dumps(inner.unused))) == signatures(inner.unused) == ["(float64,)"]


def test_threads_that_use_such_a_function_at_once_have_it_compiled_once(packages):
    inner = packages(INNER).inner
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(inner.factorial, range(1, 9))) == [1, 2, 6, 24, 120, 720, 5040, 40320]
    assert signatures(inner.factorial) == ["(int64,)"]


def test_compiling_that_was_interrupted_is_taken_up_again(packages, monkeypatch):
    inner = packages(INNER).inner
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(inner.double), "compile", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        inner.double(3)
    assert inner.double(3) == 6.0 and signatures(inner.double) == ["(int32,)", "(float64,)"]


@pytest.mark.parametrize("other", ["inner", "outer", "numba"])
def test_a_package_that_cannot_wait_is_imported_as_usual(packages, monkeypatch, other):
    """Because it asks for compiled code at its import, because the one that imports it does, or with another numba."""
    if other == "numba":
        monkeypatch.setattr(compiling, "_USES", ("renamed",))
    inner = INNER + ("assert double.signatures" if other == "inner" else "")
    outer = packages(inner, "import inner" + ("; assert inner.double.signatures" if other == "outer" else ""))
    assert signatures(outer.inner.unused) == ["(float64,)"]
    assert signatures(outer.inner.double) == ["(int32,)", "(float64,)"]
    assert outer.inner is sys.modules["inner"] and outer.inner.both(1.5) == 27.0


def test_a_package_that_was_there_before_stays_as_it_was(packages, tmp_path):
    (tmp_path / "inner.py").write_text(INNER)
    inner = importlib.import_module("inner")
    assert signatures(inner.unused) == ["(float64,)"]
    with pytest.raises(ZeroDivisionError):
        packages(INNER, "import inner; 1 / 0")
    assert sys.modules["inner"] is inner


@pytest.mark.slow
def test_large_searches_of_others_are_the_same_bit_for_bit():
    """Of pynndescent in a process whose umap was imported here, and in one of its own."""
    code = """
import sys
import numpy as np
from ltviz import compiling
compiling.place_compiled_code()
if sys.argv[1] == "here":
    compiling.import_lazily("umap", "pynndescent")
import umap
x = np.random.default_rng(0).normal(size=(4200, 8)).astype(np.float32)  # from 4,096 on umap searches approximately
points = umap.UMAP(random_state=0, n_epochs=5, n_jobs=1).fit_transform(x)
print(points.shape, points.tobytes().hex())
"""
    said = [
        subprocess.run([sys.executable, "-c", code, where], capture_output=True, text=True, check=True).stdout
        for where in ("here", "elsewhere")
    ]
    assert said[0].startswith("(4200, 2)") and said[0] == said[1]
