"""Snellen's attacks, and FGSM and PGD as a reader of the papers would type them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from problems import Problem
from settings import Settings
from torch import Tensor

from snellen.core.method import Method
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD


def methods(given: Settings) -> dict[str, dict[str, Method]]:
    """Attack → name of the variant → method."""
    ensemble = {
        "epsilon": given.epsilon, "steps": given.auto_steps, "target_classes": given.targets, "queries": given.queries,
    }  # fmt: skip
    standard, patient = StandardEnsemble(**ensemble), StandardEnsemble(**ensemble, patience=given.patience)
    carlini_wagner = {
        "steps": given.cw_steps, "first_weight": given.first_weight, "learning_rate": given.learning_rate,
    }  # fmt: skip
    label = f"snellen, patience {given.patience:g}"
    parts = {
        name: {"snellen": stage, label: patient.stages()[name]}
        for name, stage in standard.stages().items()
        if name != "apgd-ce"
    }
    return {
        "fgsm": {"snellen": FGSM(epsilon=given.epsilon)},
        "pgd": {"snellen": PGD(epsilon=given.epsilon, steps=given.pgd_steps, step_size=given.step_size)},
        "cw-l2": {
            "snellen": CarliniWagnerL2(**carlini_wagner, searches=given.searches, abort_early=False, last_resort=False),
            "snellen, abort early": CarliniWagnerL2(**carlini_wagner, searches=given.searches, last_resort=False),
        },
        "cw-l2-one-weight": {
            "snellen": CarliniWagnerL2(
                steps=given.cw_steps, first_weight=1.0, learning_rate=given.learning_rate, searches=1,
                abort_early=False, last_resort=False,
            ),
        },
        "apgd-ce": {"snellen": APGD(epsilon=given.epsilon, steps=given.auto_steps)},
        **parts,
        "standard": {"snellen": standard, label: patient},
    }  # fmt: skip


def plain_loop(name: str, given: Settings, problem: Problem) -> Tensor | None:
    """FGSM or PGD written out; None for other attacks."""
    model, images, labels = problem.model, problem.images, problem.labels

    def sign(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)[0].sign()

    if name == "fgsm":
        return (images + given.epsilon * sign(images)).clamp(0, 1)
    if name != "pgd":
        return None
    x = (images + torch.empty_like(images).uniform_(-given.epsilon, given.epsilon)).clamp(0, 1)
    for _ in range(given.pgd_steps):
        x = x.detach() + given.step_size * sign(x)
        x = torch.max(torch.min(x, images + given.epsilon), images - given.epsilon).clamp(0, 1)
    return x
