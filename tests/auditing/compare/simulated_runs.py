"""Finished audits made of chosen outcomes: no network, no files."""

import numpy as np
import pyarrow as pa

from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.report import AuditReport, CheckStatus
from snellen.auditing.report import Judged as Counted
from snellen.checks.check import CheckFigure
from snellen.checks.eye_chart import EyeChart, chance_level, column, retained
from snellen.checks.per_image import GROUP, array_column
from snellen.core.evidence import Evidence

NAMES = ("cat", "dog", "owl", "fox")
CHECKS = (
    {"check": "clean", "examples": 5},
    {"check": "calibration", "bins": 15, "resamples": 200},
    {"check": "selective", "risk": 0.05, "resamples": 200},
    {"check": "group_gap", "examples": 5},
    {"check": "duplicates", "mirrored": True},
    {"check": "leakage", "mirrored": True},
    {"check": "data_quality"},
    {"check": "label_noise"},
    {"check": "drift", "permutations": 999},
    {"check": "corruption", "benchmark": "imagenet-c", "severities": [1.0, 3.0], "kinds": [], "strict": False},
    {"check": "adversarial", "steps": 3, "restarts": 1, "threats": [], "declared": []},
)


def figure(value=0.5, low=0.4, high=0.6, n=100):
    return CheckFigure(value=value, low=low, high=high, n=n)


def draw(rng, count, *, error=0.15, units=None, difficulty=None):
    """Decisions of a model (n,), and confidences that know a little of them; hard images are hard for all models."""
    hard = rng.normal(size=count) if difficulty is None else difficulty
    chance = 1 - error
    right = rng.random(count) < np.clip(chance + 0.1 * hard, 0.02, 0.98)
    return right, np.clip(rng.beta(6, 2, size=count) + 0.1 * right, 0.26, 0.999)


def run_of(
    right,
    confidence,
    under,
    *,
    labels=None,
    units=None,
    findings=(),
    fingerprint="same",
    ids=None,
    groups=None,
    extra=None,
    **changes,
):
    """A run from decisions (n,), confidences (n,) and decisions under each setting {(check, setting): (n,)}."""
    n = len(right)
    labels = np.arange(n) % len(NAMES) if labels is None else np.asarray(labels)
    ids = [f"image {row:06d}" for row in range(n)] if ids is None else ids
    units = None if units is None else [f"unit {code}" for code in units]
    predicted = np.where(right, labels, (labels + 1) % len(NAMES))
    scores = np.full((n, len(NAMES)), 0.0)
    scores[np.arange(n), predicted] = np.log(confidence / (1 - confidence) * (len(NAMES) - 1))

    def rows(setting, decided, value, extra=None):
        return Evidence.of(
            ids, setting=setting, model="m", unit_ids=units, label=labels.tolist(),
            prediction=np.where(decided, labels, (labels + 1) % len(NAMES)).tolist(), value=value.tolist(), extra=extra,
        )  # fmt: skip

    evidence = {
        "clean": rows(
            "clean",
            right,
            confidence,
            {
                "scores": array_column(scores),
                **({} if groups is None else {GROUP: pa.array(groups, pa.string())}),
                **(extra or {}),
            },
        )
    }
    for check in ("corruption", "adversarial"):
        evidence[check] = Evidence.merge(
            rows(setting, decided, confidence) for (of, setting), decided in under.items() if of == check
        )
    metrics = dict.fromkeys(
        ("clean.accuracy", "clean.balanced_accuracy", "calibration.ece", "calibration.adaptive_ece",
         "calibration.brier", "calibration.nll", "calibration.temperature", "calibration.ece_with_temperature",
         "selective.aurc", "selective.coverage", "corruption.error",
         *(["group_gap.worst_accuracy"] if groups is not None else ())),
        figure(),
    )  # fmt: skip
    columns = []
    for kind in dict.fromkeys(setting.rpartition(".")[0] for check, setting in under if check == "corruption"):
        metrics[f"corruption.{kind}.error"] = figure()
        metrics |= {f"corruption.{kind}.{severity:g}.accuracy": figure() for severity in (1, 3)}
        chance = chance_level(labels, len(NAMES))
        cells = [retained(right, under["corruption", f"{kind}.{s}"], chance, s) for s in (1, 3)]
        columns.append(column(kind, "corruption", cells))
    metrics |= {f"adversarial.{setting}.accuracy": figure() for check, setting in under if check == "adversarial"}
    report = AuditReport(
        model={"name": "model", "identity": "0", "task": "single"},
        data={"name": "images", "used": n},
        metrics=metrics,
        findings=tuple(findings),
        tested=Counted(hypotheses=9, findings=len(findings), rate=0.05),
        eye_chart=EyeChart(clean_accuracy=float(right.mean()), chance=0.25, columns=tuple(columns)),
        checks=tuple(CheckStatus(name=check["check"], status="done") for check in CHECKS),
    )
    plan = {
        "kind": "audit",
        "model": {"class_names": list(NAMES)},
        "data": {"fingerprint": fingerprint},
        "checks": [dict(check) for check in CHECKS],
        "seed": 0,
        **changes,
    }
    return RunRecord(report, plan, evidence)


def drawn_run(rng, count=300, *, error=0.15, difficulty=None, units=None, **more):
    """A run of a model that errs at random, the more under corruption and attack."""
    right, sure = draw(rng, count, error=error, difficulty=difficulty)
    under = {
        (check, setting): draw(rng, count, error=error + extra, difficulty=difficulty)[0]
        for check, setting, extra in (
            ("corruption", "fog.1", 0.1), ("corruption", "fog.3", 0.3), ("corruption", "snow.1", 0.05),
            ("corruption", "snow.3", 0.2), ("adversarial", "linf.2", 0.4),
        )
    }  # fmt: skip
    return run_of(right, sure, under, units=units, **more)
