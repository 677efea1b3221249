"""Explorers without a browser: controls, pictures, errors, code, threads, and live training."""

import base64
import io
import statistics
import threading
import time

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

import ltviz as lt
from ltviz import functional
from ltviz.explore.base import Explorer
from ltviz.explore.controls import Choice, Number, control
from ltviz.explore.lab import Lab
from ltviz.explore.loss_anatomy import METHOD
from ltviz.methods import METHODS
from ltviz.objective import Setting
from ltviz.probe import probe

COUNTS = [500, 347, 240, 167, 116, 80, 56, 38, 26, 18]


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open, and no training under way."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt(ratio=20)


@pytest.fixture(scope="module")
def run(data):
    return lt.train("ce", data, epochs=8, progress=False)


def opened(name, run, data):
    """Each explorer by name, and the names that its code needs."""
    makers = {
        "effective_number": lambda: lt.explore.effective_number(COUNTS),
        "loss_anatomy": lambda: lt.explore.loss_anatomy("class_balanced"),
        "lab": lambda: lt.explore.lab(data, epochs=3, seeds=1),
        "posthoc": lambda: lt.explore.posthoc(run),
    }
    return makers[name]()


EXPLORERS = ["effective_number", "loss_anatomy", "lab", "posthoc"]
# of each explorer, a control and a value that must change the picture
MOVES = {
    "effective_number": ("beta", 0.9),
    "loss_anatomy": ("beta", 0.9),
    "lab": ("epochs", 40),
    "posthoc": ("prior", 1.5),
}


# --- controls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "place"),
    [
        (Setting(0.999, 0.0, 0.99999, "one-minus-log"), 0.99, 2.0),
        (Setting(0.5, 0.0, 1.0, "one-minus-log"), 1.0, 6.0),
        (Setting(0.1, 0.001, 10.0, "log"), 0.01, -2.0),
        (Setting(2.0, 0.0, 5.0), 1.25, 1.25),
    ],
)
def test_a_slider_runs_on_the_scale_of_its_setting(setting, value, place):
    one = Number("x", setting)
    one.value = value
    assert one.slider.value == pytest.approx(place)
    one.value = setting.default
    one.slider.value = place
    assert one.value == pytest.approx(value)


@pytest.mark.parametrize("setting", [s for m in METHODS.values() for s in m.settings.values() if not s.choices])
def test_every_setting_of_every_method_gives_a_slider_that_reaches_both_ends(setting):
    one = Number("x", setting)
    for place, end in ((one.slider.min, setting.low), (one.slider.max, setting.high)):
        one.slider.value = (one.slider.min + one.slider.max) / 2
        one.slider.value = place
        assert one.value == end and isinstance(one.value, int if isinstance(setting.default, int) else float)
    assert np.isfinite([one.slider.min, one.slider.max]).all() and one.slider.min < one.slider.max


def test_number_box_and_slider_are_linked_and_a_typed_value_stays_exact():
    heard = []
    one = Number("gamma", Setting(2.0, 0.0, 5.0, symbol="γ", meaning="focusing"))
    one.listeners.append(lambda: heard.append(one.value))
    one.box.value = 1.237
    assert one.slider.value == pytest.approx(1.237) and heard == [1.237]
    one.slider.value = 1.25  # what the page sends back after it has snapped to a step
    assert one.value == 1.237 and heard == [1.237]
    one.slider.value = 1.3
    assert one.box.value == 1.3 and heard == [1.237, 1.3]
    assert one.box.description == "gamma γ" and one.box.tooltip == "focusing"


def test_controls_refuse_what_is_out_of_range_and_name_it():
    one = Number("gamma", Setting(2.0, 0.0, 5.0))
    with pytest.raises(ValueError, match="gamma must lie between 0.0 and 5.0, not 9"):
        one.value = 9
    with pytest.raises(ValueError, match="form must be one of 'a', 'b', not 'c'"):
        Choice("form", Setting("a", choices=("a", "b"))).value = "c"
    with pytest.raises(ValueError, match="must lie between"):
        control("gamma", Setting(2.0, 0.0, 5.0), -1)


