"""What every test shares: where things are, and why a test is skipped."""

import os
import shutil
import tarfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: idle threads sleep instead of spinning

import pytest

REPO = Path(__file__).resolve().parent.parent


def real_data() -> Path:
    """The folder with downloaded data: LTVIZ_DATA, else shared/data beside the repository."""
    return Path(os.environ.get("LTVIZ_DATA") or REPO.parent / "shared" / "data")


def chromium() -> str | None:
    """The browser for the browser tests: LTVIZ_CHROMIUM, else the system's Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    return os.environ.get("LTVIZ_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def no_gpu() -> bool:
    import torch

    return not torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, by name and with the reason."""
    needs = {
        "realdata": (lambda: not real_data().is_dir(), f"no real data in {real_data()}: set LTVIZ_DATA to its folder"),
        "browser": (lambda: chromium() is None, "no Chromium: install it or set LTVIZ_CHROMIUM to its path"),
        "gpu": (no_gpu, "no CUDA device"),
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


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    """Real CIFAR-10 as an image folder, train/<class>/* and test/<class>/*; for tests marked realdata.

    LTVIZ_DATA may be that folder, or hold cifar10-jpeg.tar.xz, which is unpacked once into data/ (ignored by git).
    """
    data = real_data()
    if (data / "train").is_dir() and (data / "test").is_dir():
        return data
    archive, root = data / "cifar10-jpeg.tar.xz", REPO / "data" / "cifar10-jpeg"
    if not root.is_dir():
        if not archive.is_file():
            pytest.skip(f"realdata: {data} has neither train/ and test/ nor {archive.name}")
        partial = root.with_suffix(f".{os.getpid()}.tmp")
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(root)
    return root
