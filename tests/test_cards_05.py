"""Chapter 05: its exercises name the mistakes that readers make, and its predictions follow from the records."""

import sys

import pytest
import torch
from conftest import REPO

import ltviz as lt
from ltviz.probe import probe


@pytest.fixture(scope="module")
def cards():
    sys.path.insert(0, str(REPO / "notebooks"))
    try:
        import cards_05

        yield cards_05
    finally:
        sys.path.remove(str(REPO / "notebooks"))


def written(exercise, name):
    """The solution that the exercise shows, as a function."""
    names = {"torch": torch}
    exec(exercise.solution_source, names)
    return names[name]


def product_rule(p, gamma):
    return (gamma * (1 - p) ** (gamma - 1) * p.log() - (1 - p) ** gamma / p) * p * (1 - p)


def by_autograd(p, gamma):
    p = p.clone().requires_grad_()
    (found,) = torch.autograd.grad((-((1 - p) ** gamma) * p.log()).sum(), p)
    return found * p * (1 - p)


@pytest.mark.parametrize("name", ["slope", "rare_share"])
def test_the_shown_solution_passes(cards, name):
    exercise = getattr(cards, name)
    assert exercise.check(written(exercise, name)).passed


@pytest.mark.parametrize("answer", [product_rule, by_autograd])
def test_a_slope_that_is_no_number_at_the_ends_does_not_pass(cards, answer):
    found = cards.slope.check(answer)
    assert [held for held, _, _ in found.rows] == [True, True, True, False, False, False]
    assert "not finite" in found.text


@pytest.mark.parametrize("name", ["slope", "rare_share"])
def test_no_foreseen_mistake_passes_and_each_is_named(cards, name):
    exercise = getattr(cards, name)
    for words, answer in exercise.mistakes.items():
        found = exercise.check(answer)
        assert not found.passed and words.split(".")[0].split("$")[0] in found.text


MEANS, RATIO = "You divided means.", "over the other images"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda size, rare: size[rare].mean() / size.mean(), MEANS),
        (lambda size, rare: size[rare].sum() / size[~rare].sum(), RATIO),
        (lambda size, rare: size[~rare].sum() / size.sum(), "share of the other images"),
        (lambda size, rare: size[rare].sum(), "This is the sum of the sizes"),
        (lambda size, rare: size[rare].mean(), "This is the mean size"),
    ],
)
def test_a_wrong_share_is_told_what_is_wrong_with_it_in_every_case(cards, answer, words):
    slope = written(cards.slope, "slope")
    found = cards.rare_share.check(lambda p, rare, gamma: answer(slope(p, gamma).abs(), rare))
    assert not found.passed and all(words in detail for held, _, detail in found.rows if not held)


def test_passing_the_second_exercise_answers_its_question(cards):
    p, rare = [0.99] * 95 + [0.96] * 5, torch.arange(100) >= 95
    size = written(cards.slope, "slope")(torch.tensor(p, dtype=torch.float64), 2.0).abs()
    assert float(size[rare].sum() / size.sum()) == pytest.approx(0.77, abs=0.005)
    assert float(size.sum()) == pytest.approx(0.0012, abs=5e-5)
    found = cards.rare_share.check(written(cards.rare_share, "rare_share"))
    assert "17% → 77%" in found.text and "1.15 → 0.0012" in found.text
    assert "77%" not in cards.rare_share.check(lambda p, rare, gamma: p.sum()).text
    assert "77%" not in repr(cards.rare_share) + str(cards.rare_share._repr_mimebundle_())


def test_the_factor_of_a_weighted_p_is_a_class_weight(cards):
    rarest, most = cards.factors()
    weights = [1 / (1 - 0.9999**n) for n in lt.recorded("cifar16", "ce", seed=0)[0].counts.tolist()]
    mean = sum(weights) / len(weights)
    assert rarest == pytest.approx(1 - 0.5 ** (weights[-1] / mean)) and rarest == pytest.approx(0.937, abs=1e-3)
    assert most == pytest.approx(1 - 0.5 ** (weights[0] / mean)) and most == pytest.approx(0.030, abs=1e-3)


def test_both_deferred_losses_are_divided_alike(cards):
    for data in ("cifar16", "digits"):
        ours, theirs = lt.recorded(data, "focal_drw"), cards.deferred(data)
        assert [run.seed for run in ours] == [run.seed for run in theirs] == list(range(10))
        same = ("reduction", "beta", "deferral")
        assert {tuple(run.settings[name] for name in same) for run in (*ours, *theirs)} == {("n", 0.9999, 0.8)}


def test_the_photographs_are_a_page_of_text_and_pictures_so_that_a_theme_can_colour_the_text(cards):
    found = cards.hard_frequent_easy_rare()
    assert found.html.count("<img ") == 10 == found.html.count("p = 0.") // 2 and "color" not in found.html
    assert "frog, p = 0.09" in found.text and "ship, p = 0.73" in found.text


