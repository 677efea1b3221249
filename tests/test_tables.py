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
        made.spec |= {"classes": 10, "validation": table.validation}
        return made

    monkeypatch.setattr(tables, "_data", data)
    return asked


def test_every_cell_has_a_published_number_and_settings_that_hold():
    for table in TABLES.values():
        found = tables.cells(table, 1)
        titles = {row.title for row in table.rows}
        assert {cell.row.title for cell in found} == titles and len(titles) == len(table.rows)
        for cell in found:
            assert 5 < table.printed(cell.row, cell.ratio) < 70
            METHODS[cell.row.key](**cell.row.settings_at(cell.ratio))
        assert table.recipe in RECIPES


@pytest.mark.parametrize(("name", "row", "ratio", "error"), [
    ("cb-cifar10", "focal, gamma 2", 10, 13.68), ("cb-cifar100", "best class-balanced", 50, 54.68),
    ("tricdb-cifar10", "TriCDB-CE, table 2", 100, 29), ("tricdb-cifar10", "TriCDB-CE, table 3", 100, 28),
    ("tricdb-cifar10", "LDAM-DRW", 100, 41), ("tricdb-cifar100", "TriCDB-CE, table 1", 100, 59),
    ("tricdb-cifar100", "CDB-CE, tau 1", 100, 58.33), ("tricdb-cifar100", "CDB-CE", 200, 62.60),
    ("dual-cifar10", "Dual Loss", 50, 19.28),
])  # fmt: skip
def test_numbers_are_those_that_the_paper_prints(name, row, ratio, error):
    table = TABLES[name]
    (one,) = (one for one in table.rows if one.title == row)
    assert table.printed(one, ratio) == error
    assert np.isnan(table.printed(one, 37))


def test_what_the_paper_does_not_print_is_no_cell():
    table = TABLES["tricdb-cifar10"]
    assert [cell.ratio for cell in tables.cells(table, 1) if cell.row.title == "TriCDB-CE, table 3"] == [100]
    assert sorted(tables.frame(table, [])["ratio"].unique()) == [10, 50, 100, 200]
    with pytest.raises(ValueError, match="--ratios=37"):
        tables.cells(table, 1, [37])


@pytest.mark.parametrize(("name", "dataset"), [("cb-cifar10", "CIFAR-10-LT"), ("cb-cifar100", "CIFAR-100-LT")])
def test_the_best_class_balanced_settings_are_those_that_the_paper_names(name, dataset):
    notes = published(dataset, source="Cui et al. 2019, table 2", key="class_balanced").set_index("ratio")["note"]
    row = next(row for row in TABLES[name].rows if row.key == "class_balanced")
    for ratio in TABLES[name].ratios:
        settings = row.settings_at(ratio)
        said = f"{settings['loss']}, beta {settings['beta']}"
        said += f", gamma {settings['gamma']:g}" if "gamma" in settings else ""
        assert notes[ratio].endswith(said)


def test_learning_from_validation_is_said_and_part_of_what_a_run_is():
    assert {name: table.validation for name, table in TABLES.items()} == {
        "dual-cifar10": 0, "cb-cifar10": 0, "cb-cifar100": 0, "tricdb-cifar10": 250, "tricdb-cifar100": 25,
    }  # fmt: skip
    made = RECIPES["sinha2020"]
    assert (made.epochs, made.batch_size, made.weight_decay, made.drops(240)) == (240, 32, 5e-4, [160, 210])
    assert made.data == ("cifar_lt", {"classes": 100, "ratio": 100, "validation": 25})
    other = dataclasses.replace(TABLE, validation=250)
    cell = Cell(TABLE.rows[0], 100, 0)
    runs, recipe = tables.recorded_runs(), RECIPES["cui2019"]
    assert tables.find_run(TABLE, cell, runs, recipe) is not None
    assert tables.find_run(other, cell, runs, recipe) is None


