"""Tables of the healthy classifiers in docs/trust.md: what they are accused of, and what damage costs them.

The figures are made by scripts/ward/examine.py: docs/measured/ward.json and the table of usual losses of the package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snellen.metrics.intervals import clopper_pearson
from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

PAGE = "docs/trust.md"

ROOT = Path(__file__).parents[1]

#: Kinds of finding that nothing in the making of these classifiers and images can make true.
NEVER_TRUE = (
    "background_shortcut",
    "class_order",
    "data_quality",
    "duplicate",
    "gradient_masking",
    "in_sample",
    "label_noise",
    "multi_label",
)

#: Kinds that other images can confirm: by the same subject, or by any of the kind.
CONFIRMED = {"worst_class": True, "calibration": True, "slice": False}

#: Stress that healthy classifiers do lose under.
STRESS = ("corruption", "nuisance", "attribute", "background_sensitivity", "adversarial")

#: What stands above the tables of stress beside damage.
WORDS = {"nuisance": "Scenes drawn again with a nuisance of strength 1 to 5 (check `nuisance`)"}


def accused_table(found: Mapping[str, Any]) -> str:
    """A row for each kind: how many classifiers have such a finding, and what became of it on other images."""
    classifiers, again = found["classifiers"], {one["name"]: one["findings"] for one in found["again"]}
    rows = []
    for kind in (*NEVER_TRUE, *CONFIRMED, *STRESS):
        having = [one for one in classifiers if _of(one["findings"], kind)]
        serious = [one for one in having if any(each["level"] != "note" for each in _of(one["findings"], kind))]
        low, high = clopper_pearson(len(serious), len(classifiers))
        rows.append(
            [
                kind.replace("_", " "),
                str(len(having)),
                f"{len(serious)} ({low:.0%} to {high:.0%})",
                _confirmed(kind, serious, again),
            ]
        )
    head = ["finding", f"in, of {len(classifiers)}", "more than a note", "found again on other images"]
    return markdown_table(head, rows, ["---", "---:", "---:", "---"])


def _of(findings: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [one for one in findings if one["kind"] == kind]


def _confirmed(
    kind: str, serious: Sequence[Mapping[str, Any]], again: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    if kind in NEVER_TRUE:
        return "false by the making"
    if kind in STRESS:
        return "true: every classifier loses"
    made = [(one["name"], each) for one in serious for each in _of(one["findings"], kind) if each["level"] != "note"]
    known = [(name, each) for name, each in made if name in again]
    if not known:
        return "–"
    exact = CONFIRMED[kind]
    kept = sum(
        any(not exact or other["subject"] == each["subject"] for other in _of(again[name], kind))
        for name, each in known
    )
    return f"{kept} of {len(known)} findings"


def usual_table(found: Mapping[str, Any]) -> str:
    """A table for each benchmark: a row for each kind of damage, a column for each size and kind of images."""
    names = dict.fromkeys(row.get("benchmark", "imagenet-c") for row in found["rows"])
    tables = {
        name: _usual_of([row for row in found["rows"] if row.get("benchmark", "imagenet-c") == name]) for name in names
    }
    others = [
        f"{WORDS.get(name, f'With the strengths of `{name}`')}:\n\n{table}"
        for name, table in tables.items()
        if name != "imagenet-c"
    ]
    return "\n\n".join([*([tables["imagenet-c"]] if "imagenet-c" in tables else []), *others])


def _usual_of(rows: Sequence[Mapping[str, Any]]) -> str:
    body = [
        [kind.replace("_", " "), *(f"{row['losses'][kind][0]:.2f} – {row['losses'][kind][1]:.2f}" for row in rows)]
        for kind in rows[0]["losses"]
    ]
    head = ["kind", *(f"{row['colours']}, {row['side']} px ({row['classifiers']})" for row in rows)]
    return markdown_table(head, body, ["---", *["---:"] * len(rows)])


def _usual(root: Path) -> str:
    source = root / "src" / "snellen" / "checks" / "usual_losses.json"
    return usual_table(json.loads(source.read_text(encoding="utf-8")))


def leaning_table(found: Sequence[Mapping[str, Any]]) -> str:
    """A row for each kind of images: what the check ``shortcuts`` tested and found, and one for all of them."""
    worlds = dict.fromkeys(one["world"] for one in found)
    rows = [_leaning(world, [one for one in found if one["world"] == world]) for world in worlds]
    head = ["images", "classifiers", "tests", "with a finding", "largest share that flips, its control"]
    return markdown_table(head, [*rows, _leaning("all", found)], ["---", *["---:"] * 4])


def _leaning(name: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    having = sum(bool(one["findings"]) for one in found)
    low, high = clopper_pearson(having, len(found))
    largest = max((row for one in found for row in one["rows"]), key=lambda row: row["flipped"])
    return [
        name,
        str(len(found)),
        str(sum(one["hypotheses"] for one in found)),
        f"{having} ({low:.0%} to {high:.0%})",
        f"{largest['flipped']:.2f}, {largest['control']:.2f}",
    ]


def _of_shortcuts(root: Path) -> str:
    files = sorted((root / "docs" / "measured" / "ward" / "shortcuts").glob("*.json"))
    return leaning_table([json.loads(file.read_bytes()) for file in files])


MEASURED = ROOT / "docs" / "measured" / "ward.json"
TABLES: Tables = {
    PAGE: {"usual": _usual, "leaning": _of_shortcuts}
    | ({"accused": from_measured("ward", accused_table)} if MEASURED.is_file() else {})
}
