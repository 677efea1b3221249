"""The explorer that re-decides a trained network: rules, the prior at deployment, cells, pointing, sweeps."""

import base64
import copy
import dataclasses
import html
import io
import re
import statistics
import time
import tracemalloc
import types
import warnings

import numpy as np
import pytest
from PIL import Image

import ltviz as lt
from ltviz import metrics
from ltviz.explore.cells import PICTURES
from ltviz.explore.posthoc import CLASSES, MATRIX, MEANS, PHOTOS, PLACES, SHARES, Posthoc
from ltviz.explore.screen import Click
from ltviz.methods import METHODS
from ltviz.objective import Limit, Method, Setting


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt(ratio=20)


@pytest.fixture(scope="module")
def run(data):
    return lt.train("ce", data, epochs=8, progress=False)


def made(n=600, d=8, k=6, **changes):
    """A run with numbers of its own: n test images with d features in k classes, which are not sorted by class."""
    rng = np.random.default_rng(0)
    weight, targets = rng.normal(size=(k, d)).astype(np.float32), rng.integers(0, k, n)
    features = (weight[targets] + 2 * rng.normal(size=(n, d))).astype(np.float16)
    logits = features.astype(np.float32) @ weight.T
    fields = {
        "method": "ce", "settings": {}, "data": {}, "recipe": {}, "seed": 0, "history": {}, "targets": targets,
        "counts": np.geomspace(500, 5, k).astype(int), "class_names": [f"class {j}" for j in range(k)],
        "confusion": metrics.confusion(targets, logits.argmax(1), k), "head_weight": weight,
        "head_bias": np.zeros(k, np.float32), "logits": logits, "features": features,
    }  # fmt: skip
    return lt.Run(**fields | changes)


# --- rules -----------------------------------------------------------------------------------------------------------


def test_posthoc_agrees_with_the_rules_of_the_methods(run):
    explorer = lt.explore.posthoc(run, prior=1.0)
    decided = run.posthoc("logit_adjusted", tau=1.0).argmax(1)
    assert explorer.result.per_class == pytest.approx(lt.metrics.recall(run.targets, decided, run.k))
    explorer.set(prior=0.0, tau=1.0, bias="drop")
    decided = run.posthoc("tau_norm", tau=1.0).argmax(1)
    assert explorer.result.per_class == pytest.approx(lt.metrics.recall(run.targets, decided, run.k))
    explorer.set(tau=0.0, bias="keep")
    assert explorer.result.per_class == pytest.approx(run.per_class)


def test_every_rule_that_starts_from_the_trained_network_is_a_control(run):
    def only_the_rarest(out, counts, gallery, *, share, tau):
        return out.logits + share * tau * (counts == counts.min())

    own = Method(
        key="own_rule", title="Own rule", paper="", equation="", objective=METHODS["ce"].objective,
        settings={"share": Setting(0.5, 0.0, 100.0), "tau": Setting(1.0, 0.0, 2.0)}, posthoc=only_the_rarest,
        limits=(Limit({"share": 0.0}, "ce"),),
    )  # fmt: skip
    METHODS.add(own)
    try:
        explorer = lt.explore.posthoc(run)
        assert sorted(explorer.controls) == ["bias", "deployment", "own_rule_tau", "prior", "share", "tau"]
        assert explorer.values["share"] == 0.0 and explorer.result.words == "as trained"
        explorer.set(share=100.0, prior=1.0, tau=0.5)
        logits = run.posthoc("tau_norm", tau=0.5, bias="keep")
        logits = logits - np.log(run.counts / run.counts.sum()) + 100.0 * (run.counts == run.counts.min())
        assert explorer.result.per_class == pytest.approx(lt.metrics.recall(run.targets, logits.argmax(1), run.k))
        assert "own rule (share = 100, tau = 1)" in explorer.sentence
        assert eval(explorer.as_code(), {"lt": lt, "run": run}).state == explorer.state
    finally:
        METHODS.remove("own_rule")
    assert sorted(lt.explore.posthoc(run).controls) == ["bias", "deployment", "prior", "tau"]
    with pytest.raises(ValueError, match="no control 'shore'"):
        lt.explore.posthoc(run, shore=1.0)


def rounded(digits, run, **more):
    """The run's probabilities with so many digits (16: in float16), as answers of its own."""
    p = metrics.probabilities(run)
    p = p.astype(np.float16) if digits == 16 else np.round(p, digits)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "probabilities: .* are 0, rounded")
        return lt.from_predictions(
            run.targets, probabilities=p, counts=run.counts, class_names=run.class_names, features=run.features,
            head_weight=run.head_weight, **more,
        )  # fmt: skip


