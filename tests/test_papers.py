"""The papers' numbers in a picture: what is joined, what is strong, what is left of an order; wrong arguments."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex

import ltviz as lt
from ltviz import tables
from ltviz.explore.papers import (
    ALL,
    DATA,
    FAMILIES,
    MOST,
    PAPERS,
    SLOPES,
    Papers,
    _message,
    _order_said,
    _shorter,
    _sign,
    compared,
    spans,
)  # fmt: skip
from ltviz.papers import CUI, SLIDES, pairs_kept, swapped
from ltviz.plots.picture import INK, PALETTE, QUIET
from ltviz.published import GROUPS
from ltviz.tables import OURS, Printed

MENON = "Menon et al. 2021, table 3"


@pytest.fixture(scope="module")
def explorer():
    made = lt.explore.papers()
    yield made
    made.close()


@pytest.fixture
def still(explorer):
    yield explorer
    explorer.reset()


def drawn(lines):
    """Protocol -> errors that are drawn."""
    return {group: sorted(map(float, line.get_xdata())) for group, line in lines.items() if len(line.get_xdata())}


def test_only_one_protocol_is_joined():
    def one(key, group, error):
        return Printed(key, key, group, "x", error)

    some = [one("ce", "A", 3.0), one("ce", "A", 1.0), one("ce", "B", 9.0), one("ce", "-", 1.0), one("ce", "-", 8.0)]
    assert spans([*some, one("focal", "A", 5.0)]) == {("ce", "A"): (1.0, 3.0)}


def test_what_was_chosen_on_the_test_images_is_marked_and_not_joined(still):
    found = tables.reports("CIFAR-10-LT", 100)
    best = [one for one in found if one.source == MENON and "best tau" in one.method]
    assert sorted(one.error for one in best) == [19.08, 21.50]
    assert not {key for key in spans(found) if key[1] == "B"}, "a choice of tau is no second report"
    still.set(paper=MENON, beside="photographs")
    assert sorted(map(float, still.hollow.get_xdata())) == [19.08, 21.50]
    names = [text.get_text() for text in still.printed if text.get_text()]
    assert names[:2] == ["post-hoc adj., best τ†  19.1", "tau-norm., best τ†  21.5"]
    assert "post-hoc adj., τ 1  22.6" in names and "tau-norm., τ 1  24.0" in names
    told = [mark.text for mark in still.marks(still.result) if "best tau" in mark.text]
    assert len(told) == 4 and all("tau chosen on the test images" in text for text in told)
    assert still.sentence.endswith("test images: logit adjustment post-hoc, best tau and tau-normalisation, best tau.")
    assert "† τ chosen on the test images" in still.message.get_text()


def test_no_two_rows_of_a_paper_have_one_name_in_the_picture():
    for data, paper in itertools.product(DATA.values(), PAPERS[1:]):
        result = compared(*data, paper, "table")
        names = [_shorter(one.method) + _sign(result, one.method) for one in result.rows]
        assert len(set(names)) == len(names) and not any("..." in name or "…" in name for name in names), (data, names)


def test_every_protocol_has_a_look_of_its_own_and_nothing_is_cut_off():
    errors = [one for data in DATA.values() for one in tables.reports(*data)]
    assert {one.group for one in errors} <= set(FAMILIES) <= set(GROUPS)
    assert len({(colour, mark) for colour, mark, _ in FAMILIES.values()}) == len(FAMILIES)
    assert {one.source for one in errors if one.key} - set(PAPERS) == {
        "Cui et al. 2019, repository", "Ren et al. 2020, table 5", "Ren et al. 2020, table 7",
        "Darkwah & Kang 2023, table 1",
    }  # fmt: skip
    for data in DATA.values():
        keys = {one.key for one in tables.reports(*data) if one.key}
        assert len(keys) <= MOST and set(compared(*data, ALL, "table").methods) == keys
        for paper in PAPERS[1:]:
            assert len(tables.paper_reports(*data, paper)) <= SLOPES


def test_what_is_drawn_and_said(explorer):
    result = explorer.result
    assert (result.left, result.apart) == ((13, 15), (4, 6)) and result.groups == {"A", "-"}
    strong, faint = drawn(explorer.strong), drawn(explorer.faint)
    assert set(strong) == {"A", "-"} and strong["-"] == [24.10] and 29.64 in strong["A"]
    assert set(faint) == {"B", "B+", "C", "F"} and min(faint["C"]) == 16.3
    assert len(explorer.joined.get_segments()) == 2, "focal and class-balanced have several numbers under A"
    assert [text.get_text() for text in explorer.printed][:2] == ["Dual Loss*  24.1", "best class-balanced  25.4"]
    assert [text.get_text() for text in explorer.measured][:3] == ["29.2", "33.2", "33.2"]
    said = explorer.sentence
    assert "between 22.6 and 29.6%, 7.0 points" in said and "13 of 15 pairs of methods under one protocol keep" in said
    assert "one seed each" in said and "Pairs that swap: 2, of which nearly tied: 2." in said
    assert said.endswith("Dual Loss: protocol not stated, so its 6 pairs stand apart; 4 of them keep their order.")
    assert "* protocol not stated; apart: 4 of 6 pairs" in explorer.message.get_text()
    low, high = explorer.left.get_xlim()
    assert (low, high) == (15, 50)


def test_no_order_across_protocols(still):
    still.set(paper=ALL)
    assert drawn(still.faint) == {} and set(drawn(still.strong)) == {"A", "B", "B+", "C", "F", "-"}
    assert "No order is drawn across protocols" in still.sentence and len(still.slopes.get_segments()) == 0
    assert "Choose a paper" in still.message.get_text()


def test_what_is_not_run_yet_is_said(still):
    still.set(data="CIFAR-10-LT, 50", paper=CUI)
    assert "none of its 6 rows has been run here" in still.sentence and "not run yet" in still.message.get_text()
    assert all("not run yet" in mark.text for mark in still.marks(still.result) if mark.region == 1)
    still.set(paper="Hong et al. 2021, table 2")
    assert "prints nothing here" in still.sentence


def test_the_photographs_beside_a_paper(still):
    still.set(paper=MENON, beside="photographs")
    result = still.result
    assert (result.left, result.apart) == ((10, 10), (0, 0)) and set(map(len, result.ours.values())) == {10}
    assert "5 of 7 rows beside ours (the photographs, ten seeds): 10 of 10" in still.sentence
    assert colours(still) == [PALETTE[0]] * 5, "all keep their order"


@pytest.mark.parametrize("data", [name for name in DATA if name != "CIFAR-10-LT, 100"])
def test_the_photographs_stand_beside_their_own_data_alone(data):
    for paper in PAPERS[1:]:
        result = compared(*DATA[data], paper, "photographs")
        assert result.ours == {} and result.left is None and result.swaps == ()
        if result.rows:
            assert "our photographs are CIFAR-10 at ratio 100" in _order_said(result)
            assert "CIFAR-10 at ratio 100" in _message(result)


def test_the_photographs_beside_other_data_draw_no_order(still):
    still.set(data="CIFAR-10-LT, 10", beside="photographs")
    assert "57.6" not in " ".join(text.get_text() for text in still.measured) and len(still.slopes.get_segments()) == 0
    assert all(mark.text.endswith("no run on these data") for mark in still.marks(still.result) if mark.region == 1)


def colours(explorer):
    """Of the lines on the right, from the best row on."""
    return [to_hex(colour).upper() for colour in explorer.slopes.get_color()]


def test_a_line_is_orange_where_it_swaps_and_grey_where_it_is_nearly_tied(still):
    explorer = still
    blue, orange, grey, ink = (to_hex(colour).upper() for colour in (PALETTE[0], PALETTE[1], QUIET, INK))
    names = [one.method for one in explorer.result.rows]
    assert dict(zip(names, colours(explorer), strict=True)) == {
        "Dual Loss": ink, "best class-balanced": blue, "BCE (sigmoid)": grey, "focal, gamma 1": grey,
        "CE (softmax)": blue, "focal, gamma 0.5": grey, "focal, gamma 2": grey,
    }  # fmt: skip
    dotted = [pattern is not None for _, pattern in explorer.slopes.get_linestyle()]
    assert dotted == [name == "Dual Loss" for name in names], "a row that may not be compared"
    apart = {pair for pair in crossing(explorer) if "Dual Loss" in pair}
    assert len(apart) == 2 and crossing(explorer) - apart == {pair[:2] for pair in explorer.result.swaps}
    explorer.set(paper="Ren et al. 2020, table 2", beside="photographs")
    assert crossing(explorer) == {pair[:2] for pair in explorer.result.swaps}, "lines cross exactly where a pair swaps"
    assert orange in colours(explorer)


def crossing(explorer):
    """Pairs of names whose lines cross."""
    names, found = [one.method for one in explorer.result.rows], set()
    for a, b in itertools.combinations(explorer.slopes.get_segments(), 2):
        if (a[0][1] - b[0][1]) * (a[1][1] - b[1][1]) < 0:
            found.add((names[round(a[0][1])], names[round(b[0][1])]))
    return found


def test_pairs_that_may_be_compared_are_counted_apart_from_the_others():
    def row(group, source="x"):
        return Printed("m", "ce", group, source, 0.0)

    rows = [row("A"), row("A", "y"), row("-"), row("-"), row("-", "y")]
    assert pairs_kept(rows, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) == ((5, 5), (5, 5)), "by group, or by source"
    assert pairs_kept(rows, [1, 2, 3, 4, 5], [2, 1, 3, 4, 0]) == ((3, 5), (2, 5))
    assert pairs_kept(rows[:2], [1, 1], [1, 2]) == ((0, 0), (0, 0)) == pairs_kept([], [], [])
    with pytest.raises(ValueError, match=r"^rows=.*: expected"):
        pairs_kept(rows, [1, 2], [1, 2])


def test_swapped_pairs():
    assert swapped([1, 2, 3], [1, 2, 3]) == [] == swapped([], [])
    assert swapped([1, 2, 3], [5, 4.5, 9]) == [(0, 1, False)]
    assert swapped([1, 1.2, 3], [5, 4, 9]) == [(0, 1, True)], "nearly tied in print"
    assert swapped([1, 2, 3], [5, 4.9, 4]) == [(0, 1, True), (0, 2, False), (1, 2, False)], "nearly tied in ours"
    assert swapped([1, 1, 3], [5, 4, 9]) == [], "equal in print: no order"
    assert swapped([1, 2], [4, 4], near=0) == [(0, 1, False)] and swapped([1, 2], [4, 4]) == [(0, 1, True)]
    printed, ours = np.random.default_rng(0).normal(size=(2, 9))
    found = tables.order(printed, ours)
    assert len(swapped(printed, ours)) == found.pairs - found.right


@pytest.mark.parametrize(("given", "name"), [
    (([1, 2], [1]), "ours"), (([1, 2], [1, float("nan")]), "ours"), (([1, 2], [2, 1], -1), "near"),
    (([1, 2], [2, 1], True), "near"), (([1, 2], [2, 1], "3"), "near"),
])  # fmt: skip
def test_swapped_refuses(given, name):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        swapped(*given)


def test_without_a_paper_the_protocols_are_told(still):
    still.set(paper=ALL)
    told = still.message.get_text()
    for group in ("A", "B", "B+", "C", "F", "-"):
        assert " ".join(GROUPS[group].split()[:3]) in " ".join(told.split())
    assert GROUPS["E"] not in " ".join(told.split()), "prints nothing here"
    low, high = still.left.get_ylim()
    assert (low, high) == (17.6, -0.6)
    still.set(data="CIFAR-10-LT, 200")
    assert still.left.get_ylim() == (11.6, -0.6), "no empty rows"


def test_marks_tell_source_and_protocol(explorer):
    told = [mark.text for mark in explorer.marks(explorer.result)]
    assert any(
        text.startswith("CE (softmax): 29.64%, Cui et al. 2019, table 2; protocol A: ResNet-32") for text in told
    )
    assert "Dual Loss: 24.1% printed, ours 33.24% (one seed)" in told
    assert any("protocol not stated" in text for text in told)


def test_controls_at_their_ends_and_the_background_that_rests(explorer):
    assert list(explorer.controls) == ["data", "paper", "beside"] and explorer.drive() == []
    before = explorer.surface.backgrounds
    explorer.set(paper=CUI)
    explorer.set(beside="photographs")
    explorer.reset()
    assert explorer.surface.backgrounds == before and explorer.error is None


def test_state_and_code_give_the_same_picture_again(still):
    still.set(data="CIFAR-100-LT, 100", paper=CUI, beside="photographs")
    again = Papers.from_state(still.state)
    assert again.picture() == still.picture() and again.sentence == still.sentence
    code = f"lt.explore.papers(data='CIFAR-100-LT, 100', paper={CUI!r}, beside='photographs')"
    assert still.as_code() == code
    again.close()


@pytest.mark.parametrize(("name", "given"), [
    *((name, given) for name in ("data", "paper", "beside") for given in ("nothing", 3, None, True, ["table"])),
    ("data", "CIFAR-10-LT, 30"), ("paper", "Cui et al. 2019"), ("beside", "Table"),
])  # fmt: skip
def test_the_explorer_refuses(name, given):
    with pytest.raises(ValueError, match=f"^{name}=.*: expected"):
        lt.explore.papers(**{name: given})


def test_the_default_is_the_dual_losss_table_beside_ours():
    assert set(OURS) == {"table", "reduced", "photographs"}
    assert compared("CIFAR-10-LT", 100, SLIDES, "table").rows[0].method == "Dual Loss"
