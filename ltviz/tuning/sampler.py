"""Optuna's samplers and pruners by name. Each trial of a sampler named here has a seed of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from .. import check

STARTUP = 10  # trials drawn at random before the tree-structured Parzen estimator chooses


def _tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator: settings with conditions in groups, and trials under way taken for poor ones,
    so that workers do not all try the same."""
    return optuna.samplers.TPESampler(
        n_startup_trials=STARTUP, seed=seed, multivariate=True, group=True, constant_liar=True
    )


SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP),
}


class Seeded(BaseSampler):
    """A sampler that is made anew for each trial, seeded by the trial's number.

    So a study that is taken up again draws what it would have drawn, and workers that share one draw differently.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self.make, self.seed, self.inner = make, seed, make(seed)

    def reseed_rng(self) -> None:
        pass

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.inner = self.make((self.seed * 100_003 + trial.number) % 2**32)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self.inner.sample_independent(study, trial, name, distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self.inner.after_trial(study, trial, state, values)


def make_sampler(sampler: Any, seed: int) -> BaseSampler:
    """A sampler by name (None: "tpe"), or one of Optuna's own as it is. ValueError for anything else."""
    if isinstance(sampler, BaseSampler):
        return sampler
    name = check.choice("sampler", "tpe" if sampler is None else sampler, SAMPLERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return Seeded(SAMPLERS[name], seed)


def make_pruner(pruner: Any, epochs: int) -> BasePruner:
    """A pruner by name (None: "median"), or one of Optuna's own as it is. ValueError for anything else.

    "median" ends a trial that is worse, after a third of the epochs, than half of the others were there; "none" none.
    """
    if isinstance(pruner, BasePruner):
        return pruner
    name = check.choice("pruner", "median" if pruner is None else pruner, ("median", "hyperband", "none"))
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(epochs // 9, 1), max_resource=epochs)
    return optuna.pruners.NopPruner()