@pytest.mark.parametrize("digits", [3, 4, 6, 16])
@pytest.mark.parametrize("biased", [True, False])
def test_rounded_probabilities_are_decided_again_as_their_logits_are(digits, biased):
    """Zeros among them have no logs, so the bias is the classifier's own and not what the logs have beyond W f."""
    rng = np.random.default_rng(3)
    weight, features = rng.normal(size=(8, 12)).astype(np.float32), 2 * rng.normal(size=(400, 12)).astype(np.float32)
    bias = np.linspace(3, -3, 8).astype(np.float32) * biased
    logits = features @ weight.T + bias
    exact = made(400, 12, 8, counts=np.arange(80, 0, -10), head_weight=weight, head_bias=bias, features=features,
                 logits=logits)  # fmt: skip
    run = rounded(digits, exact, **({"head_bias": bias} if biased else {}))
    assert (metrics.probabilities(exact).astype(np.float16) == 0).mean() > 0.02 and run.logits.min() < -16
    for tau in (0.0, 0.5, 1.0):
        for kept in ("keep", "drop"):
            right = exact.posthoc("tau_norm", tau=tau, bias=kept)
            np.testing.assert_allclose(run.posthoc("tau_norm", tau=tau, bias=kept), right, atol=2e-2)
            if tau:
                result = lt.explore.posthoc(run, tau=tau, bias=kept).result
                assert result.per_class == pytest.approx(metrics.recall(run.targets, right.argmax(1), run.k), abs=0.02)


@pytest.mark.parametrize("change", ["cosine", "other vectors", "scaled features"])
def test_vectors_that_do_not_give_the_logits_are_not_shortened(change):
    run, rng = made(300, 12, 6), np.random.default_rng(4)
    run = dataclasses.replace(run, logits=run.features.astype(np.float32) @ run.head_weight.T)
    run.posthoc("tau_norm")
    if change == "cosine":
        run = dataclasses.replace(run, scale=16.0, head_bias=None)
    elif change == "other vectors":
        run = dataclasses.replace(run, head_weight=rng.normal(size=run.head_weight.shape).astype(np.float32))
    else:
        bias = np.linspace(8, -8, 6).astype(np.float32)
        run = dataclasses.replace(run, logits=run.logits / 20 + bias, head_bias=bias)
    says = "is a cosine head" if change == "cosine" else r"W f \+ b of this run decides \d+% of its images otherwise"
    for tau in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"^tau_norm: .*{says}"):
            run.posthoc("tau_norm", tau=tau, bias="keep")
    explorer = lt.explore.posthoc(run, prior=1.0)
    assert list(explorer.controls) == ["prior", "deployment"] and explorer.error is None
    with pytest.raises(ValueError, match="^tau=1.0: .*(cosine head|decides).*; leave it out"):
        lt.explore.posthoc(run, tau=1.0)
    assert "τ" not in lt.explore.posthoc(run).sentence


def test_posthoc_refuses_a_record_without_logits(run, tmp_path):
    small = lt.load_run(run.save(tmp_path, small=True))
    with pytest.raises(ValueError, match="keeps no logits of test images"):
        lt.explore.posthoc(small)


def test_a_record_without_features_has_the_rules_that_decide_from_logits(run):
    part = dataclasses.replace(run, features=None)
    explorer = lt.explore.posthoc(part, prior=1.0)
    assert list(explorer.controls) == ["prior", "deployment"] and explorer.drive() == []
    whole = lt.explore.posthoc(run, prior=1.0)
    assert explorer.result.confusion.tolist() == whole.result.confusion.tolist()
    with pytest.raises(ValueError, match="tau=1.0: this record of 'ce' keeps no features"):
        lt.explore.posthoc(part, tau=1.0)