def test_tables_find_each_others_runs():
    shared = tables.frame(TABLES["cb-cifar10"], tables.recorded_runs()).set_index(["method", "ratio"])["ours"]
    ours = tables.frame(TABLE, tables.recorded_runs()).set_index(["method", "ratio"])["ours"]
    assert shared[("CE (softmax)", 100)] == pytest.approx(33.71) and shared[("CE (softmax)", 200)] == pytest.approx(
        40.03
    )
    assert shared.dropna().equals(ours[shared.index].dropna()) and len(shared.dropna()) == 12


def test_what_is_known_is_not_trained_again(small, tmp_path):
    todo = tables.cells(TABLE, 1, [10])[:2]
    (tmp_path / "a").mkdir()
    known = list(tables.train_cells(TABLE, todo, tmp_path / "a", recipe=SMALL, device="cpu", say=str))
    (tmp_path / "b").mkdir()
    again = tables.train_cells(TABLE, todo, tmp_path / "b", recipe=SMALL, device="cpu", known=known[:1], say=str)
    assert [run.method for run in again] == ["sigmoid"]


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


def test_the_recorded_columns_are_shown_with_what_they_are(capsys):
    """One seed at ratios 100 and 200, trained on a GPU from JPEG files; the reduced table stands apart."""
    assert __main__.main(["table", "dual-cifar10"]) == 0
    shown = capsys.readouterr().out
    whole, _, reduced = shown.partition("Reduced, another protocol")
    lines = [line.split() for line in whole.splitlines() if line.endswith("one seed")]
    assert len(lines) == 14 and "CE (softmax) 100 29.64 33.71 1 4.07 one seed".split() in lines
    assert lines[-1] == "Dual Loss 100 24.10 33.24 1 9.14 one seed".split()
    flat = " ".join(whole.split())
    assert flat.count("not run yet") == 21
    assert "14 runs (seeds 0): resnet32, 200 epochs, no validation images a class; NVIDIA H100" in flat
    assert "bfloat16; a JPEG copy of the images." in flat and "state neither protocol nor strengths" in flat
    assert "resnet8:8, 24 epochs" in reduced and not any(
        word in reduced for word in ("one seed", "difference", "29.64")
    )
    rows = [line for line in reduced.splitlines() if line.endswith("reduced")]
    assert len(rows) == 7 and "cpu" in reduced.lower() and "JPEG" in reduced


@pytest.mark.parametrize("name", ["cb-cifar100", "tricdb-cifar100", "tricdb-cifar10"])
def test_a_table_without_runs_shows_the_papers_numbers(name, capsys):
    assert __main__.main(["table", name]) == 0
    shown = capsys.readouterr().out
    table = TABLES[name]
    assert shown.count("not run yet") == len(tables.cells(table, 1)) + 1 and "Ours: not run yet." in shown
    assert table.note.split(".")[0] in " ".join(shown.split())


