"""PerspectiveVision at its published size: LLaVA-1.5-7B with a low-rank adapter, trained on conversations about
policies.

Qu et al. 2025 (script train_llava.sh): rank 128 and alpha 256 on the language model, learning rate 2e-4 for the adapter
and 2e-5 for the projector, cosine with a warm-up of 3 %, one epoch, batches of 8 accumulated twice, no weight decay;
the rest of the network stays as it is. The conversations are those of :mod:`snellen.systems.unsafe_content.examples`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.captioners.llava import LlavaAnswerer
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import LowRank
from snellen.systems.unsafe_content.examples import construct, conversations
from snellen.systems.unsafe_content.policy import Policy

#: Name of the adapter, and of what progress calls its training.
ADAPTER, TASK = "policy", "training the adapter"


class LargeFit(BaseModel):
    """How the adapter is trained; published numbers by default.

    >>> LargeFit().adapter.alpha
    256.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: LowRank = LowRank(
        rank=128,
        alpha=256.0,
        layers=tuple(
            f"*language_model*.{one}"
            for one in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        ),
        dropout=0.05,
    )
    adapter_rate: float = Field(2e-4, gt=0, description="learning rate of the adapter, at its highest")
    projector_rate: float = Field(2e-5, ge=0, description="learning rate of the projector, at its highest; 0: it stays")
    epochs: int = Field(1, ge=1, description="passes over the conversations")
    batch_size: int = Field(8, ge=1, description="conversations in one pass of the network")
    accumulated: int = Field(2, ge=1, description="passes whose gradients make one step")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps in which the rate rises")


@contextmanager
def adapted(model: LlavaAnswerer, adapters: Adapters) -> Iterator[None]:
    """Let the adapter act inside a ``with`` block, in evaluation mode."""
    with adapters.on({ADAPTER: 1.0}):
        yield


def fit_large(
    model: LlavaAnswerer,
    read: Callable[[Sequence[int]], Tensor],
    unsafe: Sequence[bool],
    categories: Sequence[str],
    policy: Policy,
    *,
    fit: LargeFit | None = None,
    rng: Randomness,
    progress: Progress | None = None,
) -> Adapters:
    """Train an adapter on a LLaVA, and its projector.

    The projector is changed in place; the adapter acts inside :func:`adapted` alone, and ``unload`` takes it out.

    Args:
        model: the network; its other weights stay as they are.
        read: positions → prepared images (m, 3, h, w) in [0, 1], so that no more than a batch is in memory.
        unsafe: whether each image is unsafe.
        categories: of each image; safe images have one too.
        policy: all categories.
        fit: numbers.
        rng: of weights and examples.
        progress: callback that receives progress updates.

    Raises:
        InputError: examples that cannot be constructed, or a loss that is not finite.
    """
    fit, listener = fit or LargeFit(), progress or Silent()
    adapters, network = Adapters(model.module), model.module
    adapters.add(ADAPTER, fit.adapter, rng=rng.child("adapter"))
    projector = [one for name, one in network.named_parameters() if "multi_modal_projector" in name]
    groups = [{"params": adapters.parameters(ADAPTER), "lr": fit.adapter_rate}]
    if fit.projector_rate:
        groups.append({"params": projector, "lr": fit.projector_rate})
    first = conversations(construct(unsafe, categories, policy, rng=rng.child("epoch", 0)), policy)
    together = fit.batch_size * fit.accumulated
    steps = fit.epochs * math.ceil(len(first) / together)
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: cosine_rate(at, steps, fit.warmup))
    listener.begin(TASK, steps)
    network.train()
    try:
        with adapters.training(ADAPTER), adapters.on({ADAPTER: 1.0}), torch.enable_grad():
            for one in projector:
                one.requires_grad_(bool(fit.projector_rate))
            for epoch in range(fit.epochs):
                shown = first
                if epoch:
                    shown = conversations(construct(unsafe, categories, policy, rng=rng.child("epoch", epoch)), policy)
                for start in range(0, len(shown), together):
                    step = shown[start : start + together]
                    optimiser.zero_grad()
                    for at in range(0, len(step), fit.batch_size):
                        rows, prompts, answers = zip(*step[at : at + fit.batch_size], strict=True)
                        loss = -model.log_probabilities(read(rows), prompts, answers).sum() / len(step)
                        if not bool(loss.isfinite()):
                            raise InputError("the loss is not finite any more; lower the learning rate")
                        loss.backward()
                    optimiser.step()
                    schedule.step()
                    listener.advance(TASK, 1)
    finally:
        network.eval().requires_grad_(False)
    listener.finish(TASK)
    return adapters


def cosine_rate(step: int, steps: int, warmup: float) -> float:
    """Share of the highest rate: rising over the warm-up, then half a cosine down to 0.

    >>> [round(cosine_rate(one, 10, 0.2), 2) for one in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min((step - rising) / max(steps - rising, 1), 1.0)))
