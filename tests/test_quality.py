"""Corrupted pictures, the network of a run once more, and the explorer of image quality and feature length."""

import numpy as np
import pytest

import ltviz as lt
from ltviz.datasets.corrupt import CORRUPTIONS, blur, low_resolution, noise, occlude
from ltviz.explore.quality import SETTINGS, QualityExplorer
from ltviz.training.network import Network


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


@pytest.fixture(scope="module")
def run(data):
    return lt.train("ce", data, epochs=20, progress=False)


@pytest.fixture(scope="module")
def opened(run, data):
    made = lt.explore.quality(run, data)
    yield made
    made.close()


@pytest.fixture
def explorer(opened):
    yield opened
    opened.reset()


def pictures(n=3, side=8, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


# --- corruptions -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_of_no_strength_changes_nothing_and_never_writes_into_its_input(name):
    images = pictures()
    before = images.copy()
    assert (CORRUPTIONS[name](images, SETTINGS[name].low) == images).all()
    strong = CORRUPTIONS[name](images, SETTINGS[name].high)
    assert strong.dtype == np.uint8 and strong.shape == images.shape and not (strong == images).all()
    assert (images == before).all()


def test_blur_keeps_a_flat_picture_and_spreads_a_dot():
    flat = np.full((1, 9, 9, 1), 90, np.uint8)
    assert (blur(flat, 2.0) == 90).all()
    dot = np.zeros((1, 9, 9, 1), np.uint8)
    dot[0, 4, 4] = 255
    spread = blur(dot, 1.0)[0, :, :, 0].astype(int)
    assert spread[4, 4] == round(255 * 0.3991**2) and spread[4, 5] == spread[3, 4] == round(255 * 0.3991 * 0.2420)
    assert (spread == spread.T).all() and spread.sum() == pytest.approx(255, abs=25)


def test_low_resolution_leaves_the_mean_of_what_a_pixel_covers():
    images = np.zeros((1, 8, 8, 1), np.uint8)
    images[0, :, 4:] = 200
    assert (low_resolution(images, 8.0) == 100).all()
    halved = low_resolution(images, 2.0)[0, 0, :, 0].astype(int)
    assert (np.diff(halved) >= 0).all() and halved[0] < 20 and halved[-1] > 180


def test_noise_is_one_pattern_that_grows():
    grey = np.full((2, 40, 40, 3), 128, np.uint8)
    little, more = (noise(grey, sd).astype(int) - 128 for sd in (0.05, 0.1))
    assert little.std() == pytest.approx(0.05 * 255, rel=0.05) and more == pytest.approx(2 * little, abs=2)
    assert (noise(grey, 0.05) == noise(grey, 0.05)).all()


def test_occlusion_covers_the_share_that_it_says():
    white = np.full((1, 10, 10, 3), 255, np.uint8)
    assert (occlude(white, 0.36) == 0).mean() == pytest.approx(0.36)
    assert (occlude(white, 0.36)[0, 2:8, 2:8] == 0).all() and (occlude(white, 1.0) == 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("strength", [-1, float("nan"), "2", True, None])
def test_corruptions_refuse_strengths_without_a_meaning(name, strength):
    with pytest.raises(ValueError, match=r"sigma=|factor=|sd=|share="):
        CORRUPTIONS[name](pictures(), strength)


@pytest.mark.parametrize("images", [None, pictures()[0], pictures() / 255, pictures(n=0), "no"])
def test_corruptions_refuse_what_is_no_picture(images):
    for corrupt in CORRUPTIONS.values():
        with pytest.raises(ValueError, match="images="):
            corrupt(images, 1.0)


# --- the network of a run --------------------------------------------------------------------------------------------
def test_the_network_answers_as_the_run_did(run, data):
    logits, features = Network(run, (1, 8, 8)).answer(data.test_images.numpy())
    assert logits == pytest.approx(run.logits, abs=1e-4)
    assert features == pytest.approx(run.features.astype(float), rel=2e-3, abs=2e-2)


def test_a_recorded_network_answers_the_photographs_as_it_did():
    run, photographs = lt.recorded("cifar16", "ce", seed=0)[0], lt.study.photographs()
    logits, _ = Network(run, (3, 16, 16)).answer(photographs.small)
    assert logits == pytest.approx(run.logits[:100], abs=1e-3)


def test_a_network_is_refused_where_it_is_not_kept_or_does_not_fit(run, data, tmp_path):
    small = lt.load_run(run.save(tmp_path, small=True))
    with pytest.raises(ValueError, match="keeps no network"):
        Network(small, (1, 8, 8))
    with pytest.raises(ValueError, match="does not fit 'mlp'"):
        Network(run, (3, 8, 8))
    with pytest.raises(ValueError, match="images="):
        Network(run, (1, 8, 8)).answer(pictures())

    def my_loss(logits, targets):
        return logits.logsumexp(1) - logits.gather(1, targets[:, None])[:, 0]

    own = lt.load_run(lt.train(my_loss, data, epochs=1, progress=False).save(tmp_path))
    logits, _ = Network(own, (1, 8, 8)).answer(data.test_images.numpy())
    assert logits == pytest.approx(own.logits, abs=1e-4), "its classifier is known by its parameters"


# --- the explorer ----------------------------------------------------------------------------------------------------
def test_clean_pictures_have_the_lengths_of_the_run(explorer, run):
    assert explorer.result.norm == pytest.approx(1.0) and len(explorer.images) == 500
    assert explorer.result.accuracy == pytest.approx(run.accuracy)
    assert explorer.result.lengths == pytest.approx(
        np.linalg.norm(run.features.astype(float), axis=1), rel=2e-3, abs=0.05
    )


def test_a_slider_does_what_its_curve_says(explorer, run, data):
    for name, curve in explorer.curves.items():
        at, length, accuracy = curve[6]
        explorer.set(**{name: at})
        assert (explorer.result.norm, explorer.result.accuracy) == pytest.approx((length, accuracy))
        worse = CORRUPTIONS[name](data.test_images.numpy(), at)
        assert (explorer.result.tiles == worse[:6]).all()
        logits, features = explorer.network.answer(worse)
        assert length == pytest.approx(np.linalg.norm(features, axis=1).mean() / explorer.clean.mean())
        assert accuracy == pytest.approx((logits.argmax(1) == run.targets).mean())
        explorer.reset()


def test_all_that_is_set_acts_together(explorer, data):
    explorer.set(blur=1.0, occlusion=0.2)
    both = occlude(blur(data.test_images.numpy(), 1.0), 0.2)
    assert (explorer.result.tiles == both[:6]).all()
    assert "blur of sd 1 px; occlusion of a share of 0.2:" in explorer.sentence
    explorer.set(low_resolution=8.0)
    assert "8 times fewer pixels a side" in explorer.sentence
    assert explorer.handles(explorer.result)[1].told == "8 times fewer pixels a side"


def test_each_fault_has_a_handle_on_its_curve(explorer):
    explorer.set(noise=0.25)
    handles = explorer.handles(explorer.result)
    assert [one.name for one in handles] == list(SETTINGS) and [one.region for one in handles] == [0, 1, 2, 3]
    assert handles[2].x == 0.25 and handles[2].y == pytest.approx(explorer.curves["noise"][6, 1])


def test_pictures_keep_their_colours_on_a_dark_page(explorer):
    frame = explorer.screen.frame
    assert len(frame.photos) == 6 and len(set(frame.photos)) == 6


def test_it_drives_and_comes_back(explorer, run, data):
    assert explorer.drive() == []
    explorer.set(blur=0.5, low_resolution=2.0)
    again = QualityExplorer.from_state(explorer.state, run, data)
    assert again.values == explorer.values and again.sentence == explorer.sentence
    again.close()
    copy = eval(explorer.as_code(), {"lt": lt, "run": run, "data": data, "pictures": data})
    assert copy.state == explorer.state
    copy.close()


def test_a_frame_draws_no_background_again(explorer):
    explorer._frame(explorer.values)
    before = explorer.surface.backgrounds
    for strength in (0.1, 1.0, 2.0):
        explorer._frame({**explorer.values, "blur": strength})
    assert explorer.surface.backgrounds == before


def test_photographs_are_taken_as_the_network_saw_them():
    run, photographs = lt.recorded("cifar16", "ce", seed=0)[0], lt.study.photographs()
    made = lt.explore.quality(run, photographs)
    assert (made.targets == run.targets[:100]).all() and (made.result.tiles == photographs.small[:6]).all()
    assert made.result.accuracy == pytest.approx((run.logits[:100].argmax(1) == run.targets[:100]).mean())
    made.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blur": 3.5}, "blur=3.5"),
        ({"low_resolution": 0.5}, "low_resolution=0.5"),
        ({"noise": True}, "noise=True"),
        ({"occlusion": float("nan")}, "occlusion=nan"),
        ({"run": "ce"}, "run='ce'"),
        ({"pictures": None}, "pictures=None"),
        ({"pictures": pictures()}, "pictures="),
    ],
)
def test_wrong_arguments_are_refused(run, data, changes, words):
    with pytest.raises(ValueError, match=words):
        lt.explore.quality(**{"run": run, "pictures": data, **changes})


def test_pictures_of_other_classes_and_wrong_states_are_refused(run):
    with pytest.raises(ValueError, match="it has no 'airplane'"):
        lt.explore.quality(run, lt.study.photographs())
    with pytest.raises(ValueError, match="no control 'blurr'.*blur"):
        QualityExplorer.from_state({"blurr": 1.0}, run)
