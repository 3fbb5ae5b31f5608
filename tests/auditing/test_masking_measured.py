"""What the page on distillation says of ten models of each kind is what was measured."""

import json
import statistics
from pathlib import Path

import pytest

from snellen.metrics.intervals import wilson

DOCS = Path(__file__).parents[2] / "docs"
MEASURED = json.loads((DOCS / "measured" / "masking.json").read_text(encoding="utf-8"))
NAMES = {
    "undefended": "undefended",
    "adversarially_trained": "adversarially trained",
    "distilled_40": "distilled, T = 40",
    "distilled_100": "distilled, T = 100",
}
COLUMNS = (
    "masking.zero_gradient_share",
    "masking.saturated_share",
    "masking.linf.8.fgsm.accuracy",
    "masking.linf.8.fgsm_rescaled.accuracy",
    "masking.linf.8.pgd.accuracy",
)


@pytest.mark.parametrize("kind", NAMES)
def test_the_row_of_each_kind_is_that_of_its_ten_models(kind):
    rows = [row for row in MEASURED["models"] if row["kind"] == kind]
    assert [row["seed"] for row in rows] == list(range(100, 110))
    told = sum(row["told"] for row in rows)
    low, high = wilson(told, 10)
    page = (DOCS / "systems" / "defensive_distillation.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith(f"| {NAMES[kind]} |"))
    cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
    assert cells[1:3] == [str(told), f"{low:.2f} – {high:.2f}"]
    assert cells[3] == f"{statistics.mean(row['figures']['clean.accuracy'] for row in rows):.3f}"
    for cell, name in zip(cells[4:], COLUMNS, strict=True):
        values = [row["figures"][name] for row in rows]
        assert cell == f"{statistics.median(values):.2f} ({min(values):.2f} – {max(values):.2f})", name
