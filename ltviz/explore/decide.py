"""What the post-hoc rules of METHODS make of a trained network: decisions, and their accuracy under any prior."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .. import metrics
from ..functional import log_prior, safe_norm
from ..methods import METHODS
from ..methods.logit_adjustment import subtract_prior
from ..methods.tau_norm import STRAY, not_its_head, strays
from ..objective import Method
from ..run import Run

GROUPS = ("all", "head", "mid", "tail")
NAMES = {("logit_adjusted", "tau"): "prior"}  # of controls, where two papers use one letter
PART = 2**18  # scores that are looked at together: they stay in the processor's cache


@dataclass(frozen=True)
class Rule:
    """A post-hoc rule, the settings under which it changes nothing, and the control that each setting has."""

    method: Method
    neutral: dict[str, Any]
    names: dict[str, str]

    def asked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Its settings, from the values of the controls."""
        return {setting: values[name] for setting, name in self.names.items()}

    def words(self, settings: dict[str, Any]) -> str:
        written = {name: f"{value:g}" if isinstance(value, float) else value for name, value in settings.items()}
        told = (f"{self.method.settings[name].symbol or name} = {value}" for name, value in written.items())
        return f"{self.method.title[:1].lower()}{self.method.title[1:]} ({', '.join(told)})"


