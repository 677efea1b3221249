"""The grid of attributes: recorded scores, the minority of a batch, and the hard pairs that CRL finds in it."""

import itertools

import matplotlib.colors
import numpy as np
import pandas
import pytest
import torch

import ltviz as lt
from ltviz import attributes, metrics
from ltviz.explore.attributes import (
    ALONE,
    BATCH,
    CRL,
    GRID,
    LARGE,
    MINOR,
    PROFILE,
    ROWS,
    AttributeGrid,
    first_batches,
)  # fmt: skip
from ltviz.explore.screen import Click, Drag


@pytest.fixture(autouse=True)
def close_all():
    """Each test leaves no explorer open."""
    yield
    for explorer in lt.explore.registry():
        explorer.close()


@pytest.fixture(scope="module")
def data():
    return lt.digits_attributes(seed=0)


def hexes(patches):
    return [matplotlib.colors.to_hex(one.get_facecolor()) for one in patches]


def test_the_recorded_network_answers_as_it_did_and_saw_these_batches(data):
    run = attributes.plain()
    assert (run.method, run.seed, run.data["fingerprint"]) == ("ce", 0, data.fingerprint)
    features, logits = run.answers(data.test_batch())
    assert features.shape == (600, 64) and len(logits) == 12
    assert max(np.abs(mine - kept).max() for mine, kept in zip(logits, run.logits, strict=True)) < 0.02, "float16"
    table = attributes.recorded()
    mine = table[(table["row"] == "CE") & (table["seed"] == 0)]
    np.testing.assert_allclose(mine["balanced"], run.balanced_accuracy, atol=1e-5)
    batches = first_batches(data, run)
    assert batches.shape == (6, 128) and len(np.unique(batches)) == 6 * 128, "one epoch takes no image twice"
    seen = []
    trained = attributes.train.AttributeTrainer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            attributes.train.AttributeTrainer, "step", lambda self, i, t: seen.append(i.numpy()) or trained(self, i, t)
        )
        lt.train_attributes("ce", data, seed=0, epochs=1, device="cpu", progress=False)
    np.testing.assert_array_equal(seen[:6], batches)


def test_a_trained_network_answers_new_images_and_a_bare_record_says_what_it_lacks(data):
    run = lt.train_attributes("crl", data, epochs=1, branch=8, device="cpu", progress=False)
    features, logits = run.answers(data.test_batch())
    assert features.shape == (600, 64), "the shared ones"
    np.testing.assert_allclose(np.stack(logits), np.stack(run.logits), atol=1e-5)
    run.network = None
    with pytest.raises(ValueError, match="this record has no network"):
        run.answers(data.test_batch())
    run = attributes.plain()
    for wrong in (None, data.test_images, data.test_batch()[0], data.test_batch()[:, :, :4]):
        with pytest.raises(ValueError, match="^images"):
            run.answers(wrong)


def test_the_grid_has_the_recorded_means_by_imbalance():
    explorer = lt.explore.attributes()
    table = attributes.recorded()
    assert explorer.names[0] == "tall" and explorer.names[-1] == "same upside down"
    assert (np.diff(explorer.imbalance) > 0).all()
    for level in ("class", "instance"):
        written = [text.get_text() for text in explorer.grid.axes[level].texts]
        for x, method in enumerate(ROWS):
            row = CRL[level] if method == "CRL" else method
            mean = table[table["row"] == row].groupby("attribute")["balanced"].mean()
            assert explorer.scores(method, level).shape == (5, 12)
            for y, name in enumerate(explorer.names):
                assert written[y * len(ROWS) + x] == f"{100 * mean[name]:.0f}"
            assert written[12 * len(ROWS) + x] == f"{100 * mean.mean():.0f}"
    assert [ax.get_visible() for ax in explorer.grid.axes.values()] == [True, False]
    explorer.set(level="instance")
    assert [ax.get_visible() for ax in explorer.grid.axes.values()] == [False, True]


