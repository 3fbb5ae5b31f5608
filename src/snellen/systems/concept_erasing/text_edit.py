"""Concept erasers in force: while a ``with`` block lasts, or for the prompts of one call. Networks stay as they are.

The hooks always go with the block. Nothing is kept outside it: pipelines at work at the same time, also in several
threads on one network, do not see each other's prompts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generator import Generator
from snellen.models.layers.layer_edits import edited
from snellen.systems.concept_erasing.eraser import ConceptEraser
from snellen.systems.concept_erasing.text_layer import PromptStates


class Verdict(NamedTuple):
    """Scores (towers, n) and which prompts were edited, bool (n,)."""

    scores: Tensor
    flagged: Tensor


@contextmanager
def erasing(eraser: ConceptEraser, network: nn.Module | None = None) -> Iterator[None]:
    """Edit all that a text encoder encodes: for pipelines of other libraries too.

    A negative prompt that is encoded inside is judged like any other. What is cut off a prompt before it reaches the
    encoder is not seen.

    Args:
        eraser: of this encoder, or of one with the same weights.
        network: the text encoder; None is the eraser's own.
    """
    encoder = eraser.layer.network if network is None else network
    now = threading.local()

    def remember(ids: Tensor) -> Tensor:
        now.ids = ids
        return ids

    def change(states: Tensor) -> Tensor:
        read = PromptStates(states, now.ids, real_tokens(now.ids, encoder))
        flagged = eraser.flags(eraser.scores(read))
        return where_flagged(flagged, states, eraser)

    with (
        edited(encoder, "*embeddings", remember, where="input_ids"),
        edited(encoder, eraser.layer.name, change),
    ):
        yield


def encode_erased(
    generator: Generator,
    prompts: Sequence[str],
    erasers: Sequence[ConceptEraser],
    *,
    size: tuple[int, int] | None = None,
) -> tuple[Condition, Verdict]:
    """Encode prompts for a generator with one eraser for each of its text towers.

    Where there are two towers, a prompt that either of them flags is edited in both. "No prompt" and negative prompts
    are not edited: encode them as usual.

    Returns:
        The condition with a row for each prompt, and the verdicts. Rows of prompts that are not flagged are bit for bit
        what ``generator.encode_prompts`` gives for the same different prompts.

    Raises:
        InputError: erasers that are not those of the generator's towers.
    """
    towers = () if generator.text is None else generator.text.towers
    if [eraser.layer.network for eraser in erasers] != [tower.network for tower in towers]:
        raise InputError(
            f"{generator.name} has {len(towers)} text towers, and needs an eraser for each, in their order; got "
            f"{len(erasers)}"
        )
    if not prompts:
        raise InputError("there is no prompt to encode")
    different = list(dict.fromkeys(prompts))
    scores = torch.stack([eraser.score_prompts(different) for eraser in erasers])
    flagged = torch.stack([eraser.flags(own) for eraser, own in zip(erasers, scores, strict=True)]).any(0)
    with ExitStack() as stack:
        for eraser in erasers:
            stack.enter_context(
                edited(
                    eraser.layer.network,
                    eraser.layer.name,
                    lambda states, eraser=eraser: where_flagged(flagged, states, eraser),  # type: ignore[misc]
                )
            )
        condition = generator.encode_prompts(different, size=size)
    place = {prompt: row for row, prompt in enumerate(different)}
    rows = [place[prompt] for prompt in prompts]
    return condition.select(rows), Verdict(scores[:, rows], flagged[rows])


def where_flagged(flagged: Tensor, states: Tensor, eraser: ConceptEraser) -> Tensor:
    """States (n, t, d) with those of flagged prompts replaced, also at padding, which the denoiser reads as well."""
    if not bool(flagged.any()):
        return states
    return torch.where(flagged.to(states.device)[:, None, None], eraser.replacement(states), states)


def real_tokens(ids: Tensor, network: nn.Module) -> Tensor:
    """Which token ids (n, t) stand up to the first end mark, bool (n, t): padding is filled with end marks."""
    end = int(network.config.eos_token_id)  # type: ignore[union-attr, arg-type]
    # Older configurations say 2, and mean the largest id, as transformers itself reads them.
    marks = ids == (ids.amax(1, keepdim=True) if end == 2 else end)
    before = marks.long().cumsum(1) - marks.long()
    return before == 0
