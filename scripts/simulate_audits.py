"""Audit simulated models and write how often healthy ones are accused, and faults found, into docs/trust.md.

    python scripts/simulate_audits.py [--audits 200] [--repeats 50]

Takes about half an hour on one core. See snellen.testing.simulated_audits for what is simulated.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from write_tables import with_block

from snellen.core.finding import LEVELS
from snellen.metrics.intervals import wilson
from snellen.testing.simulated_audits import Fault, World, finds_fault, simulated_audit

PAGE = Path(__file__).parents[1] / "docs" / "trust.md"

#: Levels, the least harmful first.
ORDER = tuple(reversed(LEVELS))

HEALTHY = (
    World(images=50),
    World(images=400),
    World(images=1000),
    World(images=1000, unit_size=8),
    World(images=1000, classes=100),
    World(images=400, classes=2, majority=0.9, accuracy=0.93),
)

#: Sizes of each fault, what they are, and which check must find it.
FAULTS: dict[Fault, tuple[str, tuple[float, ...], str]] = {
    "class": ("one of ten classes loses so much accuracy", (0.1, 0.2, 0.3), "clean"),
    "group": ("one of four groups loses so much accuracy", (0.05, 0.1, 0.15), "group_gap"),
    "slice": ("a hidden twentieth loses so much accuracy", (0.2, 0.3, 0.4), "slices"),
    "calibration": ("scores are multiplied by", (0.7, 1.5, 2.0), "calibration"),
    "label_noise": ("share of labels that are wrong", (0.02, 0.05, 0.1), "label_noise"),
    "corruption": ("one of fifteen corruptions costs so much accuracy", (0.01, 0.02, 0.05), "corruption"),
    "drift": ("features move by so many standard deviations in all", (0.2, 0.4, 0.8), "drift"),
}
WORLDS = (World(images=1000), World(images=2000), World(images=2000, unit_size=8))


def healthy(audits: int) -> Iterator[str]:
    """Rows: how many healthy audits end with their worst finding at each level."""
    yield (
        "| images | classes | largest class | images in a unit | audits | none | "
        + " | ".join(ORDER)
        + " | above mild |"
    )
    yield "| ---: " * (7 + len(ORDER)) + "|"
    for world in HEALTHY:
        levels = [[found.level for found in simulated_audit(world, seed)] for seed in range(audits)]
        worst = Counter(max(each, key=ORDER.index, default="none") for each in levels)
        above = worst["moderate"] + worst["severe"]
        largest = f"{world.majority or 1 / world.classes:.0%}"
        cells = [world.images, world.classes, largest, world.unit_size, audits, *(worst[n] for n in ("none", *ORDER))]
        bound = wilson(above, audits).high
        yield "| " + " | ".join(map(str, cells)) + f" | {above / audits:.1%} (at most {bound:.1%}) |"
        print(world, dict(worst), flush=True)


def faults(repeats: int) -> Iterator[str]:
    """Rows: how often each fault is found, by its size."""
    heads = [f"{w.images} images{f', units of {w.unit_size}' if w.unit_size > 1 else ''}" for w in WORLDS]
    yield "| fault | size | " + " | ".join(heads) + " |"
    yield "| --- | ---: " + "| ---: " * len(WORLDS) + "|"
    for fault, (words, sizes, check) in FAULTS.items():
        for size in sizes:
            found = []
            for world in WORLDS:
                planted = replace(world, fault=fault, size=size)
                hits = sum(finds_fault(planted, simulated_audit(planted, seed, [check])) for seed in range(repeats))
                low, high = wilson(hits, repeats)
                found.append(f"{hits / repeats:.0%} ({low:.0%} – {high:.0%})")
            yield f"| {words} | {size:g} | " + " | ".join(found) + " |"
            print(fault, size, found, flush=True)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    page = PAGE.read_text(encoding="utf-8")
    page = with_block(page, "healthy", "\n".join(healthy(options.audits)))
    page = with_block(page, "faults", f"{options.repeats} audits each.\n\n" + "\n".join(faults(options.repeats)))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
