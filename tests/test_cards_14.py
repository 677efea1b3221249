"""The cards of chapter 14: its exercises name mistakes, its numbers are those of the records and of Optuna."""

import math
import statistics
import warnings

import numpy as np
import optuna
import pytest
from conftest import fast_cards

import ltviz as lt

pytestmark = pytest.mark.filterwarnings("ignore:the objective:UserWarning")


@pytest.fixture(scope="module")
def cards():
    yield from fast_cards("14")


def test_the_best_of_ten_is_told_from_the_recorded_answers(cards):
    few, rest = cards.scores_of_ten()
    assert np.rint(30 * few).tolist() == [11, 14, 14, 14, 16, 10, 17, 14, 12, 11]
    right = [(run.logits.argmax(1) == run.targets).sum() for run in cards.plain_networks()]
    assert np.rint(30 * few + 9970 * rest).tolist() == right
    assert cards.open_best_of_ten().truth == pytest.approx(43.63, abs=0.01)


def test_a_tenth_of_a_tenth_of_the_range_is_searched_on_a_linear_scale(cards):
    assert cards.open_uniform_betas().truth == pytest.approx(1000 * 0.0009 / 0.0999)
    found = cards.plot_scales().data
    assert found["linear"].sum() == found["one-minus-log"].sum() == 1000
    assert found["linear"][2] < 20 and found["one-minus-log"].min() > 280


@pytest.mark.parametrize("aware", [False, True])
def test_the_median_rule_is_that_of_optuna(cards, aware):
    rng = np.random.default_rng(0)
    value, before = rng.uniform(size=(20, 24)).cumsum(1) / 24, np.where(rng.uniform(size=20) < 0.3, 18, 0) * aware
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(5, 24 // 3))
    ended = []
    for curve, begins in zip(value, before, strict=True):
        trial, end = study.ask(), 0
        for step in range(4, 24, 4):
            trial.report(curve[step - 1], step)
            if step > begins and trial.should_prune():
                end = step
                break
        study.tell(trial, None if end else curve[-1], state=optuna.trial.TrialState.PRUNED if end else None)
        ended.append(end)
    assert cards.stopped_at(value, before).tolist() == ended
    assert 0 < np.count_nonzero(ended) < 15


def test_a_rule_that_knows_no_stages_ends_the_best_half_of_the_time(cards):
    value, test, before = cards.curves()
    assert value.shape == (10, 88, 40) and test.shape == (10, 88) and set(before) == {0, 20, 32}
    run = cards.records()["ldam_drw"][3]
    row = list(cards.records()).index("ldam_drw")
    assert value[3, row, -1] == pytest.approx(np.mean(run.history["val_accuracy"][-1]))
    assert test[3, row] == pytest.approx(run.accuracy)
    assert 35 < cards.open_best_pruned().truth < 60
    assert 0.5 < cards.pruned(False)[3].mean() < 1 and cards.below_median() == pytest.approx(0.49)
    ended, saved, lost, late = cards.pruned(True)
    assert late.mean() < cards.pruned(False)[3].mean()
    assert ended.mean() < 0.05 < 0.25 < saved.mean() < 0.4 and abs(lost.mean()) < 0.001


def test_right_shares(cards):
    rng = np.random.default_rng(1)
    z, y, added = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 5, 40), rng.normal(size=(7, 5))
    expected = [((z + one.astype(np.float32)).argmax(1) == y).mean() for one in added]
    assert cards.right_shares(z, y, added.astype(np.float32)) == pytest.approx(expected)


def test_optimism_grows_with_trials_and_shrinks_with_images(cards):
    optimism = {size: (cards.searched(size)[0] - cards.searched(size)[1]).mean(0) for size in (3, 25)}
    assert abs(optimism[3][0]) < 0.02 and optimism[3][3] > 0.07 and optimism[3][6] > optimism[3][3] + 0.03
    assert 0.01 < optimism[25][6] < optimism[3][6] / 3
    value, other = cards.searched(3, True)
    assert value[:, 6].mean() - value[:, 0].mean() > 0.08 and abs(other[:, 6].mean() - other[:, 0].mean()) < 0.01


