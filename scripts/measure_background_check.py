"""Whether the audit finds a background shortcut that was planted, and none where there is none.

    python scripts/measure_background_check.py [--models 1] [--images 240]

Networks trained on scenes whose background follows the class in 95 of 100 images, and on the same scenes as they were,
audited on scenes whose backgrounds follow nothing and on scenes whose backgrounds follow the class. Writes
docs/measured/background-check.json. Takes about two minutes of a core for each model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from measure_planted_defects import WORLD, network

from snellen import audit
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut

RESULT = Path(__file__).parents[1] / "docs" / "measured" / "background-check.json"


def main() -> None:
    """Train, audit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--images", type=int, default=240)
    given = parser.parse_args()
    rows = []
    defect = BackgroundShortcut(strength=0.95)
    for seed in range(given.models):
        world = WORLD.model_copy(update={"seed": 200 + seed})
        train = world.images(split="train")
        test = world.model_copy(update={"count": given.images}).images(split="test")
        follows = defect.model_copy(update={"touch_test": True}).plant(test, rng=Randomness(seed))
        for kind, images in (("planted", defect.plant(train, rng=Randomness(seed))), ("clean", train)):
            classifier = Classifier(
                network(images, seed),
                class_names=test.class_names or (),
                preparation=Preprocessing(size=(32, 32)),
                name=kind,
            )
            for backgrounds, audited in (("independent", test), ("following", follows)):
                checks = ["clean", {"check": "background", "share": 0.5, "evaluations": 24}]
                report = audit(classifier, audited, checks=checks, seed=seed)
                told = [one for one in report.findings if one.kind == "background_shortcut"]
                rows.append(
                    {
                        "network": kind,
                        "seed": seed,
                        "backgrounds": backgrounds,
                        "found": bool(told),
                        "harm": told[0].harm if told else None,
                        **{name: round(figure.value, 4) for name, figure in report.metrics.items()},
                    }
                )
                print(json.dumps(rows[-1]))
    found = {
        f"{kind}, {backgrounds}": f"{sum(r['found'] for r in own)} of {len(own)}"
        for kind in ("planted", "clean")
        for backgrounds in ("independent", "following")
        for own in [[r for r in rows if (r["network"], r["backgrounds"]) == (kind, backgrounds)]]
    }
    means = {
        f"{kind}, {backgrounds}": {
            name: round(
                float(np.mean([r[name] for r in rows if (r["network"], r["backgrounds"]) == (kind, backgrounds)])), 4
            )
            for name in rows[0]
            if "." in name
        }
        for kind in ("planted", "clean")
        for backgrounds in ("independent", "following")
    }
    RESULT.write_text(json.dumps({"found": found, "means": means, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
