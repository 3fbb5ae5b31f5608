"""Measure how often right labels are accused, and models called in sample, into docs/measured/label-levels.json.

    python scripts/measure_label_levels.py [--draws 100] [--data FOLDER]

Simulated models first: their scores are known, and labels are drawn from them. Then real ones on images that they never
saw: parts of the Fashion-MNIST test set with the bundled classifier (``--data``: the folder of its files), and parts of
scikit-learn's digits with a logistic regression, cross-validated on right labels. Takes about ten minutes on one core;
then ``python scripts/write_tables.py label_errors``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure_label_errors import by_bundled, read
from numpy.typing import NDArray
from scipy.special import expit, softmax

from snellen.metrics.inspection.error_share import TOLERATED, estimated_error_share
from snellen.metrics.inspection.label_judgement import judge_labels

RESULT = Path(__file__).parents[1] / "docs" / "measured" / "label-levels.json"
IMAGES, LEVEL = 1000, 0.05

#: What is drawn: probabilities (n, k), labels (n,), and thumbnails (n, e) of real images.
Drawn = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64] | None]


def drawn(probabilities: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A class for each row, from its probabilities."""
    chosen = (probabilities.cumsum(1) < rng.random((len(probabilities), 1))).sum(1)
    return np.minimum(chosen, probabilities.shape[1] - 1)


def calibrated(factor: float, classes: int = 10) -> Callable[[np.random.Generator], Drawn]:
    """Normal scores, one class of each image favoured; stated scores are ``factor`` times the true ones."""

    def draw(rng: np.random.Generator) -> Drawn:
        scores = rng.normal(0, 1.5, (IMAGES, classes))
        scores[np.arange(IMAGES), rng.integers(0, classes, IMAGES)] += np.exp(rng.normal(np.log(9), 0.6, IMAGES))
        return softmax(factor * scores, axis=1), drawn(softmax(scores, axis=1), rng), None

    return draw


def heavy_tailed(rng: np.random.Generator) -> Drawn:
    """Scores of Student's t with 3 degrees of freedom, stated twice as large."""
    scores = 1.2 * rng.standard_t(3, (IMAGES, 10))
    scores[np.arange(IMAGES), rng.integers(0, 10, IMAGES)] += rng.gamma(2, 3, IMAGES)
    return softmax(2 * scores, axis=1), drawn(softmax(scores, axis=1), rng), None


def slow(rng: np.random.Generator) -> Drawn:
    """Mistakes fall with the 0.7th power of the log odds; three in ten are of any class."""
    probabilities, _, _ = calibrated(1.0)(rng)
    first, others = probabilities.max(1), probabilities.copy()
    odds = np.maximum(np.log(first) - np.log(np.maximum(1 - first, 1e-12)) + np.log(9), 0)
    others[np.arange(IMAGES), probabilities.argmax(1)] = 0
    others = 0.7 * others / others.sum(1, keepdims=True) + 0.3 * (others > 0) / 9
    missed = rng.random(IMAGES) < expit(2 - 6 * (odds / 10) ** 0.7)
    return probabilities, np.where(missed, drawn(others, rng), probabilities.argmax(1)), None


def real(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], thumbnails: NDArray[np.float64]
) -> Callable[[np.random.Generator], Drawn]:
    """A random part of real images."""

    def draw(rng: np.random.Generator) -> Drawn:
        rows = rng.permutation(len(labels))[:IMAGES]
        return probabilities[rows], labels[rows], thumbnails[rows]

    return draw


def digits() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Cross-validated probabilities of scikit-learn's digits, labels, and the images as thumbnails."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    data = load_digits()
    head = LogisticRegression(max_iter=300)
    probabilities = cross_val_predict(head, data.data / 16, data.target, cv=5, method="predict_proba")
    return probabilities, data.target.astype(np.int64), data.data / 16


def spoilt(
    given: NDArray[np.int64], kind: str, others: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Labels of which each is wrong with the tolerated probability."""
    n, classes = others.shape
    wrong = rng.random(n) < (0 if kind == "none" else TOLERATED)
    if kind == "runner-up":
        second = others.copy()
        second[np.arange(n), given] = 0
        return np.where(wrong, drawn(second / second.sum(1, keepdims=True), rng), given)
    return np.where(wrong, (given + rng.integers(1, classes, n)) % classes, given)


def main() -> None:
    """Measure all models and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    pixels, labels = read(options.data, "t10k")
    bundled = by_bundled(pixels)
    models = {
        "calibrated": calibrated(1.0),
        "three times too sure": calibrated(3.0),
        "half as sure as right": calibrated(0.5),
        "100 classes": calibrated(1.0, 100),
        "two classes": calibrated(1.0, 2),
        "heavy-tailed, twice too sure": heavy_tailed,
        "mistakes fall slowly": slow,
        "Fashion-MNIST, bundled classifier": real(bundled.probabilities, labels, bundled.thumbnails),
        "digits, logistic regression": real(*digits()),
    }
    rows = []
    for name, draw in models.items():
        accused = dict.fromkeys(("none", "symmetric", "runner-up"), 0)
        called, tried = 0, 0
        for seed in range(options.draws):
            for kind in accused:
                rng = np.random.default_rng([seed, len(name)])
                probabilities, right, thumbnails = draw(rng)
                given = spoilt(right, kind, probabilities, rng)
                accused[kind] += estimated_error_share(probabilities, given).p_value < LEVEL
                if thumbnails is not None and kind == "none":
                    called, tried = (
                        called + judge_labels(probabilities, given, thumbnails=thumbnails).in_sample,
                        tried + 1,
                    )
        shares = {kind: count / options.draws for kind, count in accused.items()}
        in_sample = f"{called} of {tried}" if tried else "–"
        rows.append({"model": name, "images": IMAGES, "draws": options.draws, **shares, "in_sample": in_sample})
        print(rows[-1], flush=True)
    RESULT.write_text(json.dumps({"level": LEVEL, "rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