def test_the_choices_of_the_records(cards):
    assert {run.label for run in cards.chosen("tail")} == {"logit_adjustment tau=1.5"}
    assert [run.seed for run in cards.chosen("all")] == list(range(10))
    value, _, _ = cards.curves("all")
    names = list(cards.records())
    assert [run.label for run in cards.chosen("all")] == [names[i] for i in value[:, :, -1].argmax(1)]
    said = cards.open_compare().text
    assert "on 2,500 validation photographs" in said and "on 750 validation photographs" in said
    assert "optimism" in said and "logit_adjustment tau=1.5" in said


@pytest.fixture(scope="module")
def tuning(cards):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lt.tune("class_balanced", lt.digits_lt(class_order="seed"), settings=cards.RANGES, trials=2, seeds=2,
                       pruner="none", epochs=2, storage=optuna.storages.InMemoryStorage(), progress=False)  # fmt: skip


def test_a_grid_stands_for_a_reader_who_has_tried_nothing(cards, tuning):
    assert "sampler 6, you 6 (a grid stands for you" in cards.play(tuning).text
    sides = cards.sides_of(tuning)
    assert sides["you"]["lr"].tolist() == [0.03, 0.1, 0.3] * 2
    assert sides["you"]["beta"].tolist() == [0.9995] * 3 + [0.9999] * 3
    assert "defaults" in set(sides["sampler"]["by"]) and len(sides["sampler"]) == 6
    assert "yours are your own" in cards.play(tuning).text and len(tuning) == 12


def test_both_sides_are_judged_on_the_test_images(cards, tuning):
    cards.play(tuning)
    found = cards.tested(tuning)
    for side, (best, runs) in found.items():
        assert best["value"] == cards.sides_of(tuning)[side]["value"].max()
        assert [run.seed for run in runs] == [0, 1, 2] and runs[0].settings["beta"] == pytest.approx(best["beta"])
        first = lt.train("class_balanced", tuning.plan.data.with_seed(0), seed=0, epochs=2, progress=False,
                         **cards.settings_of(tuning, best))  # fmt: skip
        assert (first.confusion == runs[0].confusion).all()
    versus = lt.metrics.paired(found["you"][1], found["sampler"][1], "tail")
    truth = cards.open_who_wins(tuning).truth
    assert truth == ("undecided" if not versus.p < 0.05 else cards.WINNERS[0] if versus.mean > 0 else cards.WINNERS[1])


def simulated(n, m, p):
    drawn = np.random.default_rng(0).binomial(m, p, size=(20_000, n)).max(1)
    return drawn.mean() / m


@pytest.mark.parametrize(("n", "m", "p"), [(1, 30, 0.5), (20, 30, 0.45), (5, 300, 0.2)])
def test_the_best_of_equal_settings(cards, n, m, p):
    assert cards._best_of(n, m, p) == pytest.approx(simulated(n, m, p), abs=0.003)


def test_exercises_name_the_mistake(cards):
    result = cards.best_of.check(lambda n, m, p: p)
    assert not result.passed and "mean of one setting" in result.text
    result = cards.best_of.check(lambda n, m, p: m * cards._best_of(n, m, p))
    assert not result.passed and "a share is asked for" in result.text
    assert not cards.best_of.check(lambda n, m, p: p + math.sqrt(2 * math.log(n) * p * (1 - p) / m)).passed
    assert cards.best_of.check(cards._best_of).passed

    def ends(own, others, begins, middle=statistics.median, best=max, early=False):
        epoch = len(own)
        if not others or (epoch <= begins and not early):
            return False
        return best(own) < middle([one[epoch - 1] for one in others])

    assert cards.ends.check(ends).passed
    for change, text in (
        ({"middle": statistics.mean}, "not their median"),
        ({"best": lambda own: own[-1]}, "the best so far is asked for"),
        ({"early": True}, "before their last stage"),
    ):
        result = cards.ends.check(lambda *given, change=change: ends(*given, **change))
        assert not result.passed and text in result.text, text
