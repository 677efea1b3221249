"""Sweeps: all pictures of the range of a control, drawn in a thread and sent one by one, coarse before fine."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import check
from ..plots.surface import fast_png
from .frames import Frame

BREATH = 0.001  # seconds between two frames, in which others get the lock of drawing
REST = 0.5  # seconds without a move, after which a picture that was only named is sent whole


@dataclass(frozen=True)
class Sweep:
    """A control whose whole range can be played.

    name: of the control; widget, trait: the slider (or dropdown: trait "index") that a reader moves. places: where it
    can stand; values: what the control is worth at each place. place: the place of any value, where it is not that of
    the nearest in `values` (logarithmic sliders). box: a number box beside the slider, and labels: what it shows (and
    what an exported page shows) at each place.
    """

    name: str
    widget: Any
    places: Sequence[Any]
    values: Sequence[Any]
    trait: str = "value"
    place: Callable[[Any], Any] | None = None
    box: Any = None
    labels: Sequence[str] = ()

    def __post_init__(self):
        check.text("name", self.name)
        if not hasattr(self.widget, "model_id") or not hasattr(self.widget, self.trait):
            raise check.refuse("widget", self.widget, f"an ipywidgets widget with a {self.trait!r}")
        if len(self.places) != len(self.values) or not len(self.places):
            raise check.refuse("places", list(self.places), f"one place for each of the {len(self.values)} values")
        if self.labels and len(self.labels) != len(self.values):
            raise check.refuse("labels", list(self.labels), f"one label for each of the {len(self.values)} values")

    @property
    def numeric(self) -> bool:
        """All values are numbers, so that there is a nearest one."""
        return all(map(_is_number, self.values))

    def index(self, value: Any) -> int | None:
        """The number of the place that stands for this value: the nearest of numbers, else the same, or None."""
        if not _is_number(value) or not self.numeric:
            return next((i for i, one in enumerate(self.values) if type(one) is type(value) and one == value), None)
        here, there = (self.place(value), self.places) if self.place else (value, self.values)
        return min(range(len(there)), key=lambda i: abs(there[i] - here))

    def written(self) -> list[str]:
        """What stands beside the slider at each place."""
        return [str(one) for one in self.labels] or [f"{v:g}" if _is_number(v) else str(v) for v in self.values]

    def as_json(self) -> dict[str, Any]:
        """What the page needs in order to follow the slider."""
        box = {"box": self.box.model_id, "labels": self.written()} if self.box is not None else {}
        nearest = all(map(_is_number, self.places)) and self.trait == "value"
        return {
            "name": self.name, "model": self.widget.model_id, "trait": self.trait, "places": list(self.places),
            "nearest": nearest, **box,
        }  # fmt: skip


class Bounded:
    """Values by key, of at most `bound` bytes in all; the least recently used goes first."""

    def __init__(self, bound: int):
        self.bound, self.size = check.whole("bound", bound, 1), 0
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, key: Any) -> Any:
        """The value, which now counts as just used, or None."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: Any, value: Any, size: int) -> None:
        """Keep a value of `size` bytes; one that is larger than the bound is not kept."""
        self.size -= self._kept.pop(key, (None, 0))[1]
        if size > self.bound:
            return
        self._kept[key] = value, size
        self.size += size
        while self.size > self.bound:
            self.size -= self._kept.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)


def difference(pixels: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, tuple[int, int]] | None:
    """What has to be laid over `base` (h, w, 4) to make `pixels`: a patch, transparent where nothing changes, and its
    left and top. None where that cannot be done: another size, or a change to something transparent.
    """
    if pixels.shape != base.shape:
        return None
    new, old = (np.ascontiguousarray(one).view(np.uint32)[..., 0] for one in (pixels, base))
    changed = new != old
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    if not len(rows):
        return np.zeros((1, 1, 4), np.uint8), (0, 0)
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    patch = np.where(changed[box], new[box], 0).view(np.uint8).reshape(*changed[box].shape, 4)
    if (pixels[box][..., 3][changed[box]] != 255).any():
        return None
    return patch, (int(columns[0]), int(rows[0]))


def order(count: int, here: int, waiting: Iterable[int]) -> int | None:
    """Which of the waiting frames to draw next: coarse before fine, and of these the nearest to `here`."""

    def rank(i: int) -> tuple[int, int]:
        away = abs(i - here)
        ends = i in (0, count - 1) or away == 0
        pass_ = 0 if ends else next(p for p, stride in enumerate((16, 8, 4, 2, 1)) if away % stride == 0)
        return pass_, away

    return min(waiting, key=rank, default=None)


@dataclass
class _Job:
    """One sweep under way: what is asked for, what is still to draw, and the picture that the others differ from."""

    number: int
    sweep: Sweep
    values: dict[str, Any]
    keys: list[str]
    here: int
    waiting: set[int]
    base: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    sent: set[str] = field(default_factory=set)


Send = Callable[[dict[str, Any], list[bytes]], None]