def test_choices_become_a_dropdown_and_yes_or_no_a_box_to_tick():
    assert isinstance(control("form", Setting("a", choices=("a", "b"))).widget, widgets.Dropdown)
    box = control("detach", Setting(True, choices=(True, False)))
    assert isinstance(box.widget, widgets.Checkbox) and box.stops == [True, False]


# --- every explorer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_control_changes_the_picture_and_the_sentence_and_reset_brings_them_back(name, run, data):
    explorer = opened(name, run, data)
    assert explorer.error is None
    control_name, value = MOVES[name]
    picture, first = explorer.image.value, explorer.values
    explorer.controls[control_name].value = value
    assert explorer.image.value != picture and explorer.error is None
    assert explorer.sentence in explorer.readout.value.replace("&amp;", "&")
    explorer.reset_button.click()
    assert explorer.values == first and explorer.image.value == picture


@pytest.mark.parametrize("name", EXPLORERS)
def test_code_and_state_give_the_same_picture_again(name, run, data):
    explorer = opened(name, run, data)
    control_name, value = MOVES[name]
    explorer.set(**{control_name: value})
    again = eval(explorer.as_code(), {"lt": lt, "run": run})
    assert again.state == explorer.state and again.image.value == explorer.image.value
    given = {"effective_number": (COUNTS,), "lab": (data,), "posthoc": (run,), "loss_anatomy": ()}[name]
    assert type(explorer).from_state(explorer.state, *given).image.value == explorer.image.value


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_mime_bundle_holds_the_live_view_a_picture_and_a_sentence(name, run, data):
    explorer = opened(name, run, data)
    bundle, metadata = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = base64.b64decode(bundle["image/png"])
    assert Image.open(io.BytesIO(picture)).size[0] == round(explorer.surface.figure.get_dpi() * explorer.size[0])
    assert len(picture) < 60_000
    assert bundle["text/plain"].endswith("Run this cell to make it live.")
    assert metadata["image/png"]["alt"] == explorer.sentence


@pytest.mark.parametrize("name", EXPLORERS)
def test_every_control_can_be_driven_to_its_ends(name, run, data, monkeypatch):
    if name == "lab":  # its picture does not depend on the settings of a method
        monkeypatch.setenv("LTVIZ_PROFILE", "fast")
    explorer = opened(name, run, data)
    before = explorer.state
    assert explorer.drive() == [] and explorer.error is None
    assert explorer.state == before


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_background_is_drawn_once_while_a_slider_moves(name, run, data):
    explorer = opened(name, run, data)
    control_name = {"lab": "seeds"}.get(name, MOVES[name][0])
    if name == "loss_anatomy":
        explorer.set(method="ce")
        explorer.set(method="focal")
        control_name = "gamma"
    drawn = explorer.surface.backgrounds
    for stop in np.linspace(0.1, 0.6, 5) if name != "lab" else range(1, 6):
        explorer.set(**{control_name: stop})
    assert explorer.surface.backgrounds == drawn


def test_an_unknown_control_is_refused_with_the_nearest_name():
    explorer = lt.explore.effective_number(COUNTS)
    with pytest.raises(ValueError, match="no control 'bta' .*did you mean 'beta'"):
        explorer.set(bta=0.5)


class Fragile(Explorer):
    """Fails for x above 1."""

    title = "Fragile"

    def build(self, surface):
        (self.line,) = surface.figure.subplots().plot([0, 1], [0, 1])
        surface.animate(self.line)

    def compute(self, x):
        if x > 1:
            raise ArithmeticError("x & more than 1 <is too much>")
        return x

    def draw(self, result):
        self.line.set_ydata([0, result])

    def say(self, result):
        return f"x is {result}"