def test_the_cells_of_the_grid_are_shaded_by_score():
    grid = lt.explore.attributes().grid
    for ax in grid.axes.values():
        cells = [one for one in ax.patches if one is not grid.here]
        pairs = list(zip(cells, ax.texts, strict=False))
        assert len(pairs) == 13 * len(ROWS)
        by_score = sorted((float(text.get_text()), sum(cell.get_facecolor()[:3])) for cell, text in pairs)
        assert all(one[1] + 1e-9 >= other[1] for one, other in itertools.pairwise(by_score) if one[0] < other[0])
        dark = {text.get_color() == "white" for cell, text in pairs if float(text.get_text()) > 75.5}
        assert dark == {True}


def test_the_names_of_the_ticks_of_the_bars_have_room():
    explorer = lt.explore.attributes()
    explorer.surface.figure.canvas.draw()
    names = [one for one in explorer.profile.get_xticklabels() if one.get_text()]
    boxes = [one.get_window_extent() for one in names]
    assert [one.get_text() for one in names] == ["0", "50%"] and list(explorer.profile.get_xticks()) == [0, 0.25, 0.5]
    assert boxes[1].x0 - boxes[0].x1 > boxes[0].height


def test_the_sentence_has_the_score_its_interval_and_the_paired_difference():
    explorer = lt.explore.attributes("thick", method="Logit adjustment")
    own, base = (
        explorer.scores(name, "class")[:, explorer.names.index("thick")] for name in ("Logit adjustment", "CE")
    )
    gain, alone = metrics.paired(own, base), metrics.paired(own, np.zeros(5))
    assert f"balanced accuracy {100 * own.mean():.1f}% ± {100 * alone.half:.1f}, 5 seeds" in explorer.sentence
    assert f"{100 * gain.mean:+.1f} ± {100 * gain.half:.1f} points against CE ({gain.verdict})" in explorer.sentence
    explorer.set(method="CE")
    assert "against CE" not in explorer.sentence and "thick (12 : 1), CE:" in explorer.sentence


@pytest.mark.parametrize("rho", [0.5, 0.1, 0.0])
def test_the_minority_of_each_attribute_is_that_of_the_method(data, rho):
    explorer = lt.explore.attributes("thick", rho=rho, batch=2)
    rows = torch.from_numpy(explorer.batches[1])
    shown = hexes(explorer.bars)
    for y, name in enumerate(explorer.names):
        values = data.targets[rows, data.names.index(name)]
        small = int(values.bincount(minlength=2).min())
        inside = bool(lt.methods.crl.minority_classes(values, 2, rho).any())
        assert (explorer.result.sizes[y], explorer.result.minority[y]) == (small, inside)
        colour = MINOR if inside else ALONE if small <= rho * 128 else LARGE
        assert shown[y] == matplotlib.colors.to_hex(colour) and explorer.bars[y].get_width() == small / 128
    assert explorer.limit.get_xdata()[0] == rho


@pytest.mark.parametrize("level", ["class", "instance"])
def test_anchors_and_hard_pairs_are_those_of_the_recorded_network(data, level):
    explorer = lt.explore.attributes("two loops", level=level)
    result, run, j = explorer.result, attributes.plain(), data.names.index("two loops")
    rows = torch.from_numpy(explorer.batches[0])
    features, logits = run.answers(data.batch(rows))
    y = data.targets[rows, j].numpy()
    anchors = np.flatnonzero(y == 1)
    assert len(anchors) == 6 and np.array_equal(np.flatnonzero(result.mined.anchors), anchors)
    a = result.picture
    assert a == anchors[0], "the first one"
    p = np.exp(logits[j]) / np.exp(logits[j]).sum(1, keepdims=True)
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    far = np.linalg.norm(x - x[a], axis=1)
    near = {"class": p[:, 1], "instance": -far}[level]  # the larger, the more alike
    own, others = np.flatnonzero((y == 1) & (np.arange(128) != a)), np.flatnonzero(y == 0)
    assert result.hard[0].tolist() == own[np.argsort(near[own])[:3]].tolist()
    assert result.hard[1].tolist() == others[np.argsort(-near[others])[:3]].tolist()
    assert f"picture {a + 1}, probability of “yes” {100 * p[a, 1]:.1f}%" in explorer.sentence
    assert "6 anchors, 300 triplets with κ = 10" in explorer.sentence, "6 anchors, 5 positives, 10 negatives"


