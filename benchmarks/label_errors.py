"""Suspected labels beside cleanlab: the same probabilities and planted errors, one run.

Two sets: the bundled Fashion-MNIST images with the probabilities of the bundled classifier, which never saw them, and
scikit-learn's digits with those of a logistic regression, cross-validated on the labels as given. Errors are planted in
two classes (a fifth of each gets the other's label) or in all (the next class). Printed for each rule: precision,
recall and F1 of the suspects; for each score: area under the precision-recall curve; then the estimated share of wrong
labels, which cleanlab has no test for. Labels that were wrong before count as right.
Usage: python benchmarks/label_errors.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

import snellen
from snellen.metrics.inspection.error_share import estimated_error_share
from snellen.metrics.inspection.label_errors import Quality, Rule, label_errors, label_quality

#: Our rules that cleanlab has too, by its names.
PEER_RULES: dict[Rule, str] = {
    "confident_joint": "confident_learning",
    "prune_by_class": "prune_by_class",
    "prune_by_noise_rate": "prune_by_noise_rate",
    "both": "both",
}

#: Share of all labels that get the next class, or two classes that exchange a fifth of theirs.
PLANTED: dict[str, dict[str, float | tuple[int, int]]] = {
    "fashion": {"none": 0.0, "0 ↔ 6": (0, 6), "1 ↔ 8": (1, 8), "5 %": 0.05, "10 %": 0.10, "20 %": 0.20},
    "digits": {"none": 0.0, "3 ↔ 9": (3, 9), "5 %": 0.05, "10 %": 0.10, "20 %": 0.20},
}


def planted(truth: NDArray[np.int64], what: float | tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels with errors, (n,)."""
    given = truth.copy()
    if isinstance(what, tuple):
        for label, other in (what, what[::-1]):
            rows = rng.permutation(np.flatnonzero(truth == label))
            given[rows[: len(rows) // 5]] = other
        return given
    rows = rng.permutation(len(truth))[: round(what * len(truth))]
    given[rows] = (truth[rows] + 1) % (truth.max() + 1)
    return given


def fashion() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """True labels and probabilities of the bundled images."""
    classifier, images = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    with torch.no_grad():
        scores = classifier(torch.stack([classifier.prepare(example.image) for example in images]))
    return images.labels.astype(np.int64), scores.double().softmax(1).numpy()


def digit_probabilities(given: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cross-validated probabilities of scikit-learn's digits by logistic regression."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = LogisticRegression(max_iter=300)
    return cross_val_predict(model, load_digits().data / 16, given, cv=folds, method="predict_proba")


def judged(suspected: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    hits = int((suspected & wrong).sum())
    return hits / max(int(suspected.sum()), 1), hits / int(wrong.sum()), 2 * hits / int(suspected.sum() + wrong.sum())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
        from sklearn.datasets import load_digits
        from sklearn.metrics import average_precision_score
    except ImportError as error:
        raise SystemExit("pip install cleanlab scikit-learn: the peer of this benchmark is not installed") from error
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    fashion_labels, fashion_probabilities = fashion()
    truths = {"fashion": fashion_labels, "digits": load_digits().target.astype(np.int64)}
    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = defaultdict(list)
    areas: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    shares: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    spent: list[tuple[float, float]] = []
    for data, truth in truths.items():
        for name, what in PLANTED[data].items():
            for seed in range(options.seeds):
                given = planted(truth, what, np.random.default_rng(seed))
                wrong = given != truth
                probabilities = fashion_probabilities if data == "fashion" else digit_probabilities(given)
                share = estimated_error_share(probabilities, given)
                shares[data, name].append((float(wrong.mean()), share.share, share.lower()))
                if not wrong.any():
                    continue
                for rule in get_args(Rule):
                    started = time.perf_counter()
                    mine = np.isin(np.arange(len(given)), label_errors(probabilities, given, rule=rule).suspects)
                    middle = time.perf_counter()
                    figures = judged(mine, wrong)
                    if rule in PEER_RULES:
                        theirs = find_label_issues(given, probabilities, filter_by=PEER_RULES[rule], n_jobs=1)
                        spent.append((middle - started, time.perf_counter() - middle))
                        figures += judged(theirs, wrong)
                    found[data, name, rule].append(figures)
                for score in get_args(Quality):
                    ours = average_precision_score(wrong, -label_quality(probabilities, given, by=score))
                    peer = average_precision_score(wrong, -get_label_quality_scores(given, probabilities, method=score))
                    areas[data, name, score].append((ours, peer))

    print(f"mean of {options.seeds} seeds           ours: precision recall   F1   cleanlab: precision recall   F1")
    for (data, name, rule), rows in found.items():
        mean = [f"{statistics.fmean(column):.3f}" for column in zip(*rows, strict=True)]
        print(f"{data:8s} {name:7s} {rule:20s} {'  '.join(mean[:3]):>24s} {'  '.join(mean[3:]):>30s}")
    print("\narea under the precision-recall curve          ours  cleanlab")
    for (data, name, score), pairs in areas.items():
        ours, peer = (statistics.fmean(column) for column in zip(*pairs, strict=True))
        print(f"{data:8s} {name:7s} {score:28s} {ours:6.3f}   {peer:6.3f}")
    print("\nshare of wrong labels       true  estimated  lower bound")
    for (data, name), triples in shares.items():
        true, estimate, low = (statistics.fmean(column) for column in zip(*triples, strict=True))
        print(f"{data:8s} {name:7s}          {true:6.3f}     {estimate:6.3f}       {low:6.3f}")
    mine_all, theirs_all = (sum(column) for column in zip(*spent, strict=True))
    print(f"\nwall time of cleanlab's rules over ours: {theirs_all / mine_all:.1f}×")


if __name__ == "__main__":
    main()
