"""The project as a whole: its lists agree, its imports point one way, and nothing of one machine is in it."""

import ast
import functools
import importlib.metadata
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
from battery import check_record

from ltviz.methods import METHODS
from ltviz.objective import Output
from tools import readme

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "ltviz"
MODULES = sorted(PACKAGE.rglob("*.py"))
TOOLS = sorted((REPO / "tools").rglob("*.py"))  # measure and make the project; not installed

# A module imports only from modules before it. metrics stands before run because Run.table() uses it.
ORDER = (
    "check files labels functional samplers registry settings objective draws backbones models datasets methods "
    "metrics schema run naming own probe heads predictions loaders collector device graph optimizer training "
    "attributes recognition workers many tuning published papers tables compiling embedding plots reporting explore "
    "study commands __main__"
).split()
WIDGETS_ALLOWED = {"explore", "study"}


def python(code: str, folder: Path = REPO) -> str:
    """What `code` prints in a fresh interpreter."""
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def tracked(*patterns: str) -> list[Path]:
    """Files that git tracks, or would (new ones too); the test is skipped where this is no git checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := REPO / name).is_file()]


# --- the environment -------------------------------------------------------------------------------------------------


def requirement(line: str) -> tuple[str, str]:
    """("openTSNE", ">=1.0.2") of "openTSNE>=1.0.2"."""
    name, bound = re.fullmatch(r"([\w.-]+)(.*)", line.strip()).groups()
    return name, bound


def asked() -> dict[str, str]:
    """Package -> lower bound, of pyproject.toml and its test extra."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    return dict(map(requirement, project["dependencies"] + project["optional-dependencies"]["test"]))


def test_only_lower_bounds():
    assert [item for item in asked().items() if not re.fullmatch(r">=[\d.]+", item[1])] == []


def test_environment_for_conda_is_the_same_list():
    lines = [line.strip().removeprefix("- ") for line in (REPO / "environment.yml").read_text().splitlines()]
    pip = [line for line in lines[lines.index("pip:") + 1 :] if line and not line.startswith(("#", "-"))]
    assert dict(map(requirement, pip)) == asked()
    assert "-c constraints.txt" in lines and "-e ." in lines