class Sweeper:
    """Draws one sweep at a time, and keeps at most `bound` bytes of frames; the least recently used goes first.

    send(content, buffers) sends a message to the page: "plan" (the keys of the frames), "frame", then "done", or
    "stale" where the sweep was ended before, or "failed". failed(error) hears of an error in drawing. The thread lives
    for as long as there is something to draw.
    """

    def __init__(self, send: Send, failed: Callable[[Exception], None], bound: int):
        self.send, self.failed = send, failed
        self.lock = threading.Condition(threading.RLock())
        self._kept = Bounded(bound)
        self._job: _Job | None = None
        self._thread: threading.Thread | None = None
        self._rest: threading.Timer | None = None
        self._jobs = 0

    def start(
        self, sweep: Sweep, values: Mapping[str, Any], keys: Sequence[str], state: Mapping[str, Any],
        render: Callable[[dict[str, Any]], Frame],
    ) -> None:  # fmt: skip
        """Begin with a sweep in the place of the present one; nothing happens where the same is under way."""
        with self.lock:
            job = self._job
            if job is not None and job.waiting and job.sweep is sweep and job.keys == keys:
                return
            self._jobs += 1
            here = sweep.index(values.get(sweep.name)) or 0
            self._job = _Job(self._jobs, sweep, dict(values), list(keys), here, set(range(len(keys))))
            self._render = render
            self.send({"kind": "plan", "plan": self._jobs, "name": sweep.name, "keys": keys, **state}, [])
            if self._thread is None:
                # In the context of the message that asks: the kernel reads from it which message is answered.
                run = contextvars.copy_context().run
                self._thread = threading.Thread(target=run, args=(self._work,), name="ltviz-sweep", daemon=True)
                self._thread.start()

    def moved(self, values: Mapping[str, Any]) -> None:
        """The controls have these values now: a sweep goes on from there, or ends where it shows another state."""
        with self.lock:
            job = self._job
            if job is None:
                return
            name = job.sweep.name
            if any(values.get(key, job) != value for key, value in job.values.items() if key != name):
                self.cancel()
            else:
                here = job.sweep.index(values.get(name))
                job.here = job.here if here is None else here

    def cancel(self, why: str = "stale") -> None:
        """End the present sweep; frames already sent stay on the page."""
        with self.lock:
            if self._job is not None:
                self.send({"kind": why, "plan": self._job.number}, [])
                self._job = None

    def at_rest(self, act: Callable[[], None]) -> None:
        """Call this once nothing has moved for REST seconds; a later call takes its place."""
        with self.lock:
            self._no_rest()
            self._rest = threading.Timer(REST, act)
            self._rest.daemon = True
            self._rest.start()

    def _no_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()

    def forget(self) -> None:
        """End the present sweep, and keep no frame."""
        with self.lock:
            self.cancel()
            self._no_rest()
            self._kept.clear()

    def has(self, key: str) -> bool:
        """Whether this frame, and what it is laid over, has been drawn and is kept."""
        with self.lock:
            kept = self._kept.get(key)
            return kept is not None and (not kept[0]["over"] or self._kept.get(kept[0]["over"]) is not None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being drawn; False where it takes longer than `timeout` seconds."""
        with self.lock:
            return self.lock.wait_for(lambda: self._thread is None, timeout)

    def _work(self) -> None:
        """Draw what the present job waits for, until there is none."""
        while True:
            with self.lock:
                job = self._job
                i = None if job is None else order(len(job.keys), job.here, job.waiting)
                if i is None:
                    if job is not None:
                        job.pixels = None
                        self.send({"kind": "done", "plan": job.number}, [])
                    self._thread = None
                    self.lock.notify_all()
                    return
                job.waiting.discard(i)
            try:
                packets = self._packets(job, i)
            except Exception as error:
                with self.lock:
                    current = self._job is job
                    if current:
                        self.cancel("failed")
                if current:
                    self.failed(error)
                continue
            with self.lock:
                if self._job is job:
                    for content, image in packets:
                        self.send({"kind": "frame", "plan": job.number, **content}, [image])
                        job.sent.add(content["key"])
            time.sleep(BREATH)

    def _packets(self, job: _Job, i: int) -> list[tuple[dict[str, Any], bytes]]:
        """The messages that bring picture i to the page: itself, and before it what it is laid over."""
        key = job.keys[i]
        with self.lock:
            kept = self._kept.get(key)
            under = kept and kept[0]["over"]
            base = self._kept.get(under) if under else None
        if kept and (base or not under):
            return [base, kept] if base and under not in job.sent else [kept]
        frame = self._render(job.values | {job.sweep.name: job.sweep.values[i]})
        check.instance("render(values)", frame, Frame, "a Frame")
        pixels, meta = frame.pixels, frame.meta()
        patch = None if job.pixels is None else difference(pixels, job.pixels)
        if patch is None:
            if job.pixels is None:
                job.pixels, job.base, job.meta = pixels, key, meta
            packet = {"key": key, "over": None, "at": [0, 0], "meta": meta}, frame.png
        else:
            meta = {name: value for name, value in meta.items() if value != job.meta[name]}
            packet = {"key": key, "over": job.base, "at": list(patch[1]), "meta": meta}, fast_png(patch[0])
        with self.lock:
            if self._job is job:
                self._kept.put(key, packet, len(packet[1]) + 64 * sum(map(len, meta.values())) + 200)
        return [packet]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
