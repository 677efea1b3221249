"""Tuning with Optuna: which settings, of one method or several, do best on the validation images.

space     what is tuned, from each method's settings: ranges, scales, choices, conditions
trial     one setting trained under paired seeds, and judged on the validation images alone
storage   where a study is kept: SQLite, a database server, or a journal file
sampler   Optuna's samplers and pruners by name, seeded trial by trial
study     what workers share: who has which trial, and what becomes of one whose worker was killed
tune      tune, and the Tuning that it gives
"""

from .storage import StorageLost
from .tune import Tuning, standing, tune

__all__ = ["StorageLost", "Tuning", "standing", "tune"]