def constraints() -> dict[str, str]:
    """Package -> version, of constraints.txt."""
    lines = [line.split("#")[0].strip() for line in (REPO / "constraints.txt").read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_constraints_name_a_version_of_every_package_and_nothing_else():
    versions = constraints()
    assert set(asked()) <= set(versions)
    assert [version for version in versions.values() if not re.fullmatch(r"[\d.]+(post\d+)?", version)] == []
    assert [name for name in versions if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_constraints_satisfy_the_lower_bounds():
    number = lambda text: tuple(map(int, re.findall(r"\d+", text)))  # noqa: E731
    versions = constraints()
    assert [name for name, bound in asked().items() if number(versions[name]) < number(bound)] == []


# --- imports ---------------------------------------------------------------------------------------------------------


def package(path: Path) -> list[str]:
    """["ltviz", "methods"] of ltviz/methods/ce.py."""
    return list(path.relative_to(REPO).parts[:-1])


def unit(path: Path) -> str:
    """The unit of ORDER that a file belongs to: "methods" of ltviz/methods/ce.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path) -> list[str]:
    """Full names of what a file imports, anywhere in it; relative ones resolved, one entry a name."""
    own, found = package(path), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def test_the_order_names_every_module():
    assert {unit(path) for path in MODULES} - {"__init__"} <= set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    if path == PACKAGE / "__init__.py":
        return  # it gathers the public names from all of them
    own = unit(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("ltviz.")}
    assert "ltviz" not in imports(path), "import the module, not the package that gathers it"
    assert [name for name in used - {own} if name not in ORDER or ORDER.index(name) > ORDER.index(own)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_imports_nothing_from_tools_or_tests(path):
    test_modules = {path.stem for path in (REPO / "tests").glob("*.py")}
    assert {name.split(".")[0] for name in imports(path)} & {"tools", "tests", *test_modules} == set()


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: str(path.relative_to(REPO)))
def test_the_tools_import_no_test(path):
    """They run where pytest has not put tests/ on the path; the benchmark loads its yardstick by its place."""
    test_modules = {path.stem for path in (REPO / "tests").glob("*.py")}
    assert {name.split(".")[0] for name in imports(path)} & {"tests", *test_modules} == set()


def needed(names: set[str]) -> set[str]:
    """These packages and all that they need in turn, as far as they are installed; names in one spelling."""
    found, queue = set(), {normal(name) for name in names}
    while queue:
        found |= queue
        lines = [line for name in queue for line in requires(name) if "extra ==" not in line]
        queue = {normal(re.match(r"[\w.-]+", line)[0]) for line in lines} - found
    return found


def requires(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_package_needs_what_it_declares_and_nothing_that_only_tests_and_tools_need():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    declared = needed({requirement(line)[0] for line in project["dependencies"]})
    extra = {normal(requirement(line)[0]) for lines in project["optional-dependencies"].values() for line in lines}
    tops = {name.split(".")[0] for path in MODULES for name in imports(path)} - sys.stdlib_module_names - {"ltviz"}
    where = importlib.metadata.packages_distributions()
    for top in sorted(tops):
        assert {normal(name) for name in where[top]} & (declared - extra), f"ltviz imports {top}, which is not declared"


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    """Every file of ltviz/ that git tracks, and of the rest only what describes the project."""
    wanted = tracked("ltviz")
    for path in [
        *wanted,
        REPO / "tools" / "__init__.py",
        REPO / "pyproject.toml",
        REPO / "README.md",
        REPO / "LICENSE",
    ]:
        copy = tmp_path / "tree" / path.relative_to(REPO)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    code = f"from setuptools.build_meta import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    python(code, tmp_path / "tree")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(path.relative_to(REPO).as_posix() for path in wanted)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_imports_stay_where_they_belong(path):
    tops = {name.split(".")[0] for name in imports(path)}
    assert not [name for name in imports(path) if name.startswith(("matplotlib.pyplot", "pylab"))]
    assert not tops & {"ipywidgets", "anywidget"} or unit(path) in WIDGETS_ALLOWED
    assert not tops & {"umap", "openTSNE"} or path.name in ("compiling.py", "embedding.py")


def test_importing_ltviz_loads_nothing_heavy():
    heavy = [
        "torchvision",
        "matplotlib",
        "seaborn",
        "pandas",
        "ipywidgets",
        "anywidget",
        "sklearn",
        "scipy",
        "umap",
        "openTSNE",
        "optuna",
        "sqlalchemy",
    ]
    # What torch itself loads is not ours to answer for.
    code = "import sys, torch; before = set(sys.modules); import ltviz; print(*(set(sys.modules) - before))"
    assert {name.split(".")[0] for name in python(code).split()} & set(heavy) == set()


def test_training_works_without_widgets_umap_and_opentsne():
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ipywidgets", "anywidget", "umap", "openTSNE"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import ltviz as lt
run = lt.train("ce", lt.digits_lt(ratio=10), epochs=2, progress=False)
print(run.status, len(run.history["loss"]))
"""
    assert python(code).split()[-2:] == ["finished", "2"]


# --- what is written -------------------------------------------------------------------------------------------------


def test_ruff_finds_nothing():
    pytest.importorskip("ruff")
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_method_table_of_the_readme_is_fresh():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.fill(text) == text, "python -m tools.readme"
    taught = [key for keys in readme.CHAPTERS.values() for key in keys.split()]
    assert sorted(taught) == sorted(METHODS), "each method in one chapter"
    assert all((REPO / "notebooks" / f"{name}.ipynb").is_file() for name in readme.CHAPTERS)


def test_the_readme_example_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    python("\n".join(blocks), tmp_path)


def test_the_example_of_contributing_is_a_method():
    """The file that CONTRIBUTING shows is whole: it can be built, it has its limit, it is as short as it says."""
    block = re.search(r"## A method.*?```python\n(.*?)```", (REPO / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)[1]
    scope = {"__name__": "ltviz.methods.example", "__package__": "ltviz.methods"}
    exec(compile(block, "CONTRIBUTING.md", "exec"), scope)
    counts, targets = torch.tensor([50, 10, 2]), torch.tensor([0, 1, 2, 0])
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.5, 0.2, 0.0], [200.0, 0.0, -200.0], [0.0, 0.0, 0.0]])
    out = Output(logits, torch.ones(4, 2), torch.ones(3, 2))
    method = scope["METHOD"]
    (limit,) = method.limits
    at_limit = method(**limit.settings).build(counts)(out, targets)
    torch.testing.assert_close(at_limit, METHODS[limit.other]().build(counts)(out, targets))
    probability = logits.softmax(1)[range(4), targets]
    expected = METHODS["ce"]().build(counts)(out, targets) + (1 - probability).mean()
    torch.testing.assert_close(method().build(counts)(out, targets), expected)
    check_record(method)


