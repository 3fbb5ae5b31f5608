"""Treatments beside plain fine-tuning, pooled over the cases in which both were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, mean
from typing import Any

#: Half the width of a normal 95 % interval, in standard errors.
NORMAL = NormalDist().inv_cdf(0.975)


def pooled(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each treatment leaves of a finding less what plain fine-tuning leaves, by kind of finding and code.

    Each case is paired over its images; of several findings of one kind the worst one counts. Cases count alike, and
    the interval is that of the images: of other classifiers it says as much as these cases are like them.
    """
    found: dict[tuple[str, str, int], list[Mapping[str, float]]] = {}
    for case in cases:
        if not case.get("outcomes") or not case.get("delivered") or "plain" not in case:
            continue
        kinds = dict[str, Mapping[str, Any]]()
        for one in case["outcomes"]:
            kinds.setdefault(one["key"].partition(":")[0], one)
        for kind, one in kinds.items():
            beside = case["plain"]["treated_beside_it"].get(one["key"])
            if beside is not None and beside["low"] is not None and beside["high"] is not None:
                found.setdefault((kind, one["treatment"], case.get("code", 1)), []).append(beside)
    rows = []
    for (kind, treatment, code), members in sorted(found.items()):
        error = math.sqrt(sum(((one["high"] - one["low"]) / (2 * NORMAL)) ** 2 for one in members)) / len(members)
        difference = mean(one["difference"] for one in members)
        rows.append(
            {
                "kind": kind,
                "treatment": treatment,
                "code": code,
                "cases": len(members),
                "difference": round(difference, 5),
                "low": round(difference - NORMAL * error, 5),
                "high": round(difference + NORMAL * error, 5),
            }
        )
    return rows
