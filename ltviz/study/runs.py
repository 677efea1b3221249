"""Recorded runs for a chapter, and the words and tables that compare them. The figures come from `metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import check, metrics
from ..files import checksum, data_folder, request_id
from ..methods import METHODS
from ..plots.picture import points
from ..run import Run, RunFileError, load_runs
from .cards import Card, inline, literal, plain, safe, say, texts

FOLDER = data_folder() / "runs"
CLAIM = ("printed", "reading", "measured here", "holds?")


def recorded(recipe: str, method: str | Sequence[str] | None = None, **filters: Any) -> list[Run]:
    """The recorded runs of a recipe ("digits", "cifar16"), by label and seed.

    method and further filters choose among them: recorded("cifar16", "class_balanced", loss="softmax", seed=0).
    Raises RunFileError, with the command that records them, where nothing fits.
    """
    folder = FOLDER / check.text("recipe", recipe)
    if not folder.is_dir():
        there = ", ".join(sorted(p.name for p in FOLDER.iterdir() if p.is_dir())) if FOLDER.is_dir() else ""
        raise RunFileError(
            f"nothing is recorded for the recipe {recipe!r} (recorded: {there or 'none'}); "
            f"`make record ARGS={recipe}` trains it"
        )
    wanted = {**({"method": method} if method is not None else {}), **filters}
    runs = load_runs(folder, **wanted)
    if not runs:
        chosen = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        kept = sorted({run.method for run in load_runs(folder)})
        raise RunFileError(
            f"no recorded run of {recipe!r} with {chosen}; its methods are {', '.join(kept) or 'none yet'}. "
            f"`make record ARGS={recipe}` trains the whole grid"
        )
    return runs


def redecide(run: Run, key: str, **settings: Any) -> Run:
    """The same trained network under a post-hoc rule: a run of its own, with new decisions and their calibration.
    A run that has been decided anew is so again from its network's own answers.

    key names a method with such a rule ("logit_adjusted", "tau_norm", ...); settings are its own. Raises ValueError
    where the record keeps no logits and features of its test images.
    """
    check.instance("run", run, Run, "a run, from lt.train, lt.load_run or lt.recorded")
    method = METHODS[key]
    before = run.provenance.get("decided_anew", {"id": run.id, "label": run.label})  # rules do not add up
    scores = run.posthoc(key, **settings)
    resolved = method(**settings).settings
    shown = ", ".join(f"{method.settings[name].symbol or name} = {_value(resolved[name])}" for name in settings)
    return replace(
        run,
        scores=scores,
        confusion=metrics.confusion(run.targets, scores.argmax(1), run.k),
        ece=metrics.ece(metrics.probabilities(scores, run.probability), run.targets),
        id=request_id(run=before["id"], rule=method.key, settings=resolved, scores=checksum(scores)),
        label=f"{before['label']}, {shown or key}",
        provenance={**run.provenance, "decided_anew": before},
    )


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def difference(
    ours: Sequence[Run], base: Sequence[Run], group: str = "all", names: tuple[str, str] | None = None
) -> Card:
    """One sentence: by how much `ours` differs from `base`, paired by seed, with its 95% interval and the verdict.

    group is "all" (balanced accuracy), "head", "mid", "tail", "many", "medium" or "few"; names replace the runs' own.
    ValueError for what is no list of runs, and where the two have no seed in common.
    """
    group = check.choice("group", group, metrics.GROUPS)
    ours, base = _runs("ours", ours), _runs("base", base)
    found = metrics.paired(ours, base, group)
    if names is not None and len(texts("names", names, 2)) != 2:
        raise check.refuse("names", names, "two texts, one for each side")
    ours_name, base_name = map(literal, names or (ours[0].name, base[0].name))
    what = "accuracy" if group == "all" else f"{group} accuracy"
    gap = f"**{points(found.mean)}**"
    if found.mean != found.mean:
        return say(f"*{ours_name}* against *{base_name}*, {what}: {found.verdict}.")
    if found.n < 2 or found.se != found.se:
        return say(f"*{ours_name}* against *{base_name}*, {what}: {gap} points; {found.verdict}.")
    return say(
        f"*{ours_name}* against *{base_name}*, {what}: {gap} ± {100 * found.half:.1f} points "
        f"(95% interval, paired over {found.n} seeds, p {_p(found.p)}): **{found.verdict}**."
    )


def _runs(name: str, value: Any) -> list[Run]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(run, Run) for run in value):
        raise check.refuse(name, value, "a list of runs, one per seed, from lt.recorded, lt.sweep or lt.train_many")
    return list(value)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def comparison(groups: Mapping[str, Sequence[Run]], reference: str | None = None, group: str = "all") -> Card:
    """A table of recorded runs: mean accuracy of all, head, mid and tail classes, paired difference, verdict.

    groups maps a label to its runs, one per seed; reference (default: the first label) is what the others are
    compared with; the difference is that of `group`. Accuracies in percent, differences in percentage points with
    their 95% intervals. The line below says how many of so many comparisons luck alone would call suggestive.
    """
    group = check.choice("group", group, metrics.GROUPS)
    if not isinstance(groups, Mapping) or not groups:
        raise check.refuse("groups", groups, "a dict: label -> list of runs, not empty")
    groups = {check.text("groups", label): _runs(f"groups[{label!r}]", runs) for label, runs in groups.items()}
    reference = None if reference is None else check.choice("reference", reference, groups)
    table = metrics.comparison_table(groups, reference, group)
    what = "all classes" if group == "all" else group
    head = ["", "seeds", "all", "head", "mid", "tail", f"difference ({what})", "verdict"]
    rows = []
    for label, row in table.iterrows():
        parts = [row[name] for name in ("all", "head", "mid", "tail")]
        scores = [f"{100 * part:.1f}" if part == part else "–" for part in parts]
        gap = "–" if row["difference"] != row["difference"] else points(row["difference"])
        if row["half"] == row["half"]:
            gap += f" ± {100 * row['half']:.1f}"
        rows.append([" ".join(label.split()), str(row["seeds"]), *scores, gap, str(row["verdict"])])
    luck = _luck(len(groups) - 1)
    return Card(f"{_html(head, rows)}<div>{safe(luck)}</div>" if luck else _html(head, rows), _text(head, rows) + luck)


def claims_table(rows: Sequence[tuple[str, str, str, bool | str]]) -> Card:
    """A paper's claims beside what is measured here: a table "printed | reading | measured here | holds?".

    rows: (printed, reading, measured, holds) for each claim: what the paper prints, how it is read here (data, seeds,
    setting), what the runs give, and whether the claim holds (True, False or a short text, such as "undecided"). Texts
    may have inline markdown and $formulas$. ValueError for rows of another shape.
    """
    if not isinstance(rows, (list, tuple)) or not rows:
        raise check.refuse("rows", rows, "a list of (printed, reading, measured, holds), not empty")
    found = []
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != 4:
            raise check.refuse("rows", row, "four entries each: printed, reading, measured, holds")
        *told, holds = row
        holds = ("no", "yes")[holds] if isinstance(holds, bool) else check.text("holds", holds)
        found.append([check.text(name, one) for name, one in zip(CLAIM[:3], told, strict=True)] + [holds])
    left = "text-align:left;vertical-align:top;padding:.25em .8em"
    top = "".join(f'<th style="{left}">{name}</th>' for name in CLAIM)
    body = "".join("<tr>" + "".join(f'<td style="{left}">{inline(c)}</td>' for c in row) + "</tr>" for row in found)
    html = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return Card(html, _text(CLAIM, [[plain(cell) for cell in row] for row in found]))


def _luck(comparisons: int) -> str:
    """What chance alone would find among so many comparisons."""
    if comparisons < 2:
        return ""
    return (
        f"\n± half of the 95% interval. If none of these {comparisons} methods differed, chance alone would call "
        f"about {comparisons * metrics.SUGGESTIVE:.1g} of them suggestive or clear."
    )


def _html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    left, right = "text-align:left;padding:.25em .8em", "text-align:right;padding:.25em .8em"
    align = [left] + [right] * (len(head) - 2) + [left]
    top = "".join(f'<th style="{a}">{safe(name)}</th>' for a, name in zip(align, head, strict=True))
    body = ""
    for row in rows:
        strong = row[-1].startswith("clearly")
        cells = [f"<b>{safe(c)}</b>" if strong and i >= len(row) - 2 else safe(c) for i, c in enumerate(row)]
        body += "<tr>" + "".join(f'<td style="{a}">{c}</td>' for a, c in zip(align, cells, strict=True)) + "</tr>"
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)
