"""Fine-tuning of a captioner with dropped conditions, and training of a language model on captions alone.

Kornblith et al., ICCV 2023 (arXiv 2307.16686), section 3: cross-entropy of the captions; for each example, with
probability ρ, zeros in place of the image's states. The network then says p(x | y) and, given zeros, p(x). The image
encoder stays as it is here, so that states are computed once; the paper does not say that it freezes its own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.language.causal import CausalLanguageModel
from snellen.models.tokens.token_rows import pad
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import Trained, train
from snellen.training.plan import TrainingPlan

#: The share of examples whose image is dropped that the paper reports (section 3.3), of {0, 0.25, 0.5, 0.75}.
DROPPED = 0.5

#: Images that are encoded at a time.
_TOGETHER = 64


def published_plan(examples: int, *, steps: int = 20_000) -> TrainingPlan:
    """The paper's plan for MS-COCO (section 3.3), in whole epochs: Adam, batches of 128, 1e-5 after 1,000 steps, to 0.

    >>> published_plan(118_287).epochs
    22

    Args:
        examples: training images.
        steps: optimizer steps at least; the paper tries 5,000, 10,000, 20,000 and 50,000, and reports 20,000.
    """
    return TrainingPlan(
        epochs=math.ceil(steps / math.ceil(examples / 128)),
        batch_size=128,
        learning_rate=1e-5,
        weight_decay=0.0,
        schedule="linear",
        warmup_steps=1000,
    )


def next_token_losses(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy of the tokens behind the first, in nats: (n, t, v), (n, t), mask (n, t) → (n,).

    >>> next_token_losses(torch.zeros(1, 2, 4), torch.tensor([[0, 3]]), torch.ones(1, 2))
    tensor([1.3863])
    """
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2).float(), tokens[:, 1:], reduction="none")
    counts = mask[:, 1:].to(losses)
    return (losses * counts).sum(1) / counts.sum(1).clamp(min=1)


@dataclass(frozen=True, eq=False)
class CaptionRows:
    """Captions as tokens, several for an image; one is drawn at each step.

    Attributes:
        tokens: int64 (n, k, t).
        mask: 1 where a token is no filler (n, k, t).
    """

    tokens: Tensor
    mask: Tensor

    @classmethod
    def of(cls, model: CrossAttentionCaptioner | CausalLanguageModel, captions: Sequence[Sequence[str]]) -> CaptionRows:
        """Tokenise k captions of each of n images.

        Raises:
            InputError: images with different numbers of captions, or a caption that is longer than the context.
        """
        counts = {len(told) for told in captions}
        if len(counts) != 1 or 0 in counts:
            raise InputError(f"every image takes the same number of captions, at least one; got {sorted(counts)}")
        rows = [row.tolist() for row in model.tokenise([caption for told in captions for caption in told])]
        tokens, mask = pad(rows, filler=model.end_token)
        shape = (len(captions), counts.pop(), -1)
        return cls(tokens.reshape(shape), mask.reshape(shape))

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Tokens (m, t) and mask of one caption for each example of a batch, where its images are."""
        chosen = batch.rng.integers("caption", (1,), 0, self.tokens.shape[1])[:, 0]
        tokens, mask = self.tokens[batch.positions, chosen], self.mask[batch.positions, chosen]
        return tokens.to(batch.images.device), mask.to(batch.images.device)


class DroppedConditions:
    """The objective: cross-entropy of captions, with the null condition in place of some images' states.

    Args:
        rows: captions of all examples.
        null: the null condition of one image (s, w), which is also what decoding uses.
        dropped: ρ, in [0, 1].
    """

    def __init__(self, rows: CaptionRows, null: Tensor, dropped: float) -> None:
        if not 0 <= dropped <= 1:
            raise InputError(f"the share of dropped conditions lies in [0, 1], got {dropped}")
        self.rows, self.null, self.dropped = rows, null, dropped

    def states(self, batch: Batch) -> Tensor:
        """States of a batch (m, s, w), each example's kept or dropped by a draw of its own."""
        drop = batch.rng.uniform("dropped", (1, 1), like=batch.images) < self.dropped
        return torch.where(drop, self.null.to(batch.images), batch.images)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (m,)."""
        tokens, mask = self.rows.draw(batch)
        return next_token_losses(model(self.states(batch), tokens), tokens, mask)


class _Telling(nn.Module):
    """A captioner's decoder as one call: states and tokens → logits."""

    def __init__(self, captioner: CrossAttentionCaptioner) -> None:
        super().__init__()
        self.captioner = captioner
        self.network = captioner.module

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        return self.captioner.sequence_logits(tokens, states)


@torch.no_grad()
def encoded(captioner: CrossAttentionCaptioner, images: Tensor) -> Tensor:
    """States of prepared images (n, 3, h, w) in [0, 1]: (n, s, w)."""
    return torch.cat([captioner.encode(part) for part in images.split(_TOGETHER)])


def tune_captioner(
    captioner: CrossAttentionCaptioner,
    states: Tensor,
    captions: Sequence[Sequence[str]],
    *,
    plan: TrainingPlan,
    dropped: float = DROPPED,
    progress: Progress | None = None,
) -> tuple[CrossAttentionCaptioner, Trained]:
    """Fine-tune a copy of a captioner; the given one stays as it is.

    :func:`snellen.models.captioners.hugging_face_captioners.write_captioner` makes a folder of the result as any other.

    Args:
        captioner: to start from.
        states: of the training images, see :func:`encoded`, (n, s, w).
        captions: k of each image.
        plan: of the training; :func:`published_plan` is the paper's.
        dropped: ρ; 0 trains on images alone, and leaves the unconditional side a guess. progress: callback that
            receives progress updates.

    Raises:
        InputError: other numbers of states than of captions, or a share outside of [0, 1].
    """
    if len(states) != len(captions):
        raise InputError(f"got states of {len(states)} images, and captions of {len(captions)}")
    tuned = copy.deepcopy(captioner)
    model = _Telling(tuned)
    model.requires_grad_(True)
    objective = DroppedConditions(CaptionRows.of(tuned, captions), tuned.null_condition(1)[0].cpu(), dropped)
    examples = ImageStore.of_tensors(states.cpu(), torch.zeros(len(states)), split="train")
    trained = train(
        model, examples, plan=plan, objective=objective, recipe={"dropped conditions": dropped}, progress=progress
    )
    model.load_state_dict(dict(trained.weights))
    tuned.module.eval().requires_grad_(False)
    return tuned, trained


class _NextTokens(nn.Module):
    """A causal network as one call on tokens."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids=tokens, use_cache=False).logits
        return logits


def train_language_model(
    network: nn.Module, rows: CaptionRows, *, plan: TrainingPlan, progress: Progress | None = None
) -> Trained:
    """Train a causal network of the transformers library on captions alone, in place.

    Args:
        network: an ``AutoModelForCausalLM``.
        rows: captions as tokens. plan: of the training. progress: callback that receives progress updates.
    """
    model = _NextTokens(network)

    def objective(module: nn.Module, batch: Batch) -> Tensor:
        tokens, mask = rows.draw(batch)
        return next_token_losses(module(tokens), tokens, mask)

    examples = ImageStore.of_tensors(torch.zeros(len(rows.tokens), 1), torch.zeros(len(rows.tokens)), split="train")
    trained = train(model, examples, plan=plan, objective=objective, progress=progress)
    model.load_state_dict(dict(trained.weights))
    return trained
