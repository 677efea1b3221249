"""The training lab without a browser: live training, its buttons from several threads, the runs compared."""

import copy
import random
import threading
import time

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.explore import board, session
from ltviz.explore.board import colours, compare, mean_of_classes
from ltviz.explore.lab import Lab
from ltviz.methods import METHODS
from ltviz.training import Background


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open, and no training under way."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt(ratio=20)


def test_the_lab_trains_inline_and_compares_paired_by_seed(data):
    lab = lt.explore.lab(data, "ce", epochs=6, seeds=3)
    lab.start()
    assert lab.phase == "idle" and [run.seed for run in lab.runs] == [0, 1, 2] and lab.error is None
    lab.set(method="logit_adjustment", tau=1.0)
    lab.start()
    assert len(lab.runs) == 6, "the baseline is there already"
    first, second = lab.result.rows
    assert first.pair is None and second.pair == lt.metrics.paired(lab.runs[3:], lab.runs[:3], "tail")
    assert second.pair.verdict in second.words and second.words in lab.sentence
    tail = [lt.metrics.shot_accuracy(run)["tail"] for run in lab.runs[:3]]
    assert lab.result.rows[0].values == pytest.approx(tail)
    lab.set(group="all")
    assert lab.result.rows[0].values == pytest.approx([lt.metrics.balanced_accuracy(run) for run in lab.runs[:3]])
    before = list(lab.runs)
    lab.start()  # the same again is there already
    assert all(one is other for one, other in zip(lab.runs, before, strict=True))
    assert lab.sentence.startswith("These runs are here already") and lab.progress.value == 1.0
    lab.forget_button.click()
    assert lab.runs == [] and lab.result.rows == []


def test_the_first_start_shows_a_pair_on_rare_classes():
    lab = lt.explore.lab()
    assert [name for name in lab.controls][:3] == ["method", "group", "tau"] and lab.values["seeds"] == 10
    assert lab.values["group"] == "tail" and lab.values["class_order"] == "seed"
    lab.set(epochs=3, seeds=2)
    lab.start()
    assert [(run.method, run.seed) for run in lab.runs] == [
        ("ce", 0), ("logit_adjustment", 0), ("ce", 1), ("logit_adjustment", 1)
    ]  # fmt: skip
    for plain, method in zip(lab.runs[::2], lab.runs[1::2], strict=True):
        assert plain.data == method.data and plain.data["class_order"] == "seed"
    assert lab.result.rows[1].pair == lt.metrics.paired(lab.runs[1::2], lab.runs[::2], "tail")
    assert lt.explore.lab(lt.digits_lt(ratio=1)).values["group"] == "all"


def test_the_class_order_is_a_control_that_starts_at_the_recorded_protocol(data):
    for given in ("fixed", "natural", [*range(9, -1, -1)]):
        made = lt.digits_lt(class_order=given)
        own = given if isinstance(given, str) else "as given"
        lab = lt.explore.lab(made, "ce", epochs=3, seeds=2)
        assert lab.values["class_order"] == "seed" and lab.controls["class_order"].options[:2] == ["natural", "seed"]
        lab.set(class_order=own)
        lab.start()
        assert [run.class_names for run in lab.runs] == [list(made.class_names)] * 2
        assert lt.explore.lab(made, class_order=own).values["class_order"] == own
    with pytest.raises(ValueError, match="class_order='sead'"):
        lt.explore.lab(data, class_order="sead")


def test_data_that_were_edited_are_not_loaded_again_in_silence():
    data = lt.digits_lt(ratio=20)
    data.images[0] = 0
    lab = lt.explore.lab(data, "ce", epochs=3, seeds=1)
    lab.start()
    assert "differ from what digits_lt makes" in lab.error and lab.runs == []


def test_the_lab_does_not_compare_across_data(data):
    lab = lt.explore.lab(data, "ce", epochs=3, seeds=2)
    lab.start()
    lab.set(ratio=5)
    lab.start()
    assert len(lab.runs) == 4 and lab.result.rows[1].words == "other data"
    assert lab.runs[2].data["ratio"] == 5
    lab.set(method="focal")
    lab.start()
    assert len(lab.runs) == 6 and lab.result.rows[0].runs == tuple(lab.runs[:2])
    focal = lab.result.rows[2]
    assert focal.pair == lt.metrics.paired(lab.runs[4:], lab.runs[2:4], "tail"), "with the baseline on its own data"
    assert focal.words.startswith("against ce ratio=5")


