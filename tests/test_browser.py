"""The first chapter in a real browser, in a JupyterLab started as `make lab` starts it."""

import os
import re
import socket
import urllib.error
import urllib.request

import pytest
from conftest import REPO, chromium

from tools.benchmark.page import jupyterlab

pytestmark = pytest.mark.browser
CHAPTER = "00_start_here.ipynb"
RUN_ALL = 240_000  # ms for the chapter, on two busy cores


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address and token of `make lab BROWSER=no` in a folder of its own, with settings of its own."""
    root = tmp_path_factory.mktemp("lab")
    # As a course that somebody opens in a checkout: JupyterLab can reach the originals too.
    (root / "notebooks").symlink_to(REPO / "notebooks")
    with jupyterlab(root) as found:
        yield found


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
        page.set_default_timeout(60_000)  # a busy machine is slow, not wrong
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.address, self.outside = address, []
        page.on("request", lambda request: self.note(request.url))
        page.goto(f"{address}/?token={token}")
        page.wait_for_url("**/lab/**")
        self.url = page.url.partition("?")[0]
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()

    def note(self, url: str) -> None:
        """Remember a request that leaves this machine."""
        if not url.startswith((self.address, self.address.replace("http", "ws", 1), "data:", "blob:")):
            self.outside.append(url)

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


PICTURES = """() => [...document.querySelectorAll('.jp-OutputArea img')]
    .filter(image => image.complete && image.naturalWidth > 200).length"""


def test_the_copy_opens_beside_the_other_chapters(opened):
    assert opened.url.endswith(f"/lab/tree/my_notebooks/{CHAPTER}")
    names = opened.page.locator(".jp-DirListing-itemText")
    course = REPO / "notebooks"
    wanted = [*course.glob("*.ipynb"), *course.glob("cards_*.py"), course / "GLOSSARY.md"]
    assert sorted(names.all_inner_texts()) == sorted(path.name for path in wanted)
    cut = "texts => texts.filter(text => text.scrollWidth > text.clientWidth + 30).length"  # ".ipynb" is 38 wide
    assert names.evaluate_all(cut) == 0, "names are readable, but for the end of a long one's ending"


def test_the_notebook_keeps_two_thirds_of_a_narrow_window(opened):
    size = opened.page.viewport_size
    opened.page.set_viewport_size({"width": 1100, "height": 800})
    assert opened.page.locator(".jp-DirListing").is_visible()
    opened.page.wait_for_function("document.querySelector('.jp-Notebook').clientWidth >= 2 / 3 * 1100")
    opened.page.set_viewport_size(size)


def test_kept_pictures_are_seen_before_anything_runs(opened):
    opened.page.wait_for_function(f"({PICTURES})() >= 5")
    assert opened.page.locator(".noUi-handle").count() == 0, "no slider without a kernel"


def test_the_chapter_runs(opened):
    # Earlier, JupyterLab would ask which kernel to use.
    opened.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
    opened.menu("Run", "Run All Cells")
    opened.page.locator(".jp-CodeCell .jp-InputPrompt", has_text="*").first.wait_for()
    opened.idle()
    said = opened.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
    assert said.all_inner_texts() == []
    assert opened.page.locator(".jupyter-widgets-error-widget").count() == 0


def test_dragging_a_slider_changes_the_picture(opened):
    cell = opened.cell("lt.explore.posthoc")
    handle, canvas = cell.locator(".noUi-handle").first, cell.locator("canvas").first
    handle.scroll_into_view_if_needed()
    changed = "([canvas, before]) => canvas.toDataURL() != before"
    before, place = canvas.evaluate("canvas => canvas.toDataURL()"), handle.get_attribute("aria-valuenow")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    opened.page.mouse.move(x, y)
    opened.page.mouse.down()
    opened.page.mouse.move(x + 30, y, steps=5)
    opened.page.mouse.up()
    opened.page.wait_for_function(changed, arg=[canvas.element_handle(), before])
    assert handle.get_attribute("aria-valuenow") != place
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    handle.press("ArrowRight")
    opened.page.wait_for_function(changed, arg=[canvas.element_handle(), before])


def test_training_starts_and_stops_while_another_cell_runs(opened):
    cell = opened.cell("lt.explore.lab")
    for name, value in (("epochs", "200"), ("seeds", "10")):
        box = cell.locator(".widget-inline-hbox", has_text=re.compile(rf"^{name}")).locator("input").first
        if not box.is_visible():
            cell.get_by_role("button", name="More").click()
        box.fill(value)
        box.press("Enter")
    start, stop = cell.get_by_role("button", name="Start"), cell.get_by_role("button", name="Stop")
    readout = cell.locator(".ltviz-screen .caption")
    assert stop.is_disabled()
    start.click()
    readout.filter(has_text=re.compile("raining")).wait_for()
    at_first = readout.inner_text()

    # Another cell, appended and run while the training goes on.
    opened.page.locator(".jp-Notebook .jp-Cell").last.click()
    opened.page.keyboard.press("Escape")
    opened.page.keyboard.press("b")
    opened.page.keyboard.press("Enter")
    opened.page.keyboard.type("sum(range(1_000_001))")
    opened.page.keyboard.press("Shift+Enter")
    answer = opened.page.locator(".jp-OutputArea-output", has_text="500000500000")
    answer.wait_for()
    cell.scroll_into_view_if_needed()
    went_on = "([readout, before]) => readout.innerText !== before"
    opened.page.wait_for_function(went_on, arg=[readout.element_handle(), at_first])
    assert start.is_disabled(), "and is still going on"
    stop.click()
    opened.page.wait_for_function("button => button.disabled", arg=stop.element_handle())
    opened.page.wait_for_function("button => !button.disabled", arg=start.element_handle())


def test_a_saved_chapter_shows_its_figures_without_its_kernel(opened):
    opened.menu("File", "Save Notebook")
    opened.page.locator(".lm-TabBar-tab.lm-mod-current:not(.jp-mod-dirty)", has_text=CHAPTER).wait_for()
    opened.menu("Kernel", "Shut Down Kernel")
    opened.page.goto(f"{opened.url}?reset")
    cell = opened.cell("lt.explore.posthoc")
    canvas = cell.locator(".jp-OutputArea canvas").first
    canvas.wait_for()
    colours = """canvas => canvas.width > 200 && new Set(new Uint32Array(canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size > 50"""
    opened.page.wait_for_function(colours, arg=canvas.element_handle())
    assert opened.page.get_by_text("model not found").count() == 0


def test_an_original_is_read_only(opened):
    before = (REPO / "notebooks" / CHAPTER).read_bytes()
    opened.page.goto(f"{opened.address}/lab/tree/notebooks/{CHAPTER}?reset")
    opened.page.get_by_text("notebook is read-only").wait_for()
    opened.page.locator(".jp-CodeCell .cm-content").first.click()
    opened.page.keyboard.type("# mine")
    opened.page.keyboard.press("Control+s")
    opened.page.get_by_text('Use "Save as…" instead').wait_for()
    assert (REPO / "notebooks" / CHAPTER).read_bytes() == before


def test_the_console_is_free_of_errors(opened):
    assert opened.errors == []


def test_no_request_leaves_the_machine_and_nothing_is_announced(opened):
    assert opened.outside == []
    assert opened.page.get_by_text(re.compile("news|newer version", re.IGNORECASE)).count() == 0
