"""The prediction gate: commit to an answer first, look afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from .. import check
from .cards import COLOURS, Card, Panel, box, bullets, inline, plain, prose, sentence, show, texts


class Predict(Panel):
    """A question to answer before the figure is shown. Give exactly one of choices, order, number.

    question   what is asked
    choices    answers to choose from
    order      items to be put in order, first to last
    number     (low, high) or (low, high, step), asked for on a slider with a number box
    default    the answer taken where nobody is there to ask: headless runs and static pages; a plausible guess, not
               necessarily a right one (default: the first choice, the order as given, the middle of the range)
    unit       of a number, shown behind it

    Display it in one cell and call `reveal` in the next: what `reveal` is given stays hidden until the reader commits.
    `commit(answer)` does the same from code. Raises ValueError for an answer that is not possible.
    """

    def __init__(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        order: Sequence[str] | None = None,
        number: Sequence[float] | None = None,
        default: Any = None,
        unit: str = "",
    ):
        asked = {"choices": choices, "order": order, "number": number}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of choices, order, number; given: {', '.join(given) or 'none'}")
        self.question, self.kind = check.text("question", question), given[0]
        self.unit = check.text("unit", unit) if unit != "" else ""
        self.options = () if self.kind == "number" else _options(self.kind, asked[self.kind])
        self.range = _range(number) if self.kind == "number" else ()
        self.answer: Any = None
        self._reveals: list[Reveal] = []
        middle = sum(self.range[:2]) / 2 if self.range else None
        guess = default if default is not None else {"choices": self.options[:1], "order": [self.options]}.get(
            self.kind, [middle]
        )[0]
        self.default = self._check(guess)
        self.control = {"choices": _Choice, "order": _Order, "number": _Number}[self.kind](self)
        self.button = widgets.Button(
            description="Commit to this answer",
            tooltip="Commit to this answer; the figure below is then shown",
            button_style="primary",
            disabled=self.control.value is None,
            layout=widgets.Layout(width="auto"),
        )
        self.status = widgets.HTML()
        self.control.on_change(self._ready)
        self.button.on_click(lambda _: self.commit())
        question_box = prose(box("predict", "PREDICT BEFORE YOU LOOK", question, ""))
        super().__init__([question_box, self.control.widget, widgets.HBox([self.button, self.status])])

    @property
    def committed(self) -> bool:
        """Whether the reader has answered."""
        return self.answer is not None

    def commit(self, answer: Any = None) -> None:
        """Take this answer (None: what the control shows, or the default where nothing is chosen) and open the gate."""
        if answer is None:
            answer = self.control.value if self.control.value is not None else self.default
        self.answer = self._check(answer)
        self.button.description = "Change my answer"
        self.status.value = f"<b>Committed:</b> {inline(self.shown(self.answer))}. The figure is open below."
        for reveal in self._reveals:
            reveal.unlock()

    def reveal(self, content: Any, *, truth: Any, because: str = "", tolerance: float | None = None) -> Reveal:
        """What is shown once the reader has committed, and how their answer compares with `truth`.

        content    a picture, a card, a table, a text, or a list of these
        truth      the answer that the data gives; compute it in the cell, do not type it in
        because    one or two sentences on why
        tolerance  how far off a number may be to count as right (default: 5 % of the range)
        """
        because = check.text("because", because) if because != "" else ""
        tolerance = None if tolerance is None else check.number("tolerance", tolerance, 0)
        reveal = Reveal(self, content, self._check(truth), because, tolerance)
        self._reveals = [reveal]  # a cell that is run again replaces what it revealed before
        if self.committed:
            reveal.unlock()
        return reveal

    def shown(self, answer: Any) -> str:
        """An answer in words."""
        if self.kind == "order":
            return " → ".join(answer)
        if self.kind == "number":
            return (f"{answer:,.0f}" if abs(answer) >= 1000 else f"{answer:.3g}") + self.unit
        return str(answer)

    def compare(self, answer: Any, truth: Any, tolerance: float | None = None) -> tuple[bool, str]:
        """Whether an answer agrees with the truth, and a sentence that says how far it is off."""
        if self.kind == "order":
            rank = {item: i for i, item in enumerate(truth)}
            pairs = list(itertools.combinations(answer, 2))
            good = sum(rank[a] < rank[b] for a, b in pairs)
            return good == len(pairs), f"{good} of {len(pairs)} pairs are in the right order."
        if self.kind == "number":
            low, high = self.range[:2]
            allowed = 0.05 * (high - low) if tolerance is None else tolerance
            off = answer - truth
            side = "high" if off > 0 else "low"
            close = abs(off) <= allowed + 1e-12
            return close, "Close enough." if close else f"{abs(off):.3g} too {side}."
        return answer == truth, "Right." if answer == truth else "Not what the data says."

    def static(self) -> Card:
        if self.kind == "number":
            body = inline(f"A number from {self.range[0]:g} to {self.shown(self.range[1])}.")
            lines = [plain(body)]
        else:
            lines = [f"- {plain(option)}" for option in self.options]
            body = ("Put in order:" if self.kind == "order" else "") + bullets(self.options)
        body += "<div><i>Run this notebook to commit to your own answer before the figure below opens.</i></div>"
        return Card(
            box("predict", "PREDICT BEFORE YOU LOOK", self.question, body),
            "\n".join(["Predict: " + plain(self.question), *lines]),
        )

    def _ready(self) -> None:
        self.button.disabled = self.control.value is None

    def _check(self, answer: Any) -> Any:
        if self.kind == "number":
            low, high = self.range[:2]
            try:
                return check.number("answer", answer, low, high)
            except ValueError:
                raise check.refuse("answer", answer, f"a number from {low:g} to {high:g}") from None
        if self.kind == "order":
            items = tuple(answer) if isinstance(answer, (list, tuple)) else ()
            if not all(isinstance(item, str) for item in items) or sorted(items) != sorted(self.options):
                raise check.refuse("answer", answer, f"an order of {list(self.options)}")
            return items
        if not isinstance(answer, str) or answer not in self.options:
            raise check.refuse("answer", answer, f"one of {list(self.options)}")
        return answer


def _options(name: str, given: Any) -> tuple[str, ...]:
    options = texts(name, given, least=2)
    if len(set(map(plain, options))) < len(options):
        raise check.refuse(name, given, "texts that differ")
    return options


def _range(given: Any) -> tuple[float, ...]:
    expected = "(low, high) or (low, high, step), with low < high and step > 0"
    if not isinstance(given, (list, tuple)) or len(given) not in (2, 3):
        raise check.refuse("number", given, expected)
    found = tuple(check.number("number", value) for value in given)
    if not found[0] < found[1] or not all(step > 0 for step in found[2:]):
        raise check.refuse("number", given, expected)
    return found


class Reveal(Panel):
    """The hidden half of a prediction. Static pages show it open, with the default answer as the guess."""

    def __init__(self, gate: Predict, content: Any, truth: Any, because: str, tolerance: float | None):
        self.gate, self.truth, self.because, self.tolerance = gate, truth, because, tolerance
        self.content_html, self.content_text = show(content), sentence(content)
        self.figure, self.verdict = prose(""), prose("")
        closed = "Commit to an answer above: the figure opens here."
        self.figure.value = box("note", "CLOSED", "", closed)
        super().__init__([self.figure, self.verdict])

    def unlock(self) -> None:
        """Show the content and compare it with the reader's answer."""
        self.figure.value = self.content_html
        self.verdict.value = self._verdict(self.gate.answer, "You said")[0]

    def _verdict(self, answer: Any, who: str) -> tuple[str, str]:
        agrees, how = self.gate.compare(answer, self.truth, self.tolerance)
        lines = [
            f"{who}: **{self.gate.shown(answer)}**. The data says: **{self.gate.shown(self.truth)}**. {how}",
            *([self.because] if self.because else []),
        ]
        body = "".join(f'<div style="margin:.2em 0">{inline(line)}</div>' for line in lines)
        label = "AS PREDICTED" if agrees else "A SURPRISE"
        return box("right" if agrees else "predict", label, "", body), "\n".join(map(plain, lines))

    def static(self) -> Card:
        if self.gate.committed:
            page, text = self._verdict(self.gate.answer, "You said")
        else:
            page, text = self._verdict(self.gate.default, "An example guess")
        return Card(f"<div>{self.content_html}</div>{page}", f"{self.content_text}\n{text}")


