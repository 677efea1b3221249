"""The surface of an explorer on the page: a picture that follows its sliders in the browser, and can be pointed at.

The page asks for a sweep when a reader takes hold of a slider. All pictures of its range are then drawn here, in a
thread, and sent; the module `screen.js` plays them as the slider moves, so that it neither waits for the kernel nor
needs it. A picture that is not there yet comes from the explorer's own callback, through `show`.

From a slider to a picture there are two ways. Played: `held` and `ask` in screen.js -> "sweep" -> `Screen.sweep` ->
Sweeper (sweeps.py), which has the explorer draw each place -> "plan", "frame", "done" -> `play`, `draw` in screen.js.
By the kernel: the control (controls.py) -> `Explorer.refresh` (base.py) -> `Screen.show` -> the trait `picture` ->
`arrived` and `draw`. Where a sweep has brought the picture before, `Screen.recall` only says which one it is.

The page says     sweep (a slider was taken hold of), click, drag, ready (it can hear)
                  want (a picture that the kernel took to be on the page, and is not)
the kernel says   plan (which frames will come), frame, done; stale, failed (that sweep is off); forget (all frames);
                  ack (a drag was heard); ready
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from .. import check
from ..files import request_id
from .frames import Frame
from .sweeps import Sweep, Sweeper

*SCRIPTS, CSS = (
    (Path(__file__).parent / name).read_text("utf-8")
    for name in ("shield.js", "keys.js", "pictures.js", "screen.js", "screen.css")
)
SCRIPT = "".join(SCRIPTS)
KEPT = 16 * 2**20  # bytes of frames kept here; pictures.js says what the page keeps


@dataclass(frozen=True)
class Click:
    """Where a reader has clicked (or pressed Enter): the data there, and the number of the nearest point or None."""

    x: float
    y: float
    region: int
    point: int | None


@dataclass(frozen=True)
class Drag:
    """Where a reader has dragged a handle to; done: and let go of it."""

    name: str
    x: float
    y: float
    done: bool


class Screen(anywidget.AnyWidget):
    """A picture on the page.

    show(frame, values)               the picture of these values of the controls
    recall(values)                    the same, where the page has it from a sweep
    follow(sweeps, values, render)    the controls whose range is played, and how a picture of it is made
    on_click, on_drag                 callbacks for a `Click` and a `Drag`
    forget()                          what was drawn before no longer holds (other data, another look)

    size: (width, height) in CSS pixels; the picture is never shown wider, and keeps this aspect ratio. caption: show
    the sentence below the picture. The page sets `ratio`, the pixels of the device per CSS pixel (1 to 3), and
    `theme`, "light" or "dark"; observe them to draw accordingly. guard(act) calls `act`, and sees its errors: a
    callback's, and those of drawing a sweep. Each screen keeps at most `KEPT` bytes of frames, its page as much and
    the decoded pictures near the slider; the least recently used goes first.
    """

    _esm = traitlets.Unicode(SCRIPT).tag(sync=True)
    _css = traitlets.Unicode(CSS).tag(sync=True)
    picture = traitlets.Dict().tag(sync=True)
    tracks = traitlets.List().tag(sync=True)
    size = traitlets.List([740, 370]).tag(sync=True)
    caption = traitlets.Bool(True).tag(sync=True)
    ratio = traitlets.Float(1.0).tag(sync=True)
    theme = traitlets.Unicode("light").tag(sync=True)
    _closed = True  # until it is made: ipywidgets closes also what could not be made

    def __init__(
        self,
        size: Sequence[float] = (740, 370),
        *,
        title: str = "",
        caption: bool = True,
        guard: Callable[[Callable[[], None]], None] | None = None,
    ):
        if not isinstance(size, (tuple, list)) or len(size) != 2:
            raise check.refuse("size", size, "(width, height) in CSS pixels")
        if not isinstance(title, str):
            raise check.refuse("title", title, "a text")
        size = [check.number("size", one, 1, 10_000) for one in size]
        self.title = title
        self.guard = guard or (lambda act: act())
        self.sweeps: list[Sweep] = []
        self._frame: Frame | None = None
        self._shown: dict[str, Any] = {}
        self._values: Callable[[], Mapping[str, Any]] = dict
        self._render: Callable[[dict[str, Any]], Frame] | None = None
        self._sweeper = Sweeper(lambda content, buffers: self.send(content, buffers), self._failed, KEPT)
        self._lock = self._sweeper.lock  # one lock, so that messages leave in the order of their numbers
        self._seq = self._newest = self._tickets = self._look = 0
        self._clicked: list[Callable[[Click], None]] = []
        self._dragged: list[Callable[[Drag], None]] = []
        super().__init__(size=size, caption=check.flag("caption", caption))
        self._closed = False
        self.on_msg(Screen._receive)

    # ----------------------------------------------------------------------------------------------- one picture
    def ticket(self) -> int:
        """A number to take before a picture is computed, and to give to `show`: a later one overtakes it."""
        with self._lock:
            self._tickets += 1
            return self._tickets

    def show(self, frame: Frame, values: Mapping[str, Any] | None = None, ticket: int | None = None) -> bool:
        """Show this picture, of these values of all controls (those of now without it).

        False, and nothing happens, where a picture with a later ticket is shown already. A sweep of a control goes on
        when only that control has moved, and ends when anything else has.
        """
        check.instance("frame", frame, Frame, "a Frame")
        values = dict(self._values() if values is None else check.instance("values", values, Mapping, "a dict"))
        png, meta = frame.png, frame.meta()
        with self._lock:
            return self._set(frame, values, ticket, {"image": png, "meta": meta})

    def recall(self, values: Mapping[str, Any], ticket: int | None = None) -> bool:
        """Show the picture of these values that a sweep has sent before: nothing is drawn, and hardly anything sent.

        False where it has to be drawn, and given to `show`.
        """
        values = dict(check.instance("values", values, Mapping, "a dict"))
        with self._lock:
            if self._closed or self._render is None or not self._sweeper.has(self._key(values)):
                return False
            if self._set(None, values, ticket, {}):  # a notebook that is saved without its kernel needs it whole
                self._sweeper.at_rest(lambda seq=self._seq: self.guard(lambda: self._draw_again(seq)))
            return True

    def _set(self, frame: Frame | None, values: dict[str, Any], ticket: int | None, content: dict[str, Any]) -> bool:
        """Send what is shown from now on, unless something newer is; the lock is held."""
        number = self.ticket() if ticket is None else check.whole("ticket", ticket, 1, self._tickets)
        if self._closed or number < self._newest:
            return False
        self._newest, self._seq, self._frame, self._shown = number, self._seq + 1, frame, values
        self.picture = {"seq": self._seq, "key": self._key(values), **self._state(values), **content}
        self._sweeper.moved(values)
        return True

    @property
    def frame(self) -> Frame | None:
        """The picture that is shown; one that was recalled is drawn when it is asked for."""
        with self._lock:
            frame, values, render = self._frame, self._shown, self._render
        if frame is not None or self._closed or not self.picture:
            return frame
        frame = render(values)  # not under the lock, which comes after that of drawing
        with self._lock:
            if self._shown is values and not self._closed:
                self._frame = frame
        return frame

    def _draw_again(self, seq: Any) -> None:
        """The page does not have this picture: an earlier page had."""
        frame = self.frame
        with self._lock:
            if frame is not None and seq == self._seq:
                self._seq += 1
                self.picture = {**self.picture, "seq": self._seq, "image": frame.png, "meta": frame.meta()}

    def _key(self, values: Mapping[str, Any]) -> str:
        return request_id(values=values, look=self._look)

    def _state(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The place of every control that is played, as its number, and what stands for all other values."""
        where = {one.name: one.index(values.get(one.name)) for one in self.sweeps}
        return {"where": where, "rest": self._key({name: v for name, v in values.items() if name not in where})}

    # ----------------------------------------------------------------------------------------------------- sweeps
    def follow(
        self,
        sweeps: Sequence[Sweep],
        values: Callable[[], Mapping[str, Any]],
        render: Callable[[dict[str, Any]], Frame],
    ) -> None:
        """Play these controls from now on.

        values(): what all controls are worth now. render(values) -> Frame: the picture of such values, drawn in a
        thread of its own under the lock of drawing; it must not change a widget.
        """
        names = [check.instance("sweeps", one, Sweep, "a list of Sweep").name for one in sweeps]
        if len(set(names)) < len(names):
            raise check.refuse("sweeps", names, "each control once")
        for name, one in (("values", values), ("render", render)):
            if not callable(one):
                raise check.refuse(name, one, "a function")
        with self._lock:
            self.cancel()
            self.sweeps, self._values, self._render = list(sweeps), values, render
            self.tracks = [one.as_json() for one in sweeps]

    def sweep(self, name: str) -> None:
        """Draw and send the range of this control, in the background: what the page asks for. See `wait`."""
        known = {one.name: one for one in self.sweeps}
        if name not in known:
            raise ValueError(f"no sweep {name!r}{check.suggest(name, known)}; there are: {', '.join(known) or 'none'}")
        values = dict(self._values())
        with self._lock:
            if not self._closed:
                keys = [self._key(values | {name: value}) for value in known[name].values]
                self._sweeper.start(known[name], values, keys, self._state(values), self._render)

    def cancel(self) -> None:
        """End the sweep that is under way; frames already sent stay on the page."""
        self._sweeper.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no sweep is being drawn; False where it takes longer than `timeout` seconds."""
        return self._sweeper.wait(None if timeout is None else check.number("timeout", timeout, 0))

    def forget(self) -> None:
        """Whatever was drawn before no longer holds, here and on the page; the picture shown stays."""
        with self._lock:
            self._sweeper.forget()
            self._look += 1
            self.send({"kind": "forget"})
            if self.picture:  # what is shown now belongs to the new look
                self._seq += 1
                now = {"seq": self._seq, "key": self._key(self._shown), **self._state(self._shown)}
                self.picture = {**self.picture, **now}

    def _failed(self, error: Exception) -> None:
        """An error in drawing a sweep, in its thread: nobody but the guard would see it."""

        def tell() -> None:
            raise error

        try:
            self.guard(tell)
        except Exception as told:
            self.log.warning("a sweep failed: %s: %s", type(told).__name__, told)

    # ---------------------------------------------------------------------------------------------------- pointing
    def on_click(self, callback: Callable[[Click], None], remove: bool = False) -> None:
        """Call this with a `Click` whenever a reader clicks in a region; remove: no longer."""
        _register(self._clicked, callback, remove)

    def on_drag(self, callback: Callable[[Drag], None], remove: bool = False) -> None:
        """Call this with a `Drag` while a reader drags a handle; remove: no longer."""
        _register(self._dragged, callback, remove)

    def _receive(self, content: Any, buffers: Any) -> None:
        """A message of the page. What is none of ours is passed over."""
        kind = content.get("kind") if isinstance(content, Mapping) else None
        if kind == "sweep" and content.get("name") in [one.name for one in self.sweeps]:
            self.guard(lambda: self.sweep(content["name"]))
        elif kind == "want":
            self.guard(lambda: self._draw_again(content.get("seq")))
        elif kind == "ready":
            # The kernel routes what a page says to the thread that has answered it last. An answer to this message,
            # which JupyterLab has sent for a subshell, keeps the main thread, where cells run, out of what follows.
            self.send({"kind": "ready"})
        elif kind in ("click", "drag"):
            try:
                event = _event(kind, content)
            except (KeyError, ValueError):
                return
            try:
                for callback in list(self._clicked if kind == "click" else self._dragged):
                    self.guard(lambda callback=callback: callback(event))
            finally:
                if kind == "drag":  # the page sends the next one, the newest, after this
                    self.send({"kind": "ack"})

    # ---------------------------------------------------------------------------------------------------- notebook
    def __repr__(self) -> str:
        frame = self.frame
        return frame.text if frame else "A screen without a picture."

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        made = super()._repr_mimebundle_(**kwargs)
        frame = self.frame
        if made is not None and frame is not None:
            data, metadata = made if isinstance(made, tuple) else (made, {})
            data["image/png"] = base64.b64encode(frame.png).decode("ascii")
            made = data, {**metadata, "image/png": {"alt": frame.text, "width": round(self.size[0])}}
        return made

    def close(self) -> None:
        """Take it off the page; a sweep that is under way ends with its present picture."""
        if self._closed:
            return
        with self._lock:
            self._closed, self._frame = True, None
            self._sweeper.forget()
            self._clicked.clear()
            self._dragged.clear()
        self._values, self._render, self.sweeps = dict, None, []
        layout = self.layout
        super().close()
        self.unobserve_all()
        layout.close()


def _register(callbacks: list[Any], callback: Any, remove: bool) -> None:
    if not callable(callback):
        raise check.refuse("callback", callback, "a function of one event")
    if check.flag("remove", remove):
        callbacks[:] = [one for one in callbacks if one != callback]
    else:
        callbacks.append(callback)


def _event(kind: str, content: Mapping[str, Any]) -> Click | Drag:
    x, y = check.number("x", content["x"]), check.number("y", content["y"])
    if kind == "drag":
        return Drag(check.text("name", content["name"]), x, y, check.flag("done", content["done"]))
    point = content.get("point")
    region = check.whole("region", content["region"])
    return Click(x, y, region, None if point is None else check.whole("point", point))
