"""The papers' numbers in a picture: what is joined, what is strong, what is left of an order; wrong arguments."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex

import ltviz as lt
from ltviz import tables
from ltviz.explore.papers import ALL, DATA, FAMILIES, MOST, PAPERS, SLOPES, Papers, compared, spans
from ltviz.papers import CUI, SLIDES, swapped
from ltviz.plots.picture import PALETTE, QUIET
from ltviz.published import GROUPS
from ltviz.tables import OURS, Printed


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
    assert (result.left.right, result.left.pairs) == (17, 21) and result.groups == {"A", "-"}
    strong, faint = drawn(explorer.strong), drawn(explorer.faint)
    assert set(strong) == {"A", "-"} and strong["-"] == [24.10] and 29.64 in strong["A"]
    assert set(faint) == {"B", "B+", "C", "F"} and min(faint["C"]) == 16.3
    assert len(explorer.joined.get_segments()) == 2, "focal and class-balanced have several numbers under A"
    assert [text.get_text() for text in explorer.printed][:2] == ["Dual Loss*  24.1", "best class-balanced  25.4"]
    assert [text.get_text() for text in explorer.measured][:3] == ["29.2", "33.2", "33.2"]
    said = explorer.sentence
    assert "between 22.6 and 29.6%, 7.0 points" in said and "17 of 21 pairs of methods keep their order" in said
    assert "one seed each" in said and "Pairs that swap: 4, of which nearly tied: 3." in said
    assert said.endswith("Dual Loss: protocol not stated.") and "* protocol not stated" in explorer.message.get_text()
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
    still.set(paper="Menon et al. 2021, table 3", beside="photographs")
    result = still.result
    assert (result.left.right, result.left.pairs) == (10, 10) and set(map(len, result.ours.values())) == {10}
    assert "5 of 7 rows beside ours (the photographs, ten seeds): 10 of 10" in still.sentence
    assert colours(still) == [PALETTE[0]] * 5, "all keep their order"


def colours(explorer):
    """Of the lines on the right, from the best row on."""
    return [to_hex(colour).upper() for colour in explorer.slopes.get_color()]


def test_a_line_is_orange_where_it_swaps_and_grey_where_it_is_nearly_tied(explorer):
    blue, orange, grey = (to_hex(colour).upper() for colour in (PALETTE[0], PALETTE[1], QUIET))
    names = [one.method for one in explorer.result.rows]
    assert dict(zip(names, colours(explorer), strict=True)) == {
        "Dual Loss": orange, "best class-balanced": orange, "BCE (sigmoid)": grey, "focal, gamma 1": grey,
        "CE (softmax)": blue, "focal, gamma 0.5": grey, "focal, gamma 2": grey,
    }  # fmt: skip
    crossing = set()
    for (_, a), (_, b) in itertools.combinations(enumerate(explorer.slopes.get_segments()), 2):
        if (a[0][1] - b[0][1]) * (a[1][1] - b[1][1]) < 0:
            crossing.add((names[round(a[0][1])], names[round(b[0][1])]))
    assert crossing == {pair[:2] for pair in explorer.result.swaps}, "two lines cross exactly where a pair swaps"


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