def test_contributing_names_every_module():
    tree = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    assert named == {
        path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }


def test_make_help_names_every_target_and_every_tool_behind_one_exists():
    text = (REPO / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    assert re.findall(r"^# make (\w+) ", text, re.MULTILINE) == [name for name in targets if name != "help"]
    tools = re.findall(r"-m tools\.(\w+)", text)
    assert {"benchmark", "record", "readme", "notebooks", "mutants", "site", "start"} == set(tools)
    assert all(importlib.util.find_spec(f"tools.{name}") for name in tools)


def test_the_readme_shows_pictures_that_exist():
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (REPO / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:]+)\)", text)
        assert [link for link in links if not (REPO / link).exists()] == [], name
    assert re.search(r"!\[[^\]]+\]\([^)]+\.png\)", (REPO / "README.md").read_text(encoding="utf-8"))


PLACES = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|Users|mnt|srv)/\w"  # somebody's folder
    # a registry's host; the brackets keep this line from finding itself
    r"|py[p]i\.org|pythonh[o]sted\.org|registry\.npm[j]s\.org|deb\.deb[i]an\.org"
)


def test_no_machine_paths_or_registry_hosts():
    own = [str(REPO) + "/"] if len(REPO.parts) > 2 else []
    said = []
    for path in tracked():
        if path in (Path(__file__), REPO / "tests" / "test_notebooks.py"):
            continue  # they name such places in order to find them
        text = path.read_bytes().decode(errors="replace")
        said += [f"{path.relative_to(REPO)}: {found.group()}" for found in PLACES.finditer(text)]
        said += [f"{path.relative_to(REPO)}: {place}" for place in own if place in text]
    assert said == []


@pytest.mark.parametrize("path", MODULES + TOOLS, ids=lambda path: str(path.relative_to(REPO)))
def test_modules_classes_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 450
    most = {ast.ClassDef: 250, ast.FunctionDef: 60, ast.AsyncFunctionDef: 60}
    found = [(node, node.end_lineno - node.lineno + 1) for node in ast.walk(ast.parse(text)) if type(node) in most]
    assert [f"{node.name}: {lines} lines" for node, lines in found if lines > most[type(node)]] == []


def test_ruff_would_format_nothing_otherwise():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", "."], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_tracked_files_are_small():
    runs = REPO / "data" / "runs"
    assert [path.name for path in tracked() if path.stat().st_size > 1_000_000 and runs not in path.parents] == []
    assert sum(path.stat().st_size for path in tracked("data")) <= 40 * 2**20


def test_no_notebook_holds_an_error():
    for path in tracked("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert [o for o in cell.get("outputs", ()) if o["output_type"] == "error"] == [], path.name


def public() -> list[tuple[str, object]]:
    """Functions and classes without a leading underscore, with their methods, of every module."""
    found = []
    for path in MODULES + TOOLS:
        name = ".".join([*package(path), path.stem]).removesuffix(".__init__")
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if not key.startswith("_") and getattr(value, "__module__", None) == name and callable(value):
                found.append((f"{name}.{key}", value))
    return found


def test_modules_and_public_names_have_docstrings():
    bare = [
        str(path.relative_to(REPO)) for path in MODULES + TOOLS if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    described = [(name, value) for name, value in public() if inspect.isroutine(value) or inspect.isclass(value)]
    bare += [name for name, value in described if not value.__doc__]
    assert bare == []


def test_public_functions_carry_types():
    bare = []
    for name, value in public():
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            if any(p.annotation is p.empty for p in signature.parameters.values()):
                bare.append(name)
    assert bare == []
