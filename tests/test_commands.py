"""python -m ltviz: train and table, as they are typed."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pandas
import pytest

from ltviz import __main__, commands
from ltviz.run import load_run, load_runs
from ltviz.tables import TABLES
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


def test_what_is_typed_is_what_train_gets(tmp_path, monkeypatch, capsys):
    """Every option and every spelling of a setting, at the call: nothing is trained."""
    data, calls = make_data("digits", 0), []

    def made(*arguments, **named):
        calls.append((arguments, named))
        return data

    def trained(*arguments, **named):
        assert arguments == (arguments[0], data)
        calls.append((arguments[0], named))
        raise ValueError("that is enough")

    monkeypatch.setattr(commands, "make_data", made)
    monkeypatch.setattr(commands, "train", trained)

    def asked(*argv):
        calls.clear()
        assert commands.main_train(argv) == 2
        shown = capsys.readouterr()
        assert shown.err == "that is enough\n" and shown.out == ""
        return calls[:]

    plain = {"recipe": "digits", "seed": 0, "epochs": None, "device": None}
    assert asked("ce") == [(("digits", 0), {}), ("ce", plain)]
    given = {"recipe": "cifar16", "seed": 3, "epochs": 2, "device": "cpu"}
    expected = [(("cifar16", 3), {"root": "images"}), ("focal", {**given, "gamma": 1.5})]
    options = [text for name, value in {**given, "root": "images"}.items() for text in (f"--{name}", str(value))]
    assert asked("focal", *options, "gamma=1.5") == expected == asked(*options[:4], "focal", "gamma=1.5", *options[4:])
    named = [f"{name}={value}" for name, value in {**given, "root": "images"}.items()]
    assert asked("focal", *named, "gamma=1.5") == expected
    words = ("a=True", "b=False", "c=None", "d=true", "e=x", 'f="x=y"', "g=x=y", "h=[1, 2.0]", "i=", "j=1e-3")
    values = [True, False, None, True, "x", "x=y", "x=y", [1, 2.0], "", 0.001]
    assert asked("ce", *words)[1] == ("ce", {**plain, **dict(zip("abcdefghij", values, strict=True))})


@pytest.mark.parametrize("text", ["gamma", "2=3", "=3", "a b=3", ""])
def test_what_is_no_setting_is_named(text, capsys):
    assert commands.main_train(["focal", text]) == 2
    assert capsys.readouterr().err == f"{text!r}: expected name=value, such as beta=0.99\n"


@pytest.mark.parametrize("name", ["method", "data", "start", "checkpoint", "speed", "progress"])
def test_what_is_no_setting_of_a_command(name, capsys):
    assert commands.main_train(["ce", f"{name}=1"]) == 2
    assert capsys.readouterr().err == f"'{name}=1': {name} is not given here as a setting; see --help\n"


def test_an_option_of_a_wrong_kind_is_refused_by_the_command_line(capsys):
    for wrong in (["ce", "--recipe", "none"], ["ce", "--seed", "x"], ["ce", "--epochs", "1.5"], []):
        with pytest.raises(SystemExit, match="^2$"):
            commands.main_train(wrong)
        assert "usage: python -m ltviz train" in capsys.readouterr().err


def test_help_says_what_everything_is_for(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")  # no name is broken at its hyphen
    words = {
        commands.main_train: ("train [-h]", "Train one method; print its table.", " settings name=value ",
                              "--root ROOT CIFAR-10 as an image folder", "--save SAVE a folder or a file"),
        commands.main_table: ("table [-h]", "The recorded methods against ce, or a paper's table beside ours",
                              f"default: what is recorded; or one of {', '.join(TABLES)}", "--folder FOLDER",
                              "--csv CSV write it there as well"),
    }  # fmt: skip
    for command, texts in words.items():
        with pytest.raises(SystemExit, match="^0$"):
            command(["--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert shown.startswith("usage: python -m ltviz ") and all(text in shown for text in texts), shown


def test_a_papers_table_is_made_by_tables(monkeypatch):
    monkeypatch.setattr("ltviz.tables.main", lambda argv: (7, list(argv)))
    for argv in (["dual-cifar10", "--seeds", "3"], ["--seeds", "3", "dual-cifar10"]):
        assert commands.main_table(argv) == (7, argv)


def test_the_table_is_of_the_recorded_runs_unless_it_is_told_otherwise(recorded, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "RUNS", tmp_path)
    assert commands.main_table([]) == 2
    assert capsys.readouterr().err.startswith(f"no run is recorded in {tmp_path / 'digits'}; ")
    monkeypatch.setattr(commands, "RUNS", recorded)
    assert commands.main_table([]) == 0 and "digits: test accuracy" in capsys.readouterr().out


def test_what_went_wrong_with_a_file_is_said_once(recorded, tmp_path, monkeypatch, capsys):
    def table(error):
        def fails(self, *arguments, **named):
            raise error

        monkeypatch.setattr(pandas.DataFrame, "to_csv", fails)
        file = tmp_path / "x.csv"
        assert commands.main_table(["--folder", str(recorded), "--csv", str(file)]) == 2
        return capsys.readouterr().err.removeprefix(f"--csv {file}: ")

    assert table(PermissionError(13, "Permission denied", "x.csv")) == "Permission denied\n"
    assert table(OSError("no such folder")) == "no such folder\n" and table(ValueError("odd")) == "odd\n"


def test_the_place_of_a_run_is_tried_before_it_is_trained(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    with monkeypatch.context() as patch:
        patch.setattr(commands, "train", lambda *a, **k: pytest.fail("it was trained"))
        for place in ("file", "file/run.safetensors"):
            assert commands.main_train(["ce", "--save", str(tmp_path / place)]) == 2
            assert "no run can be kept there" in capsys.readouterr().err
    path = tmp_path / "new" / "run.safetensors"
    assert commands.main_train(["ce", "--save", str(path)]) == 0
    shown, run = capsys.readouterr().out, load_run(path)
    assert shown.startswith(run.table().round(3).to_string() + "\n") and shown.endswith(f"{path}\n")
    assert f"{run!r}; recipe digits on {make_data('digits', 0)!r}\n" in shown
    path.unlink()

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(run), "save", full)
    assert commands.main_train(["ce", "--save", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.err == f"--save {path}: [Errno 28] No space left on device\n" and repr(run) in shown.out


def test_the_table_in_its_columns_and_its_order(recorded, tmp_path, capsys):
    """Percent; the best difference first, after ce, which has none; diverged runs are shown, stopped ones are not."""
    folder = tmp_path / "cifar16"
    kept = {(run.method, run.seed): run for run in load_runs(recorded / "digits")}
    for seed in (0, 1):
        ce = kept["ce", seed]
        for label, share in (("worst", 0), ("best", 50)):
            confusion = ce.confusion * 0
            for j in range(10):
                confusion[j, j], confusion[j, (j + 1) % 10] = share, 50 - share
            dataclasses.replace(ce, label=label, id=f"{share:011x}{seed}", confusion=confusion).save(folder)
        ce.save(folder)
    dataclasses.replace(kept["focal", 0], status="stopped").save(folder)
    lost = dataclasses.replace(kept["focal", 1], status="diverged", label="lost", confusion=ce.confusion * 0)
    lost.save(folder)
    frame = commands.grid_table(str(folder))
    assert set(frame.index[:2]) == {"ce", "lost"} and list(frame.index[2:]) == ["best", "worst"]
    assert frame.loc["best", ["all", "head", "mid", "tail"]].tolist() == [100.0] * 4
    mean = 50 * (kept["ce", 0].accuracy + kept["ce", 1].accuracy)
    assert frame.loc["best", "difference"] == pytest.approx(100 - mean)
    assert frame.loc["worst", "difference"] == pytest.approx(-mean)
    spread = 50 * abs(kept["ce", 0].accuracy - kept["ce", 1].accuracy)  # standard error of two seeds
    half, p = 12.7062 * spread, 2 / np.pi * np.arctan(spread / (100 - mean))  # Student's t with one degree of freedom
    assert frame.loc["worst", "half"] == pytest.approx(half) and frame.loc["best", "p"] == pytest.approx(p)
    assert commands.main_table(["cifar16", "--folder", str(tmp_path), "cifar16"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("cifar16: test accuracy") == 2
    assert shown.startswith(
        "\ncifar16: test accuracy in percent; difference to ce in percentage points, paired by seed"
    )
    rows = [line.split() for line in shown.splitlines()]
    (best,) = [row for row in rows if row[:1] == ["best"]][:1]
    assert best[1:9] == ["2", *["100.0"] * 4, "2", f"{100 - mean:.1f}", f"{half:.1f}"]
    assert " ".join(best[10:]) == frame.loc["best", "verdict"] and "better" in best
    assert [row[-2:] for row in rows if row[:1] == ["ce"]] == [["2", "reference"]] * 2, "no differences to itself"


@pytest.mark.parametrize("arguments", [["trian", "ce"], ["record"], [], ["--help"]])
def test_an_unknown_command_gets_the_list(arguments, capsys):
    assert __main__.main(arguments) == (0 if arguments == ["--help"] else 2)
    shown = capsys.readouterr()
    assert all(f"  {name} " in shown.out for name in ("train", "table"))
    assert ("did you mean 'train'?" in shown.err) == (arguments[:1] == ["trian"])


def test_the_table_lists_what_has_runs_and_says_where_the_rest_stands(capsys):
    """Some recipes are recorded as rows of a table of their own."""
    assert commands.main_table([]) == 0
    out, err = capsys.readouterr()
    assert "digits: test accuracy" in out and "cifar16: test accuracy" in out and not err
    assert commands.main_table(["glyphs"]) == 2
    assert "classes never trained on: see chapter 11" in capsys.readouterr().err


@pytest.mark.parametrize(("p", "shown"), [
    (0.0004, "< .001"), (0.0049, ".005"), (0.0321, ".032"), (0.5, ".500"), (1.0, "1.000"), (float("nan"), "")
])  # fmt: skip
def test_a_p_value_has_the_digits_of_its_verdict(p, shown):
    assert commands._p(p) == shown


def test_a_reader_that_has_had_enough_ends_the_table_quietly():
    call = f"{sys.executable} -m ltviz table digits | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
