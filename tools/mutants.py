"""Change one thing at a time in the package, and see whether the tests notice: `make mutants`.

mutmut does the changing, in copies of the tree under build/mutants: nothing is edited in place. ARGS="samplers run"
takes some of the groups below. What no test saw is printed with its change; most of it lies in the wording of messages.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
BUILD = REPO / "build" / "mutants"
COPIED = ("ltviz", "tests", "tools", "pyproject.toml", "constraints.txt", "environment.yml", "README.md", "Makefile",
          "CONTRIBUTING.md", "data/README.md", "data/published.csv")  # fmt: skip

# Group: modules of ltviz, and the files of tests/ that answer for them.
GROUPS = {
    "samplers": ("samplers", "samplers"),
    "metrics": ("metrics/scores metrics/calibration metrics/geometry metrics/comparison", "metrics metrics_mutants"),
    "run": ("run schema", "run"),
    "files": ("files", "files"),
    "checkpoint": ("training/checkpoint", "checkpoint"),
    "request": ("training/recipe training/request training/control", "recipe control"),
    "loop": ("training/loop training/evaluation", "loop loop_mutants checkpoint"),
    "sweep": ("training/train training/sweep training/kept commands", "sweep commands"),
    "datasets": ("datasets/profiles datasets/classes datasets/augment datasets/digits datasets/longtailed "
                 "datasets/folder datasets/sources datasets/store datasets/stream datasets/tree datasets/cifar",
                 "datasets datasets_mutants folder"),
}  # fmt: skip

LATE = (-24, 24, 36, 152, 255)  # what mutmut notes where a mutant ran out of time


def copy_tree(folder: Path) -> None:
    """A fresh copy of what the tests need; what mutmut remembers of the last time goes."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in COPIED:
        source, target = REPO / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


def undecorate(text: str) -> str:
    """The same module with `@d def f` written as `f = d(f)` below: mutmut leaves decorated functions alone."""
    lines = text.splitlines(keepends=True)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.decorator_list]
    for node in sorted(found, key=lambda node: -node.lineno):
        decorators = [ast.unparse(one) for one in node.decorator_list]
        if any(one.endswith(".setter") for one in decorators):
            continue
        call = node.name
        for one in reversed(decorators):
            call = f"{one}({call})"
        lines.insert(node.end_lineno, f"{' ' * node.col_offset}{node.name} = {call}\n")
        for one in node.decorator_list:
            lines[one.lineno - 1 : one.end_lineno] = ["\n"] * (one.end_lineno - one.lineno + 1)
    return "".join(lines)


def run_group(name: str, jobs: int) -> tuple[int, int, int]:
    """Mutants, those that the tests saw, and those of the rest that change a text only; the rest is printed."""
    folder = BUILD / name
    copy_tree(folder)
    modules = [f"ltviz/{module}.py" for module in GROUPS[name][0].split()]
    tests = [f"tests/test_{test}.py" for test in GROUPS[name][1].split()]
    for module in modules:
        path = folder / module
        path.write_text(undecorate(path.read_text(encoding="utf-8")), encoding="utf-8")
    project = folder / "pyproject.toml"
    chosen = f"[tool.mutmut]\nonly_mutate = {modules}\npytest_add_cli_args_test_selection = {tests}\n"
    project.write_text(project.read_text(encoding="utf-8").replace("[tool.mutmut]\n", chosen), encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
    subprocess.run(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    results: dict[str, int | None] = {}
    for meta in sorted((folder / "mutants").rglob("*.meta")):
        results |= json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    left = [key for key, code in results.items() if code in (0, 33, 34, None)]  # passed, no tests, skipped, not run
    sources = {module: functions((folder / "mutants" / module).read_text(encoding="utf-8")) for module in modules}
    late = sum(code in LATE for code in results.values())
    if late:
        print(f"  {late} ran out of time and count as seen: an endless loop, or a machine that was busy")
    texts = 0
    for key in left:
        module, _, name = key.rpartition(".")
        found = sources[module.replace(".", "/") + ".py"]
        original, mutant = found[re.sub(r"\d+$", "orig", name)], found[name]
        if wording(original, mutant):
            texts += 1
        else:
            print(f"  {key}\n" + "\n".join(f"      {line}" for line in difference(original, mutant)))
    return len(results), len(results) - len(left), texts


def functions(text: str) -> dict[str, str]:
    """The functions of a module that mutmut wrote, by its names for them; each under its own, a statement a line."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            given, node.name = node.name, node.name.rpartition("__mutmut_")[0]
            found[given] = ast.unparse(node)
    return found


def difference(original: str, mutant: str) -> list[str]:
    """The lines that a mutant changes, the head of the function among them."""
    found = difflib.unified_diff(original.splitlines(), mutant.splitlines(), lineterm="", n=0)
    return [line[0] + " " + line[1:].strip() for line in found if not line.startswith(("---", "+++", "@@"))]


class _Prose(ast.NodeTransformer):
    """Texts of several words become empty; a single word may be a name, and what stands in {} is code."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) and " " in node.value.strip() else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        code = [self.visit(one) for one in node.values if isinstance(one, ast.FormattedValue)]
        words = "{}".join(one.value for one in node.values if isinstance(one, ast.Constant))
        return ast.JoinedStr(code if " " in words.strip() else [*code, ast.Constant(words)])


def wording(original: str, mutant: str) -> bool:
    """Whether only what is said in words differs."""
    one, other = (ast.dump(_Prose().visit(ast.parse(text))) for text in (original, mutant))
    return one == other


def main() -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.split("\n\n")[0])
    parser.add_argument("groups", nargs="*", help=f"of {' '.join(GROUPS)}; default: all, which takes hours")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    given = parser.parse_args()
    unknown = set(given.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {sorted(unknown)[0]!r}; choose from {', '.join(GROUPS)}")
    for name in given.groups or GROUPS:
        began = time.monotonic()
        print(f"{name}: {GROUPS[name][0]}", flush=True)
        number, seen, texts = run_group(name, given.jobs)
        rest = number - seen - texts
        share = seen / max(number - texts, 1)
        print(
            f"{name}: {number} mutants, {seen} seen, {texts} change a text only, {rest} are left; {share:.0%} seen "
            f"of those that change more ({time.monotonic() - began:.0f} s)\n",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
