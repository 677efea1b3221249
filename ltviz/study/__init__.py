"""The pieces that every chapter is built from: header card, prediction gate, exercise, self-check, computed sentences.

Each piece works three ways: live in JupyterLab, headless (nothing waits for a reader), and as a static page, because a
picture or HTML and a plain sentence always travel with the widget.
"""

from .cards import Card, chapter, course, say
from .classroom import class_table
from .exercise import Case, Claim, Exercise, Result
from .kinds import Axes
from .photographs import BatchPhotographs, Photographs, batch_photographs, photographs
from .predict import Predict
from .progress import export_progress
from .quiz import Question, Quiz
from .runs import claims_table, comparison, difference, recorded, redecide

__all__ = [
    "Axes",
    "BatchPhotographs",
    "Card",
    "Case",
    "Claim",
    "Exercise",
    "Photographs",
    "Predict",
    "Question",
    "Quiz",
    "Result",
    "batch_photographs",
    "chapter",
    "claims_table",
    "class_table",
    "comparison",
    "course",
    "difference",
    "export_progress",
    "photographs",
    "recorded",
    "redecide",
    "say",
]
