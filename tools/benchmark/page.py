"""What a reader waits for in the browser: python -m tools.benchmark page.

JupyterLab is started as `make lab` starts it, each explorer is opened in Chromium, and two cores are kept busy by other
work. Measured are the first sweep of a slider, the time from a key on it to the presented frame, with the kernel free
and while a cell sleeps, and the size of the exported page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .measure import ROOT, Measurement, Skipped, need

COUNTS = [500, 347, 240, 167, 116, 80, 56, 38, 26, 18]
PLAIN = "lt.recorded('cifar16', 'ce', seed=0)[0]"
OPEN = {
    "effective_number": f"lt.explore.effective_number({COUNTS})",
    "loss_anatomy": "lt.explore.loss_anatomy('class_balanced')",
    "posthoc": "lt.explore.posthoc(lt.train('ce', lt.digits_lt(ratio=20), epochs=3, progress=False))",
    "lab": "lt.explore.lab(lt.digits_lt(ratio=20), epochs=3, seeds=1)",
    "batch_desk": f"lt.explore.batch_desk({PLAIN}, lt.study.batch_photographs())",
    "dartboard": "lt.explore.dartboard()",
    "feedback_dial": "lt.explore.feedback_dial(lt.recorded('digits', 'cdb', seed=0)[0])",
    "gradient_river": "lt.explore.gradient_river()",
    "pizza": "lt.explore.pizza()",
    "gallery": "lt.explore.gallery()",
    "attributes": "lt.explore.attributes(rho=0.3)",
    "threshold": "lt.explore.threshold(lt.train('ce', lt.digits_lt(ratio=20), epochs=3, progress=False))",
    "throw": "lt.explore.throw()",
    "tug_of_war": "lt.explore.tug_of_war()",
    "tuning": "lt.explore.tuning(lt.tune('focal', lt.digits_lt(), trials=4, seeds=1, epochs=3, progress=False, "
    "storage=__import__('optuna').storages.InMemoryStorage()))",
    "two_rings": "lt.explore.two_rings()",
    "lengths": "lt.explore.lengths({'plain': lt.recorded('digits', 'ce'), 'ring': lt.recorded('digits', 'ring')})",
    "quality": f"lt.explore.quality({PLAIN}, lt.study.photographs())",
    "wall": f"lt.explore.wall({PLAIN}, lt.study.photographs())",
}
MOVES = 60

# ms from taking hold of the first slider to its whole sweep, and of each key to the frame after the picture was drawn.
SWEEP = """async () => {
  const root = document.querySelector('.ltviz-screen'), start = performance.now();
  delete root.dataset.swept;
  document.querySelector('.ltviz-explorer .noUi-handle').focus();
  while (!root.dataset.swept) await new Promise((done) => setTimeout(done, 5));
  return performance.now() - start;
}"""
LATENCY = """async (moves) => {
  const handle = document.querySelector('.ltviz-explorer .noUi-handle'), found = [];
  const frame = () => new Promise(requestAnimationFrame), old = document.activeElement;
  const task = () => new Promise((done) => {
    const c = new MessageChannel();
    c.port1.onmessage = done;
    c.port2.postMessage(0);
  });
  let drawn = 0;
  document.addEventListener('ltviz-drawn', () => { drawn += 1; });
  for (let i = 0; i < moves; i++) {
    await frame();
    await new Promise((done) => setTimeout(done, 60 + 10 * Math.random()));
    const before = drawn, start = performance.now(), key = Math.floor(i / 10) % 2 ? 'ArrowLeft' : 'ArrowRight';
    handle.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    while (drawn === before && performance.now() - start < 3000) await task();
    await frame();
    await task();
    found.push(performance.now() - start);
  }
  return found.sort((one, other) => one - other);
}"""


# ----------------------------------------------------------------------------------------------------- the two programs
@contextmanager
def jupyterlab(root: Path) -> Iterator[tuple[str, str]]:
    """The address and token of `make lab BROWSER=no` in this folder, with settings of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{kind}_DIR": str(root / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {f"JUPYTERLAB_{kind}_DIR": str(root / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    env = {**os.environ, **folders, "PYTHONPATH": str(ROOT), "LTVIZ_PROFILE": "full"}
    env.pop("JUPYTER_TOKEN", None)
    # The environment of this process stands for the one that make would build: -o says it is ready.
    ready = f"{sys.prefix}/.ltviz-installed"
    command = ["make", "-o", ready, "lab", f"VENV={sys.prefix}", "BROWSER=no", f"PORT={port}", f"ROOT={root}"]
    log = root / "lab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/\S*\?token=(\w+)", log.read_text())):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start: {log.read_text()}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{found[1]}", found[2]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


