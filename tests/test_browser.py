"""The first chapter in a real browser, in a JupyterLab started as `make lab` starts it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from conftest import REPO, chromium

pytestmark = pytest.mark.browser
CHAPTER = "00_start_here.ipynb"
RUN_ALL = 120_000  # ms for the chapter, on two busy cores


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address and token of `make lab BROWSER=no` on a copy of the chapters, with settings of its own."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copytree(REPO / "notebooks", root / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{kind}_DIR": str(root / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {f"JUPYTERLAB_{kind}_DIR": str(root / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    env = {**os.environ, **folders, "PYTHONPATH": str(REPO), "LTVIZ_PROFILE": "full"}
    env.pop("JUPYTER_TOKEN", None)
    # The environment of this test stands for the one that make would build: -o says it is ready.
    ready = f"{sys.prefix}/.ltviz-installed"
    command = ["make", "-o", ready, "lab", f"VENV={sys.prefix}", "BROWSER=no", f"PORT={port}", f"ROOT={root}"]
    log = root / "lab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, cwd=REPO, env=env, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/\S*\?token=(\w+)", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{found[1]}", found[2]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def status(url: str) -> int:
    """The HTTP status of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_lab_wants_its_token_and_listens_on_this_machine_only(lab):
    address, token = lab
    assert status(f"{address}/api/contents") == 403
    assert status(f"{address}/api/contents?token={token}") == 200
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(5)
        other.connect(("127.0.0.2", int(address.rsplit(":", 1)[1])))


class Lab:
    """A page with the chapter open, and what the browser's console said was wrong."""

    def __init__(self, page, address: str, token: str):
        self.page, self.errors = page, []
        page.set_default_timeout(20_000)
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.url = f"{address}/lab/tree/notebooks/{CHAPTER}"
        page.goto(f"{self.url}?token={token}")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()

    def menu(self, *names: str) -> None:
        """Choose from the menu bar, as a person would."""
        bar, *items = names
        self.page.get_by_role("menuitem", name=bar, exact=True).click()
        for name in items:
            self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(rf"^{name}$")).click()

    def cell(self, words: str):
        """The first code cell whose source holds `words`, scrolled into view."""
        cell = self.page.locator(".jp-CodeCell", has=self.page.locator(".jp-InputArea", has_text=words)).first
        cell.scroll_into_view_if_needed()
        return cell

    def idle(self, timeout: int = RUN_ALL) -> None:
        """Wait until no cell waits or runs."""
        waiting = """() => ![...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
            .some(prompt => prompt.textContent.includes('*'))"""
        self.page.wait_for_function(waiting, timeout=timeout)


@pytest.fixture(scope="module")
def opened(lab):
    sync = pytest.importorskip("playwright.sync_api")
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    flags = [*quiet.split(), "--disable-sync", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        try:
            yield Lab(browser.new_page(viewport={"width": 1400, "height": 1000}), *lab)
        finally:
            browser.close()
