"""The prediction gate: commit to an answer first, look afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import check
from . import progress
from .answer import Answer
from .cards import Card, Panel, box, fold, heading, inline, plain, prose, sentence, show
from .kinds import Axes, Choice, Curve, Number, Order

COMMIT, CHANGE = "Commit to this answer", "Change my answer"
LABEL = "PREDICT BEFORE YOU LOOK"


class Predict(Panel):
    """A question to answer before the figure is shown. Give exactly one of choices, order, number, curve.

    question   what is asked
    choices    answers to choose from
    order      items to be put in order, first to last, by dragging or with the arrow keys
    number     (low, high) or (low, high, step), asked for on a slider with a number box
    curve      `study.Axes`: a curve is drawn on them, with the mouse, a finger or the arrow keys
    default    the answer taken where nobody is there to ask: headless runs and static pages; a plausible guess, not
               necessarily a right one (default: the first choice, the order as given, the middle of the range)
    unit       of a number or of a curve's values, shown behind it

    Display it in one cell and call `reveal` in the next: what `reveal` is given stays hidden until the reader commits.
    `commit(answer)` does the same from code; `reopen()` lets the reader change the answer. Raises ValueError for an
    answer that is not possible.
    """

    def __init__(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        order: Sequence[str] | None = None,
        number: Sequence[float] | None = None,
        curve: Axes | None = None,
        default: Any = None,
        unit: str = "",
    ):
        asked = {"choices": choices, "order": order, "number": number, "curve": curve}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(asked)}; given: {', '.join(given) or 'none'}")
        self.question, self.kind = check.text("question", question), given[0]
        self.unit = check.text("unit", unit) if unit != "" else ""
        asked_for = asked[self.kind]
        self.asks = {"choices": lambda: Choice(asked_for), "order": lambda: Order(asked_for),
                     "number": lambda: Number(asked_for, self.unit), "curve": lambda: Curve(asked_for, self.unit),
                     }[self.kind]()  # fmt: skip
        self.default = self.asks.check("default", self.asks.guess if default is None else default)
        self.answer: Any = None
        self.previous: Any = None
        self._reveals: list[Reveal] = []
        self._kept = progress.card("prediction", plain(self.question), repr(asked_for))
        self.control = Answer(self.asks.page, self.asks.spec(), heading(LABEL, question, "predict"), "predict",
                              button=COMMIT)  # fmt: skip
        self.control.on_press(self._pressed)
        super().__init__([self.control])

    @property
    def committed(self) -> bool:
        """Whether the reader has answered."""
        return self.answer is not None

    @property
    def options(self) -> tuple[str, ...]:
        """The answers to choose from, or the items to put in order."""
        return getattr(self.asks, "options", ())

    def commit(self, answer: Any = None) -> None:
        """Take this answer (None: what the reader has chosen so far, else the default) and open the gate.

        A second answer is compared with the first in what is revealed.
        """
        if answer is None:
            answer = self.control.value
        own = answer is not None
        found = self.asks.check("answer", answer if own else self.default)
        self.previous, self.answer = self.answer, found
        self.control.value = list(found) if isinstance(found, tuple) else found
        self.control.before, self.control.locked, self.control.button = None, True, CHANGE
        unkept = self._kept.answered(plain(self.asks.shown(found))) if own else ""
        where = "The answer is open below." if self._reveals else "Now run the next cell, which has the answer."
        self._say(f"<b>Committed:</b> {inline(self.asks.shown(found))}. {where}", unkept)
        for reveal in self._reveals:
            reveal.unlock()

    def reopen(self) -> None:
        """Open the card again; the old answer stays beside the new one as a faint mark. The figure stays open."""
        if not self.committed:
            return
        self.control.before, self.control.locked, self.control.button = self.control.value, False, COMMIT
        self._say(f"Your answer so far: <b>{inline(self.asks.shown(self.answer))}</b>. Change it, then commit again; "
                  "the result compares the two.")  # fmt: skip

    def reveal(self, content: Any, *, truth: Any, because: str = "", tolerance: float | None = None) -> Reveal:
        """What is shown once the reader has committed, and how their answer compares with `truth`.

        content    a picture, a card, a table, a text, or a list of these
        truth      the answer that the data gives; compute it in the cell, do not type it in
        because    one or two sentences on why
        tolerance  how far off a number, or a curve on average, may be to count as right (default: 5% of the range)
        """
        because = check.text("because", because) if because != "" else ""
        tolerance = None if tolerance is None else check.number("tolerance", tolerance, 0)
        reveal = Reveal(self, content, self.asks.check("truth", truth), because, tolerance)
        self._reveals = [reveal]  # a cell that is run again replaces what it revealed before
        if self.committed:
            reveal.unlock()
        return reveal

    def shown(self, answer: Any) -> str:
        """An answer in words."""
        return self.asks.shown(self.asks.check("answer", answer))

    def compare(self, answer: Any, truth: Any, tolerance: float | None = None) -> tuple[bool, str]:
        """Whether an answer agrees with the truth, and a sentence that says how far it is off."""
        found = self.asks.compare(self.asks.check("answer", answer), self.asks.check("truth", truth), tolerance)
        return found.agrees, found.how

    def static(self) -> Card:
        body, lines = self.asks.static()
        body += "<div><i>Run this notebook to commit to your own answer before the answer below opens.</i></div>"
        text = "\n".join(["Predict: " + plain(self.question), *lines])
        return Card(box("predict", LABEL, self.question, body), text)

    def _pressed(self, answer: Any) -> None:
        """The button: what the page sends is a reader's, or a stranger's."""
        if self.control.locked:
            return self.reopen()
        try:
            self.commit(answer)
        except ValueError:
            self._say("That is not a possible answer: choose one, then commit.")

    def _say(self, *lines: str) -> None:
        self.control.said = "".join(f"<div>{line}</div>" for line in lines if line)


class Reveal(Panel):
    """The hidden half of a prediction. Static pages keep it folded, with the default answer as the guess."""

    def __init__(self, gate: Predict, content: Any, truth: Any, because: str, tolerance: float | None):
        self.gate, self.truth, self.because, self.tolerance = gate, truth, because, tolerance
        self.content_html, self.content_text = show(content), sentence(content)
        self.figure, self.verdict = prose(""), prose("")
        self.figure.value = box("note", "CLOSED", "", "Commit to an answer above: then this opens.")
        self.drawing: Answer | None = None
        super().__init__([self.figure, self.verdict])

    def unlock(self) -> None:
        """Show the content and compare it with the reader's answer, and with the one before."""
        gate = self.gate
        self.figure.value = self.content_html
        self.verdict.value = self._verdict(gate.answer, "You said", gate.previous)[0]
        gate._kept.judged(self._compared(gate.answer).agrees)
        if gate.kind == "curve":
            self._draw()

    def _draw(self) -> None:
        """The true curve over the reader's, on the axes that the reader drew on."""
        answer, earlier = self.gate.answer, self.gate.previous
        if self.drawing is None:
            head = heading("YOUR CURVE AND THE DATA'S", "", "note")
            self.drawing = Answer("curve", self.gate.asks.spec(), head, "note", locked=True, truth=self.truth)
            self.children = (self.figure, self.drawing, self.verdict)
        self.drawing.earlier, self.drawing.value = earlier, answer

    def _compared(self, answer: Any) -> Any:
        return self.gate.asks.compare(answer, self.truth, self.tolerance)

    def _verdict(self, answer: Any, who: str, previous: Any = None) -> tuple[str, str]:
        asks, found = self.gate.asks, self._compared(answer)
        lines = [f"{who}: **{asks.shown(answer)}**. The answer: **{asks.shown(self.truth)}**. {found.how}".strip()]
        if previous is not None:
            lines.append(self._change(previous, answer))
        lines += [self.because] if self.because else []
        body = "".join(f'<div style="margin:.2em 0">{inline(line)}</div>' for line in lines)
        label = "AS PREDICTED" if found.agrees else "A SURPRISE"
        return box("right" if found.agrees else "predict", label, "", body), "\n".join(map(plain, lines))

    def _change(self, previous: Any, answer: Any) -> str:
        """Old and new answer in one sentence."""
        if previous == answer:
            return "You kept your answer."
        old, new = self._compared(previous), self._compared(answer)
        nearer = "closer to" if new.off < old.off else "farther from" if new.off > old.off else "no closer to"
        return f"Before that you said: **{self.gate.asks.shown(previous)}**. The new answer is {nearer} the data."

    def static(self) -> Card:
        answered = self.gate.committed
        answer, who = (self.gate.answer, "You said") if answered else (self.gate.default, "An example guess")
        page, text = self._verdict(answer, who)
        html = fold("Answer first; then open this", f"<div>{self.content_html}</div>{page}")
        return Card(html, f"{self.content_text}\n{text}" if answered else "Folded: answer the question above first.")
