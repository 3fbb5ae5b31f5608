"""Names of the checks for help texts, without the checks: those import torch, and help must not."""

from __future__ import annotations

#: In the order of :data:`snellen.auditing.checks.CHECKS`.
CHECK_NAMES = (
    "clean",
    "discrimination",
    "calibration",
    "selective",
    "group_gap",
    "bags",
    "slices",
    "label_noise",
    "duplicates",
    "leakage",
    "drift",
    "data_quality",
    "explanations",
    "background",
    "attributes",
    "corruption",
    "nuisance",
    "viewpoint",
    "adversarial",
    "certified",
    "masking",
    "multi_label",
    "backdoor",
)
