"""The explorer of thresholds: what is found, missed and paid, and who may choose the threshold."""

import numpy as np
import pytest

import ltviz as lt
from ltviz import metrics


def answers(n=4000, share=0.02, seed=0, shift=0.0, **more):
    """Answers to n test images, `share` of them fraud; shift is added to the log-odds."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) < share * n).astype(int)
    z = np.column_stack([np.zeros(n), np.round(rng.normal(4.0 * y - 4.0, 1.5), 3) + shift])
    return lt.from_predictions(y, z, counts=[9800, 200], class_names=["fine", "fraud"], **more)


@pytest.fixture(autouse=True)
def close_all():
    yield
    for explorer in lt.explore.registry():
        explorer.close()


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    y = np.arange(2000) < 60
    x = rng.normal(size=(2000, 5)) + 1.5 * y[:, None]
    return lt.table_lt(x, y, class_names=["fine", "fraud"])


@pytest.fixture(scope="module")
def trained(table):
    return lt.train("ce", table, epochs=6, progress=False)


@pytest.mark.parametrize("at", [-4.0, 0.0, 1.5])
@pytest.mark.parametrize("prevalence", [None, 0.3])
def test_the_four_numbers_and_the_cost_are_those_of_the_decision(at, prevalence):
    run = answers()
    one = lt.explore.threshold(run, at, 25.0, prevalence)
    result, decided = one.result, run.logits[:, 1].astype(float) - run.logits[:, 0] >= at
    recall, alarm = decided[run.targets == 1].mean(), decided[run.targets == 0].mean()
    share = 0.02 if prevalence is None else prevalence
    expected = [10_000 * share * recall, 10_000 * share * (1 - recall), 10_000 * (1 - share) * alarm,
                10_000 * (1 - share) * (1 - alarm)]  # fmt: skip
    np.testing.assert_allclose(result.counts, expected, atol=1e-6)
    assert result.cost == pytest.approx((25 * expected[1] + expected[2]) / 10_000)
    assert result.precision == pytest.approx(expected[0] / (expected[0] + expected[2]))
    assert result.recall == pytest.approx(recall) and result.blind == min(25 * share, 1 - share)
    written = [text.get_text() for text in one.written]
    assert written[0] == f"{expected[0]:,.0f}" and one.error is None
    assert f"finds {written[0]}, misses {written[1]} and gives {written[2]} false alarms" in one.sentence


def test_without_validation_the_threshold_is_that_of_right_probabilities():
    one = lt.explore.threshold(answers(), cost=99.0)
    assert one.chosen == "calibrated" and one.result.chosen == pytest.approx(-np.log(99), abs=1e-6)
    assert "Were the probabilities right, 1% would cost least (there are no validation images to ask)" in one.sentence
    assert "to ask): on the test images" in one.sentence  # as frequent as in training: nothing to explain
    one.set(prevalence=0.5)
    assert one.result.chosen == pytest.approx(-np.log(99) + np.log(0.02 / 0.98), abs=1e-6)
    assert "lower than 1 / (1 + cost) = 1%, since 50% of the images are " in one.sentence
    one.set(prevalence=0.001)
    assert "higher than 1 / (1 + cost) = 1%, since 0.1% of the images are " in one.sentence


def test_cost_is_in_false_alarms_and_in_costs_of_deciding_without_looking():
    """A case in 50 that costs 10 is never found: 0.2 false alarms an image, as without looking."""
    logits = np.stack([np.full(100, 3.0), np.zeros(100)], 1)
    run = lt.from_predictions(np.arange(100) >= 98, logits=logits, counts=[980, 20], class_names=["fine", "rare"])
    one = lt.explore.threshold(run, cost=10.0)
    assert "An image costs 0.2 false alarms on average, 0.2 without looking: just as much." in one.sentence
    assert one.here.get_ydata()[0] == 1.0 and one.cost_axes.get_ylabel() == "relative cost"
    one.set(log_odds=-5.0)  # everything is answered: 98 false alarms of 100 images
    assert "An image costs 0.98 false alarms on average, 0.2 without looking: 4.9 times as much." in one.sentence


@pytest.mark.parametrize(
    ("name", "called"),
    [("1", "class 1"), ("-1", "class -1"), ("2.5", "class 2.5"), ("7 up", "7 up"), ("fraud", "fraud")],
)
def test_a_class_that_is_a_number_is_called_one_and_one_false_alarm_is_singular(name, called):
    logits = np.stack([np.zeros(200), np.where(np.arange(200) < 196, -9.0, 9.0)], 1)
    logits[0, 1] = 9.0  # 1 false alarm in 198
    run = lt.from_predictions(np.arange(200) >= 198, logits=logits, counts=[99, 1], class_names=["0.5", name])
    one = lt.explore.threshold(run, cost=2.0, prevalence=1e-4)
    assert one.sentence.startswith(f"{called} answered from 50% on, where 0.01% of the images are: of 10,000 it ")
    assert f"{called} (2)" in [text.get_text() for text in one.scores.get_legend().get_texts()]
    assert one.cost_axes.get_xlabel() == f"answered {called} from this probability on"
    assert f"of the images are {called} here" in one.sentence and one.name == name
    one.set(log_odds=12.0, cost=50.0, prevalence=0.02)
    assert "gives 0 false alarms; it is never answered" in one.sentence
    assert "An image costs 1 false alarm on average" in one.sentence
    text = lt.plot_cost(run, cost=1.0).text
    assert f"are {called} and a miss costs 1 false alarm:" in text


def test_validation_images_choose_and_test_images_do_not():
    run, held = answers(), answers(seed=1, shift=2.0, name="held out")
    one = lt.explore.threshold(run, cost=30.0, validation=held)
    margin = held.logits[:, 1].astype(float) - held.logits[:, 0]
    chosen = metrics.cutoffs(held.targets, margin).best(30.0, 0.02)
    assert one.chosen == "validation" and one.result.chosen == pytest.approx(chosen, abs=1e-6)
    cut = metrics.cutoffs(run)
    assert one.result.chosen_cost == pytest.approx(cut.cost(30.0)[cut.number(chosen)])
    assert "The validation images say" in one.sentence
    other = lt.explore.threshold(answers(seed=5), cost=30.0, validation=held)
    assert other.result.chosen == one.result.chosen  # whatever the test images are


def test_a_data_set_brings_its_validation_images(table, trained):
    one = lt.explore.threshold(trained, cost=20.0, validation=table)
    logits = trained.predict(table.val_images.numpy()).logits
    held = metrics.cutoffs(table.val_targets.numpy() == 1, logits[:, 1].astype(float) - logits[:, 0])
    assert one.chosen == "validation" and one.result.chosen == held.best(20.0, one.values["prevalence"])
    assert one.name == "fraud" and one.cut.positives == (table.test_targets == 1).sum()
    digits = lt.digits_lt(ratio=10)
    run = lt.train("ce", digits, epochs=3, progress=False)
    for positive, name in ((None, digits.class_names[-1]), (0, digits.class_names[0])):
        many = lt.explore.threshold(run, positive=positive, validation=digits)
        assert many.name == name and many.error is None and many.cut.base_rate == 0.1


def test_controls_code_and_handle():
    run = answers()
    one = lt.explore.threshold(run, positive="fine", validation=None)
    assert one.drive() == [] and one.values == {"log_odds": 0.0, "cost": 10.0, "prevalence": 0.98}
    one.set(log_odds=-2.0, cost=3.0)
    again = eval(one.as_code(), {"lt": lt, "run": run})
    assert "positive='fine'" in one.as_code() and again.screen.frame.png == one.screen.frame.png
    (handle,) = one.handles(one.result)
    assert (handle.name, handle.x, handle.xlim) == ("log_odds", -2.0, (-12.0, 12.0)) and "11.9%" in handle.told
    marks = one.marks(one.result)
    assert 40 < len(marks) < 300 and all(np.isfinite([one.x, one.y]).all() for one in marks)
    backgrounds = one.surface.backgrounds
    one.set(log_odds=3.0, cost=500.0, prevalence=0.5)
    assert one.surface.backgrounds == backgrounds  # nothing that stands still is drawn anew


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda run: lt.explore.threshold(run.logits), "run=.*a run"),
        (lambda run: lt.explore.threshold(run, log_odds=13), "log_odds=13: expected a number from -12"),
        (lambda run: lt.explore.threshold(run, cost=0), "cost=0: expected a number"),
        (lambda run: lt.explore.threshold(run, prevalence=0.0), "prevalence=0.0: expected a number"),
        (lambda run: lt.explore.threshold(run, prevalence=True), "prevalence=True"),
        (lambda run: lt.explore.threshold(run, positive="frod"), r"positive='frod': .*did you mean 'fraud'\?"),
        (lambda run: lt.explore.threshold(run, validation=3), "validation=3: expected the data set"),
        (lambda run: lt.explore.threshold(run, validation=run), "these are the test images themselves"),
        (lambda run: lt.explore.threshold(run, validation=lt.digits_lt()), "not those of 'my predictions'"),
        (lambda run: lt.explore.threshold(run, validation=lt.digits_lt(validation=0)), "it has none"),
        (
            lambda run: lt.explore.threshold(
                lt.from_predictions(run.targets, predictions=run.targets, counts=run.counts)
            ),
            "test logits",
        ),
        (
            lambda run: lt.explore.threshold(lt.from_predictions([0, 0], run.logits[:2], counts=run.counts)),
            "class .* has no test image; choose another class",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call(answers(200))


def test_a_class_without_images_is_named():
    z = np.random.default_rng(0).normal(size=(20, 3))
    seen, lacks = np.arange(20) % 3, np.arange(20) % 2
    run = lt.from_predictions(seen, z, counts=[9, 5, 2], class_names=["a", "b", "c"])
    other = lt.from_predictions(lacks, z, counts=[9, 5, 2], class_names=["a", "b", "c"])
    says = "positive=2: class 'c' has no {} image; choose another class with positive="
    with pytest.raises(ValueError, match=f"^{says.format('test')}$"):
        lt.explore.threshold(other)
    with pytest.raises(ValueError, match=f"^{says.format('validation')}$"):
        lt.explore.threshold(run, validation=other)
    for plot in (lt.plot_precision_recall, lt.plot_cost):
        with pytest.raises(ValueError, match=f"^{says.format('test')}$"):
            plot(other)
    with pytest.raises(ValueError, match="^positive=0: every test image is of class 'a'; choose"):
        lt.explore.threshold(
            lt.from_predictions(0 * seen, z, counts=[9, 5, 2], class_names=["a", "b", "c"]), positive=0
        )
    assert lt.explore.threshold(other, positive="b").name == "b"


def test_where_deciding_without_looking_costs_nothing_no_factor_is_made_up(trained):
    sentence = lt.explore.threshold(trained, prevalence=1.0).sentence
    assert "0 without looking: more." in sentence or "0 without looking: just as much." in sentence
    assert not any(len(word.strip(",.")) > 12 and word[0].isdigit() for word in sentence.split())
