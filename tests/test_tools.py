"""Tools beside the package: old run files come up to date; what a mutant changes is shown and told from wording."""

import json
import textwrap

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import ltviz as lt
from ltviz.files import RunFileError
from tools import mutants, upgrade_runs


def test_a_run_without_checksums_is_refused_and_brought_up_to_date(tmp_path):
    data = lt.make_data("digits", 3)
    run = lt.train("focal", data, recipe="digits", seed=3, gamma=1.0, progress=False)
    new = run.save(tmp_path / "new", small=True)
    plain, _ = run._parts(True, 0)
    record = {name: value for name, value in run.data.items() if name not in ("mean", "std", "pad", "flip")}
    settings = {"gamma": 1.0, "form": "softmax", "a setting that is gone": 3}
    meta = {"format": 1, **plain, "id": "0" * 12, "data": record, "settings": settings}
    old = tmp_path / "digits" / "old.safetensors"
    old.parent.mkdir()
    save_file(load_file(new), old, metadata={"ltviz": json.dumps(meta)})
    with pytest.raises(RunFileError, match="older ltviz, without checksums.*upgrade_runs"):
        lt.load_run(old)
    path = upgrade_runs.upgrade(old, None)
    back = lt.load_run(path)
    assert not old.exists() and path.name == run.filename and back.id == run.id and back.settings == run.settings
    np.testing.assert_array_equal(back.confusion, run.confusion)
    assert upgrade_runs.upgrade(path, None) is None and list(old.parent.iterdir()) == [path]


def test_a_run_whose_data_come_out_differently_stays_as_it_is(tmp_path):
    run = lt.train("ce", lt.make_data("digits", 1), epochs=60, seed=1, progress=False)
    plain, arrays = run._parts(True, 0)
    record = {**{n: v for n, v in run.data.items() if n not in ("mean", "std", "pad", "flip")}, "fingerprint": "0" * 16}
    old = tmp_path / "old.safetensors"
    save_file(arrays, old, metadata={"ltviz": json.dumps({"format": 1, **plain, "data": record})})
    content = old.read_bytes()
    with pytest.raises(SystemExit, match="its data come out differently"):
        upgrade_runs.upgrade(old, None)
    assert old.read_bytes() == content and list(tmp_path.iterdir()) == [old]


def mutant(text, change):
    """A function as mutmut writes it down, and changed: what is shown of it, and whether it counts as wording."""
    old, new = change
    assert text.count(old) == 1
    names = [("def f(", f"def x_f__mutmut_{which}(") for which in ("orig", "1")]
    found = mutants.functions("class A:\n" + textwrap.indent(
        text.replace(*names[0]) + text.replace(old, new).replace(*names[1]), "    "))  # fmt: skip
    pair = found["x_f__mutmut_orig"], found["x_f__mutmut_1"]
    return mutants.difference(*pair), mutants.wording(*pair)


@pytest.mark.parametrize(
    ("change", "shown", "text_only"),
    [
        (("k=3", "k=4"), ["- def x_f(x, k=3):", "+ def x_f(x, k=4):"], False),
        (("{k - 1}", "{k + 1}"), ["- say(f'at most {k - 1} of {x}',", "+ say(f'at most {k + 1} of {x}',"], False),
        (("at most", "XXat most"), ["- say(f'at most {k", "+ say(f'XXat most {k"], True),
        (("'and no more'", "'AND NO MORE'"), ["- say(f'at most", "+ say(f'at most"], True),
        (("'and no more'", "None"), ["- say(f'at most", "+ say(f'at most"], False),
        (("'name'", "'XXnameXX'"), ["- return x['name']", "+ return x['XXnameXX']"], False),
        (("f'{k}.csv'", "f'{k}.CSV'"), ["- open(f'{k}.csv'", "+ open(f'{k}.CSV'"], False),
    ],
)
def test_what_a_mutant_changes_is_shown_and_told_from_wording(change, shown, text_only):
    text = (
        "def f(x, k=3):\n    '''Says something.\n\n  Little.'''\n    say(f'at most {k - 1} of {x}',\n"
        "        'and no more')\n    open(f'{k}.csv')\n    return x['name']\n"
    )
    found, wording = mutant(text, change)
    assert len(found) == 2 and all(line.startswith(start) for line, start in zip(found, shown, strict=True))
    assert wording == text_only