class _Choice:
    def __init__(self, gate: Predict):
        self._radio = widgets.RadioButtons(
            options=[(plain(option), option) for option in gate.options],
            value=None,
            description="",
            layout=widgets.Layout(width="auto", max_width="54em"),
        )
        self.widget = self._radio

    @property
    def value(self) -> str | None:
        return self._radio.value

    def on_change(self, callback: Any) -> None:
        self._radio.observe(lambda _: callback(), names="value")


class _Number:
    def __init__(self, gate: Predict):
        low, high = gate.range[:2]
        step = gate.range[2] if len(gate.range) > 2 else (high - low) / 100
        self.slider = widgets.FloatSlider(
            value=sum(gate.range[:2]) / 2, min=low, max=high, step=step, readout=False, description="",
            layout=widgets.Layout(width="24em"),
        )  # fmt: skip
        self.box = widgets.BoundedFloatText(
            value=self.slider.value, min=low, max=high, step=step, description="Your answer",
            style={"description_width": "initial"}, layout=widgets.Layout(width="14em"),
        )  # fmt: skip
        self._link = widgets.link((self.slider, "value"), (self.box, "value"))
        self.widget = widgets.HBox([self.slider, self.box, widgets.Label(gate.unit)])

    @property
    def value(self) -> float:
        return self.slider.value

    def on_change(self, callback: Any) -> None:
        self.slider.observe(lambda _: callback(), names="value")


