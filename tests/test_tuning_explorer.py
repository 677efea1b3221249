"""The reader against the sampler: both are trials of one study, and the picture follows."""

import numpy as np
import optuna
import pytest
from matplotlib.figure import Figure

import ltviz as lt
from ltviz.explore.axes import round_ends, ticks, written
from ltviz.explore.tuning import TuningExplorer, draw_bars, mark_sizes, told

pytestmark = pytest.mark.filterwarnings("ignore:the objective:UserWarning")


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


def study(data, method="class_balanced", trials=2, **more):
    given = {"settings": ["beta", "loss", "gamma", "lr"], "seeds": 1, "epochs": 2, "progress": False, **more}
    return lt.tune(method, data, trials=trials, storage=optuna.storages.InMemoryStorage(), **given)


@pytest.fixture
def explorer(data):
    made = lt.explore.tuning(study(data))
    yield made
    made.close()


def test_the_sliders_setting_is_a_trial(explorer):
    explorer.set(beta=0.99, loss="focal", gamma=3.0, lr=0.3)
    explorer.try_mine()
    row = explorer.tuning.table().sort_index().iloc[-1]
    assert (row["by"], row["beta"], row["loss"], row["gamma"], row["lr"]) == ("you", 0.99, "focal", 3.0, 0.3)
    assert len(explorer.tuning) == 3 and explorer.error is None
    place = explorer.result.places[explorer.result.who == "you"]
    assert place[0, 0] == pytest.approx(2.0), "0.99 is two decades from 1"
    assert np.allclose(place[0], explorer.result.here)
    assert "you: " in explorer.sentence and "after 1 trial" in explorer.sentence
    assert explorer.sentence.endswith("Set: beta = 0.99, loss = focal, lr = 0.3, gamma = 3.")


def test_the_sampler_takes_its_turn_and_importance_appears(explorer):
    assert explorer.result.importance == {}
    explorer.ask_sampler(5)
    assert len(explorer.tuning) == 7 and list(explorer.tuning.table()["by"]).count("sampler") == 6
    assert sum(explorer.result.importance.values()) == pytest.approx(1.0)
    assert len(explorer.marks(explorer.result)) == 2 * len(explorer.rows)
    mark = explorer.marks(explorer.result)[0].text
    assert mark.startswith("trial 0, defaults: beta = 0.999, loss = softmax, lr = 0.1: ")


def test_it_trains_in_the_background_and_stops(data):
    explorer = lt.explore.tuning(study(data, epochs=60))
    explorer.ask_sampler(50, inline=False)
    assert explorer.running and explorer.mine.disabled and not explorer.end.disabled
    with pytest.raises(RuntimeError, match="a trial is under way"):
        explorer.try_mine()
    explorer.stop()
    explorer.wait(20)
    assert not explorer.running and not explorer.mine.disabled and explorer.end.disabled
    assert len(explorer.tuning) < 52
    explorer.close()


def test_a_failure_is_shown(data):
    def objective(run):
        if run.settings["gamma"] > 3:
            raise RuntimeError("no memory")
        return run.accuracy

    tuning = study(data, "focal", 1, settings=["gamma"], objective=objective)
    explorer = lt.explore.tuning(tuning, gamma=4.0)
    explorer.mine.click()
    assert "no memory" in explorer.error and not explorer.running
    explorer.close()


def test_the_background_is_drawn_once_while_a_slider_moves(explorer):
    drawn = explorer.surface.backgrounds
    for beta in (0.9, 0.99, 0.999):
        explorer.set(beta=beta)
    assert explorer.surface.backgrounds == drawn
    explorer.set(up="lr")
    assert explorer.surface.backgrounds == drawn + 1


def test_axes_and_state(explorer):
    explorer.set(across="loss", up="lr", lr=0.05)
    assert explorer.error is None and explorer.result.axes == ("loss", "lr")
    again = TuningExplorer.from_state(explorer.state, explorer.tuning)
    assert again.values == explorer.values and "lr=0.05" in explorer.as_code()
    assert explorer.drive() == [] and again.drive() == []
    again.close()


def test_marks_span_the_values(explorer):
    assert mark_sizes(np.array([0.7, 0.8, 0.75])).tolist() == pytest.approx([18, 228, 70.5])
    assert mark_sizes(np.array([0.5, 0.5])).tolist() == [70, 70] and len(mark_sizes(np.array([]))) == 0
    explorer.ask_sampler(2)
    drawn = {who: on_map.get_sizes() for who, (on_map, _) in explorer.dots.items()}
    expected = mark_sizes(explorer.result.values)
    assert drawn["sampler"] == pytest.approx(expected[explorer.result.who == "sampler"])


def test_an_image_counts_for_less_under_several_seeds(data):
    explorer = lt.explore.tuning(study(data, trials=0, seeds=2))
    assert (
        "30 validation images under each of 2 seeds decide, so one of them counts for 1.7 points" in explorer.sentence
    )
    explorer.close()


def test_one_setting_alone_and_none_tried(data):
    explorer = lt.explore.tuning(study(data, "focal", 0, settings=["gamma"]))
    assert explorer.sentence.startswith("Nothing was tried yet. 30 validation images decide")
    explorer.try_mine()
    assert explorer.error is None and len(explorer.result.values) == 1
    explorer.close()


@pytest.mark.parametrize("value", [None, 3, "focal", []])
def test_what_is_no_tuning_is_refused(value):
    with pytest.raises(ValueError, match="tuning=.*expected a Tuning of one method"):
        lt.explore.tuning(value)