@pytest.mark.parametrize("name", ["features", "logits", "head_weight"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_posthoc_refuses_numbers_from_which_nothing_follows(name, value, run):
    broken = copy.copy(run)
    values = getattr(run, name).astype(np.float32)
    values[3, 1] = value
    setattr(broken, name, values)
    with pytest.raises(ValueError, match=f"its {name} hold NaN or infinity in 1 of {len(values)} rows"):
        lt.explore.posthoc(broken)


def test_posthoc_says_what_its_numbers_are_of(data, run, tmp_path):
    part = copy.copy(run)
    for name in ("targets", "logits", "features"):
        setattr(part, name, getattr(run, name)[:50])
    assert "of the 50 images it kept" in lt.explore.posthoc(part).sentence
    assert "kept" not in lt.explore.posthoc(run).sentence
    ruled = lt.train("logit_adjusted", data, epochs=3, progress=False)
    assert "its own rule put aside, as trained" in lt.explore.posthoc(ruled).sentence


def test_posthoc_of_a_cosine_head_has_no_row_lengths(data):
    run = lt.train("cosface", data, epochs=3, progress=False)
    explorer = lt.explore.posthoc(run)
    assert list(explorer.controls) == ["prior", "deployment"] and explorer.drive() == []
    for asked in ({"tau": 1.0}, {"bias": "drop"}, {"tau": "x"}):
        with pytest.raises(ValueError, match="cosine head"):
            lt.explore.posthoc(run, **asked)


def test_a_rule_whose_setting_is_called_like_a_control_of_the_explorer_gets_another_name(run):
    own = Method(
        key="own_rule", title="Own rule", paper="", equation="", objective=METHODS["ce"].objective,
        settings={"deployment": Setting(0.0, 0.0, 2.0)}, limits=(Limit({"deployment": 0.0}, "ce"),),
        posthoc=lambda out, counts, gallery, deployment: out.logits + deployment * (counts == counts.min()),
    )  # fmt: skip
    METHODS.add(own)
    try:
        explorer = lt.explore.posthoc(run, deployment=1.0, own_rule_deployment=2.0)
        assert explorer.values["deployment"] == 1.0 and explorer.values["own_rule_deployment"] == 2.0
        logits = run.logits + 2.0 * (run.counts == run.counts.min())
        assert explorer.result.per_class == pytest.approx(metrics.recall(run.targets, logits.argmax(1), run.k))
    finally:
        METHODS.remove("own_rule")


def test_test_images_in_any_order_are_decided_alike():
    run = made()
    assert (np.diff(run.targets) < 0).any()
    explorer = lt.explore.posthoc(run, prior=0.7)
    decided = run.posthoc("logit_adjusted", tau=0.7).argmax(1)
    assert explorer.result.confusion.tolist() == metrics.confusion(run.targets, decided, run.k).tolist()


def plainly(run, tau, bias, prior):
    """Decisions (n,) of the rules as the methods have them, one after the other, over all images at once."""
    logits = run.logits
    if (tau, bias) != (0.0, "keep"):
        logits = run.posthoc("tau_norm", tau=tau, bias=bias)
    return dataclasses.replace(run, logits=logits).posthoc("logit_adjusted", tau=prior).argmax(1)


def tied(seed):
    """A run in whole numbers, full of equal scores; classes come in pairs, and one has no training images."""
    rng = np.random.default_rng(seed)
    weight = np.repeat(np.diag(4.0 ** rng.integers(0, 3, 8)).astype(np.float32), 2, axis=0)[:, rng.permutation(8)]
    weight[[3, 10]] = 0
    features = rng.integers(-2, 3, (256, 8)).astype(np.float16)
    bias = rng.integers(-2, 3, 16).astype(np.float32)
    logits = features.astype(np.float32) @ weight.T + bias
    counts = np.repeat([64, 32, 16, 8, 4, 2, 1, 0], 2)
    return made(256, 8, 16, counts=counts, head_weight=weight, head_bias=bias, features=features, logits=logits)


@pytest.mark.parametrize("run", [tied(0), tied(1), made(), made(300, 40, 25, counts=np.arange(25))], ids=range(4))
def test_every_place_of_the_sliders_decides_as_the_rules_do_equal_scores_included(run):
    explorer = lt.explore.posthoc(run)
    rules, order = explorer.rules, explorer.rules.numbers
    priors = explorer.controls["prior"].sweep().values
    for tau, bias in ((0.0, "keep"), (0.5, "keep"), (1.0, "drop"), (1.5, "keep"), (2.0, "drop"), (0.0, "drop")):
        for prior in priors[:: 1 if tau == 0.5 else 6]:
            found = rules.decide({"tau": tau, "bias": bias, "prior": prior}).decided
            np.testing.assert_array_equal(found, plainly(run, tau, bias, prior)[order], f"{tau} {bias} {prior}")


def test_a_step_of_a_slider_makes_no_second_copy_of_the_logits():
    big = made(20_000, 16, 200)
    explorer = lt.explore.posthoc(big)
    assert explorer.rules.products.nbytes == big.logits.nbytes == 16_000_000
    tracemalloc.start()
    explorer.rules.decide({"tau": 0.7, "bias": "keep", "prior": 1.3})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


# --- the prior at deployment -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [-1.0, -0.35, 0.0, 0.5, 1.0])
def test_accuracy_and_answers_are_those_of_the_prior_at_deployment(power):
    run = made()
    result = lt.explore.posthoc(run, prior=1.0, deployment=power).result
    prior = run.counts**power / (run.counts**power).sum()
    decided = run.posthoc("logit_adjusted", tau=1.0).argmax(1)
    right = [(decided[run.targets == i] == i).mean() for i in range(run.k)]
    np.testing.assert_allclose(result.occurs, prior)
    assert result.deployed == pytest.approx(sum(p * a for p, a in zip(prior, right, strict=True)))
    answered = [sum(prior[i] * (decided[run.targets == i] == j).mean() for i in range(run.k)) for j in range(run.k)]
    np.testing.assert_allclose(result.answered, answered, atol=1e-12)
    assert result.answered.sum() == pytest.approx(1.0)


def test_the_title_of_the_shares_says_how_frequent_classes_are_taken_to_be():
    run = made(240, 12, 6)
    explorer = lt.explore.posthoc(run)
    shares = explorer.axes[1]
    assert shares.get_title("left") == "Answers, all classes alike (dotted: images)"
    explorer.set(deployment=1.0)
    assert shares.get_title("left") == "Answers at deployment (dotted: images)" and explorer.error is None


def test_a_balanced_deployment_is_the_mean_over_classes_and_the_test_set_need_not_be_balanced():
    run = made()
    keep = (run.targets > 0) | (np.arange(len(run.targets)) % 5 == 0)
    run = made(**{name: getattr(run, name)[keep] for name in ("targets", "logits", "features")})
    explorer = lt.explore.posthoc(run)
    assert explorer.result.deployed == pytest.approx(explorer.result.groups[0])
    assert explorer.result.deployed == pytest.approx(
        metrics.balanced_accuracy(run.targets, run.logits.argmax(1), run.k)
    )


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.6, 1.0])
def test_the_best_tau_is_the_best_of_all_places_of_the_slider(power, run):
    explorer = lt.explore.posthoc(run, deployment=power, first="deployment")
    prior = run.counts**power / (run.counts**power).sum()
    places = explorer.controls["prior"].sweep().values
    found = []
    for tau in places:
        decided = run.posthoc("logit_adjusted", tau=tau).argmax(1)
        found.append(prior @ metrics.per_class(run.targets, decided, run.k))
    tau, accuracy = explorer.result.best
    assert tau == places[int(np.argmax(np.round(found, 12)))] and accuracy == pytest.approx(max(found))
    assert f"τ = {tau:g} ({100 * accuracy:.1f}%)" in explorer.sentence
    assert "a demonstration and not a protocol" in explorer.sentence
    explorer.set(prior=tau)
    assert explorer.result.deployed == pytest.approx(accuracy)
    explorer.set(tau=1.0, bias="drop")
    assert explorer.result.best == (tau, accuracy), "of logit adjustment alone"