def test_hard_is_not_rare(cards):
    of_hard, of_rare = cards.hard_and_rare()
    assert of_hard == pytest.approx(89 / 1457, abs=1e-3) and of_rare == pytest.approx(89 / 108, abs=1e-2)


def test_the_loss_and_the_gradient_at_nine_tenths(cards):
    loss, gradient = cards.by_loss(0.9)
    assert loss == pytest.approx(100) and gradient == pytest.approx(34.53, abs=0.01)


@pytest.mark.parametrize(
    ("opened", "truth"),
    [("open_hard_ones", 6.1), ("open_rare_gain", 2.4), ("open_beyond_the_line", "none of them")],
)
def test_the_answers_follow_from_the_records(cards, opened, truth):
    found = getattr(cards, opened)().truth
    assert found == truth if isinstance(truth, str) else found == pytest.approx(truth, abs=0.05)


def test_most_of_the_gradient_stays_with_frequent_classes_at_every_gamma(cards):
    """And what the card says of the hard images: the rare share grows, and stays small."""
    _, targets, logits, groups = cards.training_images()
    found = {}
    for gamma in (0.0, *cards.GAMMAS):
        sizes = lt.metrics.gradient_sizes(lambda z, y, g=gamma: cards.focal_loss(z, y, g, "softmax"), logits, targets)
        found[gamma] = [float(sizes[mask].sum() / sizes.sum()) for mask in groups.values()]
    for gamma, shares in ((0.0, (0.668, 0.052)), (2.0, (0.604, 0.068)), (5.0, (0.555, 0.084))):
        assert found[gamma][::2] == pytest.approx(shares, abs=1e-3)
    frequent, _, rare = zip(*found.values(), strict=True)
    assert list(frequent) == sorted(frequent, reverse=True) and list(rare) == sorted(rare) and min(frequent) > 0.5
    assert "from 2.2% of all images to 6.1% of the hard ones, but stays small" in cards.open_hard_ones().because


def test_a_focal_loss_is_always_smaller_and_its_gradient_is_not_for_the_hardest_images(cards):
    losses, sizes = zip(*(cards.by_loss(p) for p in (0.02, 0.1, 0.2, 0.3, 0.5, 0.9, 0.99)), strict=True)
    assert min(losses) > 1
    assert [size > 1 for size in sizes] == [False, False, False, True, True, True, True]
    assert 1 / sizes[1] == pytest.approx(1.22, abs=5e-3)
    assert "so is its gradient, except for the hardest images" in cards.sources_disagree().text


def test_what_the_chart_says_is_what_the_records_say(cards):
    base = lt.recorded("cifar16", "ce")
    assert not [name for name, runs in cards.drawn().items() if "better" in lt.metrics.beyond(runs, base).verdict]
    told = cards.open_beyond_the_line().content_text
    assert [name for name in cards.drawn() if name.startswith("focal, ")] == [f"focal, γ = {g:g}" for g in cards.GAMMAS]
    assert "Of these, none gives the rare classes clearly or suggestively more than the slider" in told
    assert "We cannot tell." in told
    for runs in (cards.deferred(), lt.recorded("cifar16", "focal_drw")):
        assert lt.metrics.paired(runs, base, "tail").verdict == "clearly better"
        cost = lt.metrics.paired(runs, base, "head")
        assert cost.verdict == "clearly worse" and cards.points(cost).replace("*", "") in told.replace("*", "")


def test_a_chart_that_has_one_beyond_the_line_says_which(cards, monkeypatch):
    cosine = lt.recorded("cifar16", "normface", scale=30.0, learn_scale=False)
    drawn = cards.drawn()
    monkeypatch.setattr(cards, "drawn", lambda: {**drawn, "a cosine classifier": cosine})
    monkeypatch.setattr(cards.lt, "plot_who_pays", lambda *_: "the chart")
    assert "Of these, a cosine classifier gives the rare classes" in cards.open_beyond_the_line().content_text


def test_class_balanced_focal_is_named_with_its_form_and_gamma(cards):
    runs = cards.compared()[cards.CB_FOCAL]
    assert {(run.settings["loss"], run.settings["gamma"]) for run in runs} == {("focal", 1.0)}
    told = " ".join([cards.open_rare_gain().content_text, cards.claims().text])
    assert told.count("form and focusing change together") == 2
    assert "focal" in lt.methods.class_balanced.SIGMOIDS


def test_the_gains_of_focusing_alone_on_the_bench_are_those_of_the_softmax_form_up_to_two(cards):
    base = lt.recorded("digits", "ce")

    def gains(form):
        return [
            g
            for g in cards.GAMMAS
            if "better" in lt.metrics.paired(cards.focal("digits", g, form), base, "tail").verdict
        ]

    assert gains("softmax") == [0.5, 1.0, 2.0]
    assert not any(
        "better" in lt.metrics.paired(cards.focal("digits", gamma, "sigmoid"), one, "tail").verdict
        for gamma in (1.0, 2.0)
        for one in (base, cards.sigmoid("digits"))
    )
    assert "In the softmax form, up to γ = 2, the gains of focusing alone are small, at most 3.5 points" in (
        cards.bench_recorded().html
    )


