"""The papers' numbers in a picture: what is joined, what is strong, what is left of an order; wrong arguments."""

import numpy as np
import pytest

import ltviz as lt
from ltviz import tables
from ltviz.explore.papers import ALL, DATA, FAMILIES, MOST, PAPERS, SLOPES, Papers, compared, spans
from ltviz.papers import CUI, SLIDES
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
    assert [text.get_text() for text in explorer.printed][:2] == ["Dual Loss  24.1", "best class-balanced  25.4"]
    assert [text.get_text() for text in explorer.measured][:3] == ["29.2", "33.2", "33.2"]
    said = explorer.sentence
    assert "between 22.6 and 29.6%, 7.0 points" in said and "17 of 21 pairs of methods keep their order" in said
    assert "one seed each" in said
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
    assert "5 of 7 rows beside ours (the photographs, ten seeds; 10 seeds each)" in still.sentence
    faces = {tuple(np.round(colour, 3)) for colour in still.slopes.get_color()}
    assert len(faces) == 1, "all keep their rank"


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
