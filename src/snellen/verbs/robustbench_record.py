"""The figures of a standard evaluation of robustness, in the form in which leaderboards exchange them.

Croce et al., "RobustBench: a standardized adversarial robustness benchmark", NeurIPS 2021, arXiv 2010.09670: clean and
robust accuracy of one model on one data set under one threat, by the standard ensemble.
"""

from __future__ import annotations

import platform

import torch

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.outcomes import NOT_FINITE, Attacked
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.verbs.attack_batches import NO_LABEL, OF_TARGET, WRONG
from snellen.version import __version__

Value = str | int | float | None


def robustbench_record(
    attacked: Attacked, ensemble: StandardEnsemble, *, model: str, dataset: str, seed: int
) -> dict[str, Value | dict[str, Value]]:
    """What a leaderboard needs to know of one evaluation, as JSON values.

    ``robust_accuracy_after`` holds the share of images that stand after each attack, in order: an attack sees only what
    the earlier ones left, so that a difference is what it added. Images whose search met scores that are not finite are
    counted in ``not_finite`` and count as standing nowhere: neither as right nor as broken.

    Args:
        attacked: what the ensemble found; its labels were the true ones.
        ensemble: with which parameters.
        model: name of the model.
        dataset: name of the images.
        seed: of the randomness that was handed to the attack.

    Returns:
        model, dataset, threat (``Linf`` or ``L2``), epsilon, n, clean_accuracy and robust_accuracy in [0, 1] (None
        without images), robust_accuracy_after, not_finite, seed, queries and gradients an image, parameters, versions.

    Raises:
        InputError: the result of another attack, which does not say which part broke which image.
    """
    if len(attacked.found_by) != len(attacked.images):
        raise InputError(
            f"the result names the finder of {len(attacked.found_by)} of {len(attacked.images)} images; a record is "
            f"made of what StandardEnsemble.attack returned"
        )
    unknown = sum(status == "not finite" for status in attacked.status)
    count = len(attacked.images) - unknown
    standing = sum(finder != "clean" for finder in attacked.found_by) - unknown
    clean, after = _share(standing, count), dict[str, Value]()
    for name in ensemble.stages():
        standing -= sum(finder == name for finder in attacked.found_by)
        after[name] = _share(standing, count)
    return {
        "model": model,
        "dataset": dataset,
        "threat": {"linf": "Linf", "l2": "L2"}[ensemble.norm],
        "epsilon": ensemble.epsilon,
        "n": count,
        "clean_accuracy": clean,
        "robust_accuracy": _share(standing, count),
        "robust_accuracy_after": after,
        "not_finite": unknown,
        "seed": seed,
        "queries_per_image": _share(attacked.spent.queries, len(attacked.images)),
        "gradients_per_image": _share(attacked.spent.gradients, len(attacked.images)),
        "parameters": ensemble.record(),
        "versions": {"snellen": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def as_attacked(evidence: Evidence) -> Attacked:
    """Rows of one setting, without images and scores: who found what, at what cost.

    Images that were wrong from the start were not attacked; they are those that the ensemble calls "clean".
    """
    table = evidence.table
    reasons = table["reason"].to_pylist()
    rows = [row for row, reason in enumerate(reasons) if reason not in (NO_LABEL, OF_TARGET)]
    finders = table["found_by"].to_pylist()
    wrong = [reasons[row] in (WRONG, "already") for row in rows]
    count = len(rows)

    def column(name: str) -> torch.Tensor:
        values = table[name].to_pylist()
        return torch.tensor([values[row] or 0 for row in rows])

    return Attacked(
        images=torch.empty(count, 0),
        success=column("success").bool() | torch.tensor(wrong, dtype=torch.bool),
        distance=column("value"),
        queries=column("queries").long(),
        gradients=column("gradients").long(),
        scores=torch.empty(count, 0),
        status=tuple(
            "already" if no else "not finite" if reasons[row] == NOT_FINITE else _plain(reasons[row])
            for row, no in zip(rows, wrong, strict=True)
        ),
        zero_gradient=column("zero_gradient").bool(),
        found_by=tuple("clean" if no else finders[row] or "" for row, no in zip(rows, wrong, strict=True)),
    )


def _plain(reason: str) -> str:
    return "found" if reason == "found" else "not found"
