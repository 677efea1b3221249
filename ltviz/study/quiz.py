"""The self-check at the end of a chapter: every answer, right or wrong, gets a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets

from .. import check
from . import progress
from .answer import Answer
from .cards import Card, Panel, box, fold, heading, image, inline, plain, safe
from .kinds import Choice


@dataclass(frozen=True)
class Question:
    """One item. options maps each answer to its feedback; right is one of them; pictures go with "which plot?" items.

    pictures maps a label ("A", "B") to a picture. Raises ValueError where `right` is not an option.
    """

    text: str
    options: Mapping[str, str]
    right: str
    pictures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        check.text("text", self.text)
        if not isinstance(self.options, Mapping):
            raise check.refuse("options", self.options, "a dict: answer -> its feedback")
        for option, reason in self.options.items():
            check.text("options", option)
            check.text(f"options[{option!r}]", reason) if reason != "" else None
        if not isinstance(self.right, str) or self.right not in self.options:
            raise ValueError(f"right must be one of {list(self.options)}, not {check.shown(self.right)}")
        if len(self.options) < 2:
            raise ValueError(f"options: a question needs at least two options: {self.text!r}")
        if not isinstance(self.pictures, Mapping):
            raise check.refuse("pictures", self.pictures, "a dict: label -> picture")
        for label, picture in self.pictures.items():
            if not hasattr(picture, "_repr_png_"):
                raise check.refuse(f"pictures[{label!r}]", picture, "a picture: what plot_* returns")

    def gallery(self) -> str:
        """HTML of the pictures side by side, each under its label."""
        cells = "".join(
            f'<figure style="display:inline-block;margin:.3em;vertical-align:top;max-width:48%">'
            f"<figcaption><b>{safe(label)}</b></figcaption>{image(picture)}</figure>"
            for label, picture in self.pictures.items()
        )
        return f"<div>{cells}</div>" if cells else ""

    def feedback(self, option: str) -> tuple[bool, str]:
        """Whether an option is right, and its reason."""
        return option == self.right, self.options[option]


class Quiz(Panel):
    """Questions with an answer each; feedback appears as soon as one is chosen, and a score below.

    `answer(i, option)` does from code what a click does; `score` is the number of right answers.
    """

    def __init__(self, questions: Sequence[Question]):
        if not isinstance(questions, (list, tuple)) or not all(isinstance(one, Question) for one in questions):
            raise check.refuse("questions", questions, "a list of study.Question")
        self.questions = tuple(questions)
        if not self.questions:
            raise ValueError("questions: a quiz needs at least one question")
        self._kept = [progress.card("question", plain(one.text), f"{i} {list(one.options)}")
                      for i, one in enumerate(self.questions)]  # fmt: skip
        self.cards = []
        for i, question in enumerate(self.questions):
            head = heading(self._label(i), question.text, "check") + question.gallery()
            card = Answer("choice", Choice(list(question.options)).spec(), head, "check")
            card.observe(lambda change, i=i: self._answered(i), names="value")
            self.cards.append(card)
        self._score = widgets.HTML(self._score_text())
        super().__init__([*self.cards, self._score])

    def _label(self, i: int) -> str:
        return f"QUESTION {i + 1} OF {len(self.questions)}"

    def answer(self, i: int, option: str) -> None:
        """Choose an option of question i (from 0)."""
        i = check.whole("i", i, 0, len(self.questions) - 1)
        self.cards[i].value = check.choice("option", option, self.questions[i].options)

    @property
    def answers(self) -> tuple[str | None, ...]:
        """The options chosen so far."""
        return tuple(card.value if isinstance(card.value, str) and card.value in question.options else None
                     for card, question in zip(self.cards, self.questions, strict=True))  # fmt: skip

    @property
    def score(self) -> int:
        """How many answers are right."""
        return sum(a == q.right for a, q in zip(self.answers, self.questions, strict=True))

    def _answered(self, i: int) -> None:
        option = self.answers[i]
        if option is None:
            return
        right, reason = self.questions[i].feedback(option)
        kind, label = ("right", "✓ RIGHT") if right else ("wrong", "✗ NOT QUITE")
        unkept = self._kept[i].answered(plain(option), right)
        self.cards[i].said = box(kind, label, "", inline(reason) + (f"<div>{safe(unkept)}</div>" if unkept else ""))
        self._score.value = self._score_text()

    def _score_text(self) -> str:
        done = sum(a is not None for a in self.answers)
        return f"<b>{self.score} of {len(self.questions)} right</b> ({done} answered)"

    def static(self) -> Card:
        parts, lines = [], []
        for i, question in enumerate(self.questions):
            options = "".join(f"<li>{inline(option)}</li>" for option in question.options)
            answers = "".join(
                f"<div><b>{'✓' if option == question.right else '✗'} {inline(option)}</b>: {inline(reason)}</div>"
                for option, reason in question.options.items()
            )
            body = question.gallery() + f'<ul style="margin:.2em 0">{options}</ul>' + fold("Answer", answers)
            parts.append(box("check", self._label(i), question.text, body))
            lines += [f"{i + 1}. {plain(question.text)}", *(f"   - {plain(option)}" for option in question.options)]
        return Card("".join(parts), "\n".join(lines))
