"""The cards of chapter 09: its exercises name mistakes, its answers are those of the records."""

import importlib.util
import os

import numpy as np
import pytest
import torch
from conftest import REPO

import ltviz as lt


@pytest.fixture(scope="module")
def cards():
    before = os.environ.get("LTVIZ_PROFILE")
    os.environ["LTVIZ_PROFILE"] = "fast"  # two seeds of what the chapter trains
    spec = importlib.util.spec_from_file_location("cards_09", REPO / "notebooks" / "cards_09.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    if before is None:
        del os.environ["LTVIZ_PROFILE"]
    else:
        os.environ["LTVIZ_PROFILE"] = before
    for explorer in lt.explore.registry():
        explorer.close()


def three(a, first=-1.0, small=1e-4, last=0.0, factor=2.0):
    ratio = [a.max() / (a.min() + one) for one in (1e-2, small, 1e-2)]
    return torch.stack([factor * torch.sigmoid(ratio[0] + first), torch.sigmoid(ratio[1] + first),
                        torch.sigmoid(ratio[2] + last)])  # fmt: skip


READINGS = [
    (lambda a: three(a, first=0.0), "The −1 is missing"),
    (lambda a: three(a, small=1e-2), "The small constant is the same"),
    (lambda a: three(a, last=-1.0), "The public code does not subtract 1"),
    (lambda a: three(a, factor=1.0), "Compare each constant"),
    (lambda a: torch.stack([x.exp() / (1 + x.exp()) for x in torch.logit(three(a) / torch.tensor([2, 1, 1]))]), "exp"),
]


@pytest.mark.parametrize(("answer", "said"), READINGS, ids=["minus one", "constant", "public", "factor", "overflow"])
def test_readings_names_the_mistake(cards, answer, said):
    result = cards.three_readings.check(answer)
    assert not result.passed and any(said in detail for passed, _, detail in result.rows if not passed), result.text
    assert "raised" not in result.text


def rate(errors):
    return errors / errors.mean() if errors.sum() > 0 else torch.ones_like(errors)


def more(right, images, cap=True, scale=True, fall_back=True):
    errors, found = images - right.double(), []
    for j in range(len(errors)):
        other = errors.clone()
        other[j] = max(0.0, float(other[j]) - 1) if cap else other[j] - 1
        then = rate(other) if scale else other / errors.mean()
        if not fall_back and other.sum() == 0:
            then = torch.zeros_like(other)
        found.append(then[j] - rate(errors)[j])
    return torch.stack(found)


MORE = [
    (lambda r, n: more(r, n, scale=False), "You did not scale again"),
    (lambda r, n: more(r, n, cap=False), "cannot have fewer than 0 errors"),
    (lambda r, n: more(r, n, fall_back=False), "so all weights are 1"),
]


@pytest.mark.parametrize(("answer", "said"), MORE, ids=["scale", "cap", "all perfect"])
def test_one_more_names_the_mistake(cards, answer, said):
    result = cards.one_more.check(answer)
    assert not result.passed and any(said in detail for passed, _, detail in result.rows if not passed), result.text


def test_right_answers_pass(cards):
    assert cards.three_readings.check(three).passed and cards.one_more.check(more).passed


def test_predictions_are_answered_from_the_records(cards):
    assert cards.open_tau_of_two().truth == pytest.approx(0.62, abs=0.005)
    assert cards.open_which_first().truth == ("CDB, fixed τ = 1", "no class weights", "CDB, dynamic τ (Sinha)")
    assert cards.open_who_gains().truth == "the middle ones"
    found = np.array([cards.taus(run, "paper") for run in cards.cdb("cifar16", "paper")])
    assert found.shape == (10, 40) and found.min() > 2 - cards.NEAR


def test_who_pays_is_answered_from_the_records(cards):
    groups = cards.compared()
    here = cards.open_how_many_here(groups)
    assert here.truth == 0 and len(groups) == 9, "groups are as they were"
    assert (
        "On the photographs, a gain beyond the slider is found for none of the 8 (p < .05); 6 lie below, 2 are"
        in here.because
    )
    assert (
        "On the bench, a gain beyond the slider is found for none of the 8 (p < .05); 2 lie below, 6 are"
        in here.because
    )
    assert here.because.endswith("luck alone would call about 0.4 of 8 beyond or below it.")
    rows = here.content_text.splitlines()[-9:]
    assert rows[0] == " | photographs | bench"
    assert rows[1].startswith(
        "contrastive, λ = 0.1 | -1.4 ± 1.7 points (undecided) | -7.6 ± 6.1 points (suggestive: worse)"
    )
    assert rows[-1].startswith("CDB, Sinha's τ | -25.8")
    every = cards.every_method("cifar16")
    assert set(every) == set(lt.METHODS) - {"ce"}
    assert all(len(runs) == 10 and runs[0].label == label for label, runs in every.items())
    above, undecided, below = cards.sides_of_all("cifar16")
    assert sorted(above) == ["balanced_softmax", "logit_adjustment", "normface", "seesaw", "square_root_sampling"]
    assert sorted(above + undecided + below) == sorted(every) and below[-1] == "cdb"
    assert cards.open_how_many_in_all().truth == 5
    photographs, bench = (cards.told_of_all(place) for place in ("cifar16", "digits"))
    assert "5 lie beyond the line (square root sampling" in photographs and "reached by none" in photographs
    assert ", one of them clearly (NormFace), " in photographs and "clearly" not in bench
    assert "luck alone would call about 2 in all, about 1 on each side;" in photographs
    assert "0 lie beyond the line," in bench and "the plain network reaches it, too" in bench


def test_two_names_of_one_loss_are_told(cards):
    told = cards.told_of_one_loss(cards.sides_of_all("cifar16")[0])
    assert "*balanced softmax* is *logit adjustment (loss)* at τ = 1: two names and two trainings of one loss." in told
    assert told.endswith("So the 5 are 4 different ones. ") and cards.open_how_many_in_all().because.startswith(told)
    assert cards.told_of_one_loss(["normface", "balanced_softmax"]) == ""
    assert len(cards.same_loss(cards.every_method("cifar16"))) == 1


def test_logit_adjusted_is_the_slider_on_the_same_or_on_another_training(cards):
    for place, same in (("digits", True), ("cifar16", False)):
        for run, base in zip(cards.every_method(place)["logit_adjusted"], cards.plain_runs(place), strict=True):
            slider = lt.study.redecide(base, "logit_adjusted", tau=1.0)
            assert run.settings["tau"] == 1.0 and run.seed == base.seed
            assert (run.confusion == slider.confusion).all() == same
    assert cards.told_of_the_slider().startswith("Decided again after training: slider (τ = 1), NCM, τ-normalisation.")


def test_names_in_the_chart_tell_methods_apart(cards):
    assert set(cards.CALLED) <= set(lt.METHODS)
    names = [cards.called(key) for key in lt.METHODS]
    assert len(set(names)) == len(names) and cards.called("balanced_softmax") == "balanced softmax"
    assert not [name for name in names if "adjust" in name and "loss" not in name], "only one is called so"


def test_no_relative_of_normface_lies_clearly_beyond_the_line(cards):
    told = cards.told_of_length_one()
    assert told.count("points (") == 7 and told.count("clearly better") == 1
    assert "at scale 30: **+3.7 ± 1.9** points (clearly better)" in told and "ArcFace **-16.2" in told


def test_sides_are_told_with_their_own_numbers(cards):
    def one(mean, p):
        return lt.metrics.paired(np.full(3, 0.5) + mean, np.full(3, 0.5))._replace(p=p)

    told = cards.told_of_some("Here", {"a": one(0.1, 0.001), "b": one(-0.1, 0.03), "c": one(0.0, 0.5)})
    assert told == "Here, a gain beyond the slider is found for 1 of the 3 (p < .05); 1 lies below, 1 is undecided."


def test_what_lambda_changes_is_told_by_thirds(cards):
    printed, reading, measured, holds = cards._along_lambda()
    assert printed.startswith("λ = 0.25, 0.5, 0.75, 1 give 40, 41, 40, 41% (CIFAR-100-LT")
    at_one = {"dataset": "CIFAR-100-LT", "ratio": 100, "source": "Darkwah & Kang 2023, table 1"}
    assert cards.PRINTED_ALONG[1.0] == cards.printed("tricdb", **at_one)
    assert "our reading" in reading and "by thirds, photographs frequent classes **+1.3 ± 0.8** points" in measured
    gain, loss = "frequent classes gain on the photographs", "rare classes lose on the photographs (suggestive)"
    assert holds == f"difference: none found in mean accuracy; {gain}; {loss}"


def test_classes_nearly_at_zero_hold_the_exponent_too(cards):
    first = cards.cdb("cifar16", "paper")[0].history["val_accuracy"].astype(float)
    low = np.array([row[row > 0].min() for row in first])
    still = 2 / (1 + np.exp(1 - first.max(1) / (low + 0.01))) > 1.99
    assert still.sum() == 26 and "After 26 of the 40 epochs some class" in cards.tried().html


def test_the_printed_widths_hardly_depend_on_the_draws(cards, monkeypatch):
    before = cards.band_widths("digits", 10)
    monkeypatch.setattr(cards, "DRAWS", 40_000)
    assert cards.band_widths("digits", 10) == pytest.approx(before, abs=0.04)


def test_the_bands_of_hard_classes_stay_wide(cards):
    few, many = cards.band_widths("digits", 10), cards.band_widths("digits", 250)
    assert (np.diff(few) > 0).all() and (np.diff(many) > 0).all() and (many < few / 3).all()


def test_every_axes_with_a_photograph_is_in_the_picture(cards):
    assert len(cards.plot_rare_and_hard().axes) == 20


def test_swings_are_two_thirds_in_noise_and_all_where_it_alternates(cards):
    class Drawn:
        counts = np.array([9, 6, 3])

    noise, ringing = Drawn(), Drawn()
    noise.history = {"val_accuracy": np.random.default_rng(0).uniform(0.2, 1, (4000, 3))}
    ringing.history = {"val_accuracy": np.tile([[0.9, 0.0, 0.5], [0.0, 0.9, 0.6]], (30, 1))}
    assert cards.swings([noise], slice(None))[0] == pytest.approx(2 / 3, abs=0.02)
    assert cards.swings([ringing], slice(None)) == (1.0, 0.5)


def test_nothing_is_said_before_the_reader_s_own_answer(cards):
    claims = cards.claims()
    noise = cards.say_noise()
    for card, answer in ((cards.bench_recorded(), "points"), (claims, "points"), (noise, "keep wide bands")):
        assert answer not in card.text and answer in card.html.partition("<details")[2]
    assert (
        "stays above 1.99 for 13 epochs" in noise.html
        and "after epoch 14, where the worst class is at 50%" in noise.html
    )
    assert "TriCDB-CE 72% (71% in table 2; see Sources)" in claims.html


def test_how_far_apart_two_classes_are_is_the_mean_over_all_pairs(cards):
    x, y = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [5.0, 5.0]]), [0, 0, 1, 1]
    length_one = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = [((length_one[i] - length_one[j]) ** 2).sum() for i in (0, 1) for j in (2, 3)]
    assert cards.apart(x, y) == pytest.approx(np.mean(pairs))


def test_the_dial_of_the_photographs_opens_with_the_answer(cards):
    first = cards.photo_dial(lt.explore.feedback_dial(cards.replayed("cifar16")))
    again = cards.photo_dial(lt.explore.feedback_dial(cards.replayed("cifar16")))
    assert len(again.children) == 1 and "CLOSED" in again.static().html and "τ" not in again.static().text
    cards.does_it_move.commit(cards.STAYS)
    assert len(again.children) == 3 and len(first.children) == 1, "a cell that is run again is the one that opens"
    assert len(cards.photo_dial(lt.explore.feedback_dial(cards.replayed("cifar16"))).children) == 3
