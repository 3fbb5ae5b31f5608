"""Plain smoothing against its bare network calls and the randomized smoothing of adversarial-robustness-toolbox.

The same network, images, noise level, numbers of samples and error probability, in one run and in turn. Times are of
the processor, since other work may share it; figures are medians of the repeats. The peer also needs six, patsy and
statsmodels.

    python benchmarks/smoothing.py --images 8 --samples 1000 --repeats 5 --out docs/measured/smoothing.json
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import snellen
from snellen.core.classifier import Classifier
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.methods.smoothing.votes import BLOCK, CHUNK

SIGMA, ALPHA, SELECTION, GOAL = 0.1, 0.001, 100, 0.1


def ours(classifier: Classifier, images: Tensor, samples: int, radius: float | None = None) -> tuple[Tensor, float]:
    """Radii of the votes, and samples of the estimation for an image."""
    method = Smoothing(sigma=SIGMA, samples=samples, selection=SELECTION, alpha=ALPHA, radius=radius)
    found = method.certify(classifier, images)
    return found.radius, float(found.samples.double().mean())


def bare(classifier: Classifier, images: Tensor, samples: int) -> None:
    """The network alone, for as many noisy images in the same batches."""
    assert classifier.module is not None
    shown = torch.rand(CHUNK // BLOCK * BLOCK, *images.shape[1:])
    with torch.inference_mode():
        for count in (SELECTION, samples):
            left = count * len(images)
            while left > 0:
                classifier.module(classifier.normalise(shown[: min(left, len(shown))]))
                left -= len(shown)


def peer(classifier: Classifier, images: Tensor, samples: int) -> Tensor:
    """Radii of ART's randomized smoothing, 0 where it abstains."""
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    assert classifier.module is not None
    smoothed = PyTorchRandomizedSmoothing(
        model=classifier.module,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=len(classifier.class_names),
        sample_size=SELECTION,
        scale=SIGMA,
        alpha=ALPHA,
        device_type="cpu",
    )
    labels, radii = smoothed.certify(images.numpy(), n=samples, batch_size=CHUNK)
    return torch.from_numpy(np.where(np.asarray(labels) >= 0, np.asarray(radii, dtype=np.float64), 0.0))


def timed(call: Callable[[], object]) -> float:
    """Seconds of the processor."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    some = snellen.load_images("bundled:fashion-mnist").limit(given.images)
    images = torch.stack([classifier.prepare(some.read(row)) for row in range(len(some))])
    samples = given.samples
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(classifier, images, samples),
        "bare": lambda: bare(classifier, images, samples),
        "early": lambda: ours(classifier, images, samples, GOAL),
        "art": lambda: peer(classifier, images, samples),
    }
    try:
        importlib.metadata.version("adversarial-robustness-toolbox")
    except importlib.metadata.PackageNotFoundError:
        print("adversarial-robustness-toolbox is not installed; measuring without it")
        del calls["art"]
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(given.repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call))
    radii, _ = ours(classifier, images, samples)
    early, used = ours(classifier, images, samples, GOAL)
    figures: dict[str, object] = {
        "images": given.images, "samples": samples, "selection": SELECTION, "alpha": ALPHA, "sigma": SIGMA,
        "threads": given.threads, "python": platform.python_version(), "torch": torch.__version__,
        "over_bare": statistics.median(a / b for a, b in zip(seconds["ours"], seconds["bare"], strict=True)),
        "average_radius": float(radii.mean()),
        "early.radius": GOAL,
        "early.samples_share": used / samples,
        "early.time_over_all": statistics.median(a / b for a, b in zip(seconds["early"], seconds["ours"], strict=True)),
        "early.same_decisions": float(((early >= GOAL) == (radii >= GOAL)).double().mean()),
    }  # fmt: skip
    if "art" in calls:
        theirs = peer(classifier, images, samples)
        figures |= {
            "art": importlib.metadata.version("adversarial-robustness-toolbox"),
            "art.time_over_ours": statistics.median(
                a / b for a, b in zip(seconds["art"], seconds["ours"], strict=True)
            ),
            "art.time_over_early": statistics.median(
                a / b for a, b in zip(seconds["art"], seconds["early"], strict=True)
            ),
            "art.average_radius": float(theirs.mean()),
            "art.largest_difference": float((theirs - radii).abs().max()),
        }
    print(json.dumps(figures, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
