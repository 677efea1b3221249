"""ltviz.tables: the papers' tables beside ours, trained in parts and found again."""

import dataclasses

import numpy as np
import pytest

from ltviz import __main__, tables
from ltviz.datasets import digits_lt
from ltviz.methods import METHODS
from ltviz.published import published
from ltviz.tables import TABLES, Cell, PaperRow
from ltviz.training import RECIPES, RunControl

TABLE = TABLES["dual-cifar10"]
SMALL = dataclasses.replace(RECIPES["cui2019"], model="mlp:4", epochs=2)


@pytest.fixture
def small(monkeypatch):
    """Digits in place of CIFAR-10, recorded as the data of that ratio."""
    asked = []

    def data(table, root, ratio, seed):
        asked.append((ratio, seed))
        made = digits_lt(ratio=ratio, n_max=60, test=5, seed=seed)
        made.spec["classes"] = 10
        return made

    monkeypatch.setattr(tables, "_data", data)
    return asked


def test_every_cell_has_a_published_number_and_settings_that_hold():
    for table in TABLES.values():
        known = published(table.dataset, source=list(table.sources), metric="error")
        for row in table.rows:
            for ratio in table.ratios:
                assert len(known[(known["method"] == row.name) & (known["ratio"] == ratio)]) == 1, (row.name, ratio)
                METHODS[row.key](**row.settings_at(ratio))
        assert table.recipe in RECIPES


def test_the_best_class_balanced_settings_are_those_that_the_paper_names():
    notes = published("CIFAR-10-LT", source="Cui et al. 2019, table 2", key="class_balanced").set_index("ratio")["note"]
    row = next(row for row in TABLE.rows if row.key == "class_balanced")
    for ratio in TABLE.ratios:
        settings = row.settings_at(ratio)
        said = f"{settings['loss']}, beta {settings['beta']}"
        said += f", gamma {settings['gamma']:g}" if "gamma" in settings else ""
        assert notes[ratio].endswith(said)


def test_columns_come_whole_and_seed_by_seed():
    found = tables.cells(TABLE, 2, [100, 10])
    assert [(cell.seed, cell.ratio) for cell in found] == [(s, r) for s in (0, 1) for r in (100, 10) for _ in range(7)]
    assert [cell.row.name for cell in found[:7]] == [row.name for row in TABLE.rows]


def test_a_table_goes_on_where_it_stopped(small, tmp_path):
    todo, said = tables.cells(TABLE, 1, [10])[:3], []
    first = list(tables.train_cells(TABLE, todo[:2], tmp_path, recipe=SMALL, device="cpu", say=said.append))
    assert [run.method for run in first] == ["ce", "sigmoid"]
    assert f"ce, ratio 10, seed 0: {100 * (1 - first[0].accuracy):.2f}% error" in said
    rest = list(tables.train_cells(TABLE, todo, tmp_path, recipe=SMALL, device="cpu", say=said.append))
    assert [(run.method, run.settings["gamma"]) for run in rest] == [("focal", 0.5)]
    frame = tables.frame(TABLE, tables.load_runs(tmp_path), SMALL).set_index(["method", "ratio"])
    row = frame.loc[("CE (softmax)", 10)]
    assert row["paper"] == 13.61 and row["ours"] == pytest.approx(100 * (1 - first[0].accuracy))
    assert row["difference"] == pytest.approx(row["ours"] - 13.61)
    assert row["seeds"] == 1 and row["verdict"] == "one seed"
    assert frame.loc[("Dual Loss", 10)]["verdict"] == "not run yet" and np.isnan(frame.loc[("Dual Loss", 10)]["ours"])
    assert len(frame) == 35 and set(small) == {(10, 0)}


def test_what_does_not_fit_into_the_time_is_left(small, tmp_path):
    said = []
    todo = tables.cells(TABLE, 1, [10])
    done = list(tables.train_cells(TABLE, todo, tmp_path, recipe=SMALL, device="cpu", seconds=0.0, say=said.append))
    assert len(done) == 1 and "0 s are left: another time" in said[-1]  # the first shows how long one takes


def test_a_cell_is_filled_by_its_own_run_alone(small, tmp_path):
    (run,) = tables.train_cells(TABLE, tables.cells(TABLE, 1, [10])[:1], tmp_path, recipe=SMALL, device="cpu")
    ce = PaperRow("CE (softmax)", "ce")
    assert tables.find_run(TABLE, Cell(ce, 10, 0), [run], SMALL) is run
    others = [Cell(ce, 100, 0), Cell(ce, 10, 1), Cell(PaperRow("x", "sigmoid"), 10, 0)]
    assert all(tables.find_run(TABLE, other, [run], SMALL) is None for other in others)
    longer = dataclasses.replace(SMALL, epochs=3)
    assert tables.find_run(TABLE, Cell(ce, 10, 0), [run], longer) is None
    run.status = "stopped"
    assert tables.find_run(TABLE, Cell(ce, 10, 0), [run], SMALL) is None


@pytest.mark.parametrize(("errors", "ours", "half", "verdict"), [
    ([20.0, 22.0, 24.0], 22.0, 4.303 * 2 / 3**0.5, "agrees"),
    ([26.0, 26.1, 26.2], 26.1, 4.303 * 0.1 / 3**0.5, "higher"),
    ([17.0, 17.1, 17.2], 17.1, 4.303 * 0.1 / 3**0.5, "lower"),
])  # fmt: skip
def test_a_verdict_is_that_of_the_interval(errors, ours, half, verdict):
    line = tables._line("x", 100, 21.0, errors)
    assert line["ours"] == pytest.approx(ours) and line["interval"] == pytest.approx(half, rel=1e-3)
    assert line["verdict"] == verdict and line["seeds"] == 3


def test_the_recorded_column_is_shown(capsys):
    """One seed at ratio 100, trained on a GPU."""
    assert __main__.main(["table", "dual-cifar10"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "one seed" in line]
    assert len(lines) == 7 and lines[0] == "CE (softmax) 100 29.64 33.71 1 4.07 one seed".split()
    assert lines[-1] == "Dual Loss 100 24.10 33.24 1 9.14 one seed".split()


def test_nan_is_no_number_to_compare():
    assert tables._line("x", 100, 30.0, [20.0, float("nan")])["verdict"] == "diverged"
    assert tables._line("x", 100, 30.0, [float("nan")] * 2)["verdict"] == "diverged"
    assert tables._line("x", 100, float("nan"), [3.0, 4.0])["verdict"] == "no number in the paper"


def test_once_it_is_stopped_the_rest_is_left(small, tmp_path):
    control, said = RunControl(), []

    def say(text):
        said.append(text)
        control.stop()

    todo = tables.cells(TABLE, 1, [10])
    done = list(tables.train_cells(TABLE, todo, tmp_path, recipe=SMALL, device="cpu", say=say, control=control))
    assert len(done) == len(said) == len(list(tmp_path.glob("*.safetensors"))) == 1
