"""Measure the embedded tileability metric on unseen textures, beside the jump at their seams.

    python scripts/embedded/measure_tileability.py

For each failure: the share of the pairs of a repeating and a broken texture in which the repeating one scores higher.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from measured import write
from numpy.typing import NDArray

from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.data.worlds.textures.breaking import FAILURES, seam_energy_ratio
from snellen.data.worlds.textures.patterns import GENERATORS
from snellen.data.worlds.textures.textures import Textures
from snellen.metrics.auroc import placements
from snellen.metrics.intervals import mean_interval
from snellen.reproduction.tileability.experiment import HELD_OUT
from snellen.systems.tileability.tileability import load_tileability
from snellen.training.students import StudentPlan, store_to_measure

COUNT, SIZE, SEED = 1200, 64, 97


def areas(images: ImageSet) -> dict[str, dict[str, Any]]:
    """Area under the ROC curve of the metric and of the jump, over all failures and for each."""
    metric = load_tileability("bundled:tileability")
    held = store_to_measure(images, StudentPlan(), preparation=Preprocessing(size=(SIZE, SIZE)))
    pixels = held.read(torch.arange(len(held)))[0]
    with torch.no_grad():
        logits = torch.cat([metric.logits(to_unit(part)) for part in pixels.split(50)]).double().numpy()
    scores = {"metric": logits, "jump at the seams": -seam_energy_ratio(pixels.permute(0, 2, 3, 1).numpy())}
    failures = np.array([json.loads(str(one)).get("failure") or "none" for one in images.column("attributes")])
    return {
        name: {kind: _area(values, failures, kind) for kind in ("all", *FAILURES)} for name, values in scores.items()
    }


def _area(scores: NDArray[np.float64], failures: NDArray[np.str_], kind: str) -> dict[str, float]:
    broken = scores[failures != "none" if kind == "all" else failures == kind]
    above = (1 - placements(broken, scores[failures == "none"])).tolist()
    low, high = mean_interval(above)
    return {"area": round(float(np.mean(above)), 4), "low": round(low, 4), "high": round(high, 4), "n": len(above)}


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    drawn = Textures(count=COUNT, size=SIZE, seed=SEED)
    trained = tuple(name for name in GENERATORS if name not in HELD_OUT)
    found = {
        "patterns that training never showed": areas(drawn.model_copy(update={"generators": HELD_OUT}).images()),
        "other textures of the trained patterns": areas(drawn.model_copy(update={"generators": trained}).images()),
    }
    unseen = found["patterns that training never showed"]["metric"]
    write("tileability", "tileability", found, {f"area.{kind}": one["area"] for kind, one in unseen.items()})


if __name__ == "__main__":
    main()