def test_training_without_data_says_what_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LTVIZ_DATA", str(tmp_path))
    monkeypatch.setattr("ltviz.datasets.sources.own_folder", lambda: tmp_path)
    assert __main__.main(["table", "cb-cifar100", "--train", "--folder", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("no CIFAR-100 was found") and "cifar-100-python.tar.gz" in said and "--root" in said


@pytest.mark.parametrize(("arguments", "words"), [
    (["--epochs", "0"], "epochs=0"), (["--model", "resnet9"], "model="), (["--seeds", "0", "--train"], "--seeds=0"),
])  # fmt: skip
def test_wrong_arguments_are_told(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tables, "_images", lambda *_: "")
    assert __main__.main(["table", "dual-cifar10", "--folder", str(tmp_path), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_reduced_table_is_trained_apart_and_says_what_the_images_are(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "RUNS", tmp_path)
    monkeypatch.setattr(tables, "_images", lambda *_: tables.JPEG)
    asked = ["--train", "--ratios", "10", "--epochs", "1", "--model", "mlp:4", "--device", "cpu", "--seconds", "0"]
    assert __main__.main(["table", "cb-cifar10", *asked]) == 0
    (file,) = (tmp_path / "cb-cifar10-reduced").glob("*.safetensors")
    (run,) = tables.recorded_runs(reduced=True)
    assert run.provenance["images"] == tables.JPEG and run.recipe["name"] == "cui2019-reduced" and file.is_file()
    shown = capsys.readouterr().out
    assert "Reduced, another protocol than the paper's: mlp:4, 1 epochs" in shown and tables.JPEG in shown
    assert tables.recorded_runs() == [] and tables.frame(TABLE, [run])["seeds"].sum() == 0


@pytest.mark.parametrize(("file", "said"), [("a.jpg", "JPEG"), ("a.png", ""), ("a.JPEG", "JPEG")])
def test_jpeg_files_are_noticed(file, said, tmp_path):
    for split in ("train", "test"):
        for label in range(10):
            (tmp_path / split / str(label)).mkdir(parents=True)
            (tmp_path / split / str(label) / file).touch()
    assert (said in tables._images(TABLE, str(tmp_path))) and bool(tables._images(TABLE, str(tmp_path))) == bool(said)


# --- what is left of an order ----------------------------------------------------------------------------------------
def test_pairs_that_keep_their_order():
    assert tables.order([1, 2, 3], [10, 30, 20])[:2] == (2, 3)
    assert tables.order([1, 2, 3], [10, 30, 20]).spearman == pytest.approx(0.5)
    assert tables.order([1, 1, 2], [5, 4, 6])[:2] == (2, 2), "equal in print: no pair"
    assert tables.order([1, 2], [3, 3])[:2] == (0, 1), "equal in ours: not kept"
    assert np.isnan(tables.order([1, 2], [1, 2]).spearman)
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=12), rng.normal(size=12)
    found = tables.order(a, b)
    assert found.pairs == 66 and (2 * found.right - 66) / 66 == pytest.approx(stats.kendalltau(a, b).statistic)


@pytest.mark.parametrize("ours", [[1, 2], [1, 2, np.nan], [[1, 2, 3]]])
def test_orders_of_unequal_lists_are_refused(ours):
    with pytest.raises(ValueError, match="^ours=.*: expected"):
        tables.order([1, 2, 3], ours)


def test_our_errors_beside_a_paper():
    found = tables.paper_reports("CIFAR-10-LT", 100, "Li et al. 2020 (Dual Loss), slides")
    assert len(found) == 7 and {one.group for one in found} == {"A", "-"}
    ours = tables.our_errors("CIFAR-10-LT", 100, found, "table")
    assert ours["Dual Loss"] == pytest.approx([33.24]) and ours["best class-balanced"] == pytest.approx([29.23])
    assert tables.our_errors("CIFAR-10-LT", 50, found, "table") == {}
    photographs = tables.our_errors("CIFAR-10-LT", 100, found, "photographs")
    assert set(map(len, photographs.values())) == {10} and "focal, gamma 0.5" not in photographs
    ce = [100 * (1 - run.accuracy) for run in tables.load_runs(tables.RUNS / "cifar16", method="ce")]
    assert photographs["CE (softmax)"] == pytest.approx(ce)
    other = tables.paper_reports("CIFAR-10-LT", 50, "Li et al. 2020 (Dual Loss), slides")
    assert other and tables.our_errors("CIFAR-10-LT", 50, other, "photographs") == {}, "they are of ratio 100"
    best = tables.paper_reports("CIFAR-10-LT", 100, "Menon et al. 2021, table 3")
    assert not [name for name in tables.our_errors("CIFAR-10-LT", 100, best, "photographs") if "best tau" in name]
    with pytest.raises(ValueError, match="kind="):
        tables.our_errors("CIFAR-10-LT", 100, found, "nothing")


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