@contextmanager
def chromium(path: str | None) -> Iterator[Any]:
    """A Chromium that Playwright drives."""
    from playwright.sync_api import sync_playwright

    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    flags = [*quiet.split(), "--disable-sync", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield launched
        finally:
            launched.close()


def find_chromium() -> str | None:
    """Where Chromium is: LTVIZ_CHROMIUM, or what the system has."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("LTVIZ_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many endless loops beside what is measured."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def notebook(*cells: str) -> dict[str, Any]:
    """A notebook of these cells, not yet run."""
    made = [
        {"cell_type": "code", "id": f"cell{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": code}
        for i, code in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


class Opened:
    """An explorer in a notebook of its own, and what the browser's console said was wrong. The last cell sleeps."""

    def __init__(self, browser: Any, address: str, token: str, name: str, code: str):
        cells = f"import ltviz as lt\nexplorer = {code}\nexplorer", "import time; time.sleep(10)"
        body = json.dumps({"type": "notebook", "content": notebook(*cells)}).encode()
        request = urllib.request.Request(f"{address}/api/contents/x_{name}.ipynb?token={token}", body, method="PUT")
        urllib.request.urlopen(request, timeout=20).close()
        self.page = page = browser.new_page(viewport={"width": 1366, "height": 900})
        self.errors: list[str] = []
        page.set_default_timeout(60_000)
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"{address}/lab/workspaces/{name}/tree/x_{name}.ipynb?token={token}")
        page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.keyboard.press("Shift+Enter")
        page.locator(".ltviz-screen canvas[aria-label]:not([aria-label='picture'])").first.wait_for()
        page.wait_for_function("() => document.querySelector('.ltviz-screen .said').textContent.length > 9")

    def sweep(self) -> float:
        """ms until the whole range of the first slider is there."""
        return self.page.evaluate(SWEEP)

    def latencies(self, moves: int = MOVES) -> list[float]:
        """ms from a key on the first slider to the presented frame, sorted."""
        return self.page.evaluate(LATENCY, moves)

    def asleep(self) -> Any:
        """Run the cell that sleeps for ten seconds; its prompt, which holds a star meanwhile."""
        self.page.locator(".jp-Notebook .jp-Cell").last.click()
        self.page.keyboard.press("Shift+Enter")
        prompt = self.page.locator(".jp-CodeCell .jp-InputPrompt", has_text="*")
        prompt.first.wait_for()
        return prompt


# ---------------------------------------------------------------------------------------------------------- the claims
def suite(quick: bool = False) -> Iterator[Measurement | Skipped]:
    """What is claimed for a reader's browser, explorer by explorer."""
    try:
        need("page", "playwright", "playwright")
        path = find_chromium()
        if path is None:
            raise Skipped("page", "there is no Chromium; LTVIZ_CHROMIUM names one")
    except Skipped as skipped:
        yield skipped
        return
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as lab, chromium(path) as browser:
        for name, code in OPEN.items():
            yield from _measure(browser, lab, name, code, 20 if quick else MOVES)
    yield from exported()


def _measure(browser: Any, lab: tuple[str, str], name: str, code: str, moves: int) -> Iterator[Measurement]:
    one = Opened(browser, *lab, name, code)
    if name != "lab":  # its picture is that of runs: nothing is swept
        yield Measurement("first sweep of a slider", one.sweep() / 1e3, detail=name)
        with busy(2):
            yield from _latency(one.latencies(moves), f"{name}, two cores busy")
            prompt = one.asleep()
            yield from _latency(one.latencies(moves), f"{name}, two cores busy, a cell sleeps")
        prompt.first.wait_for(state="detached")
    one.page.close()


def _latency(found: Sequence[float], detail: str) -> Iterator[Measurement]:
    yield Measurement("slider to frame, median", found[len(found) // 2] / 1e3, detail=detail)
    yield Measurement("slider to frame, 95% below", found[int(0.95 * len(found))] / 1e3, detail=detail)


def exported() -> Iterator[Measurement]:
    """The size of each explorer's page."""
    import ltviz as lt

    for name, code in OPEN.items():
        explorer = eval(code, {"lt": lt})  # the same line that the notebook ran
        with tempfile.TemporaryDirectory() as folder:
            page = lt.export(explorer, Path(folder) / "page.html")
            yield Measurement("exported page", page.stat().st_size / 1e6, detail=name)
        explorer.close()
