"""Optimizers, and which parameters weight decay applies to."""

from __future__ import annotations

import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.training.plan import TrainingPlan

_NORMALISATION = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def split_decayed(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters with and without weight decay, each once.

    Biases, parameters of normalisation layers and all vectors and scalars (scales, temperatures) are not decayed:
    pulling them to zero does not simplify the function.

    >>> decayed, kept = split_decayed(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    >>> len(decayed), len(kept)
    (1, 3)
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            plain = parameter.ndim >= 2 and not name.endswith("bias") and not isinstance(module, _NORMALISATION)
            (decayed if plain else kept).append(parameter)
    return decayed, kept


def build_optimizer(model: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    """Make the optimizer of a plan.

    Raises:
        InputError: the model has nothing to train.
    """
    decayed, kept = split_decayed(model)
    if not decayed and not kept:
        raise InputError(
            f"{type(model).__name__} has no parameter that requires gradients; a classifier freezes the module it is "
            f"given: train the module before wrapping it, or call module.requires_grad_(True)"
        )
    groups = [
        {"params": parameters, "weight_decay": weight_decay}
        for parameters, weight_decay in ((decayed, plan.weight_decay), (kept, 0.0))
        if parameters
    ]
    if plan.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, nesterov=True)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(plan.momentum, plan.second_momentum))
