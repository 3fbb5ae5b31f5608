"""Table of treated defects in docs/treating.md, of docs/measured/treated.json.

The figures are made by scripts/ward/treated.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

PAGE = "docs/treating.md"

#: Outcomes, best first.
OUTCOMES = ("mended", "smaller", "unchanged", "unproven", "worse", "untreated")


def treated_table(found: Mapping[str, Any]) -> str:
    """A row for each defect and network, over the seeds; of several findings, the worst one of each case counts."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for case in found["cases"]:
        groups.setdefault((case["defect"], case["network"]), []).append(case)
    rows = [_row(name, cases) for name, cases in sorted(groups.items())]
    head = [
        "defect", "network", "found", "outcome", "by", "weakness: treated", "plain", "from scratch",
        "better than plain",
        "clean accuracy: treated", "plain", "from scratch", "seconds", "code",
    ]  # fmt: skip
    return markdown_table(head, rows, ["---", "---", "---:", "---", "---", *["---:"] * 9])


def pooled_table(found: Mapping[str, Any]) -> str:
    """A row for each kind of finding and treatment."""
    words = {(True, False): "better", (False, True): "worse", (False, False): "undecided"}
    rows = [
        [
            row["kind"].replace("_", " "),
            f"`{row['treatment']}`",
            str(row["cases"]),
            f"{row['difference']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
            words[row["high"] < 0, row["low"] > 0],
            str(row["code"]),
        ]
        for row in found["pooled"]
    ]
    head = ["finding", "treatment", "cases", "less than plain fine-tuning leaves", "95 % interval", "", "code"]
    return markdown_table(head, rows, ["---", "---", "---:", "---:", "---:", "---", "---:"])


def _row(name: tuple[str, str], cases: Sequence[Mapping[str, Any]]) -> list[str]:
    seen = [case for case in cases if case["found"]]
    treated = [case for case in seen if case.get("outcomes")]
    counts = Counter(case["outcomes"][0]["outcome"] for case in treated)
    used = Counter(case["outcomes"][0]["treatment"] for case in treated if case["delivered"])
    others = {which: [case[which] for case in treated if case.get(which)] for which in ("plain", "scratch")}
    beside = [case["plain"]["treated_beside_it"].get(case["outcomes"][0]["key"]) for case in treated if "plain" in case]
    judged = [one for one in beside if one is not None]
    return [
        name[0].replace("_", " "),
        name[1],
        f"{len(seen)} of {len(cases)}",
        ", ".join(f"{counts[one]} {one}" for one in OUTCOMES if counts[one]) or "–",
        ", ".join(dict.fromkeys(one for names in used for one in names.split(" + ") if one)) or "–",
        _changes([case["outcomes"][0]["difference"] for case in treated]),
        *(_changes([one["outcomes"][0]["difference"] for one in others[which]]) for which in others),
        f"{sum(one['high'] is not None and one['high'] < 0 for one in judged)} of {len(judged)}" if judged else "–",
        _changes([case["cost"]["difference"] for case in treated if case["cost"]]),
        *(_changes([one["cost"]["difference"] for one in others[which]]) for which in others),
        f"{mean(case['seconds']['treat'] for case in treated):.0f}" if treated else "–",
        ", ".join(str(one) for one in sorted({case.get("code", 1) for case in cases})),
    ]


def _changes(values: Sequence[float | None]) -> str:
    """The mean, and least and largest where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    ends = f" ({min(known):+.3f} to {max(known):+.3f})" if len(known) > 1 else ""
    return f"{mean(known):+.3f}{ends}"


#: Nothing as long as nothing was measured.
MEASURED = Path(__file__).parents[1] / "docs" / "measured" / "treated.json"
TABLES: Tables = (
    {PAGE: {"treated": from_measured("treated", treated_table), "pooled": from_measured("treated", pooled_table)}}
    if MEASURED.is_file()
    else {}
)
