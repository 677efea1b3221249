"""The cards of chapters 00 to 02: what they say is what the records give, and nothing opens before its question."""

import numpy as np
import pytest
from conftest import fast_cards

import ltviz as lt
from ltviz.explore.throw import throws


@pytest.fixture(scope="module")
def start():
    yield from fast_cards("00")


@pytest.fixture(scope="module")
def tails():
    yield from fast_cards("01")


@pytest.fixture
def softmax():
    """Fresh for each test, with no card answered."""
    yield from fast_cards("02")
    for explorer in lt.explore.registry():
        explorer.close()


@pytest.fixture(scope="module")
def plain():
    return lt.recorded("cifar16", "ce")


def test_the_matrix_of_the_cards_speaks_of_answers_as_the_explorer_does(start, plain):
    picture = start.plot_matrix(plain[0], "A matrix")
    explorer = lt.explore.posthoc(plain[0])
    matrix, bars = picture.axes
    assert matrix.get_xlabel().startswith("answered class") and bars.get_ylabel() == "share of\nanswers"
    assert any(ax.get_xlabel() == matrix.get_xlabel() for ax in explorer.surface.figure.axes)
    assert "answers" in picture.text and "predict" not in picture.text
    explorer.close()


def test_the_answers_to_the_throws_give_what_the_seed_draws_and_what_it_does_not(tails):
    page = tails.say_throws().html
    for order in ("seed", "natural"):
        rare = throws(50.0, "exp", order, 100).scores[3]
        assert (
            f"<b>{rare.min():.0%}</b> to <b>{rare.max():.0%}</b> (standard deviation {100 * rare.std(ddof=1):.0f} p"
            in page
        )
    ends = [throws(ratio, "exp", "seed", 100).scores[:, 0] for ratio in (1.0, 100.0)]
    for i, name in ((1, "balanced accuracy"), (2, "macro F1"), (3, "rare recall")):
        assert f"{name} from {100 * ends[0][i]:.1f} to {100 * ends[1][i]:.1f}%" in page
    assert f"rises from {100 * ends[0][0]:.1f} to {100 * ends[1][0]:.1f}%" in page
    even = [throws(1.0, "exp", order, 100).scores[3].mean() for order in ("natural", "seed")]
    assert f"At ratio 1 it is {even[0]:.0%} and {even[1]:.0%}" in page
    assert tails.rare_answers(1.0) == pytest.approx(1 / 3, abs=0.02) and tails.rare_answers(100.0) < 0.2


def test_the_hook_is_the_network_nearest_to_the_mean_of_its_kind(softmax, plain):
    rare = np.array([lt.metrics.shot_accuracy(run)["tail"] for run in plain])
    one = softmax.typical(plain)
    assert abs(softmax.share([one]) - rare.mean()) == np.abs(rare - rare.mean()).min() < 0.01
    text = softmax.plot_lengths_and_errors(one, lt.study.photographs()).text
    assert text.startswith(f"Seed {one.seed}, ") and f"rarest classes: {softmax.share([one]):.1%}." in text


def test_what_gives_two_answers_away_waits_for_both_cards(softmax):
    shown = softmax.after_both(lt.say("UP reaches **5.3%**."), "and the slider")
    assert "5.3" not in shown.page.value and "5.3" not in shown.static().text
    assert "<details" in shown.static().html
    softmax.equal_from_start.commit(12)
    assert "5.3" not in shown.page.value and not shown.opened
    softmax.which_switch.commit()
    assert "<b>5.3%</b>" in shown.page.value and "and the slider" in shown.page.value
    assert "5.3" in shown.static().text and "<details" not in shown.static().html
    assert "<b>7.0%</b>" in softmax.after_both(lt.say("**7.0%**")).page.value, "a cell that comes later is open at once"


def test_a_panel_that_is_closed_follows_no_card(softmax):
    shown = softmax.after_both("the table")
    shown.close()
    softmax.equal_from_start.commit(12)
    softmax.which_switch.commit()
    assert "the table" not in shown.page.value


def test_noise_is_not_explained_by_what_blur_takes_away(softmax, plain):
    explorer = lt.explore.quality(plain[0], lt.study.photographs())
    reveal, changed = softmax.open_noisy(explorer), softmax.contrasts(explorer)
    ends = {name.replace("_", " "): curve[-1, 1] - 1 for name, curve in explorer.curves.items()}
    assert [name for name in ends if changed[name] < 0 < ends[name]] == ["blur", "low resolution"]
    assert "But blur and low resolution take contrast away, and they lengthen features, too" in reveal.because
    for name, change in changed.items():
        assert (
            f"{name} <b>{ends[name]:+.0%}</b>" in reveal.content_html and f"{name} {change:+.0%}" in reveal.content_html
        )


def test_the_score_in_the_quiz_is_set_as_mathematics(softmax):
    (question,) = (one for one in softmax.quiz.questions if "-1.2" in one.text)
    assert "$W_j \\cdot x = -1.2$" in question.text
