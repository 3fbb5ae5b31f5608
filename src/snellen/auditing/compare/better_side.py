"""Which side of a figure is better, by its name."""

from __future__ import annotations

#: Last parts of names of figures with a better side, more or less; no other figure can be worse.
MORE = (
    "macro_auroc",
    "macro_f1",
    "micro_f1",
    "f1",
    "exact_match",
    "right_decisions",
    "miou",
    "iou",
    "accuracy",
    "balanced_accuracy",
    "worst_accuracy",
    "worst_pair_accuracy",
    "net_benefit",
    "auroc",
    "instance_auroc",
    "coverage",
    "kept_own",
    "kept_other",
    "failure_point",
)
LESS = (
    "ece",
    "ece_with_temperature",
    "adaptive_ece",
    "brier",
    "nll",
    "aurc",
    "attack_auroc",
    "error",
    "clean_error",
    "mce",
    "relative_mce",
    "lost",
    "cost",
)

#: Figures at a threshold: a loss in one is a gain in another.
TRADED = (
    "sensitivity",
    "specificity",
    "positive_predictive_value",
    "negative_predictive_value",
    "positives_found",
    "false_in_negative_bags",
)


def direction(name: str) -> int:
    """1 where more is better, −1 where less is, 0 where neither is.

    >>> direction("corruption.fog.3.accuracy"), direction("calibration.ece"), direction("drift.auroc")
    (1, -1, 0)
    """
    last = name.rpartition(".")[2]
    if name.startswith("drift."):
        return 0  # how plainly two sets differ, which is no merit of the model
    return 1 if last in MORE else -1 if last in LESS else 0
