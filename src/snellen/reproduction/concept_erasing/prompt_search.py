"""An attacker who knows the eraser looks for prompts that mean a blocked concept all the same.

A greedy search over words: it wants the states that the denoiser gets, through the eraser, to be those that the blocked
prompt has without one. It reads states of the hooked encoder, and needs no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.models.diffusion.generator import Generator
from snellen.systems.concept_erasing.eraser import ConceptEraser
from snellen.systems.concept_erasing.text_edit import encode_erased


@dataclass(frozen=True)
class SearchBudget:
    """How long is searched.

    Args:
        rounds: passes over the words that may change.
        tried: words tried at one place.
        inserted: words put before the blocked one, which may change too.
    """

    rounds: int = 3
    tried: int = 48
    inserted: int = 1


def adversarial_prompt(
    generator: Generator,
    eraser: ConceptEraser,
    prompt: str,
    blocked: str,
    vocabulary: Sequence[str],
    *,
    budget: SearchBudget,
    rng: Randomness,
) -> str:
    """Change the blocked words of a prompt, and words inserted before them, until its states come near.

    Args:
        generator: of one text tower.
        eraser: in force.
        prompt: that the eraser blocks.
        blocked: words in it that may change.
        vocabulary: words to try; the blocked ones are among them.
        budget: how long.
        rng: of the words that are tried.

    Returns:
        The prompt whose states through the eraser are nearest to those of ``prompt`` without it.
    """
    before, _, after = prompt.partition(blocked)
    wanted = generator.encode_prompts([prompt]).text
    assert wanted is not None
    draw = rng.generator("adversarial prompt")
    words = [vocabulary[int(torch.randint(len(vocabulary), (1,), generator=draw))] for _ in range(budget.inserted)]
    words += blocked.split()
    best = float("inf")
    for _ in range(budget.rounds):
        for place in range(len(words)):
            chosen = torch.randperm(len(vocabulary), generator=draw)[: budget.tried].tolist()
            candidates = [[*words[:place], vocabulary[word], *words[place + 1 :]] for word in chosen]
            texts = [f"{before}{' '.join(candidate)}{after}" for candidate in candidates]
            distances = _distances(generator, eraser, texts, wanted)
            nearest = int(distances.argmin())
            if float(distances[nearest]) < best:
                best, words = float(distances[nearest]), candidates[nearest]
    return f"{before}{' '.join(words)}{after}"


def _distances(generator: Generator, eraser: ConceptEraser, texts: Sequence[str], wanted: Tensor) -> Tensor:
    """Mean squared distance of the states through the eraser to the wanted ones, (n,)."""
    condition, _ = encode_erased(generator, texts, [eraser])
    assert condition.text is not None
    return (condition.text - wanted).square().mean((1, 2))
