"""Optimizers, which parameters weight decay applies to, and an exponential average of weights with a warm-up."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.optim.optimizer import ParamsT

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

    A module with an attribute ``rate_factor`` learns, with all that is inside it, at so many times the plan's rate.

    Raises:
        InputError: the model has nothing to train.
    """
    decayed, kept = split_decayed(model)
    if not decayed and not kept:
        raise InputError(
            f"{type(model).__name__} has no parameter that requires gradients; a classifier freezes the module it is "
            f"given: train the module before wrapping it, or call module.requires_grad_(True)"
        )
    factors = _rate_factors(model)
    # Descent by the sign decays no weight, so it has one group for each rate.
    parts = (
        (((*decayed, *kept), 0.0),)
        if plan.optimizer == "sign"
        else ((tuple(decayed), plan.weight_decay), (tuple(kept), 0.0))
    )
    groups = []
    for factor in dict.fromkeys((1.0, *factors.values())):
        for parameters, weight_decay in parts:
            group = [parameter for parameter in parameters if factors.get(id(parameter), 1.0) == factor]
            if group:
                groups.append({"params": group, "weight_decay": weight_decay, "rate_factor": factor})
    if plan.optimizer == "sign":
        return SignDescent(groups, plan.learning_rate)
    if plan.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, nesterov=True)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(plan.momentum, plan.second_momentum))


def _rate_factors(model: nn.Module) -> dict[int, float]:
    """By identity of the parameter, where a module sets one; the innermost module decides."""
    return {
        id(parameter): float(module.rate_factor)  # type: ignore[arg-type]
        for module in model.modules()
        if hasattr(module, "rate_factor")
        for parameter in module.parameters()
    }


class SignDescent(torch.optim.Optimizer):
    """θ ← θ − η sign(gradient): neither momentum nor weight decay, and no size of the gradient counts.

    >>> weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    >>> weight.grad = torch.tensor([1e-9, -5.0, 0.0])
    >>> SignDescent([weight], 0.25).step()
    >>> weight.tolist()
    [0.75, 1.25, 1.0]

    Args:
        parameters: that are stepped, or groups of them as optimizers of torch take them.
        learning_rate: η, in the units of the parameters.
    """

    def __init__(self, parameters: ParamsT, learning_rate: float) -> None:
        super().__init__(parameters, {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; parameters without a gradient stay."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=group["lr"])


def warmed_decay(decay: float, update: int) -> float:
    """Decay of the ``update``-th update (from 1): min(decay, (1 + t) / (10 + t)), so early weights are soon forgotten.

    >>> [round(warmed_decay(0.999, update), 3) for update in (1, 10, 100, 100_000)]
    [0.182, 0.55, 0.918, 0.999]
    """
    return min(decay, (1 + update) / (10 + update))


@torch.no_grad()
def average_into(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move ``average``, a copy of ``model``, towards it in place: a ← decay · a + (1 − decay) · m.

    Buffers of floating point (the running statistics of BatchNorm) are averaged too; counters are copied. Tied
    parameters move once.
    """
    kept = chain(average.parameters(), average.buffers())
    current = chain(model.parameters(), model.buffers())
    for old, new in zip(kept, current, strict=True):
        if old.is_floating_point():
            old.lerp_(new.to(old.dtype), 1 - decay)
        else:
            old.copy_(new)