def test_the_sentence_says_where_the_network_is_used_once_that_is_looked_at(run):
    explorer = lt.explore.posthoc(run, prior=1.0)
    assert "eployed" not in explorer.sentence and "best" not in explorer.sentence
    explorer.set(deployment=1.0)
    assert "Deployed where classes occur as in training" in explorer.sentence
    explorer = lt.explore.posthoc(run, first="deployment")
    for power, words in (
        (0.0, "all classes occur equally often"), (1.0, "classes occur as in training"),
        (-0.5, "class frequency is proportional to n^-0.5, n being the training images"),
    ):  # fmt: skip
        explorer.set(deployment=power)
        assert f"{words}: {100 * explorer.result.deployed:.1f}%" in explorer.sentence


def test_a_class_without_test_images_counts_nowhere():
    run = made()
    keep = run.targets != 2
    part = {name: getattr(run, name)[keep] for name in ("targets", "logits", "features")}
    explorer = lt.explore.posthoc(made(**part), prior=1.0, deployment=1.0)
    result, prior = explorer.result, np.where(np.arange(6) == 2, 0, run.counts / run.counts.sum())
    assert np.isnan(result.per_class[2]) and explorer.error is None
    assert result.deployed == pytest.approx(np.nansum(prior * result.per_class) / prior.sum())
    assert result.answered.sum() == pytest.approx(1.0) and result.best is not None
    assert explorer.drive() == []
    meta = explorer.screen.frame.meta()
    assert [None, 2.0, "class 2: undefined (as trained undefined)", CLASSES] in meta["points"]
    assert explorer.choose(2, 0).images.tolist() == [] and explorer.cell.of == 0


