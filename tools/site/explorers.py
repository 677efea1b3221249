"""The explorers of a chapter, drawn once and kept by content: what they need is cut out of the notebook and run."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import html
import io
import json
import multiprocessing
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltviz.explore import export
from ltviz.files import write_atomically

REPO = Path(__file__).resolve().parents[2]
LIVE = ("lab",)  # explorers that train: a page without Python keeps their picture
MOST, SMALL = 1_700_000, 400_000  # bytes of the frames of an explorer in a chapter, and of a method's own
NAMED = 20_000_000  # where MOVES names the values: build.LARGEST is what limits them
FEW = 3  # values of a second control that moves as well
STEP = 17  # of the colours of a page's pictures, of 255: lines and letters look the same in half the bytes
ROUNDED = ((np.arange(256) + STEP // 2) // STEP * STEP).astype(np.uint8)
NUMBER = re.compile(r"[-+]?[\d.]+(?:e[-+]?\d+)?")
CLICK = re.compile(r"\nclick\b.*")  # what a page does not answer to
BUTTONS = {"tuning": ("the buttons Try mine, Sampler and 5 more",)}
# What a chapter asks its reader to move, in the values that a page has room for together; None: all of them.
MOVES: dict[str, dict[str, Sequence[Any] | None]] = {
    "attributes": {"rho": (0, 0.1, 0.3, 0.5), "attribute": None, "level": None},
    "batch_desk": {"rho": (0, 0.1, 0.2, 0.3, 0.5, 0.7, 1), "level": None, "batch": None},
    "dartboard": {"darts": (10, 50, 100, 200, 500), "exponent": (0, 0.5, 1, 2), "tiles": (20, 100, 200)},
    "feedback_dial": {
        "epoch": (1, 5, 10, 15, 20, 30, 40, 50, 60), "tau_rule": None, "images": (10, 50, 100, 250),
    },
    "gallery": {"query": tuple(range(1, 321, 30)), "loss": None, "distance": None},
    "gradient_river": {"epoch": (0, 1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60), "gamma": (0, 2, 5), "trained": None},
    "loss_anatomy class_balanced": {"beta": (0, 0.9, 0.99, 0.999, 0.9999), "loss": None, "gamma": (0, 0.5, 1, 2, 5)},
    "loss_anatomy focal": {"gamma": [i / 4 for i in range(21)], "form": None},
    "papers": {"data": None, "paper": None, "beside": None},
    "pizza": {"margin": (0, 0.1, 0.2, 0.5, 1), "kind": None, "scale": (1, 10, 64), "rare": (240, 330)},
    "posthoc": {"prior": None},
    "quality": {
        "blur": (0, 0.5, 1, 3), "low_resolution": (1, 2, 4, 8), "noise": (0, 0.05, 0.2, 0.5),
        "occlusion": (0, 0.2, 0.4, 0.8),
    },
    "threshold": {"log_odds": None, "cost": (0.1, 1, 10, 100, 1000)},
    "throw": {"ratio": (1, 10, 50, 100), "seed": range(8), "class_order": None},
    "tug_of_war": {
        "epoch": (0, 2, 4, 8, 14, 20, 30, 50, 70, 100), "equal_lengths": None, "subtract_prior": None,
        "optimizer": None,
    },
    "tuning": {
        "beta": (0.9, 0.999, 0.9999), "lr": (0.01, 0.1, 0.3, 1), "weight_decay": (1e-5, 5e-4, 1e-2),
        "across": None, "up": None,
    },
    "two_rings": {"epoch": (2, 10, 40), "features": (0, 0.1, 1), "vectors": (0, 1, 10), "darl": (0, 0.9)},
    "wall": {
        "tau": (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3), "deployment": (-1, -0.5, 0, 0.25, 0.5, 0.75, 1),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """An explorer to draw: name in the address; the code before it; the call; the most bytes of its frames."""

    name: str
    before: str
    call: str
    most: int = MOST

    @property
    def function(self) -> str:
        """Its name in ltviz.explore."""
        return self.call.partition("(")[0].rpartition(".")[2]

    @property
    def asked(self) -> str:
        """Its name in MOVES: with the method, where that decides what there is to move."""
        given = ast.parse(self.call, mode="eval").body.args
        named = [one.value for one in given[:1] if isinstance(one, ast.Constant)]
        return f"{self.function} {named[0]}" if self.function == "loss_anatomy" and named else self.function


# ------------------------------------------------------------------------------------------------------ which, and how
def found(cells: Iterable[tuple[int, str]]) -> dict[int, Job]:
    """The explorers that code cells (number, code) show, by the number of the cell, with the code that each needs."""
    before: list[ast.stmt] = []
    jobs: dict[int, Job] = {}
    for number, text in cells:
        for statement in ast.parse(text).body:
            call = _shown(statement)
            if call is not None:
                name = call.func.attr
                same = sum(job.name.startswith(name) and job.function == name for job in jobs.values())
                job = Job(f"{name}-{same + 1}" if same else name, _needed(before, call), ast.unparse(call))
                jobs[number] = replace(job, most=NAMED) if job.asked in MOVES else job
            before.append(statement)
    return jobs


def _shown(statement: ast.stmt) -> ast.Call | None:
    """The call of an explorer that is a statement of its own, or is displayed."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "display" and call.args:
        call = call.args[0]
    is_one = isinstance(call, ast.Call) and ast.unparse(call.func).startswith("lt.explore.")
    return call if is_one else None


