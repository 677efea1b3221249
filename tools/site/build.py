"""`make site`, `python -m tools.site [chapters]`: write the pages into build/site; a site too large is refused."""

from __future__ import annotations

import argparse
import html
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from ltviz.check import many
from ltviz.files import write_atomically
from ltviz.methods import METHODS

from . import chapters, explorers, lists
from .page import Page, assets

HERE = Path(__file__).parent
NOTEBOOKS = explorers.REPO / "notebooks"
SITE, CACHE = explorers.REPO / "build" / "site", explorers.REPO / "build" / "site-cache"
LARGEST = 60_000_000  # bytes of the whole site


def notebooks(names: Sequence[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """The chapters whose file begins with one of these names, all without one, in order. ValueError where none does."""
    every = sorted(folder.glob("[0-9]*.ipynb"))
    chosen = [path for path in every if not names or path.stem.startswith(tuple(names))]
    for name in names:
        if not any(path.stem.startswith(name) for path in every):
            raise ValueError(f"chapter {name!r}: expected the beginning of {', '.join(path.stem for path in every)}")
    if not chosen:
        raise ValueError(f"no chapter in {folder}")
    return chosen


def build(
    paths: Sequence[Path],
    site: Path = SITE,
    cache: Path = CACHE,
    methods: Sequence[str] | None = None,
    workers: int = 2,
) -> int:
    """Write the site of these notebooks and return its bytes.

    methods: keys of those with a page; all without it. workers: processes that draw; 0 draws in this one.
    What an earlier build left in `site` is replaced. ValueError for a site of more than LARGEST bytes.
    """
    folder = paths[0].parent
    ours = {path: chapters.jobs(path) for path in paths}
    theirs = lists.jobs(METHODS if methods is None else methods)
    todo = [*(job for one in ours.values() for job in one.values()), *theirs.values()]
    drawn = iter(explorers.drawn(todo, folder, cache, workers))
    found = {path: {number: next(drawn) for number in one} for path, one in ours.items()}
    titles = [chapters.title(chapters.read(path), path) for path in paths]
    pages = [chapters.render(path, found[path], _around(paths, titles, i)) for i, path in enumerate(paths)]
    taught = [path.stem for path in paths]
    pages += [lists.first(pages), lists.glossary(folder / "GLOSSARY.md"), lists.methods(theirs)]
    pages += [lists.method(key, next(drawn), taught) for key in theirs]
    return _write(pages, site)


def _around(paths: Sequence[Path], titles: Sequence[str], i: int) -> list[str]:
    links = [f'<a rel="{kind}" href="{paths[j].stem}.html">{mark} {html.escape(titles[j])}</a>'
             for kind, j, mark in (("prev", i - 1, "←"), ("next", i + 1, "→")) if 0 <= j < len(paths)]  # fmt: skip
    return links


def _write(pages: Sequence[Page], site: Path) -> int:
    """All files of the site, beside the old ones and then in their place; the number of bytes."""
    files = {f"assets/{name}": text for name, text in assets(*(_own(name) for name in
                                                             ("site.css", "theme.js", "site.js"))).items()}  # fmt: skip
    index = [entry for page in pages for entry in page.entries]
    files["assets/index.js"] = f"window.ltvizIndex = {json.dumps(index, ensure_ascii=False, separators=(',', ':'))};\n"
    for page in pages:
        files |= {page.file: page.html(), **page.scripts}
    size = sum(len(text.encode()) for text in files.values())
    if size > LARGEST:
        largest = sorted(files, key=lambda name: -len(files[name]))[:5]
        raise ValueError(
            f"the site has {size / 1e6:.0f} MB, more than {LARGEST / 1e6:.0f}; largest: {', '.join(largest)}"
        )
    made = site.with_name(f"{site.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    for name, text in files.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    shutil.rmtree(site, ignore_errors=True)
    os.replace(made, site)
    return size


def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the status."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description="Write the course as pages.")
    parser.add_argument("names", nargs="*", help="how the files of chapters begin, e.g. 03; all without one")
    parser.add_argument("--folder", type=Path, default=SITE, help="where to write; what is there is replaced")
    given = parser.parse_args(argv)
    start, paths = time.perf_counter(), notebooks(given.names)
    size = build(paths, given.folder)
    said = f"{many(len(paths), 'chapter')}, {size / 1e6:.1f} MB, {time.perf_counter() - start:.0f} s"
    print(f"ltviz: {said}: open {given.folder / 'index.html'}")
    return 0
