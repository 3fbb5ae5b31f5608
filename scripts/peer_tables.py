"""Tables of what other packages offer and how fast they are: docs/peers.md, docs/benchmarks.md and README.md.

``benchmarks/all.py`` measures.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

#: What a comparison is about.
TITLES = {
    "attacks": "Attacks",
    "ensemble": "AutoAttack",
    "corruptions": "ImageNet-C",
    "medical": "MedMNIST-C",
    "explanations": "Explanations",
    "labels": "Suspect labels",
    "data": "Sets of images",
    "smoothing": "Smoothing",
    "sampling": "Sampling",
    "audit": "A whole run",
}

#: Comparison, and how its task begins: those that README.md shows.
SHORT = (
    ("attacks", "PGD, "),
    ("attacks", "Auto-PGD"),
    ("corruptions", "all "),
    ("explanations", "Partition SHAP, 300 evaluations in batches of 64"),
    ("labels", "suspect labels by both"),
    ("data", "near copies"),
    ("smoothing", "certified radii"),
    ("audit", ""),
)

#: From this ratio on a row is bold: what is less is noise.
SLOWER = 1.1


def peers_table(found: Mapping[str, Any]) -> str:
    """A row for each task and peer; of parts of a total only those in which we are slower, or results differ."""
    rows = []
    for name, comparison in found["comparisons"].items():
        measured = [row for row in comparison["rows"] if "skipped" not in row]
        shown = [*(row for row in measured if not row["part"]), *_totals(measured)]
        shown += [row for row in measured if row["part"] and (row["ratio"] > SLOWER or not row["equal"])]
        rows += [[TITLES[name], *_cells(row)] for row in shown]
    head = ["", "task", "peer", "equal result", "ours, s", "theirs, s", "ours over theirs"]
    return markdown_table(head, rows, ["---", "---", "---", "---", "---:", "---:", "---:"])


def short_table(found: Mapping[str, Any]) -> str:
    """For README.md: a row of each of the :data:`SHORT` comparisons, whichever side is faster."""
    rows = [
        [f"{TITLES[name]}: {row['what']}", f"{row['peer']} {row['version']}", _agreement(row), f"{row['ratio']:.2f}"]
        for name, row in _short_rows(found)
    ]
    return markdown_table(["task", "peer", "result", "time"], rows, ["---", "---", "---", "---:"])


def _short_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Comparison and row of each line of the short table; parts are summed."""
    for name, begins in SHORT:
        measured = [row for row in found["comparisons"][name]["rows"] if "skipped" not in row]
        shown = (*(row for row in measured if not row["part"]), *_totals(measured))
        yield from ((name, row) for row in shown if row["what"].startswith(begins))


def _agreement(row: Mapping[str, Any]) -> str:
    return str(row["result"]) if row["equal"] else f"not the same: {row['result']}"


def skipped_table(found: Mapping[str, Any]) -> str:
    """A row for each task and peer that was not measured, and why."""
    rows = [
        [TITLES[name], row["what"] or "all", row["package"], row["skipped"]]
        for name, comparison in found["comparisons"].items()
        for row in comparison["rows"]
        if "skipped" in row
    ]
    return markdown_table(["", "task", "peer", "why"], rows, ["---"] * 4) if rows else "All were measured."


def _totals(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The sum of the parts of each peer; its range is that of the parts."""
    for peer in sorted({row["peer"] for row in rows if row["part"]}):
        parts = [row for row in rows if row["part"] and row["peer"] == peer]
        ours, theirs = (sum(row[side] for row in parts) for side in ("ours", "theirs"))
        equal = sum(row["equal"] for row in parts)
        yield {
            **parts[0],
            "what": f"all {len(parts)} kinds, {parts[0]['what'].partition(', ')[2]}",
            "equal": equal == len(parts),
            "result": f"{equal} of {len(parts)} kinds",
            "ours": ours,
            "theirs": theirs,
            "ratio": ours / theirs,
            "low": min(row["low"] for row in parts),
            "high": max(row["high"] for row in parts),
        }


def _cells(row: Mapping[str, Any]) -> list[str]:
    ratio = f"{row['ratio']:.2f}"
    if row["ratio"] > SLOWER:
        ratio = f"**{ratio}**"
    spread = f"{row['low']:.2f} – {row['high']:.2f}"
    equal = row["result"] if row["equal"] else f"**no**: {row['result']}"
    return [
        row["what"],
        f"{row['peer']} {row['version']}",
        equal,
        _seconds(row["ours"]),
        _seconds(row["theirs"]),
        f"{ratio} ({spread})",
    ]


def _seconds(value: float) -> str:
    """Three significant digits."""
    return f"{value:.{max(2 - math.floor(math.log10(value)), 0)}f}"


def offers_table(found: Mapping[str, Any]) -> str:
    """Who offers what: a row for each question, a column for each package, and in each cell where that stands."""
    packages = found["packages"]
    rows = []
    for question in found["questions"]:
        cells = [_linked([*question[name], page["page"]][:2]) for name, page in packages.items()]
        rows.append([question["question"], _linked(question["snellen"]), *cells])
    heads = [f"[{one['title']} {one['version']}]({one['page']})" for one in packages.values()]
    return markdown_table(["question", "Snellen", *heads], rows, ["---"] * (len(heads) + 2))


def _linked(parts: Sequence[str]) -> str:
    """Words with their addresses, in turn."""
    return ", ".join(f"[{words}]({address})" for words, address in zip(parts[::2], parts[1::2], strict=True))


def measured_offers(found: Mapping[str, Any]) -> str:
    """The rows of :func:`short_table`, each with the files that measured it."""
    rows = [
        [
            f"{TITLES[name]}: {row['what']}",
            f"[{row['peer']} {row['version']}](https://pypi.org/project/{row['package']}/{row['version']}/)",
            f"[{_agreement(row)}](../benchmarks/beside/{name}.py)",
            f"[{row['ratio']:.2f}](benchmarks.md#beside-other-packages)",
        ]
        for name, row in _short_rows(found)
    ]
    return markdown_table(["task", "package", "result", "our time over theirs"], rows, ["---", "---", "---", "---:"])


def _offers(root: Path) -> str:
    return offers_table(tomllib.loads((root / "docs" / "measured" / "offers.toml").read_text(encoding="utf-8")))


TABLES: Tables = {
    "docs/peers.md": {"offers": _offers, "measured offers": from_measured("peers", measured_offers)},
    "README.md": {"beside": from_measured("peers", short_table)},
    "docs/benchmarks.md": {
        "beside peers": from_measured("peers", peers_table),
        "peers skipped": from_measured("peers", skipped_table),
    },
}