def _needed(before: Sequence[ast.stmt], call: ast.AST) -> str:
    """Of the statements before a call those that make what it uses, and what these use in turn."""
    names, kept = _used(call), []
    for statement in reversed(before):
        if _made(statement) & names:
            kept.append(statement)
            names |= _used(statement)
    return ast.unparse(ast.Module(kept[::-1], []))


def _used(tree: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def _made(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(one.asname or one.name).partition(".")[0] for one in statement.names}
    # A statement alone may change what it names: data.append(...), METHODS.add(...) are not followed.
    return {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}


def moving(screen: Any, asked: str) -> list[str]:
    """Names of the controls that move on a page: those that MOVES names, else the first that changes the picture, and a
    second with few values; none where none does."""
    if asked in MOVES:
        known = [one.name for one in screen.sweeps]
        if not set(MOVES[asked]) <= set(known):
            raise ValueError(f"{asked}: expected names of its controls, {known}; MOVES has {list(MOVES[asked])}")
        return list(MOVES[asked])
    chosen: list[str] = []
    for sweep in screen.sweeps:
        if len(chosen) < 2 and (not chosen or len(sweep.places) <= FEW) and _acts(screen, sweep):
            chosen.append(sweep.name)
    return chosen


def _acts(screen: Any, sweep: Any) -> bool:
    """Whether the picture is another one at the ends and in the middle of a control."""
    values, some = screen._values(), dict.fromkeys((0, len(sweep.values) // 2, len(sweep.values) - 1))
    one, *others = (screen._render(values | {sweep.name: sweep.values[i]}).pixels for i in some)
    return any(one.shape != other.shape or bool((one != other).any()) for other in others)


def still(explorer: Any) -> str:
    """Why a page has no input for the anatomy of a loss, in a sentence."""
    found, names = explorer.result, [export.called(one) for one in explorer.screen.sweeps]
    plain = all(torch.equal(one.loss, found.plain.loss) for one in (found.head, found.tail))
    said = f"{', '.join(names[:-1])} and {names[-1]} change" if names[1:] else f"{names[0]} changes"
    told = ", which stays that of cross-entropy" if plain else ""
    role = "they do" if names[1:] else "it does"
    return f"There is no slider here: {said} nothing in the loss of an image{told}. Settings says what {role}."


def lighten(screen: Any, asked: str) -> list[str]:
    """Keep of the controls the values that MOVES names, and in pictures fewer colours; a note for every control cut."""
    sweeps, notes, render, values = [], [], screen._render, screen._values()
    for one in screen.sweeps:
        wanted = MOVES.get(asked, {}).get(one.name)
        if wanted is not None:
            cut = _cut(one, (*wanted, values[one.name]), asked)
            notes.append(f"{len(cut.places)} of the {len(one.places)} values of {export.called(one)}")
            one = cut
        sweeps.append(one)
    screen.follow(sweeps, screen._values, lambda values: _light(render(values)))
    return [f"To keep this page small, it holds {' and '.join(notes)}."] if notes else []


def _cut(sweep: Any, wanted: Iterable[Any], asked: str) -> Any:
    """A sweep of these values alone: exactly these, where the control would stand at the place next to them."""
    found = {}
    for value in wanted:
        i = sweep.index(value)
        if i is None:
            raise ValueError(f"{asked}: {sweep.name} cannot be {value!r}; one of {sweep.written()}")
        found[i] = type(sweep.values[i])(value)
    at, old = sorted(found), sweep.written()
    labels = [f"{found[i]:g}" if NUMBER.fullmatch(old[i]) else old[i] for i in at]
    return replace(sweep, places=[sweep.places[i] for i in at], values=[found[i] for i in at], labels=labels)


def _light(frame: Any) -> Any:
    """A picture whose colours are multiples of STEP, and points in the digits that a page can show."""
    pixels = frame.pixels.copy()
    pixels[..., :3] = ROUNDED[pixels[..., :3]]
    points = [replace(one, x=float(f"{one.x:.4g}"), y=float(f"{one.y:.4g}"), text=CLICK.sub("", one.text))
              for one in frame.points]  # fmt: skip
    return replace(frame, image=pixels, points=points)


def shared(data: dict[str, Any]) -> dict[str, Any]:
    """The data of `export.piece` with the texts of points, and points that several frames have, written once.

    A point is [x, y, number of its text, region]; what stood in `points` of a frame is the number of a list of points.
    """
    texts: dict[str, int] = {}
    lists: dict[str, int] = {}
    for frame in data["frames"]:
        if "points" in frame["meta"]:
            points = [
                [x, y, texts.setdefault(text, len(texts)), region] for x, y, text, region in frame["meta"]["points"]
            ]
            frame["meta"]["points"] = lists.setdefault(json.dumps(points), len(lists))
    return data | {"texts": list(texts), "points": [json.loads(one) for one in lists]}


def missing(explorer: Any, names: Sequence[str]) -> str:
    """What an explorer can do in a notebook and not on a page, in a sentence."""
    screen = explorer.screen
    others = [export.called(one) for one in screen.sweeps if one.name not in names]
    frame = screen.frame
    parts = [*(["dragging in the picture"] if frame is not None and frame.handles else []),
             *(["clicking in it"] if screen._clicked else []), *BUTTONS.get(explorer.function, ())]  # fmt: skip
    parts += [f"moving {', '.join(others)}"] if others else []
    return f"Only in the notebook: {'; '.join(parts)}." if parts else ""


def draw(job: Job, notebooks: Path, work: Path) -> dict[str, Any] | None:
    """HTML and frames of an explorer; None for one that no control moves. What the code writes lands in `work`."""
    import matplotlib

    matplotlib.use("agg")
    work.mkdir(parents=True, exist_ok=True)
    if str(notebooks) not in sys.path:
        sys.path.insert(0, str(notebooks))
    import ltviz as lt

    names = {"lt": lt}
    with contextlib.chdir(work), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the chapter has shown what these lines say
        exec(job.before, names)
        explorer = eval(job.call, names)
        screen = getattr(explorer, "screen", None)
        if not getattr(screen, "sweeps", ()):
            return None
        names, notes = moving(screen, job.asked), lighten(screen, job.asked)
        page, data = export.piece(screen, f"screen-{job.name}", names, job.most)
        page += "".join(f"<p class='note'>{html.escape(note)}</p>" for note in notes)
        made = {"html": page, "data": shared(json.loads(export._json(data))), "title": screen.title}
        alone = job.function == "loss_anatomy" and not names
        made["without"] = still(explorer) if alone else missing(explorer, names)
        explorer.close()
    return made


# ------------------------------------------------------------------------------------------------------------ the cache
@functools.cache
def version(notebooks: Path) -> str:
    """A hash of all that can change a picture: the package, the cards of the chapters, and the recorded runs."""
    kinds = (
        (REPO / "ltviz", ".py .js .css .mplstyle"),
        (REPO / "data", ".safetensors .json .csv .png"),
        (notebooks, ".py"),
    )
    paths = [one for folder, endings in kinds for one in folder.rglob("*") if one.suffix in endings.split()]
    state = hashlib.sha256()
    for path in sorted([*paths, Path(__file__)]):
        state.update(path.name.encode() + path.read_bytes())
    return state.hexdigest()


def drawn(jobs: Sequence[Job], notebooks: Path, cache: Path, workers: int = 2) -> list[dict[str, Any] | None]:
    """What `draw` gives for each job: from the cache, else drawn, in processes side by side (0: in this one).

    RuntimeError with the call where an explorer cannot be drawn.
    """
    paths = [cache / f"{_key(job, notebooks)}.json" for job in jobs]
    missing = {path: job for path, job in zip(paths, jobs, strict=True) if not path.exists()}
    todo = [(path, (job, notebooks.resolve(), (cache / path.stem).resolve())) for path, job in missing.items()]
    cache.mkdir(parents=True, exist_ok=True)
    if not workers:
        for path, given in todo:
            write_atomically(path, json.dumps(_attempt(*given)).encode())
    elif todo:
        with ProcessPoolExecutor(min(workers, len(todo)), multiprocessing.get_context("spawn")) as pool:
            waiting = {pool.submit(_attempt, *given): path for path, given in todo}
            try:
                for done in as_completed(waiting):
                    write_atomically(waiting[done], json.dumps(done.result()).encode())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [json.loads(path.read_bytes()) for path in paths]


def _attempt(job: Job, notebooks: Path, work: Path) -> dict[str, Any] | None:
    try:
        return draw(job, notebooks, work)
    except Exception as error:
        raise RuntimeError(f"{job.call}: {type(error).__name__}: {error}") from error


def _key(job: Job, notebooks: Path) -> str:
    return hashlib.sha256(json.dumps([asdict(job), version(notebooks)]).encode()).hexdigest()[:24]