@pytest.mark.parametrize("k", [1, 2, 14, 15, 25, 26, 100, 203])
def test_any_number_of_classes(k):
    explorer = lt.explore.posthoc(made(max(3 * k, 30), 4, k), prior=0.5)
    assert explorer.error is None
    explorer.set(prior=3.0, deployment=-1.0)
    assert explorer.error is None and len(explorer.screen.frame.regions) == 4
    cells = explorer.panels.cells
    assert cells.sum() == max(3 * k, 30) and len(cells) == (k if k <= 25 else -(-k // -(-k // 20)))
    assert len(explorer.screen.frame.points) <= 25 * 25 + 25 + 200 + 5


# --- pointing --------------------------------------------------------------------------------------------------------


def texts(explorer, region):
    return [point.text for point in explorer.screen.frame.points if point.region == region]


def test_every_cell_says_how_many_images_it_holds(run):
    explorer = lt.explore.posthoc(run, prior=1.0)
    decided = run.posthoc("logit_adjusted", tau=1.0).argmax(1)
    matrix = metrics.confusion(run.targets, decided, run.k)
    names = run.class_names
    expected = [
        f"true {names[i]}, answered {names[j]}: {matrix[i, j]} of {matrix[i].sum()}"
        for i in range(10)
        for j in range(10)
    ]
    assert texts(explorer, MATRIX) == expected
    points = [point for point in explorer.screen.frame.points if point.region == MATRIX]
    assert [(point.y, point.x) for point in points] == [(i, j) for i in range(10) for j in range(10)]
    region = explorer.screen.frame.regions[MATRIX]
    assert region.cells and region.x == (-0.5, 9.5) and region.y == (9.5, -0.5)


def test_bars_and_points_say_their_numbers(run):
    explorer = lt.explore.posthoc(run, prior=1.0, deployment=1.0)
    result, before = explorer.result, explorer.before.per_class
    share = f"{100 * result.answered[0]:.1f}% of answers, {100 * run.counts[0] / run.counts.sum():.1f}% of images"
    assert texts(explorer, SHARES)[0] == f"{run.class_names[0]}: {share}"
    now = f"{100 * result.per_class[9]:.1f}% (as trained {100 * before[9]:.1f}%)"
    assert texts(explorer, CLASSES)[9] == f"{run.class_names[9]}: {now}"
    trained = run.counts @ before / run.counts.sum()
    deployed = f"deployed: {100 * result.deployed:.1f}% (as trained {100 * trained:.1f}%)"
    assert texts(explorer, MEANS)[4] == deployed


def test_the_row_of_the_deployment_comes_with_it(run):
    explorer = lt.explore.posthoc(run, prior=1.0)
    panel, all_before = explorer.accuracies, metrics.per_class(run.confusion).mean()
    assert len(texts(explorer, MEANS)) == 4 and not panel.last.get_visible() and not panel.labels[4].get_visible()
    assert [one.get_width() > 0 for one in panel.bars] == [True] * 4 + [False]
    dashes = [segment[:, 0] for segment in panel.dashes.get_segments() if len(segment)]
    assert len(dashes) == 4 and dashes[0] == pytest.approx([all_before] * 2)
    explorer.set(deployment=1.0)
    assert len(texts(explorer, MEANS)) == 5 and panel.last.get_visible() and panel.labels[4].get_visible()
    assert panel.bars[4].get_width() == pytest.approx(explorer.result.deployed)
    assert panel.labels[4].get_text() == f"{100 * explorer.result.deployed:.0f}%"
    explorer.set(deployment=0.0)
    assert len(texts(explorer, MEANS)) == 4 and not panel.last.get_visible()
    assert len(texts(lt.explore.posthoc(run, first="deployment"), MEANS)) == 5, "where the text speaks of it"


def test_accuracies_are_written_beyond_every_dash_and_bar(run):
    explorer = lt.explore.posthoc(run)
    for prior in (0.0, 1.0, 3.0):
        explorer.set(prior=prior)
        assert all(text.get_position()[0] > 1 for text in explorer.accuracies.labels)


def test_the_bars_of_answers_have_room_at_either_end_of_the_slider():
    for seed in (0, 3, 7):
        (run,) = lt.recorded("cifar16", "ce", seed=seed)
        explorer = lt.explore.posthoc(run)
        top = explorer.panels.top
        for prior in (0.0, 3.0):
            explorer.set(prior=prior)
            assert explorer.result.answered.max() < top <= 1, (seed, prior)


def test_neighbouring_ranks_share_a_cell_where_there_are_many_classes():
    run = made(2000, 8, 100)
    explorer = lt.explore.posthoc(run)
    decided = run.logits.argmax(1)
    true, answered = (run.targets >= 95), (decided >= 5) & (decided < 10)
    told = f"true ranks 96–100, answered ranks 6–10: {(true & answered).sum()} of {true.sum()}"
    assert texts(explorer, MATRIX)[19 * 20 + 1] == told
    cell = explorer.choose(97, 8)
    assert cell.true == (95, 96, 97, 98, 99) and cell.answered == (5, 6, 7, 8, 9)
    assert cell.images.tolist() == np.flatnonzero(true & answered).tolist() and cell.of == true.sum()


def test_classes_stand_in_the_order_of_their_counts_whatever_their_numbers():
    run = made(counts=np.array([5, 500, 40, 300, 12, 90]))
    explorer = lt.explore.posthoc(run)
    order = [1, 3, 5, 2, 4, 0]
    matrix = metrics.confusion(run.targets, run.logits.argmax(1), 6)
    assert explorer.panels.cells.tolist() == matrix[np.ix_(order, order)].tolist()
    explorer._clicked(Click(5.2, 0.1, MATRIX, 5))
    assert explorer.cell.true == (1,) and explorer.cell.answered == (0,) and len(explorer.cell.images) == matrix[1, 0]


def click(explorer, x, y, region=MATRIX):
    """What the page sends."""
    content = {"kind": "click", "x": x, "y": y, "region": region, "point": 0}
    explorer.screen._handle_custom_msg(content, [])


def test_a_click_on_a_cell_tells_which_test_images_lie_in_it_and_shows_them(run, data):
    explorer = lt.explore.posthoc(run, data=data)
    heard = []
    explorer.on_cell(heard.append)
    assert explorer.cell is None and "Click a cell" in explorer.cells.widget.value
    click(explorer, 3.0, 8.0, SHARES)
    assert heard == []
    click(explorer, 3.2, 7.8)
    images = np.flatnonzero((run.targets == 8) & (run.logits.argmax(1) == 3))
    assert len(images) > PICTURES / 2
    assert len(heard) == 1 and heard[0].images.tolist() == images.tolist() and heard[0].of == (run.targets == 8).sum()
    shown = explorer.cells.widget.value
    names = run.class_names
    assert f"true {names[8]}, answered {names[3]}: {len(images)} of {heard[0].of} images" in shown
    picture = base64.b64decode(re.search("base64,([^']+)'", shown).group(1))
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    height, width = data.shape[1:]
    first, other = data.test_images[images[0]].numpy(), data.test_images[images[1]].numpy()
    np.testing.assert_array_equal(pixels[:height, :width], np.broadcast_to(first, (height, width, 3)))
    np.testing.assert_array_equal(
        pixels[:height, width + 1 : 2 * width + 1], np.broadcast_to(other, first.shape[:2] + (3,))
    )
    explorer.set(prior=3.0)
    now = np.flatnonzero((run.targets == 8) & (run.posthoc("logit_adjusted", tau=3.0).argmax(1) == 3))
    assert explorer.cell.images.tolist() == now.tolist() != images.tolist(), "the cell follows the slider"
    assert f": {len(now)} of" in explorer.cells.widget.value
    explorer.on_cell(heard.append, remove=True)
    explorer.choose(0, 0)
    assert len(heard) == 1


def test_without_data_a_cell_tells_the_numbers_alone(run):
    explorer = lt.explore.posthoc(run)
    cell = explorer.choose(0, 0)
    assert ", ".join(map(str, cell.images[:PICTURES])) in explorer.cells.widget.value
    assert "<img" not in explorer.cells.widget.value


def test_names_from_outside_are_text_below_the_picture(run):
    strange = copy.copy(run)
    strange.class_names = [f"<script>{j}</script>" for j in range(run.k)]
    explorer = lt.explore.posthoc(strange)
    explorer.choose(0, 1)
    assert "<script" not in explorer.cells.widget.value
    assert html.escape("true <script>0</script>, answered <script>1</script>") in explorer.cells.widget.value


def test_an_error_of_a_callback_is_shown_and_the_others_are_called(run):
    explorer, heard = lt.explore.posthoc(run), []
    explorer.on_cell(lambda cell: cell.nothing)
    explorer.on_cell(heard.append)
    click(explorer, 0, 0)
    assert len(heard) == 1 and "AttributeError" in explorer.error


# --- photographs -----------------------------------------------------------------------------------------------------


def pictured(n=600, m=300, **changes):
    """A run of `made`, and pictures of its first m test images, each of one colour."""
    run = made(n, **changes)
    images = np.random.default_rng(1).integers(0, 256, (m, 1, 1, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    return run, images


def answers(run, tau):
    return run.posthoc("logit_adjusted", tau=tau).argmax(1)


def test_the_row_shows_photographs_whose_answer_turns_either_kind_by_its_share():
    run, images = pictured()
    explorer = lt.explore.posthoc(run, images=images)
    right = [answers(run, tau)[:300] == run.targets[:300] for tau in (0.0, 1.0)]
    gained, lost = np.flatnonzero(~right[0] & right[1]), np.flatnonzero(right[0] & ~right[1])
    assert len(gained) > 5 and len(lost) > 5, "or this shows nothing"
    chosen = explorer.turning.tolist()
    assert len(chosen) == len(set(chosen)) == PLACES
    share = PLACES * len(gained) / (len(gained) + len(lost))
    assert len(set(chosen) & set(gained.tolist())) == pytest.approx(share, abs=1)
    assert set(chosen) <= set(gained.tolist()) | set(lost.tolist())
    assert run.targets[chosen].tolist() == sorted(run.targets[chosen]), "made() has its classes in order of count"
    for photo, number in zip(explorer.row.photos, chosen, strict=True):
        assert photo.get_array()[0, 0].tolist() == [*images[number, 0, 0], 255]


@pytest.mark.parametrize("m", [1, 8, 30])
def test_of_few_photographs_all_that_turn_are_shown(m):
    run, images = pictured(m=m)
    turn = (answers(run, 0.0)[:m] == run.targets[:m]) != (answers(run, 1.0)[:m] == run.targets[:m])
    explorer = lt.explore.posthoc(run, images=images)
    assert len(explorer.turning) == min(PLACES, turn.sum()) and set(explorer.turning) <= set(np.flatnonzero(turn))
    assert explorer.error is None and explorer.size[1] > Posthoc.size[1] * (1 if turn.any() else 0.99)
    assert len(explorer.screen.frame.regions) == (5 if turn.any() else 4)


@pytest.mark.parametrize("prior", [0.0, 0.4, 1.0, 3.0])
def test_frames_are_green_where_the_answer_is_right_and_dashed_where_it_is_wrong(prior):
    run, images = pictured()
    explorer = lt.explore.posthoc(run, images=images, prior=prior)
    row, now = explorer.row, answers(run, prior)[explorer.turning]
    right = now == run.targets[explorer.turning]
    green = [tuple(np.round(255 * one[:3]).astype(int)) == (0x2A, 0x7F, 0x3B) for one in row.frames.get_edgecolor()]
    assert green == right.tolist()
    assert [dashes is None for _, dashes in row.frames.get_linestyle()] == right.tolist()
    assert [text.get_text() for text in row.answers] == [run.class_names[j] for j in now]
    all_right, were = (int((answers(run, tau)[:300] == run.targets[:300]).sum()) for tau in (prior, 0.0))
    assert f"Of the 300 photographs {all_right} are right ({were} as trained)" in explorer.sentence
    told = texts(explorer, PHOTOS)
    true, was = run.targets[explorer.turning][0], answers(run, 0.0)[explorer.turning][0]
    assert told[0] == (
        f"test image {explorer.turning[0]}, true class {true} ({run.counts[true]:,} training images): "
        f"answered class {now[0]} (as trained class {was})"
    )


def test_photographs_keep_their_colours_in_a_dark_theme_and_their_place_at_any_resolution():
    run, images = pictured()
    explorer = lt.explore.posthoc(run, images=images)
    frame = explorer.screen.frame
    height, width = frame.pixels.shape[:2]
    assert len(frame.photos) == PLACES
    for (left, top, right, bottom), number in zip(frame.photos, explorer.turning, strict=True):
        middle = frame.pixels[round(height * (top + bottom) / 2), round(width * (left + right) / 2), :3]
        assert middle.tolist() == images[number, 0, 0].tolist()
    explorer.surface.resolve(1.0)
    np.testing.assert_allclose(explorer.row.boxes(), frame.photos, atol=2e-3)


def test_photographs_stay_still_while_a_slider_moves_and_every_frame_of_its_range_is_sent():
    run, images = pictured()
    explorer, sent = lt.explore.posthoc(run, images=images), []
    drawn = explorer.surface.backgrounds
    explorer.screen._sweeper.send = lambda content, buffers: sent.append(content)
    explorer.screen.sweep("prior")
    assert explorer.screen.wait(60) and explorer.error is None and explorer.surface.backgrounds == drawn
    frames = [one for one in sent if one["kind"] == "frame"]
    assert len(frames) == len(explorer.controls["prior"].sweep().values) and sent[-1]["kind"] == "done"


def test_a_cell_shows_the_photographs_that_there_are_and_says_so():
    run, images = pictured()
    explorer = lt.explore.posthoc(run, images=images)
    cell = explorer.choose(0, 0)
    few = cell.images[cell.images < 300]
    assert 0 < len(few) < len(cell.images)
    shown = explorer.cells.widget.value
    assert f"{len(cell.images)} of {cell.of} images" in shown and ", ".join(map(str, few[:PICTURES])) in shown
    assert f". {len(few)} of them are among the 300 images that are pictured here: test images {few[0]}, " in shown
    picture = base64.b64decode(re.search("base64,([^']+)'", shown).group(1))
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    assert pixels[0, 0].tolist() == images[few[0], 0, 0].tolist()
    single = lt.explore.posthoc(run, images=images[: few[0] + 1])
    single.choose(0, 0)
    told = f". One of them is among the {few[0] + 1} images that are pictured here: test image {few[0]}."
    assert told in single.cells.widget.value
    one = lt.explore.posthoc(run, images=images[:1])
    other = one.choose((run.targets[0] + 1) % 6, 0)
    assert len(other.images) and ". None of them is among the 1 image that is pictured here." in one.cells.widget.value


def test_reset_takes_the_chosen_cell_back():
    run, images = pictured()
    explorer = lt.explore.posthoc(run, images=images)
    at_first = explorer.cells.widget.value
    explorer.choose(0, 0)
    assert "<img" in explorer.cells.widget.value != at_first
    explorer.reset()
    assert explorer.cells.widget.value == at_first and "Click a cell" in at_first


def test_code_and_state_bring_back_the_photographs():
    run, images = pictured()
    explorer = lt.explore.posthoc(run, images=images, prior=0.5)
    again = eval(explorer.as_code(), {"lt": lt, "run": run, "images": images})
    assert again.state == explorer.state and again.screen.frame.png == explorer.screen.frame.png
    assert type(explorer).from_state(explorer.state, run, images).turning.tolist() == explorer.turning.tolist()
    assert explorer.drive() == []


def test_photographs_with_names_must_be_those_of_the_run():
    run, images = pictured()
    names = [run.class_names[j] for j in run.targets[:300]]
    kept = types.SimpleNamespace(images=images, names=np.array(names))
    assert len(lt.explore.posthoc(run, images=kept).turning) == PLACES
    kept.names = np.roll(kept.names, 1)
    with pytest.raises(ValueError, match="images=.*not the classes of the first 300 test images of 'ce'"):
        lt.explore.posthoc(run, images=kept)


@pytest.mark.parametrize("images", [
    True, 3, "photographs", [], object(), np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8, 2), np.uint8),
    np.zeros((3, 8, 8, 3), np.float32), np.zeros((0, 8, 8, 3), np.uint8), np.zeros((601, 8, 8, 3), np.uint8),
])  # fmt: skip
def test_what_is_no_image_is_refused(images):
    with pytest.raises(ValueError, match="images=.*expected None, or images"):
        lt.explore.posthoc(made(), images=images)


def test_recorded_photographs_of_every_seed():
    photographs = lt.study.photographs()
    for run in lt.recorded("cifar16", "ce", seed=[0, 3]):
        explorer = lt.explore.posthoc(run, images=photographs)
        assert len(explorer.turning) == PLACES and explorer.error is None


# --- arguments, code, controls ---------------------------------------------------------------------------------------


def test_the_control_that_the_text_speaks_of_is_alone_in_sight(run):
    for first in ("prior", "tau", "deployment", "bias"):
        explorer = lt.explore.posthoc(run, first=first)
        assert list(explorer.controls)[0] == first and sorted(explorer.controls) == [
            "bias",
            "deployment",
            "prior",
            "tau",
        ]
        assert explorer.column.first.children == (explorer.controls[first].widget,)
        assert explorer.column.rest.children == tuple(one.widget for one in list(explorer.controls.values())[1:])
        assert eval(explorer.as_code(), {"lt": lt, "run": run}).first == first


def test_code_and_state_bring_back_the_data_too(run, data):
    explorer = lt.explore.posthoc(run, prior=1.0, deployment=-0.5, data=data)
    assert explorer.as_code().startswith("lt.explore.posthoc(run, data=data, prior=1.0, deployment=-0.5")
    again = eval(explorer.as_code(), {"lt": lt, "run": run, "data": data})
    assert again.data is data and again.screen.frame.png == explorer.screen.frame.png
    assert type(explorer).from_state(explorer.state, run, data).data is data
    assert type(explorer).from_state(explorer.state, run).state == explorer.state


@pytest.mark.parametrize("name, value, call", [
    *[("deployment", value, None) for value in (True, "1", None, 1.5, -2, float("nan"), [0.5])],
    *[("first", value, None) for value in (None, "gamma", 3, "priors")],
    *[("data", value, None) for value in (3, "digits", [1], object())],
    *[("true", value, lambda e, value: e.choose(value, 0)) for value in (True, "3", None, 10, -1, 2.5)],
    *[("answered", value, lambda e, value: e.choose(0, value)) for value in (True, "3", None, 10, -1, 2.5)],
    *[("callback", value, lambda e, value: e.on_cell(value)) for value in (None, 3, "print")],
    *[("remove", value, lambda e, value: e.on_cell(print, value)) for value in (None, 3, "yes")],
    *[("state", value, lambda e, value: type(e).from_state(value, e.run)) for value in (None, 3, ["prior"])],
])  # fmt: skip
def test_a_wrong_argument_is_refused_by_name(name, value, call, run):
    with pytest.raises(ValueError, match=f"{name}="):
        lt.explore.posthoc(run, **{name: value}) if call is None else call(lt.explore.posthoc(run), value)


def test_other_data_than_the_run_s_are_refused(run, data):
    alike = dataclasses.replace(data, test_images=data.test_images.flip(0))
    named = dataclasses.replace(data, class_names=[f"digit {name}" for name in data.class_names])
    for other in (alike, named, lt.digits_lt(ratio=20, seed=3)):
        with pytest.raises(ValueError, match="its classes or its test images are not those of the run"):
            lt.explore.posthoc(run, data=other)
    assert lt.explore.posthoc(run, data=lt.digits_lt(ratio=20)).error is None, "the same, made again"
    part = copy.copy(run)
    part.targets, part.logits, part.features = run.targets[:50], run.logits[:50], run.features[:50]
    assert lt.explore.posthoc(part, data=data).choose(0, 0).of == 5


# --- the artists -----------------------------------------------------------------------------------------------------


def test_the_picture_shows_the_numbers_of_the_decision(run):
    explorer = lt.explore.posthoc(run, prior=1.0, deployment=1.0)
    result, panels = explorer.result, explorer.panels
    share = result.confusion / result.confusion.sum(1, keepdims=True)
    np.testing.assert_allclose(panels.mesh.get_array().reshape(10, 10), share)
    assert len(panels.numbers.get_paths()) == (share >= 0.005).sum()
    np.testing.assert_array_equal(panels.numbers.get_offsets()[:, ::-1], np.argwhere(share >= 0.005))
    tops = [path.vertices[:, 1].max() for path in panels.answers.get_paths()]
    np.testing.assert_allclose(tops, result.answered)
    np.testing.assert_allclose(panels.occurs[0].get_ydata()[:-1], result.occurs)
    widths = [bar.get_width() for bar in explorer.accuracies.bars]
    np.testing.assert_allclose(widths, [*result.groups, result.deployed])
    assert [text.get_text() for text in explorer.accuracies.labels] == [f"{100 * one:.0f}%" for one in widths]


def test_no_slider_draws_the_background_anew():
    explorer = lt.explore.posthoc(made())
    drawn = explorer.surface.backgrounds
    for name, control in explorer.controls.items():
        for stop in control.stops:
            explorer.set(**{name: stop})
    assert explorer.error is None and explorer.surface.backgrounds == drawn


def test_a_sweep_of_the_deployment_sends_every_frame():
    explorer = lt.explore.posthoc(made())
    sent = []
    explorer.screen._sweeper.send = lambda content, buffers: sent.append(content)
    explorer.screen.sweep("deployment")
    assert explorer.screen.wait(60) and explorer.error is None
    frames = [one for one in sent if one["kind"] == "frame"]
    assert len(frames) == len(explorer.controls["deployment"].sweep().values) == 101 and sent[-1]["kind"] == "done"
    assert sum(len(str(one["meta"])) for one in frames) < 2_000_000


# --- speed -----------------------------------------------------------------------------------------------------------


def test_posthoc_decides_ten_thousand_images_of_a_hundred_classes_at_once():
    big = made(10_000, 64, 100)
    explorer = lt.explore.posthoc(big)
    times = []
    for place in np.linspace(0.1, 2.0, 10):
        began = time.process_time()
        explorer.controls["tau"].slider.value = place
        times.append(time.process_time() - began)
    print(f"post-hoc {1000 * statistics.median(times):.1f} ms")
    assert explorer.error is None and statistics.median(times) < 0.1


def test_equal_counts_make_no_groups_and_the_sentence_says_so():
    y = np.repeat(np.arange(3), 5)
    run = lt.from_predictions(y, np.eye(3)[y] + 0.1 * np.arange(3), counts=[5, 5, 5])
    explorer = lt.explore.posthoc(run)
    assert explorer.error is None and "Accuracy: all 100.0% → 100.0%." in explorer.say(explorer.result)
    assert "there are no head and tail classes" in explorer.say(explorer.result)
    explorer.close()