def test_errors_are_kept_and_shown_and_go_when_the_next_picture_succeeds():
    explorer = Fragile({"x": control("x", Setting(0.5, 0.0, 2.0))})
    picture = explorer.image.value
    explorer.controls["x"].slider.value = 1.5
    assert explorer.error == "ArithmeticError: x & more than 1 <is too much>"
    assert "&lt;is too much&gt;" in explorer.error_label.value and explorer.error_label.layout.display is None
    assert explorer.image.value == picture, "the last good picture stays"
    explorer.controls["x"].slider.value = 0.75
    assert explorer.error is None and explorer.error_label.layout.display == "none"
    assert explorer.drive() == ["x=2.0: ArithmeticError: x & more than 1 <is too much>"]
    assert explorer.error == "x=2.0: ArithmeticError: x & more than 1 <is too much>"


def test_callbacks_of_several_threads_leave_the_picture_of_the_final_values():
    explorer = lt.explore.effective_number(COUNTS)
    places = np.random.default_rng(0).uniform(0, 5, (4, 15))
    failed = []

    def slide(row):
        try:
            for place in row:
                explorer.controls["beta"].slider.value = place
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=slide, args=(row,)) for row in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    beta = explorer.controls["beta"]
    assert failed == [] and explorer.error is None
    assert abs(beta.slider.value - beta.place(beta.value)) <= beta.step
    assert explorer.result.beta == beta.value
    assert lt.explore.effective_number(COUNTS, beta.value).image.value == explorer.image.value


def test_closing_takes_an_explorer_out_of_the_registry_and_off_the_page():
    explorer = lt.explore.effective_number(COUNTS)
    assert explorer in lt.explore.registry()
    explorer.close()
    assert explorer not in lt.explore.registry() and explorer.image.comm is None
    explorer.refresh()
    assert explorer.error is None


def test_no_pyplot_is_loaded():
    import subprocess
    import sys

    code = "import sys, ltviz as lt; lt.explore.effective_number([9, 3, 1]); print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


# --- what the explorers show -----------------------------------------------------------------------------------------


def test_effective_number_shows_the_paper_s_equation():
    result = lt.explore.effective_number(COUNTS, beta=0.99).result
    np.testing.assert_allclose(result.effective, (1 - 0.99 ** np.array(COUNTS)) / 0.01, rtol=1e-9)
    assert result.weight.mean() == pytest.approx(1.0, abs=1e-6)
    assert result.weight[-1] / result.weight[0] == pytest.approx(result.effective[0] / result.effective[-1], rel=1e-5)


@pytest.mark.parametrize("counts", [[100], [5, 5, 5], [3, 900, 0], np.geomspace(5000, 5, 100).astype(int)])
def test_effective_number_takes_any_counts(counts):
    explorer = lt.explore.effective_number(counts)
    assert explorer.error is None and explorer.drive() == []


def test_effective_number_refuses_counts_without_an_image():
    with pytest.raises(ValueError, match="at least one class"):
        lt.explore.effective_number([0, 0])


@pytest.mark.parametrize("key", list(METHODS))
def test_the_probe_of_every_method_agrees_with_finite_differences(key):
    record, counts = METHODS[key], torch.tensor([50, 20, 5])
    smooth = {name: value for name, value in record.smooth.items() if name in record.settings}
    seen = probe(key, counts, 2, points=2001, settings=smooth)
    loss, gradient, p = seen.loss.numpy(), seen.gradient.numpy(), seen.p.numpy()
    assert np.isfinite(loss).all() and np.isfinite(gradient).all() and (np.diff(p) > 0).all()
    plain = type(record.build(counts, **smooth).make_head(3)) is torch.nn.Linear
    if plain and record.probability_of(**record.resolve(smooth)) == "softmax":
        slope = np.abs(np.gradient(loss, np.log(p / (1 - p))))[400:1600]
        close = np.isclose(gradient[400:1600], slope, atol=0.02 * gradient.max())
        assert close.mean() > 0.98, "but for the kinks of a hinge"


def test_the_probe_of_cross_entropy_is_minus_log_p():
    seen = probe("ce", torch.tensor([50, 20, 5]), 0)
    torch.testing.assert_close(seen.loss, -seen.p.log())
    torch.testing.assert_close(seen.gradient, 1 - seen.p)


