"""What every test shares: where things are, and why a test is skipped."""

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import ltviz  # noqa: F401  before torch: it says how threads wait

REPO = Path(__file__).resolve().parent.parent

# Whoever starts the tests in the background may have switched Ctrl-C off; the tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def real_data() -> Path:
    """The folder with downloaded data: LTVIZ_DATA, else shared/data beside the repository."""
    return Path(os.environ.get("LTVIZ_DATA") or REPO.parent / "shared" / "data")


def chromium() -> str | None:
    """The browser for the browser tests: LTVIZ_CHROMIUM, else the system's Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    return os.environ.get("LTVIZ_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs: of those on the path, else where Debian puts them; the newest."""
    named = shutil.which("initdb")
    folders = [Path(named).resolve().parent] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((one for one in reversed(folders) if (one / "initdb").exists() and (one / "postgres").exists()), None)


def no_postgres() -> bool:
    import importlib.util

    return postgres_programs() is None or importlib.util.find_spec("psycopg") is None


def no_gpu() -> bool:
    import torch

    return not torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, by name and with the reason."""
    needs = {
        "realdata": (lambda: not real_data().is_dir(), f"no real data in {real_data()}: set LTVIZ_DATA to its folder"),
        "browser": (lambda: chromium() is None, "no Chromium: install it or set LTVIZ_CHROMIUM to its path"),
        "gpu": (no_gpu, "no CUDA device"),
        "postgres": (no_postgres, "no PostgreSQL: install it (apt-get install postgresql), and psycopg"),
    }
    for name, (missing, reason) in needs.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and missing():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"{name}: {reason}"))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return REPO


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn: what holds on the CPU must hold on a GPU where there is one."""
    return request.param


def fast_cards(number: str) -> Iterator[ModuleType]:
    """The cards of a chapter as its fast profile makes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTVIZ_PROFILE", "fast")
        name = f"cards_{number}"
        spec = importlib.util.spec_from_file_location(name, REPO / "notebooks" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
