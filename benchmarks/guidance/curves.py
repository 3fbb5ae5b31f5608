"""How much class accuracy each way to steer buys, and at which price: five scales of every way, in both small worlds.

Writes docs/measured/guidance-curves.json after each point; a call that was stopped goes on where it stood. Run by hand,
some hours on one thread; python scripts/draw_pictures.py guided_generation draws it. The seed is not one of the
recorded claims.
Usage: python benchmarks/guidance/curves.py [--images 500] [--seed 977] [--steps 20] [--only ARM,ARM] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from snellen.core.progress import Silent
from snellen.core.run import write_atomically
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.reproduction.shared.guided_generation.harness import Arm, measure, real_figures
from snellen.reproduction.shared.guided_generation.setups import Setup, small_scenes, thumbnails
from snellen.reproduction.shared.guided_generation.ways import CONDITIONAL, UNCONDITIONAL, Way

sys.path.insert(0, str(Path(__file__).parent))
from arms import Arms

TARGET = Path(__file__).parents[2] / "docs" / "measured" / "guidance-curves.json"

#: Written before the first run.
RULE = "of the scales of a way, the one with the highest judge accuracy; of equal ones, the smallest"

WORLDS = {"thumbnails": thumbnails, "scenes": small_scenes}


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=977)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", default="", help="names of ways, with commas between")
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--out", type=Path, default=TARGET)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan = {"images": given.images, "seed": given.seed, "steps": given.steps, "rule": RULE}
    found = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {**plan, "worlds": {}}
    if any(found[name] != value for name, value in plan.items()):
        parser.error(f"{given.out} was measured with other numbers; move it away, or give --out")
    wanted = given.only.split(",") if given.only else [*CONDITIONAL, *UNCONDITIONAL]
    for world in given.worlds.split(","):
        measure_world(replace(WORLDS[world](), steps=given.steps), found, wanted, given)


def measure_world(setup: Setup, found: dict[str, Any], wanted: list[str], given: argparse.Namespace) -> None:
    """All ways of one world."""
    requested = setup.ask(given.images, given.seed)
    kept = found["worlds"].setdefault(setup.name, {"real": real_figures(setup, given.images), "arms": {}})
    done = {name: points["points"] for name, points in kept["arms"].items()}
    lacking = [
        name
        for name, family in UNCONDITIONAL.items()
        if name in wanted and len(done.get(name, {})) < len(family.scales)
    ]
    made = Arms(setup, given.seed, lacking, Silent())
    for base, families in (("conditional", CONDITIONAL), ("unconditional", UNCONDITIONAL)):
        if f"none {base}" not in kept:
            kept[f"none {base}"] = point(made.unguided(conditional=base == "conditional"), setup, requested)
            save(found, given.out)
        for name, family in families.items():
            if name not in wanted:
                continue
            points = kept["arms"].setdefault(name, {"points": {}})
            for scale in family.scales:
                if f"{scale:g}" not in points["points"]:
                    points["points"][f"{scale:g}"] = without_hidden(
                        point(made.arm(name, scale), setup, requested), family
                    )
                    save(found, given.out)
                    print(setup.name, name, scale, points["points"][f"{scale:g}"], flush=True)
            points["chosen"] = chosen(points["points"])
            save(found, given.out)


def point(arm: Arm, setup: Setup, requested: GeneratorCall) -> dict[str, float]:
    """Figures of one arm, rounded."""
    measured = measure(arm, setup, requested)
    return {name: round(value, 4) for name, value in (measured.figures | measured.clock).items()}


def without_hidden(figures: dict[str, float], way: Way) -> dict[str, float]:
    """Leave out what was not counted."""
    hidden = ("guide_queries", "guide_gradients") if way.labelled else ()
    return {name: value for name, value in figures.items() if name not in hidden}


def chosen(points: Mapping[str, Mapping[str, float]]) -> str:
    """The scale that :data:`RULE` chooses.

    >>> chosen({"2": {"accuracy": 0.9}, "3": {"accuracy": 0.95}, "5": {"accuracy": 0.95}})
    '3'
    """
    return min(points, key=lambda scale: (-points[scale]["accuracy"], float(scale)))


def save(found: Mapping[str, Any], target: Path) -> None:
    """Write what there is."""
    write_atomically(target, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
