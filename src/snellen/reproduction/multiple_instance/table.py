"""Table of every way at every share of positive instances, from docs/measured/instance-rates.json."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snellen.reproduction.multiple_instance.materials import RATES, WORLDS
from snellen.reproduction.multiple_instance.ways import RIVALS
from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

PERCENT = [f"{round(100 * rate)}" for rate in RATES]


def rates_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each way of each world: mean AUROC of instances / of bags over the seeds, and the chosen rates."""
    rows = []
    for world in WORLDS:
        for way in ("ins", *RIVALS):
            cells = [
                " / ".join(
                    f"{np.mean([figures[f'{world}.{percent}.{way}.{what}'] for figures in found.values()]):.2f}"
                    for what in ("instance_auroc", "bag_auroc")
                )
                for percent in PERCENT
            ]
            chosen = sorted({figures[f"{world}.10.{way}.learning_rate"] for figures in found.values()})
            rows.append([world, f"`{way}`", *cells, ", ".join(f"{rate:g}" for rate in chosen)])
    return markdown_table(["world", "way", *(f"{percent} %" for percent in PERCENT), "learning rates chosen"], rows)


TABLES: Tables = {"docs/systems/multiple_instance.md": {"rates": from_measured("instance-rates", rates_table)}}
