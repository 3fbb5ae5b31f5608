"""Tables of the page that no claim holds: each cell again from the seeds under results/."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "systems" / "context_upsampling.md").read_text(encoding="utf-8")
SEEDS = [
    json.loads(path.read_text(encoding="utf-8"))["figures"]
    for path in sorted((ROOT / "results" / "context_upsampling").glob("seed-*.json"))
]
VARIANTS = {
    "transposed 2 × 2": "transposed",
    "transposed": "transposed",
    "pixel shuffle": "pixel_shuffle",
    "bilinear": "bilinear",
    "large context 7": "lctc7",
    "large context 7 and 11": "lctc11",
    "large context": "lctc11",
    "large kernels in the decoder (H2)": "h2",
    "H2": "h2",
}
ATTACKS = {"PGD": "pgd", "SegPGD": "segpgd", "CosPGD": "cospgd", "search by scores": "square"}


def table_with(head: str) -> list[dict[str, str]]:
    """Rows of the table that begins so, by column."""
    lines = PAGE[PAGE.index(f"| {head} |") :].split("\n\n")[0].splitlines()
    columns, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def figure_of(attack: str) -> str:
    kind, levels = re.fullmatch(r"(.+), (\d) levels", attack).groups()
    return f"{ATTACKS[kind]}_{levels}_left"


def over_seeds(variant: str, figure: str) -> np.ndarray:
    return np.array([seed[f"{VARIANTS[variant]}.{figure}"] for seed in SEEDS], dtype=float)


def test_what_each_way_of_upsampling_keeps_is_the_mean_of_the_seeds():
    rows = table_with("upsampling")
    assert (len(rows), len(SEEDS)) == (6, 8)
    for row in rows:
        variant = row.pop("upsampling")
        for column, cell in row.items():
            figure = column if column in ("clean", "artifacts") else figure_of(column)
            if cell == "–":
                assert f"{VARIANTS[variant]}.{figure}" not in SEEDS[0]
            else:
                places = len(cell.partition(".")[2])
                assert float(cell) == pytest.approx(over_seeds(variant, figure).mean(), abs=0.5 * 10**-places + 1e-9)


def test_differences_have_the_interval_of_the_seeds():
    rows, compared = table_with("attack | large context − transposed"), 0
    for row in rows:
        figure = figure_of(row.pop("attack"))
        for column, cell in row.items():
            if cell == "–":
                continue
            one, other = (over_seeds(variant, figure) for variant in column.split(" − "))
            apart = one - other
            expected = [apart.mean(), *stats.t.interval(0.95, len(apart) - 1, apart.mean(), stats.sem(apart))]
            found = [float(number) for number in re.findall(r"-?\d\.\d+", cell.replace("−", "-"))]
            assert found == pytest.approx(expected, abs=6e-4), (figure, column)
            compared += 1
    assert compared == 16


def test_the_gate_closed_by_one_attack_alone():
    left = {kind: over_seeds("transposed", f"{kind}_8_left").mean() for kind in ("pgd", "segpgd", "cospgd")}
    assert left["pgd"] > 0.6 > max(left["segpgd"], left["cospgd"])
    assert "SegPGD leaves the baseline 0.55 and CosPGD 0.52" in PAGE
    assert [round(left[kind], 2) for kind in ("segpgd", "cospgd")] == [0.55, 0.52]
