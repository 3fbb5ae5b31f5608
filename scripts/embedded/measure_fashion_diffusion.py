"""Measure the embedded class-conditional diffusion on Fashion-MNIST, by what others recognise.

    python scripts/embedded/measure_fashion_diffusion.py [--count 300]

Both classifiers were trained apart from the generator and guided nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from measured import share_by, write

from snellen.core.package import asset
from snellen.core.preprocessing import to_unit
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.metrics.generated_images import coverage, density, frechet_distance
from snellen.models.classifiers.artifact_models import load_artifact
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler

sys.path.insert(0, str(Path(__file__).parents[1]))
from build_fashion_sample import SOURCE
from train_fashion_cnn import read_split

SCALES = (1.0, 2.0, 3.0, 5.0)
STEPS = 25
JUDGES = ("bundled:fashion-judge", "bundled:fashion-cnn")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="images at each guidance scale, as many of each class")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    judges = {name: load_classifier(name) for name in JUDGES}
    network = load_artifact(asset("fashion-judge"), name="fashion-judge").network.eval()
    sampler = Sampler(load_generator("bundled:fashion-diffusion"), solver="ddim", steps=STEPS)
    classes = [row % len(FASHION_CLASSES) for row in range(given.count)]
    requested = [FASHION_CLASSES[number] for number in classes]
    test = read_split(SOURCE, "t10k", "test")
    # As many of each class as are generated, and as many others to compare them with.
    rows = [(test.targets == number).nonzero().flatten() for number in range(len(FASHION_CLASSES))]
    each = given.count // len(FASHION_CLASSES)
    real, other = (
        to_unit(test.images[torch.cat([row[part * each : (part + 1) * each] for row in rows])]) for part in (0, 1)
    )

    def seen(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return network.features(images)

    def compared(images: torch.Tensor) -> dict[str, float]:
        first, second = seen(real), seen(images)
        return {
            "coverage": round(coverage(first, second), 4),
            "density": round(density(first, second), 4),
            "frechet": round(frechet_distance(first, second), 3),
        }

    labels = [FASHION_CLASSES[number] for number in range(len(FASHION_CLASSES)) for _ in range(each)]
    found: dict[str, Any] = {
        "steps": STEPS,
        "real": {name: recognised(judge, real, labels) for name, judge in judges.items()},
        "real against real": compared(other),
        "scales": {},
    }
    for scale in SCALES:
        images = generate(sampler, range(given.count), classes=classes, guidance_scale=scale, batch_size=50).images
        figures = {name: recognised(judge, images, requested) for name, judge in judges.items()}
        found["scales"][f"{scale:g}"] = {**figures, **compared(images)}
        print(scale, found["scales"][f"{scale:g}"], flush=True)
    best = max(found["scales"], key=lambda scale: found["scales"][scale][JUDGES[0]]["share"])
    headline = {f"recognised.{name}": found["scales"][best][name]["share"] for name in JUDGES}
    write("fashion-diffusion", "fashion-diffusion", found, {"guidance_scale": float(best), **headline})


def recognised(judge: Any, images: torch.Tensor, requested: list[str]) -> dict[str, Any]:  # noqa: ANN401 - a Classifier
    """How often a classifier gives the class that was asked for."""
    with torch.inference_mode():
        answers = torch.cat([judge(part) for part in images.split(256)]).argmax(1).tolist()
    return share_by(
        [FASHION_CLASSES[number] == name for number, name in zip(answers, requested, strict=True)], requested
    )


if __name__ == "__main__":
    main()
