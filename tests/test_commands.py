"""python -m ltviz: train and table, as they are typed."""

import dataclasses
import shutil

import pandas
import pytest

from ltviz import __main__, commands
from ltviz.run import load_run, load_runs
from ltviz.training import RECIPES, make_data, train


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """The recipe of the digits, an epoch long."""
    monkeypatch.setitem(RECIPES, "digits", dataclasses.replace(RECIPES["digits"], epochs=1))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder of recorded runs: two methods, two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = dataclasses.replace(RECIPES["digits"], epochs=1)
    for seed in (0, 1):
        for key in ("ce", "focal"):
            data = make_data("digits", seed)
            train(key, data, recipe=recipe, seed=seed, progress=False).save(folder / "digits", small=True)
    return folder


def test_the_table_says_percent_and_differences_to_ce(recorded):
    frame = commands.grid_table(recorded / "digits")
    runs = {(run.method, run.seed): 100 * run.accuracy for run in load_runs(recorded / "digits")}
    mean = {key: (runs[key, 0] + runs[key, 1]) / 2 for key in ("ce", "focal")}
    assert frame.loc["ce", "all"] == pytest.approx(mean["ce"])
    assert frame.loc["focal", "difference"] == pytest.approx(mean["focal"] - mean["ce"])


@pytest.mark.parametrize("asked", [["digits"], []])
def test_table_shows_what_is_recorded_and_writes_it(recorded, tmp_path, capsys, asked):
    file = tmp_path / "table.csv"
    assert __main__.main(["table", *asked, "--folder", str(recorded), "--csv", str(file)]) == 0
    written = tmp_path / "table_digits.csv"
    shown, frame = capsys.readouterr().out, commands.grid_table(recorded / "digits")
    assert "digits: test accuracy in percent" in shown and str(written) in shown
    assert f"{frame.loc['focal', 'all']:.1f}" in shown
    pandas.testing.assert_frame_equal(pandas.read_csv(written, index_col=0), frame, check_names=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digit"], "digit (did you mean 'digits'?)"),
        (["dual-cifar"], "did you mean 'dual-cifar10'?"),
        (["cifar16"], "`make record`"),
        (["--csv", "missing/folder/x.csv"], "--csv missing/folder/x.csv"),
        (["--csv", "/"], "--csv /"),
    ],
)
def test_table_says_what_is_not_there(recorded, capsys, arguments, said):
    assert commands.main_table([*arguments, "--folder", str(recorded)]) == 2 and said in capsys.readouterr().err


def test_table_says_where_nothing_is_recorded_and_that_ce_is_missing(recorded, tmp_path, capsys):
    assert commands.main_table(["--folder", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    shutil.copytree(recorded, tmp_path / "runs")
    for path in (tmp_path / "runs" / "digits").glob("*ce-*"):
        path.unlink()
    assert commands.main_table(["--folder", str(tmp_path / "runs")]) == 2
    assert "no recorded run of ce" in capsys.readouterr().err


def test_train_is_train_and_saves(tmp_path, capsys):
    arguments = ["focal", "gamma=1.5", "epochs=2", "--seed", "3", "--save", str(tmp_path)]
    assert __main__.main(["train", *arguments]) == 0
    (file,) = tmp_path.iterdir()
    run, same = load_run(file), train("focal", make_data("digits", 3), epochs=2, seed=3, gamma=1.5, progress=False)
    assert run.id == same.id and run.settings["gamma"] == 1.5 and len(run.history["loss"]) == 2
    assert run.confusion.tolist() == same.confusion.tolist()
    shown = capsys.readouterr().out
    assert str(file) in shown and f"{same.accuracy:.1%}" in shown


@pytest.mark.parametrize("arguments", [["trian", "ce"], ["record"], [], ["--help"]])
def test_an_unknown_command_gets_the_list(arguments, capsys):
    assert __main__.main(arguments) == (0 if arguments == ["--help"] else 2)
    shown = capsys.readouterr()
    assert all(f"  {name} " in shown.out for name in ("train", "table"))
    assert ("did you mean 'train'?" in shown.err) == (arguments[:1] == ["trian"])