def test_a_left_out_minority_and_one_image_alone():
    explorer = lt.explore.attributes("thick", rho=0.1)
    assert "15 of 128 are “yes”, with ρ = 0.1 left out." in explorer.sentence
    assert explorer.result.picture is None and not explorer.links[0].get_segments()
    explorer.set(rho=0.2)
    assert explorer.result.picture is not None and len(explorer.links[0].get_segments()) == 3
    explorer.set(picture=2)
    assert explorer.result.mined.anchors[explorer.result.picture], "picture 2 is no anchor: the first one is shown"


def test_a_click_chooses_a_cell_or_an_anchor_and_rho_is_dragged():
    explorer = lt.explore.attributes()
    explorer._clicked(Click(4.2, 7.1, GRID, None))
    assert (explorer.values["attribute"], explorer.values["method"]) == ("thick", "CRL")
    assert explorer.grid.here.get_xy() == (3.5, 6.5)
    explorer._clicked(Click(4.2, 12.45, GRID, None))
    assert explorer.values["attribute"] == "thick", "the mean is no attribute"
    anchor = int(np.flatnonzero(explorer.result.mined.anchors)[3])
    explorer._clicked(Click(anchor % 8, anchor // 8, BATCH, None))
    assert explorer.values["picture"] == anchor + 1 and explorer.result.picture == anchor
    (handle,) = explorer.screen.frame.handles
    assert handle.label == "ρ line in the bars", "the control beside the picture is called ρ already"
    assert (handle.name, handle.axis, handle.region) == ("rho", "x", PROFILE)
    explorer.dragged(Drag("rho", 0.123, 0.0, True))
    assert explorer.values["rho"] == pytest.approx(0.12)
    points = explorer.screen.frame.points
    assert [sum(one.region == region for one in points) for region in (GRID, PROFILE, BATCH)] == [
        12 * len(ROWS),
        12,
        128,
    ]


def test_controls_at_their_ends_and_backgrounds_that_rest():
    explorer = lt.explore.attributes()
    assert list(explorer.controls)[:3] == ["rho", "attribute", "level"]
    assert explorer.drive() == [] and explorer.error is None
    drawn = explorer.surface.backgrounds
    assert drawn == 2, "one for each level"
    for name, value in (("attribute", "wide"), ("rho", 0.05), ("method", "MTCT"), ("batch", 3), ("picture", 9)):
        explorer.set(**{name: value})
    assert explorer.surface.backgrounds == drawn


def test_state_and_code_give_the_same_picture_again():
    explorer = lt.explore.attributes("wide", rho=0.3, level="instance", method="CRL", batch=4, picture=5)
    again = AttributeGrid.from_state(explorer.state)
    assert again.sentence == explorer.sentence and again.picture() == explorer.picture()
    code = explorer.as_code()
    assert code == (
        "lt.explore.attributes(rho=0.3, attribute='wide', level='instance', method='CRL', batch=4, picture=5)"
    )
    assert eval(code, {"lt": lt}).sentence == explorer.sentence


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("attribute", "glasses"), ("attribute", 3), ("rho", -0.1), ("rho", 0.6), ("rho", np.nan), ("rho", "half"),
        ("level", "image"), ("method", "crl"), ("batch", 0), ("batch", 7), ("batch", 1.5), ("picture", -1),
        ("picture", 129), ("picture", True),
    ],
)  # fmt: skip
def test_it_refuses_values(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        lt.explore.attributes(**{name: given})


def test_the_recorded_table_is_what_the_grid_needs():
    table = attributes.recorded()
    assert isinstance(table, pandas.DataFrame)
    assert set(CRL.values()) | {name for name in ROWS if name != "CRL"} <= set(table["row"])