@dataclass(frozen=True)
class Scores:
    """Scores rows_ij scale_j + shift_j (n, k), made a part at a time, so that no second copy of the rows is needed.

    rows (n, k): logits, or products of features and classifier; scale (k,) float32, or None for 1; shifts: (k,) float32
    each, added one after another, as the rules do, so that equal scores stay equal.
    """

    rows: np.ndarray
    scale: np.ndarray | None = None
    shifts: tuple[np.ndarray, ...] = ()

    def _parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        n, k = self.rows.shape
        step = max(PART // k, 1)
        room = np.empty((step, k), np.float32)
        for part in (slice(first, min(first + step, n)) for first in range(0, n, step)):
            one = room[: part.stop - part.start]
            np.multiply(self.rows[part], np.float32(1) if self.scale is None else self.scale, out=one)
            for shift in self.shifts:
                np.add(one, shift, out=one)
            yield part, one

    def best(self) -> np.ndarray:
        """The class of the highest score in each row (n,), of equal ones the first."""
        found = np.empty(len(self.rows), np.int64)
        for part, one in self._parts():
            found[part] = one.argmax(1)
        return found

    def whole(self) -> torch.Tensor:
        """All of them at once (n, k)."""
        found = np.empty(self.rows.shape, np.float32)
        for part, one in self._parts():
            found[part] = one
        return torch.from_numpy(found)

    def shifted(self, by: np.ndarray) -> Scores:
        return replace(self, shifts=(*self.shifts, by))


@dataclass(frozen=True)
class Decision:
    """What the rules decide.

    decided (n,)           class of each test image, in the order of `Rules.numbers`
    confusion (k, k), per_class (k,), groups (4,)   images, accuracy of each class, mean over each of `GROUPS`
    power                  the prior at deployment: training images to this power
    occurs, answered (k,)  how often each class occurs there and is answered; deployed: the accuracy there
    best                   (tau of logit adjustment alone with the highest accuracy there, that accuracy), or None
    words                  which rules have changed something
    """

    decided: np.ndarray
    confusion: np.ndarray
    per_class: np.ndarray
    groups: np.ndarray
    power: float
    occurs: np.ndarray
    answered: np.ndarray
    deployed: float
    best: tuple[float, float] | None
    words: str


class Rules:
    """The rules that start from the trained network, and what they decide for its test images.

    taken: names of controls that no setting of a rule may have. numbers (n,): the test images, sorted by true class.
    taus (m,): where to look for the best tau of logit adjustment, rising; empty for nowhere.
    """

    taus = np.zeros(0)

    def __init__(self, run: Run, taken: tuple[str, ...] = ()):
        self.run, self.k = run, run.k
        self.counts = torch.from_numpy(run.counts)
        self.numbers = np.argsort(run.targets, kind="stable")
        self.targets = run.targets[self.numbers]
        self.masks = {"all": np.ones(run.k, bool)} | metrics.third_groups(run.counts)
        self.rules = list(self._find(set(taken)))
        self.no_lengths = ""  # why tau-normalisation is not among the rules, where it might have been
        if any(rule.method.key == "tau_norm" for rule in self.rules):
            self.products, self.bias = self._multiply()
            own = Scores(self.products, None, (self.bias,)).best()
            if (wrong := self._strays(own)) > STRAY:
                self.no_lengths = not_its_head(wrong)
                self.rules = [rule for rule in self.rules if rule.method.key != "tau_norm"]
            length = safe_norm(torch.from_numpy(run.head_weight)).numpy()
            self.lengths = np.where(length > 0, length, np.float32(1))  # (k,), as tau-normalisation divides by them

    def _multiply(self) -> tuple[np.ndarray, np.ndarray]:
        """W f of every test image (n, k) float32, and the bias (k,): the run's, or what its logits have beyond W f.

        Tau-normalisation divides the products by a power of a length, and a slider needs no other for its next step.
        """
        run, products = self.run, np.empty(self.run.logits.shape, np.float32)
        weight, bias = torch.from_numpy(run.head_weight.astype(np.float32)), np.zeros(self.k)
        step = max(16 * PART // run.features.shape[1], 1)  # a product of fewer rows takes twice as long
        for part in (slice(first, first + step) for first in range(0, len(products), step)):
            features = torch.from_numpy(run.features[part].astype(np.float32))
            torch.mm(features, weight.T, out=torch.from_numpy(products[part]))
            bias += (run.logits[part] - products[part]).sum(0, dtype=np.float64)
        known = run.kept(slice(0)).head_bias
        return products, (bias / max(len(products), 1)).astype(np.float32) if known is None else known.numpy()

    def _strays(self, answers: np.ndarray) -> float:
        """The share of images for which the logits clearly prefer another class to the answer (n,)."""
        differ = np.flatnonzero(answers != Scores(self.run.logits).best())
        logits = torch.from_numpy(self.run.logits[differ].astype(np.float32))
        return strays(logits, torch.from_numpy(answers[differ])) * len(differ) / max(len(answers), 1)

    def _find(self, taken: set[str]) -> Iterator[Rule]:
        """Rules that decide from the features first, then those that go on from the logits."""
        found = []
        for method in METHODS.values():
            neutral = next((dict(limit.settings) for limit in method.limits if limit.other == "ce"), None)
            if method.posthoc is None or neutral is None:
                continue
            no_length = self.run.scale is not None or self.run.head_weight is None  # a cosine head's rows have none
            if no_length and self._reads("head_weight", method, neutral):
                continue
            if self.run.features is None and self._reads("features", method, neutral):
                continue
            found.append((method, {**method().settings, **neutral}))
        for method, neutral in sorted(found, key=lambda pair: not self._reads("features", *pair)):
            names = {}
            for setting in method.settings:
                name = NAMES.get((method.key, setting), setting)
                names[setting] = f"{method.key}_{name}" if name in taken else name
                taken.add(names[setting])
            yield Rule(method, neutral, names)

    def _reads(self, part: str, method: Method, settings: dict[str, Any]) -> bool:
        """Whether a rule needs this part of what the network gave."""
        some = slice(2)  # images: enough to see what it asks for
        out = self.run.kept(some)
        try:
            method(**settings).decide(replace(out, **{part: None}), self.counts, self.run.gallery)
        except Exception:  # whatever a rule says of None
            return True
        return False

    @property
    def neutral(self) -> dict[str, Any]:
        """Values of the controls under which no rule changes anything."""
        return {name: rule.neutral[setting] for rule in self.rules for setting, name in rule.names.items()}

    def in_order(self, decided: np.ndarray) -> np.ndarray:
        """Decisions (n,) in the order of the test images."""
        found = np.empty_like(decided)
        found[self.numbers] = decided
        return found

    def turning(self, n: int, places: int) -> np.ndarray:
        """Numbers of test images below n whose answer tau = 1 of logit adjustment turns from wrong to right, or back.

        At most `places`; of more, some evenly spread over both kinds and over the classes, so that either kind has its
        share. By class, the most frequent first.
        """
        control = NAMES["logit_adjusted", "tau"]
        if not n or control not in self.neutral:
            return np.zeros(0, int)
        true, rank = self.run.targets[:n], np.argsort(np.argsort(-self.run.counts, kind="stable"), kind="stable")
        plain, adjusted = (
            self.in_order(self.decide({**self.neutral, control: tau}).decided)[:n] == true for tau in (0.0, 1.0)
        )
        turned = sorted(np.flatnonzero(plain != adjusted), key=lambda one: (adjusted[one], rank[true[one]], one))
        some = np.linspace(0, len(turned) - 1, min(len(turned), places)).round().astype(int)
        return np.array(sorted((turned[i] for i in some), key=lambda one: (rank[true[one]], one)), int)

    def _apply(self, rule: Rule, settings: dict[str, Any], scores: Scores) -> Scores:
        """The scores after a rule. The two that a slider moves most are a factor and a summand for each class."""
        if rule.method.key == "logit_adjusted":
            return scores.shifted(subtract_prior(torch.zeros(self.k), self.counts, **settings).numpy())
        if rule.method.key == "tau_norm":
            bias = (self.bias,) if settings["bias"] == "keep" else ()
            return Scores(self.products, self.lengths ** -settings["tau"], bias)
        with torch.no_grad():
            found = rule.method(**settings).decide(self.run.kept(logits=scores.whole()), self.counts, self.run.gallery)
        return Scores(found.numpy())

    def decide(self, values: Mapping[str, Any], power: float = 0.0) -> Decision:
        """Under these values of the controls. power: that of the training images in the prior at deployment."""
        scores, words = Scores(self.run.logits), []
        for rule in self.rules:
            settings = rule.asked(values)
            if settings != rule.neutral:
                scores = self._apply(rule, settings, scores)
                words.append(rule.words(settings))
        occurs = metrics.power_prior(self.run.counts, power)
        decided = scores.best()[self.numbers]
        confusion = metrics.confusion(self.targets, decided, self.k)
        per_class = metrics.per_class(confusion)
        known = [per_class[mask & ~np.isnan(per_class)] for mask in self.masks.values()]
        groups = np.array([one.mean() if len(one) else np.nan for one in known])
        there = metrics.answer_shares(confusion, occurs), metrics.expected_accuracy(per_class, occurs)
        told = ", ".join(words) or "as trained"
        return Decision(decided, confusion, per_class, groups, power, occurs, *there, self._best(occurs), told)

    def extremes(self, before: Decision) -> list[np.ndarray]:
        """Shares (k,) that the bars of answers and of images reach, from the decision as trained to the last of taus.

        Of that last one less than is answered: its highest bar may nearly fill the axis.
        """
        trained, turned = (metrics.power_prior(self.run.counts, power) for power in (1.0, -1.0))
        found = [before.answered, metrics.answer_shares(before.confusion, trained), trained, turned]
        if len(self.taus):
            last = self.decide({**self.neutral, NAMES["logit_adjusted", "tau"]: float(self.taus[-1])})
            found.append(last.answered / 1.2)
        return found

    @functools.cached_property
    def along(self) -> np.ndarray:
        """Accuracy of each class (m, k) as trained, but for logit adjustment with each of `taus`."""
        logits = self.run.logits.astype(np.float32, copy=False)
        return metrics.accuracies_along(logits, -log_prior(self.counts), self.run.targets, self.taus)

    def _best(self, occurs: np.ndarray) -> tuple[float, float] | None:
        """Of several equally good ones, the smallest."""
        if not len(self.taus):
            return None
        found = metrics.expected_accuracy(self.along, occurs)
        if np.isnan(found).any():
            return None
        best = found.round(12).argmax()  # of equal ones, whose last digits may differ, the first
        return float(self.taus[best]), float(found[best])