def test_divided_by_n_is_explained_below_the_table(cards):
    told = cards.open_rare_gain().content_text
    assert "Divided by n: the weighted losses of a batch are divided by its number of images n" in told.replace("*", "")
    assert {run.settings["reduction"] for run in cards.balanced(loss="softmax")} == {"n"}
    assert lt.methods.METHODS["ce_drw"].settings["reduction"].default == "weight"  # as in chapter 03


def test_the_form_shows_in_the_loss_at_a_small_gamma_and_not_in_the_gradient():
    counts = torch.from_numpy(lt.recorded("cifar16", "ce", seed=0)[0].counts)
    for gamma, apart in ((0.0, True), (2.0, False)):
        one, other = (
            probe("focal", counts, 0, settings={"gamma": gamma, "form": form}) for form in ("softmax", "sigmoid")
        )
        assert torch.allclose(one.gradient, other.gradient, atol=1e-5)
        assert (float((other.loss - one.loss).max()) > 0.5) == apart


def test_sigmoids_cost_without_focusing_what_they_cost_with_it(cards):
    told = cards.sources_disagree().text
    assert "The first less the second: -0.3 ± 0.6 points (undecided)" in told
    assert "the code of Cao et al. (2019) the softmax" in told


def test_the_photographs_are_the_extremes_of_the_first_hundred(cards):
    run, shown = lt.recorded("cifar16", "ce", seed=0)[0], lt.study.photographs()
    assert len(shown.images) == 100
    p = torch.from_numpy(run.logits[:100].astype(float)).softmax(1).numpy()[range(100), run.targets[:100]]
    groups = lt.metrics.third_groups(run.counts)
    assert min(p[groups["head"][run.targets[:100]]]) == pytest.approx(0.09, abs=5e-3)
    assert max(p[groups["tail"][run.targets[:100]]]) == pytest.approx(0.73, abs=5e-3)


def test_the_quiz_says_what_the_records_say(cards):
    questions = cards.quiz().questions
    assert "+3.5 ± 2.4** points (suggestive: better)" in questions[1].options[questions[1].right]
    assert "100% of rare **training** images right, and 53% of rare **test** images" in questions[1].text
    assert "the gap is 47 points" in questions[1].options[questions[1].right]
    assert "(plain network, seed 0)" in questions[3].text and "give 4% of" in questions[3].text


def test_what_a_claim_holds_is_its_sign_where_it_is_at_least_suggestive(cards):
    class Found:
        def __init__(self, mean, p):
            self.mean, self.p = mean, p

    assert cards.judged(Found(0.02, 0.01), 0.5) is True and cards.judged(Found(-0.02, 0.01), 0.5) is False
    assert cards.judged(Found(0.02, 0.2), 0.5) == "undecided"


def test_the_claims_stand_with_what_is_measured(cards):
    text = cards.claims().text
    ends = [line.rsplit(None, 1)[-1] for line in text.splitlines()[1:]]
    assert ends == ["yes", "no", "undecided", "yes", "undecided", "yes", "yes", "no", "no"]
    assert "focal at 2 of 5 ratios" in text


def test_what_stands_after_the_river_is_folded_and_is_what_the_networks_say(cards, monkeypatch):
    monkeypatch.setattr(cards, "SEEDS", range(3))  # of ten: training takes a second each
    cards.ends.cache_clear()
    told, softmax, sigmoids = cards.river_told(), cards.apart("softmax"), cards.apart("sigmoid")
    cards.ends.cache_clear()
    assert "<details" in told.html and "epoch" not in told.text
    assert softmax.shape == sigmoids.shape == (3, 61)
    assert softmax[0].max() == pytest.approx(0.19, abs=5e-3) and softmax[0].argmax() == 8
    assert "between -18 (epoch 15) and +19 (epoch 8), -1 at the end" in told.html
    assert f"the smaller share under {(softmax[:, -1] < 0).sum()} of 3." in told.html
    assert sigmoids[:, -1] == pytest.approx([-0.127, -0.050, -0.113], abs=5e-3)
    assert "the smaller share under 3 of 3." in told.html


def test_the_gap_is_one_between_two_accuracies(cards):
    plain, focused = cards.ends(0.0), cards.ends(2.0)
    assert plain.fitted == pytest.approx([1, 1, 1]) and focused.fitted == pytest.approx([1, 1, 1])
    assert plain.p[2] == pytest.approx(0.963, abs=1e-3) and plain.right[2] == pytest.approx(0.532, abs=1e-3)
    assert (
        "rare 0.96 / 100% / 53%" in cards.say_ends().text and "47 points in the plain network" in cards.say_ends().text
    )