def test_the_reference_stays_whatever_comes_and_goes(data):
    lab = lt.explore.lab(data, "focal", epochs=3, seeds=2)
    assert lab.values["reference"] == "ce"
    lab.start()
    lab.set(method="logit_adjustment")
    lab.start()
    assert [row.label for row in lab.result.rows] == ["ce", "focal", "logit_adjustment"]
    assert lab.controls["reference"].options == ["ce", "focal", "logit_adjustment"]
    lab.set(reference="focal")
    first, *others = lab.result.rows
    focal = [run for run in lab.runs if run.method == "focal"]
    assert first.label == "focal" and [row.label for row in others] == ["ce", "logit_adjustment"]
    for row in others:
        assert row.pair == lt.metrics.paired(list(row.runs), focal, "tail")
    lab.runs = [run for run in lab.runs if run.method != "focal"]
    lab.refresh()
    assert lab.values["reference"] == "focal"
    assert [row.words for row in lab.result.rows] == ["no run of focal to compare with"] * 2
    lab.forget()
    assert lab.values["reference"] == "focal" and lab.error is None
    with pytest.raises(ValueError, match="reference='fokal': expected one of .*did you mean 'focal'"):
        lab.set(reference="fokal")
    runs = [lt.train("focal", data, epochs=3, progress=False)]
    assert lt.explore.lab(data, runs=runs).values["reference"] == "focal", "the first that is there"


def test_a_colour_belongs_to_a_label_for_good(data, monkeypatch):
    monkeypatch.setattr(board, "_numbers", {"ce": 0})  # whatever other tests have given colours to
    lab = lt.explore.lab(data, "focal", epochs=3, seeds=1)
    lab.start()
    before = {row.label: lab.board.rows.dots[i].get_color() for i, row in enumerate(lab.result.rows)}
    assert before == {label: colours(label)["color"] for label in ("ce", "focal")} and len({*before.values()}) == 2
    lab.set(method="logit_adjustment")
    lab.start()
    lab.set(reference="logit_adjustment")
    after = {row.label: lab.board.rows.dots[i].get_color() for i, row in enumerate(lab.result.rows)}
    assert {label: after[label] for label in before} == before
    bold = {curve.label: line.get_color() for curve, line in zip(lab.result.bold, lab.board.bold[1], strict=False)}
    assert bold == after
    lab.forget()
    lab.set(method="focal")
    lab.start()
    assert [row.label for row in lab.result.rows] == ["ce", "focal"], "the reference has no run"
    assert {row.label: lab.board.rows.dots[i].get_color() for i, row in enumerate(lab.result.rows)} == before


def test_unequal_epochs_are_said_before_a_verdict(data):
    runs = [lt.train("ce", data, epochs=3, seed=seed, progress=False) for seed in (0, 1)]
    longer = [lt.train("focal", data, epochs=5, seed=seed, progress=False) for seed in (0, 1)]
    lab = lt.explore.lab(data, runs=[*runs, *longer])
    assert lab.result.rows[1].words.startswith("5 epochs against 3, ")
    said = lab.sentence
    assert 0 <= said.index("Not all were trained for as long (3 epochs: ce") < said.index(lab.result.rows[1].words)
    assert "as long" not in lt.explore.lab(data, runs=runs).sentence


def test_curves_say_whose_they_are_and_earlier_ones_stay(data):
    lab = lt.explore.lab(data, "focal", epochs=3, seeds=2)
    lab.start()
    view = lab.result
    assert [one.whose for one in view.faint] == ["ce, seed=0", "focal, seed=0", "ce, seed=1", "focal, seed=1"]
    assert len(lab.board.faint[0].get_segments()) == 4 and [one.label for one in view.bold] == ["ce", "focal"]
    mean = np.mean([run.history["loss"] for run in lab.runs[::2]], axis=0)
    np.testing.assert_allclose(view.bold[0].loss, mean)
    np.testing.assert_allclose(view.classes[1][1], np.mean([run.per_class for run in lab.runs[1::2]], axis=0))
    told = [point.text for point in lab.screen.frame.points]
    assert any(text.startswith("focal, seed=1: ") and text.endswith("after epoch 3") for text in told)
    lab.set(epochs=200, seeds=10)
    lab.start(inline=False)
    soon(lambda: lab.result.loss.size > 0)
    assert lab.result.title == "ce, seed 1 of 10 (seed=0)" and len(lab.result.faint) == 4
    assert lab.result.by_class == "validation" and lab.result.classes[-1][0] == "ce"
    lab.stop()
    lab.wait(30)
    assert lab.result.title.startswith("ce, seed 1 of 10 (seed=0): stopped at epoch")