def test_what_cannot_be_shown_is_refused(data, explorer):
    with pytest.raises(ValueError, match="expected a Tuning of one method"):
        lt.explore.tuning(lt.tune(["focal", "ldam"], data, trials=0, seeds=1, epochs=1, progress=False,
                                  storage=optuna.storages.InMemoryStorage()))  # fmt: skip
    with pytest.raises(ValueError, match="'bet' is not tuned .did you mean 'beta'"):
        lt.explore.tuning(explorer.tuning, bet=0.9)
    with pytest.raises(ValueError, match="across='gama'"):
        lt.explore.tuning(explorer.tuning, across="gama")
    for n in (0, True, 2.5):
        with pytest.raises(ValueError, match="n="):
            explorer.ask_sampler(n)


def test_ticks_are_round_numbers_and_whole_decades(data):
    ranges = {"gamma": (0, 5), "lr": (0.01, 1.0), "weight_decay": (1e-5, 1e-2)}
    explorer = lt.explore.tuning(study(data, "focal", 0, settings=ranges))
    controls = explorer.controls
    assert ticks(controls["gamma"]) == ([0.0, 2.0, 4.0], ["0", "2", "4"])
    assert ticks(controls["lr"]) == ([-2.0, -1.0, 0.0], ["0.01", "0.1", "1"])
    assert ticks(controls["weight_decay"])[1] == ["0.00001", "0.0001", "0.001", "0.01"]
    assert explorer.sentence.endswith("weight decay = 0.0005.")
    explorer.close()
    assert written([1e-8, 1e-4]) == ["1e-08", "0.0001"]


def test_a_mark_tells_three_digits_as_a_slider_writes_them(explorer):
    controls = explorer.controls
    assert told(controls["beta"], 0.999830596) == "0.999831" and told(controls["beta"], 0.93214) == "0.9321"
    assert told(controls["lr"], 0.0123456) == "0.0123" and told(controls["loss"], "softmax") == "softmax"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], (0, 1)), ([0.62, 0.77], (0.6, 0.8)), ([0.62, 0.83], (0.6, 0.9)), ([0.5], (0.45, 0.55)), ([-3, 12], (-5, 15)),
     ([0, 0, 0], (0, 0.05)), ([1.0], (0.95, 1)), ([0.03, 0.99], (0, 1)), ([0.42, 0.43], (0.35, 0.5))],
)  # fmt: skip
def test_the_axis_of_values_has_round_ends(values, expected):
    assert round_ends(np.array(values)) == pytest.approx(expected)


@pytest.mark.parametrize(("trials", "told"), [(3, "from four trials on"), (4, "all trials have one value")])
def test_without_shares_the_bars_say_why(trials, told):
    ax = Figure().subplots()
    draw_bars(ax, {}, trials)
    assert [text.get_text() for text in ax.texts] == [told]
    draw_bars(ax, {"beta": 0.7, "lr": 0.3}, trials + 1)
    assert not ax.texts and [bar.get_width() for bar in ax.patches] == [0.3, 0.7]


def test_the_axis_of_values_holds_all_of_them_and_the_legend_tells_the_sizes(explorer):
    assert explorer.slice.get_ylim() == pytest.approx(_with_margin(explorer.result.values))
    drawn = explorer.surface.backgrounds
    explorer.set(beta=0.95)
    assert explorer.surface.backgrounds == drawn, "a slider moves no axis"
    explorer.ask_sampler(4)
    values = explorer.result.values
    low, high = explorer.slice.get_ylim()
    assert low < values.min() and high > values.max() and high - low < 2.5 * np.ptp(values) + 0.1
    words = [text.get_text() for text in explorer.sizes.get_texts()]
    assert words == [f"{100 * value:.1f}%" for value in (values.min(), values.max())]
    explorer.set(across="lr")
    assert explorer.along.get_text() == "Validation value along lr"


def _with_margin(values):
    low, high = round_ends(values)
    return low - 0.06 * (high - low), high + 0.06 * (high - low)


def test_the_readers_marks_lie_on_the_samplers(explorer):
    for which in (0, 1):
        order = [explorer.dots[who][which].get_zorder() for who in ("sampler", "defaults", "you")]
        assert order == sorted(set(order))


def test_what_is_pointed_at_is_told_in_values(explorer):
    """An axis is drawn in the places of its slider, and read in the values of its setting."""
    explorer.set(across="beta", up="lr")
    on_map, on_slice = explorer.regions()
    assert (on_map.xscale, on_map.yscale, on_slice.xscale) == ("one-minus-log", "log", "one-minus-log")
    assert on_map.y == pytest.approx([10**end for end in explorer.map.get_ylim()])
    assert on_map.x == pytest.approx([1 - 10**-end for end in explorer.slice.get_xlim()]) and on_slice.x == on_map.x
    assert (on_map.xname, on_map.yname, on_slice.yname, on_slice.percent) == ("beta", "lr", "value", "y")
    points = explorer.marks(explorer.result)
    for (_, row), first, second in zip(explorer.rows.iterrows(), points[::2], points[1::2], strict=True):
        assert (first.x, first.y) == pytest.approx((row["beta"], row["lr"]))
        assert (second.x, second.y) == pytest.approx((row["beta"], row["value"]))
    explorer.set(across="loss", up="gamma")
    on_map, on_slice = explorer.regions()
    assert on_map.xnames == on_slice.xnames == tuple(one.replace("_", " ") for one in explorer.controls["loss"].options)
    assert on_map.xnames[0] == "softmax" and on_map.xscale == "linear"
    assert on_map.y == explorer.map.get_ylim()