def test_changing_the_method_changes_the_controls_and_keeps_what_was_set():
    explorer = lt.explore.loss_anatomy("focal", gamma=3.5)
    assert list(explorer.controls)[:2] == [METHOD, "gamma"] and explorer.settings["gamma"] == 3.5
    explorer.controls[METHOD].widget.value = "class_balanced"
    assert "beta" in explorer.controls and explorer.error is None and "class_balanced" in explorer.sentence
    explorer.controls[METHOD].widget.value = "focal"
    assert explorer.settings["gamma"] == 3.5


def test_loss_anatomy_refuses_an_unknown_method_or_setting():
    with pytest.raises(KeyError, match="did you mean 'focal'"):
        lt.explore.loss_anatomy("focl")
    with pytest.raises(ValueError, match="no setting 'gama'.*did you mean 'gamma'"):
        lt.explore.loss_anatomy("focal", gama=1)


def test_posthoc_agrees_with_the_rules_of_the_methods(run):
    explorer = lt.explore.posthoc(run, prior=1.0)
    decided = run.posthoc("logit_adjusted", tau=1.0).argmax(1)
    assert explorer.result.per_class == pytest.approx(lt.metrics.recall(run.targets, decided, run.k))
    explorer.set(prior=0.0, tau=1.0, bias="drop")
    decided = run.posthoc("tau_norm", tau=1.0).argmax(1)
    assert explorer.result.per_class == pytest.approx(lt.metrics.recall(run.targets, decided, run.k))
    explorer.set(tau=0.0, bias="keep")
    assert explorer.result.per_class == pytest.approx(run.per_class)


def test_posthoc_refuses_a_record_without_features(run, tmp_path):
    small = lt.load_run(run.save(tmp_path, small=True))
    with pytest.raises(ValueError, match="keeps no logits and features"):
        lt.explore.posthoc(small)


def test_posthoc_of_a_cosine_head_has_no_row_lengths(data):
    run = lt.train("cosface", data, epochs=3, progress=False)
    explorer = lt.explore.posthoc(run)
    assert list(explorer.controls) == ["prior"] and explorer.drive() == []


# --- the lab ---------------------------------------------------------------------------------------------------------


def test_the_lab_trains_inline_and_compares_paired_by_seed(data):
    lab = lt.explore.lab(data, epochs=6, seeds=3)
    lab.start()
    assert lab.phase == "idle" and [run.seed for run in lab.runs] == [0, 1, 2] and lab.error is None
    lab.set(method="logit_adjustment", tau=1.0)
    lab.start()
    assert len(lab.runs) == 6
    first, second = lab.result.rows
    assert first.pair is None and second.pair == lt.metrics.paired(lab.runs[3:], lab.runs[:3])
    assert second.pair.verdict in second.words and second.words in lab.sentence
    tail = [lt.metrics.shot_accuracy(run)["tail"] for run in lab.runs[:3]]
    lab.set(group="tail")
    assert lab.result.rows[0].values == pytest.approx(tail)
    lab.start()  # the same again replaces, and is not taken for further seeds
    assert len(lab.runs) == 6
    lab.forget_button.click()
    assert lab.runs == [] and lab.result.rows == []


def test_the_lab_does_not_compare_across_data(data):
    lab = lt.explore.lab(data, epochs=3, seeds=1)
    lab.start()
    lab.set(ratio=5)
    lab.start()
    assert len(lab.runs) == 2 and lab.result.rows[1].words == "other data"
    assert lab.runs[1].data["ratio"] == 5


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
    soon(lambda: lab._live.state == "paused")
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
    assert len(second.wait(30)) == 1 and first.error is None and second.error is None


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
    assert lab.phase == "idle" and not lab._thread.is_alive()


def test_no_method_has_a_setting_that_the_lab_uses_itself(data):
    own = {"method", "key", "data", "runs", "ratio", "profile", "epochs", "seeds", "group", "counts"}
    assert {key: own & set(method.settings) for key, method in METHODS.items() if own & set(method.settings)} == {}


