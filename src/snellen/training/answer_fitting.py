"""Training a LLaVA to answer: a low-rank adapter on its language model, and its projector, on images with dialogues.

Liu et al., "Improved Baselines with Visual Instruction Tuning", CVPR 2024, arXiv 2310.03744; the numbers are those of
Qu et al., "UnsafeBench", CCS 2025, script train_llava.sh: rank 128 and alpha 256, learning rate 2e-4 for the adapter
and 2e-5 for the projector, cosine with a warm-up of 3 %, one epoch, batches of 8 accumulated twice, no weight decay;
the rest of the network stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.captioners.llava import LlavaAnswerer
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import LowRank
from snellen.training.plan import cosine

#: Name of the adapter, and of what progress calls its training.
ADAPTER, TASK = "answers", "training the adapter"

#: Position of an image, the question about it, and the answer.
Dialogue = tuple[int, str, str]


class AnswerFit(BaseModel):
    """How the adapter is trained; published numbers by default.

    >>> AnswerFit().adapter.alpha
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
    epochs: int = Field(1, ge=1, description="passes over the dialogues")
    batch_size: int = Field(8, ge=1, description="dialogues in one pass of the network")
    accumulated: int = Field(2, ge=1, description="passes whose gradients make one step")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps in which the rate rises")


def fit_answers(
    model: LlavaAnswerer,
    read: Callable[[Sequence[int]], Tensor],
    dialogues: Callable[[int], Sequence[Dialogue]],
    *,
    fit: AnswerFit | None = None,
    rng: Randomness,
    progress: Progress | None = None,
) -> Adapters:
    """Train an adapter on a LLaVA, and its projector.

    The projector is changed in place; the adapter acts inside ``with adapters.on({ADAPTER: 1.0})`` alone, and
    ``unload`` takes it out. What is trained has single precision meanwhile, also in a network of half precision: next
    to weights of 0.02, steps of 2e-5 are lost in bfloat16.

    Args:
        model: the network; its other weights stay as they are.
        read: positions → prepared images (m, 3, h, w) in [0, 1], so that no more than a batch is in memory.
        dialogues: number of the epoch → its dialogues, in order; as many in each epoch.
        fit: numbers.
        rng: of the adapter's first weights.
        progress: callback that receives progress updates.

    Raises:
        InputError: no dialogues, or a loss that is not finite.
    """
    fit, listener = fit or AnswerFit(), progress or Silent()
    together, shown = fit.batch_size * fit.accumulated, dialogues(0)
    if not shown:
        raise InputError("training to answer needs dialogues; got none")
    adapters, network = Adapters(model.module), model.module
    adapters.add(ADAPTER, fit.adapter, rng=rng.child("adapter"))
    projector = [one for name, one in network.named_parameters() if "multi_modal_projector" in name]
    kind, trained = projector[0].dtype, adapters.parameters(ADAPTER)
    for one in (*trained, *projector):
        one.data = one.data.float()
    groups = [{"params": trained, "lr": fit.adapter_rate}]
    if fit.projector_rate:
        groups.append({"params": projector, "lr": fit.projector_rate})
    steps = fit.epochs * math.ceil(len(shown) / together)
    rising = min(math.ceil(fit.warmup * steps), steps - 1)
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: cosine(at, steps, rising))
    listener.begin(TASK, steps)
    network.train()
    try:
        with adapters.training(ADAPTER), adapters.on({ADAPTER: 1.0}), torch.enable_grad():
            for one in projector:
                one.requires_grad_(bool(fit.projector_rate))
            for epoch in range(fit.epochs):
                shown = dialogues(epoch) if epoch else shown
                for start in range(0, len(shown), together):
                    step = shown[start : start + together]
                    optimiser.zero_grad()
                    for at in range(0, len(step), fit.batch_size):
                        rows, questions, answers = zip(*step[at : at + fit.batch_size], strict=True)
                        with torch.autocast(model.device.type, kind, enabled=kind != torch.float32):
                            loss = -model.log_probabilities(read(rows), questions, answers).sum() / len(step)
                        if not bool(loss.isfinite()):
                            raise InputError("the loss is not finite any more; lower the learning rate")
                        loss.backward()
                    optimiser.step()
                    schedule.step()
                    listener.advance(TASK, 1)
    finally:
        for one in projector:
            one.data = one.data.to(kind)
        network.eval().requires_grad_(False)
    listener.finish(TASK)
    return adapters
