"""The explorers of a chapter, drawn once and kept by content: what they need is cut out of the notebook and run."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import io
import json
import multiprocessing
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ltviz.files import write_atomically

REPO = Path(__file__).resolve().parents[2]
LIVE = ("lab",)  # explorers that train: a page without Python keeps their picture
MOST, SMALL = 1_700_000, 400_000  # bytes of the frames of an explorer in a chapter, and of a method's own
ROOM = 34_000_000  # bytes of all explorers of chapters: where there are many, each has less
FEW = 3  # values of a second control that moves as well
# Where the first control that changes the picture is not what a reader wants to move, or a second one takes its room.
MOVES = {"wall": ("tau",), "posthoc": ("prior",), "two_rings": ("features", "vectors")}


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
                jobs[number] = Job(f"{name}-{same + 1}" if same else name, _needed(before, call), ast.unparse(call))
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


def moving(screen: Any, function: str) -> list[str]:
    """Names of the controls that move on a page: the first that changes the picture, and a second with few values."""
    if function in MOVES:
        return list(MOVES[function])
    chosen: list[str] = []
    for sweep in screen.sweeps:
        if len(chosen) < 2 and (not chosen or len(sweep.places) <= FEW) and _acts(screen, sweep):
            chosen.append(sweep.name)
    return chosen or [one.name for one in screen.sweeps[:1]]


def _acts(screen: Any, sweep: Any) -> bool:
    """Whether the picture is another one at the two ends of a control."""
    values = screen._values()
    one, other = (screen._render(values | {sweep.name: sweep.values[i]}).pixels for i in (0, -1))
    return one.shape != other.shape or bool((one != other).any())


def draw(job: Job, notebooks: Path, work: Path) -> dict[str, Any] | None:
    """HTML and frames of an explorer; None for one that no control moves. What the code writes lands in `work`."""
    import matplotlib

    matplotlib.use("agg")
    work.mkdir(parents=True, exist_ok=True)
    if str(notebooks) not in sys.path:
        sys.path.insert(0, str(notebooks))
    import ltviz as lt
    from ltviz.explore import export

    names = {"lt": lt}
    with contextlib.chdir(work), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the chapter has shown what these lines say
        exec(job.before, names)
        explorer = eval(job.call, names)
        screen = getattr(explorer, "screen", None)
        if not getattr(screen, "sweeps", ()):
            return None
        html, data = export.piece(screen, f"screen-{job.name}", moving(screen, job.function), job.most)
        made = {"html": html, "data": json.loads(export._json(data)), "title": screen.title}
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