def test_more_rows_than_have_place_are_counted(data):
    runs = [lt.train("ce", data, epochs=3, seed=0, progress=False)]
    for number in range(7):
        runs.append(copy.copy(runs[0]))
        runs[-1].id, runs[-1].name = f"{number:012x}", f"other {number}"
    lab = lt.explore.lab(data, runs=runs)
    assert len(lab.result.rows) == 8 and lab.board.titles[2].get_text() == "Test tail accuracy (6 of 8 shown)"
    assert all(run.name in lab.sentence for run in runs)


def test_progress_shows_what_was_stopped_and_forget_clears_everything(data):
    lab = lt.explore.lab(data, "focal", epochs=200, seeds=2)
    lab.start(inline=False)
    soon(lambda: lab.result.loss.size > 0)
    lab.stop()
    lab.wait(30)
    assert 0 < lab.progress.value < 1 and lab.progress.description == "stopped"
    lab.forget_button.click()
    view = lab.result
    assert (lab.progress.value, lab.progress.description) == (0.0, "progress") and lab.runs == []
    assert view.faint == view.bold == view.rows == [] and view.loss.size == 0 and view.title == ""
    assert lab.sentence.startswith("Nothing is trained yet") and view.note == "Press Start to train"
    lab.set(epochs=3)
    lab.start()
    assert (lab.progress.value, lab.progress.description) == (1.0, "done")


def test_runs_of_other_classes_are_refused(data):
    run = copy.copy(lt.train("ce", data, epochs=3, progress=False))
    run.counts = run.counts[:9]
    with pytest.raises(ValueError, match="runs=.*data of 10 classes"):
        lt.explore.lab(data, runs=[run])


def test_the_interval_is_that_of_the_paired_t_test():
    values = np.random.RandomState(0).normal(0.1, 0.05, (2, 7))
    found = lt.metrics.paired(*values).interval
    from scipy import stats

    wanted = stats.ttest_1samp(values[0] - values[1], 0.0).confidence_interval()
    assert found == pytest.approx((wanted.low, wanted.high))
    assert np.isnan(lt.metrics.paired([0.3], [0.1]).interval).all()