class _Order:
    """One row an item, with buttons that swap it with its neighbour (usable by keyboard, unlike dragging)."""

    def __init__(self, gate: Predict):
        self._items = list(gate.options)
        self._labels = [widgets.Label(layout=widgets.Layout(width="26em")) for _ in self._items]
        rows = []
        for i, label in enumerate(self._labels):
            buttons = [self._button("▲", "up", i, i - 1), self._button("▼", "down", i, i + 1)]
            edge = f"3px solid {COLOURS['predict']}"
            rows.append(widgets.HBox([label, *buttons], layout=widgets.Layout(border_left=edge, padding="0 0 0 .6em")))
        self.widget = widgets.VBox([widgets.HTML("<i>First on top. Use the buttons to move a line.</i>"), *rows])
        self._callbacks: list[Any] = []
        self._draw()

    def _button(self, glyph: str, word: str, i: int, j: int) -> widgets.Button:
        button = widgets.Button(
            description=glyph,
            tooltip=f"Move line {i + 1} {word}",
            disabled=not 0 <= j < len(self._items),
            layout=widgets.Layout(width="2.6em"),
        )
        button.on_click(lambda _: self.swap(i, j))
        return button

    def swap(self, i: int, j: int) -> None:
        self._items[i], self._items[j] = self._items[j], self._items[i]
        self._draw()
        for callback in self._callbacks:
            callback()

    def _draw(self) -> None:
        for i, (label, item) in enumerate(zip(self._labels, self._items, strict=True)):
            label.value = f"{i + 1}. {plain(item)}"

    @property
    def value(self) -> tuple[str, ...]:
        return tuple(self._items)

    def on_change(self, callback: Any) -> None:
        self._callbacks.append(callback)