def test_the_fast_profile_is_short_and_inline(data, monkeypatch):
    monkeypatch.setenv("LTVIZ_PROFILE", "fast")
    lab = lt.explore.lab(data)
    lab.start()
    assert [len(run.history["loss"]) for run in lab.runs] == [6, 6] and lab._thread is None
    assert isinstance(lab, Lab)


# --- speed -----------------------------------------------------------------------------------------------------------

X = np.linspace(0.0, 1.0, 200)


def curves(power):
    """100 curves of 200 points, as segments."""
    return np.stack([np.column_stack([X, 0.01 * j * X**power]) for j in range(1, 101)])


class Hundred(Explorer):
    """Two panels of 100 curves, all of which move."""

    title = "Speed"
    size = (10.0, 4.0)

    def build(self, surface):
        self.lines = []
        for ax in surface.figure.subplots(1, 2):
            ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="x", ylabel="y", title="curves")
            self.lines.append(ax.add_collection(LineCollection(curves(1.0), linewidths=1.2)))
        surface.animate(*self.lines)

    def compute(self, power):
        return curves(power)

    def draw(self, result):
        for line in self.lines:
            line.set_segments(result)

    def say(self, result):
        return "100 curves"


def rebuilt(power):
    """The same picture the usual way: a new figure, saved tight."""
    figure = Figure(figsize=(10.0, 4.0), dpi=150)
    FigureCanvasAgg(figure)
    for ax in figure.subplots(1, 2):
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="x", ylabel="y", title="curves")
        for curve in curves(power):
            ax.plot(*curve.T, lw=1.2)
    buffer = io.BytesIO()
    figure.savefig(buffer, bbox_inches="tight")
    return buffer.getvalue()


def test_a_slider_is_far_cheaper_than_a_new_figure(record_property):
    explorer = Hundred({"power": control("power", Setting(1.0, 0.5, 3.0))})
    slider, ours, usual = explorer.controls["power"].slider, [], []
    for i in range(10):
        began = time.process_time()
        slider.value = 0.6 + 0.2 * i
        ours.append(time.process_time() - began)
        if i < 3:
            began = time.process_time()
            rebuilt(0.6 + 0.2 * i)
            usual.append(time.process_time() - began)
    record_property("slider_ms", 1000 * statistics.median(ours))
    record_property("ratio", min(usual) / min(ours))
    print(f"slider {1000 * statistics.median(ours):.1f} ms, rebuilt {1000 * min(usual):.0f} ms")
    assert explorer.surface.backgrounds == 1
    assert min(usual) / min(ours) >= 4.0, "half of what is promised: a guard against collapse"
    assert statistics.median(ours) < 0.1


def test_posthoc_decides_ten_thousand_images_of_a_hundred_classes_at_once(run):
    rng = np.random.default_rng(0)
    n, d, k = 10_000, 64, 100
    weight = rng.normal(size=(k, d)).astype(np.float32)
    targets = rng.integers(0, k, n)
    features = (weight[targets] + 3 * rng.normal(size=(n, d))).astype(np.float16)
    big = type(run)(
        method="ce", settings={}, data={}, recipe={}, seed=0, counts=np.geomspace(500, 5, k).astype(int),
        class_names=[str(j) for j in range(k)], history={}, confusion=np.eye(k, dtype=np.int64), head_weight=weight,
        head_bias=np.zeros(k, np.float32), targets=targets, logits=features.astype(np.float32) @ weight.T,
        features=features,
    )  # fmt: skip
    explorer = lt.explore.posthoc(big)
    times = []
    for place in np.linspace(0.1, 2.0, 10):
        began = time.process_time()
        explorer.controls["tau"].slider.value = place
        times.append(time.process_time() - began)
    print(f"post-hoc {1000 * statistics.median(times):.1f} ms")
    assert explorer.error is None and statistics.median(times) < 0.1


def test_the_maths_is_the_package_s_own():
    weights = functional.inverse_weights(functional.effective_number(torch.tensor(COUNTS), 0.999)).numpy()
    assert lt.explore.effective_number(COUNTS, 0.999).result.weight.tolist() == pytest.approx(weights.tolist())