def soon(what, seconds=30.0):
    """Wait until `what()` is true."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.01)


def test_the_lab_trains_in_the_background_pauses_resumes_and_stops(data):
    lab = lt.explore.lab(data, epochs=200, seeds=10)
    lab.start(inline=False)
    assert lab.start_button.disabled and not lab.stop_button.disabled
    soon(lambda: lab.result.loss.size > 0)
    lab.pause_button.click()
    assert lab.phase == "paused" and lab.pause_button.description == "Resume"
    soon(lambda: lab.phase == "paused")
    time.sleep(0.1)
    epoch = lab._live.epoch
    time.sleep(0.3)
    assert lab._live.epoch == epoch, "nothing moves while it is paused"
    lab.pause_button.click()
    soon(lambda: lab._live.epoch > epoch or len(lab.runs) > 0)
    with pytest.raises(RuntimeError, match="press Stop first"):
        lab.start(inline=False)
    lab.stop_button.click()
    lab.wait(30)
    assert lab.phase == "idle" and lab.error is None and not lab.start_button.disabled
    assert all(run.status == "finished" for run in lab.runs), "a run that was stopped is not compared"
    assert len(lab.runs) < 10


def test_a_second_live_lab_stops_the_first(data):
    first, second = lt.explore.lab(data, epochs=200, seeds=10), lt.explore.lab(data, epochs=5, seeds=1)
    first.start(inline=False)
    soon(lambda: first._live is not None and first._live.epoch > 0)
    second.start(inline=False)
    assert first.phase == "idle", "it was stopped before the second began"
    assert len(second.wait(30)) == 2 and first.error is None and second.error is None


def test_background_and_inline_training_agree(data):
    labs = [lt.explore.lab(data, epochs=4, seeds=2) for _ in range(2)]
    for lab, inline in zip(labs, (True, False), strict=True):
        lab.start(inline=inline)
        lab.wait(60)
    for one, other in zip(labs[0].runs, labs[1].runs, strict=True):
        assert (one.logits == other.logits).all()
    assert labs[0].result.rows[0].values.tolist() == labs[1].result.rows[0].values.tolist()


def test_a_failure_in_the_background_is_shown(data):
    lab = lt.explore.lab(lt.digits_lt(validation=0), "cdb", epochs=4, seeds=1)
    lab.start(inline=False)
    lab.wait(30)
    assert "validation" in lab.error and lab.phase == "idle" and lab.runs == []
    assert "validation" in lab.error_label.value


def test_closing_a_lab_ends_its_training(data):
    lab = lt.explore.lab(data, epochs=200, seeds=10)
    lab.start(inline=False)
    soon(lambda: lab._live is not None)
    lab.close()
    lab.wait(30)
    assert lab.phase == "idle"
    soon(lambda: not lab._session.thread.is_alive())


def test_no_method_has_a_setting_that_the_lab_uses_itself(data):
    own = {"method", "key", "data", "runs", "ratio", "profile", "epochs", "seeds", "group", "counts"}
    own |= {"reference", "class_order", "beside"}
    assert {key: own & set(method.settings) for key, method in METHODS.items() if own & set(method.settings)} == {}


def test_the_fast_profile_is_short_and_inline(data, monkeypatch):
    monkeypatch.setenv("LTVIZ_PROFILE", "fast")
    lab = lt.explore.lab(data)
    lab.start()
    assert [len(run.history["loss"]) for run in lab.runs] == [6, 6, 6, 6]
    assert lab._session.thread is threading.main_thread()
    assert isinstance(lab, Lab)


def test_stop_is_the_last_word(data):
    lab = lt.explore.lab(data, epochs=200, seeds=10)
    for paused_before in (False, True):
        lab.start(inline=False)
        soon(lambda: lab._live is not None and lab._live.epoch > 0)
        if paused_before:
            lab.pause()
            assert lab.phase == "paused"
        lab.stop()
        lab.pause()
        assert lab.phase != "paused"
        lab.resume()
        lab.wait(30)
        assert lab.phase == "idle" and lab.error is None and lab.runs == []
        assert lab.sentence.startswith("Stopped: ce, seed 1 of 10, at epoch")
    lab.pause(), lab.resume(), lab.stop()  # nothing trains: nothing happens
    assert lab.phase == "idle" and lab.wait(0) == []


def test_stop_while_start_waits_for_another_lab(data, monkeypatch):
    first, second = lt.explore.lab(data, epochs=200, seeds=10), lt.explore.lab(data, epochs=200, seeds=10)
    going_on = threading.Event()
    trained = []

    def slow(self, trainer):  # a run that takes its time to end
        trained.append(self)
        going_on.wait(30)
        self.control.check()

    monkeypatch.setattr(session.Session, "_train", slow)
    first.start(inline=False)
    soon(lambda: trained)
    starting = threading.Thread(target=second.start, kwargs={"inline": False})
    starting.start()
    soon(lambda: second.phase == "running")
    second.stop()
    starting.join(10)
    second.wait(10)
    assert not starting.is_alive() and second.phase == "idle" and second.sentence == "Stopped before it began."
    assert first.phase == "running"
    going_on.set()
    first.wait(10)
    assert first.phase == "idle" and len(trained) == 1, "the second never began"


def test_labs_that_start_at_once_train_one_after_another(data):
    labs = [lt.explore.lab(data, epochs=3, seeds=1) for _ in range(3)]
    starts = [threading.Thread(target=lab.start, kwargs={"inline": False}) for lab in labs]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join(30)
    for lab in labs:
        lab.wait(30)
        assert lab.phase == "idle" and lab.error is None
    assert sum(len(lab.runs) for lab in labs) >= 1, "the newest is not stopped by the others"


def pressed(lab, draw, unexpected):
    """Four buttons, as somebody in a hurry presses them."""
    for name in draw.choices(["start", "pause", "resume", "stop"], k=4):
        try:
            lab.start(inline=False) if name == "start" else getattr(lab, name)()
        except RuntimeError as error:
            if "press Stop first" not in str(error):
                unexpected.append(error)
        time.sleep(0.01 * draw.random())


@pytest.mark.parametrize("times", [6, pytest.param(194, marks=pytest.mark.slow)])
def test_buttons_pressed_in_any_order_by_several_threads_end_idle(times, data):
    labs, unexpected = [lt.explore.lab(data, epochs=3, seeds=2) for _ in range(2)], []
    for i in range(times):
        draw = random.Random(1000 * times + i)
        several = [
            threading.Thread(target=pressed, args=(draw.choice(labs), random.Random(draw.random()), unexpected))
            for _ in range(3)
        ]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join(30)
            assert not thread.is_alive(), f"sequence {i}: a button never returned"
        for lab in labs:
            lab.stop()
        for lab in labs:
            lab.wait(30)
            assert (lab.phase, lab.error) == ("idle", None), f"sequence {i}"
            assert not lab.start_button.disabled and lab.pause_button.disabled
            assert lab.pause_button.description == "Pause"
    assert unexpected == []
    assert all(run.status == "finished" for lab in labs for run in lab.runs)


def test_a_pause_between_two_runs_holds(data, monkeypatch):
    lab = lt.explore.lab(data, "ce", epochs=3, seeds=2)
    keep = lab._keep
    monkeypatch.setattr(lab, "_keep", lambda run: (keep(run), lab.pause()))
    lab.start(inline=False)
    soon(lambda: lab.phase == "paused")
    time.sleep(0.3)
    assert len(lab.runs) == 1 and lab.phase == "paused"
    monkeypatch.setattr(lab._session, "keep", keep)
    lab.resume()
    assert len(lab.wait(30)) == 2 and lab.phase == "idle"


def test_whatever_ends_a_training_leaves_the_lab_idle(data, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    def refused(self):
        raise RuntimeError("no thread")

    lab = lt.explore.lab(data, epochs=3, seeds=1)
    with monkeypatch.context() as patch:
        patch.setattr(session, "Trainer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.start(inline=True)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="no thread"):
            lab.start(inline=False)
    assert lab.phase == "idle" and Background.newest is None and lab.wait(0) == []
    lab.start(inline=True)
    assert len(lab.runs) == 2 and lab.error is None


def test_a_closed_lab_does_not_start(data):
    lab = lt.explore.lab(data, epochs=3, seeds=1)
    lab.close()
    with pytest.raises(RuntimeError, match="closed; open a new one"):
        lab.start(inline=False)


def test_runs_that_did_not_come_to_their_end_have_no_verdict(data):
    runs = [lt.train("ce", data, epochs=3, seed=seed, progress=False) for seed in (0, 1)]
    focal = [lt.train("focal", data, epochs=3, seed=seed, progress=False) for seed in (0, 1)]
    focal[1].status = "stopped"
    lab = lt.explore.lab(data, runs=[*runs, *focal])
    assert lab.result.rows[1].pair.verdict == "a stopped run: no verdict" and "no verdict" in lab.sentence
    diverged = copy.copy(focal[1])
    diverged.status, diverged.confusion = "diverged", np.zeros((10, 10), np.int64)
    lab = lt.explore.lab(data, runs=[*runs, focal[0], diverged])
    assert lab.error is None and lab.result.rows[1].words == "a diverged run: no verdict"
    assert "undefined (a diverged run: no verdict)" in lab.sentence


def test_the_rows_are_ordered_by_seed_and_paired_by_it(data):
    runs = [lt.train("ce", data, epochs=3, seed=seed, progress=False) for seed in (2, 0)]
    (row,) = compare(runs, "all")
    assert row.values.tolist() == [lt.metrics.balanced_accuracy(run) for run in reversed(runs)]
    assert compare([], "all") == []


def test_the_mean_of_classes_leaves_out_what_is_unknown():
    accuracy = np.array([[0.2, np.nan, 0.6], [np.nan, np.nan, 1.0]])
    assert mean_of_classes(accuracy, np.array([True, True, True])).tolist() == pytest.approx([0.4, 1.0])
    assert np.isnan(mean_of_classes(accuracy, np.array([False, True, False]))).all()
    assert mean_of_classes(accuracy, np.array([True, True, False])) == pytest.approx([0.2, np.nan], nan_ok=True)


# ------------------------------------------------------------------------------------------------------------ who pays
@pytest.fixture(scope="module")
def three(data):
    """Runs of ce, focal and logit_adjustment, two seeds each."""
    return [
        lt.train(key, data, epochs=15, seed=seed, progress=False)
        for key in ("ce", "focal", "logit_adjustment")
        for seed in (0, 1)
    ]


def title(lab):
    """The title of the upper right panel, as it is seen."""
    shown = [ax.get_title(loc="left") for ax in (lab.board.right, lab.board.payers.ax) if ax.get_visible()]
    assert len(shown) == 1
    return shown[0]


def drawn(lab):
    """Places of the dots of who pays that are seen."""
    return [tuple(map(float, np.ravel(dot.get_data()))) for dot in lab.board.payers.dots if len(dot.get_xdata())]


def test_who_pays_draws_the_mean_accuracies_beside_the_frontier_of_ce(data, three):
    lab = lt.explore.lab(data, runs=three)
    assert title(lab) == "Who pays? (line: slider)" and lab.values["beside"] == "who"
    of = {"ce": three[:2], "focal": three[2:4], "logit_adjustment": three[4:]}
    groups = {key: [lt.metrics.shot_accuracy(run) for run in runs] for key, runs in of.items()}
    wanted = {key: [np.mean([one[name] for one in its]) for name in ("head", "tail")] for key, its in groups.items()}
    np.testing.assert_allclose(drawn(lab), [wanted[row.label] for row in lab.result.rows])
    colour = [dot.get_color() for dot in lab.board.payers.dots[:3]]
    assert colour == [colours(label)["color"] for label in of] == [dot.get_color() for dot in lab.board.rows.dots[:3]]
    lines = [lt.metrics.frontier(run) for run in three[:2]]
    shown = lines[0].tau >= 0
    mean = [np.mean([getattr(one, name)[shown] for one in lines], axis=0) for name in ("head", "tail")]
    np.testing.assert_allclose(lab.board.payers.line.get_data(), mean)
    np.testing.assert_allclose(lab.board.payers.seeds.get_segments()[1], np.c_[lines[1].head, lines[1].tail][shown])
    assert all(len(line.get_xdata()) == 0 for line in lab.board.classes)
    picture = lt.plot_who_pays(of, three[:2])
    half = np.array([picture.data["head_half"], picture.data["tail_half"]]).T
    np.testing.assert_allclose([dot.half for dot in lab.result.who.dots], half)
    bars = lab.board.payers.bars.get_segments()
    np.testing.assert_allclose([bar[1] - bar[0] for bar in bars[2:4]], np.diag(2 * half[1]))


def test_the_sentence_and_the_points_say_how_far_beyond_the_slider_a_method_lies(data, three):
    def written(runs, base):
        found = lt.metrics.beyond(runs, base)
        error = "" if np.isnan(found.half) else f" ± {100 * found.half:.1f}"
        return f"{100 * found.mean:+.1f}{error} pp ({found.verdict})"

    ce, focal, adjusted = three[:2], three[2:4], three[4:]
    lab = lt.explore.lab(data, runs=three[:4])
    assert lab.sentence.endswith(f"Beyond the slider of ce: rare {written(focal, ce)}.")
    dots = [point.text for point in lab.screen.frame.points if point.region == 2]
    assert dots[-1].startswith("focal: frequent ")
    assert dots[-1].endswith(f"; beyond the slider of ce: rare {written(focal, ce)}")
    assert dots[-2].startswith("ce: frequent ") and "beyond" not in dots[-2]
    line = lab.result.who.line
    assert dots[0] == f"slider of ce, τ = 0: frequent {100 * line[0, 0]:.1f}%, rare {100 * line[0, 1]:.1f}%"
    assert lab.screen.frame.regions[2].name == "who pays" and lab.screen.frame.regions[2].percent == "xy"
    lab = lt.explore.lab(data, runs=three, beside="class")
    each = f"focal {written(focal, ce)}; logit_adjustment {written(adjusted, ce)}"
    assert lab.sentence.endswith(f"Beyond the slider of ce, rare classes: {each}.")
    one = lt.explore.lab(data, runs=three[:4:2])
    assert one.sentence.endswith(f"Beyond the slider of ce: rare {written(focal[:1], ce[:1])}.")
    assert len(drawn(one)) == 2 and one.board.payers.bars.get_segments() == []


def test_beside_chooses_between_who_pays_and_accuracy_by_class(data, three):
    lab = lt.explore.lab(data, "focal", runs=three, beside="class")
    assert title(lab) == "By class (test)" and drawn(lab) == [] and lab.board.payers.seeds.get_segments() == []
    np.testing.assert_allclose(lab.board.classes[1].get_ydata(), np.mean([run.per_class for run in three[2:4]], axis=0))
    assert lab.screen.frame.regions[2].name == "accuracy by class"
    assert "beside='class'" in lab.as_code() and lab.state["beside"] == "class"
    again = Lab.from_state({**lab.state, "runs": three}, data)
    assert again.screen.frame.png == lab.screen.frame.png
    lab.set(beside="who")
    lab.set(beside="class")
    backgrounds = lab.surface.backgrounds
    for choice in ("who", "class", "who"):
        lab.set(beside=choice)
    assert lab.surface.backgrounds == backgrounds and title(lab).startswith("Who pays?")
    lab.forget()
    assert title(lab) == "By class (test)" and drawn(lab) == [] and lab.values["beside"] == "who"
    assert lab.error is None and "Beyond" not in lab.sentence
    with pytest.raises(ValueError, match="beside='whom'.*did you mean 'who'"):
        lt.explore.lab(data, beside="whom")


def test_accuracy_by_class_is_shown_while_a_run_trains(data, three):
    lab = lt.explore.lab(data, "focal", runs=three, epochs=200, seeds=3, beside="who")
    lab.start(inline=False)
    soon(lambda: lab.result.loss.size > 0)
    assert title(lab) == "By class (validation)" and drawn(lab) == []
    lab.stop()
    lab.wait(30)
    assert title(lab).startswith("Who pays?") and len(drawn(lab)) == 3 and lab.error is None


def test_without_a_slider_to_compare_with_accuracy_by_class_is_shown(data, three):
    bare, stopped, strange = ([copy.copy(run) for run in three[:2]] for _ in range(3))
    for run in bare:
        run.logits = run.targets = None
    for run in stopped:
        run.status = "stopped"
    for run in strange:
        run.logits = np.full_like(run.logits, np.nan)
    elsewhere = [copy.copy(run) for run in three[2:4]]
    for run in elsewhere:
        run.data = {**run.data, "fingerprint": "other"}
    later = [lt.train("focal", data, epochs=15, seed=5, progress=False)]
    for base in (bare, stopped, strange, []):
        lab = lt.explore.lab(data, runs=[*base, *three[2:4]])
        assert (title(lab), lab.error, "Beyond" in lab.sentence) == ("By class (test)", None, False)
    for runs in (three[:2], [*three[:2], *elsewhere], [*three[:2], *later]):
        lab = lt.explore.lab(data, runs=runs)
        assert (title(lab), lab.error, "Beyond" in lab.sentence) == ("By class (test)", None, False)
    lab = lt.explore.lab(data, runs=[bare[0], three[1], *three[2:4]])  # the slider of one seed alone
    found = lt.metrics.beyond(three[3:4], three[1:2])
    assert f"Beyond the slider of ce: rare {100 * found.mean:+.1f} pp (one seed: no verdict)." in lab.sentence


def test_curves_are_headed_by_whose_they_are_and_other_data_are_dashed_and_named(data, three):
    lab = lt.explore.lab(data, "logit_adjustment", runs=three[:2], epochs=15, seeds=2, class_order="fixed")
    assert lab.board.whose.get_text() == "ce. Bold: mean over the seeds; faint: each seed"
    assert lab.board.whose.get_color() == colours("ce")["color"]
    lab.set(ratio=5)
    lab.start()
    rows = [row.shown for row in lab.result.rows]
    assert rows == ["ce ratio=20", "ce ratio=5", "logit_adjustment ratio=5"] and lab.error is None
    assert lab.result.title == "Colours as below. Bold: mean over the seeds; faint: each seed; dashed: other data"
    first, other, method = (line.get_linestyle() for line in lab.board.bold[1][:3])
    assert first == "-" and other == method == "--"
    assert len({str(style) for style in lab.board.faint[0].get_linestyle()}) == 2
    told = [point.text for point in lab.screen.frame.points]
    assert any(text.startswith("logit_adjustment ratio=5, seed=1: ") for text in told)
    assert "logit_adjustment ratio=5 (2 seeds)" in lab.sentence
    lab = lt.explore.lab(data, runs=three)
    assert (
        lab.result.title.startswith("ce, focal, logit_adjustment. Bold") and lab.board.bold[1][2].get_linestyle() == "-"
    )
    one = board.look_at(three, board.compare(three, "tail"), None, "", "tail", 15, "")
    assert {curve.other for curve in [*one.faint, *one.bold]} == {0}


def test_a_row_is_compared_with_the_slider_of_its_own_data(three, data):
    other = lt.digits_lt(ratio=5)
    more = [lt.train(key, other, epochs=15, seed=seed, progress=False) for key in ("ce", "focal") for seed in (0, 1)]
    lab = lt.explore.lab(data, runs=[*three[:4], *more])
    first, second = lt.metrics.beyond(three[2:4], three[:2]), lt.metrics.beyond(more[2:], more[:2])
    assert f"Beyond the slider of ce ratio=20, rare classes: focal ratio=20 {100 * first.mean:+.1f} " in lab.sentence
    assert f"Beyond the slider of ce ratio=5, rare classes: focal ratio=5 {100 * second.mean:+.1f} " in lab.sentence
    who = lab.result.who
    assert who.base == "ce ratio=5" and [dot.shown for dot in who.dots] == ["ce ratio=5", "focal ratio=5"]
    np.testing.assert_allclose(who.head, [lt.metrics.frontier(run).head[20:] for run in more[:2]])


def test_runs_without_a_verdict_have_no_distance_and_diverged_ones_no_dot(data, three):
    stopped, diverged = copy.copy(three[3]), copy.copy(three[5])
    stopped.status = "stopped"
    diverged.status, diverged.confusion = "diverged", np.zeros((10, 10), np.int64)
    lab = lt.explore.lab(data, runs=[*three[:3], stopped, three[4], diverged])
    assert lab.error is None and [dot.label for dot in lab.result.who.dots] == ["ce", "focal"]
    assert "Beyond" not in lab.sentence


def test_a_frontier_is_computed_once_and_in_the_thread_that_trains(data, monkeypatch):
    from ltviz.metrics import frontier

    where = []
    monkeypatch.setattr(lt.metrics, "frontier", lambda run: where.append(threading.current_thread()) or frontier(run))
    lab = lt.explore.lab(data, "focal", epochs=3, seeds=2)
    lab.start(inline=False)
    lab.wait(60)
    for values in ({"group": "all"}, {"beside": "class"}, {"beside": "who"}, {"reference": "focal"}):
        lab.set(**values)
    assert where == [lab._session.thread] * 2 and len(drawn(lab)) == 2 and lab.error is None


def test_losses_of_ones_own_and_many_rows_break_nothing_of_who_pays(data, three):
    own = copy.copy(three[2])
    own.method = own.label = own.name = "my $loss_{ & <b>"
    many = [copy.copy(three[2]) for _ in range(7)]
    for number, run in enumerate(many):
        run.id, run.name = f"{number:012x}", f"other {number}"
    lab = lt.explore.lab(data, runs=[*three[:2], own, *many], reference="other 0")
    assert lab.error is None and len(drawn(lab)) == 6 and lab.result.who.base == "ce"
    taus = [text for text in lab.board.payers.taus if text.get_text()]
    boxes = [text.get_window_extent() for text in taus]
    assert taus and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.slow
def test_a_lab_that_shows_who_pays_can_be_driven(data, three, monkeypatch):
    monkeypatch.setenv("LTVIZ_PROFILE", "fast")
    lab = lt.explore.lab(data, "ce", runs=three[:4])
    state, places = lab.state, drawn(lab)
    assert lab.drive() == [] and lab.error is None
    assert lab.state == state and drawn(lab) == places


@pytest.mark.parametrize(("asked", "got"), [(50, "57"), (20, "22.8"), (2, None)])
def test_an_empty_lab_says_why_its_ratio_is_not_the_slider_s(asked, got):
    made = lt.explore.lab(lt.digits_lt(ratio=asked))
    why = f" A ratio of {asked} was asked for; after cutting the counts to whole numbers it is {got}." if got else ""
    assert made.sentence.startswith("Nothing is trained yet. digits_lt: ") and made.sentence.endswith(f"on cpu.{why}")
    made.close()


def test_a_network_of_ones_own_is_trained():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12), torch.nn.ReLU(), torch.nn.Linear(12, 10))
    explorer = lt.explore.lab(key="focal", seeds=1, epochs=3, model=net)
    explorer.start(inline=True)
    assert [run.recipe["model"] for run in explorer.wait()] == ["Sequential (own)"] * 2 and explorer.error is None
    with pytest.raises(ValueError, match="^model=3: expected a name of models.MODELS"):
        lt.explore.lab(model=3)
    with pytest.raises(ValueError, match="^weights='none.pt': there is no such file"):
        lt.explore.lab(weights="none.pt")


def test_weights_come_with_the_order_of_their_classes_and_other_arguments_are_refused_by_name(data):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    rows = {"1.weight": torch.arange(10.0)[:, None].repeat(1, 64), "1.bias": torch.zeros(10)}
    order = sorted(data.class_names, reverse=True)
    given = {"model": net, "weights": rows, "head_classes": order}
    lab = lt.explore.lab(data, "focal", seeds=1, epochs=3, class_order=data.spec["class_order"], **given)
    lab.start(inline=True)
    expected = [lt.train(key, data, epochs=3, progress=False, **given).id for key in ("ce", "focal")]
    assert [run.id for run in lab.wait()] == expected and lab.error is None
    assert lt.train("ce", data, epochs=3, progress=False, **given | {"head_classes": order[::-1]}).id != expected[0]
    with pytest.raises(ValueError, match="^head_classes=.*'cow'"):
        lt.explore.lab(data, model=net, head_classes=[*order[1:], "cow"])
    with pytest.raises(ValueError, match="^head_classes=.*None where no classifier comes along"):
        lt.explore.lab(data, head_classes=order)
    for name in ("augment", "start", "recipe", "lr", "callbacks", "checkpoint", "device", "speed", "progress"):
        with pytest.raises(ValueError, match=rf"^{name}: lt.train takes it, .*; use lt.train\(..., {name}=...\), and "):
            lt.explore.lab(data, **{name: None})
    with pytest.raises(ValueError, match="^seed: lt.train takes it, a lab does not; use seeds="):
        lt.explore.lab(data, seed=1)
