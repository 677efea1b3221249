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
RANGES = {"beta": (0.9, 0.9999), "lr": (0.01, 1.0), "weight_decay": (1e-5, 1e-2)}


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
    said = cards.open_best_pruned()
    assert "as the other 78 settings have one stage" in said.content_text and "4.9 of these 10 lie" in said.because
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
    table = cards.table_of_optimism().text.splitlines()
    assert [line.split(" | ")[0] for line in table[1:]] == ["3", "25", "250", "3, nothing to find"]
    last = [float(one.replace("\N{MINUS SIGN}", "-")) for one in table[1].split(" | ")[3:]]
    assert last == pytest.approx(100 * optimism[3][[0, 3, 6]], abs=0.051)
    slider = [lt.metrics.frontier(run, [1.0]).all[0] for run in cards.plain_networks()]
    worse = lt.metrics.paired(cards.searched(250)[1][:, 6], np.array(slider))
    assert worse.p < 0.05 and worse.mean < 0, "one number did better than ten"
    value, other = cards.searched(3, True)
    assert value[:, 6].mean() - value[:, 0].mean() > 0.08 and abs(other[:, 6].mean() - other[:, 0].mean()) < 0.01


def test_the_choices_of_the_records(cards):
    assert {run.label for run in cards.chosen("tail")} == {"logit_adjustment tau=1.5"}
    assert [run.seed for run in cards.chosen("all")] == list(range(10))
    value, _, _ = cards.curves("all")
    names = list(cards.records())
    assert [run.label for run in cards.chosen("all")] == [names[i] for i in value[:, :, -1].argmax(1)]
    said = cards.open_compare().text
    assert "balanced accuracy | 2,500 | " in said and "accuracy of the rare classes | 750 | " in said
    assert "accuracy of the rare classes chose 10 × Logit-adjusted loss, tau\u00a0=\u00a01.5." in said
    spread = [(100 * test.std(1).mean(), 100 * (value[:, :, -1] - test).std())
              for value, test, _ in map(cards.curves, ("all", "tail"))]  # fmt: skip
    assert all(wide > 5 * narrow for wide, narrow in spread), "luck decides little"
    assert f"standard deviation of {spread[0][0]:.1f} points (rare classes: {spread[1][0]:.1f})" in said


def test_who_pays_for_the_choices(cards):
    said, chosen, plain = cards.say_chosen().text, cards.chosen("all"), cards.plain_networks()
    overall = lt.metrics.beyond(chosen, plain, "all")
    assert overall.p > 0.005 and "the choice among 88 settings does not clearly beat" in said
    before = np.mean([lt.metrics.shot_accuracy(run)["head"] for run in plain])
    assert f"down from {before:.1%} in the plain network" in said and before == pytest.approx(0.796, abs=0.001)


@pytest.fixture(scope="module")
def tuning(cards):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lt.tune("class_balanced", lt.digits_lt(class_order="seed"), settings=RANGES, trials=2, seeds=2,
                       pruner="none", epochs=2, storage=optuna.storages.InMemoryStorage(), progress=False)  # fmt: skip


def test_a_grid_stands_for_a_reader_who_has_tried_nothing(cards, tuning):
    card, sides = cards.play(tuning), cards.sides_of(tuning)
    assert "a grid of 5 values of β and 3 learning rates stands for you" in card.text and "<details" in card.html
    for side, rows in sides.items():
        assert f"{side}: 6 trials, the best {rows['value'].max():.1%} on validation" in card.text
    assert sides["you"]["lr"].tolist() == [0.03, 0.1, 0.3] * 2
    assert sides["you"]["beta"].tolist() == [0.9995] * 3 + [0.9999] * 3
    assert "defaults" in set(sides["sampler"]["by"]) and len(sides["sampler"]) == 6
    again = cards.play(tuning)
    assert "stands for you" not in again.text and "<details" not in again.html and len(tuning) == 12


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


def test_why_says_what_was_found(cards, tuning):
    cards.play(tuning)
    found = {"you": ({"value": 0.70}, None), "sampler": ({"value": 0.767}, None)}
    low, high = np.linspace(0.60, 0.62, 10), np.linspace(0.65, 0.68, 10)
    told = cards.why_decided(lt.metrics.paired(low, high), found)
    assert "the winner leads by 5.5 points (p = " in told and "not clear" not in told
    assert told.endswith("On validation the winner led by 6.7 points.")
    told = cards.why_decided(lt.metrics.paired(high, low), found)
    assert told.endswith("On validation it was behind by 6.7 points.")
    slightly = lt.metrics.paired(low + np.array([0.05, -0.005] * 5), low)
    assert 0.005 < slightly.p < 0.05 and "suggestive but not clear" in cards.why_decided(slightly, found)
    assert "both had the same value" in cards.why_decided(slightly, {side: ({"value": 0.7}, None) for side in found})
    assert "One image is 1.7 points of a trial's value." in cards.why_undecided(tuning)


def test_numbers_in_words(cards):
    assert cards.signed(-0.04) == "0.0" and cards.signed(0.0) == "0.0" and cards.signed(1.26) == "+1.3"
    assert cards.signed(-0.48, 2) == "\N{MINUS SIGN}0.48"
    told = cards.points(lt.metrics.paired(np.arange(10) / 100, np.arange(10) / 100 + 0.013))
    assert told.startswith("**\N{MINUS SIGN}1.3\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.0** points")
    assert (
        cards.named("ldam_drw max_margin=0")
        == "LDAM with deferred re-weighting, max margin\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0"
    )


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
