"""Descriptions of units: the sentences of a beam, weighed by how much likelier the unit makes them than they are.

Hernandez et al., ICLR 2022 (arXiv 2201.11114), equation 3: ``argmax_d log p(d | E) − λ log p(d)``, with λ = 0.2.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.neuron_descriptions.beam_search import Beams, beam_search
from snellen.systems.neuron_descriptions.captioner import CaptionState, Prompt, RegionCaptioner, Regions
from snellen.systems.neuron_descriptions.sentence_model import SentenceModel, sentence_scores
from snellen.systems.neuron_descriptions.vocabulary import Vocabulary

#: rerank: a beam by likelihood, its sentences weighed (published default); likelihood: the winner of that beam;
#: stepwise: a beam in which every word is weighed.
Objective = Literal["rerank", "likelihood", "stepwise"]

#: Units that are decoded together.
_TOGETHER = 64


class Sentence(NamedTuple):
    """The description of one unit.

    Attributes:
        text: the sentence.
        likelihood: log p(d | E), nats.
        prior: log p(d), nats.
        score: what it was chosen by.
    """

    text: str
    likelihood: float
    prior: float
    score: float


@torch.no_grad()
def describe_regions(
    captioner: RegionCaptioner,
    language: SentenceModel,
    vocabulary: Vocabulary,
    regions: Regions,
    *,
    objective: Objective = "rerank",
    weight: float = 0.2,
    width: int = 50,
    length: int = 15,
) -> list[Sentence]:
    """Say what units respond to.

    Args:
        captioner: p(d | E), in evaluation mode.
        language: p(d), in evaluation mode.
        vocabulary: of both.
        regions: of n units.
        objective: how sentences are chosen.
        weight: λ, at least 0. 0 gives the sentence that is likeliest.
        width: of the beam.
        length: most words, stop included.
    """
    if weight < 0 or width < 1 or length < 1:
        raise InputError(f"weight is at least 0, width and length at least 1; got {weight}, {width}, {length}")
    found: list[Sentence] = []
    for first in range(0, len(regions.vectors), _TOGETHER):
        part = regions.of(slice(first, first + _TOGETHER))
        steps = _Steps(captioner, language, part, width, weight if objective == "stepwise" else 0.0)
        beams = beam_search(steps, len(part.vectors), width=width, length=length, vocabulary=vocabulary)
        found += _chosen(captioner, language, vocabulary, part, beams, objective, weight)
    return found


def weighed(likelihoods: Tensor, priors: Tensor, weight: float) -> Tensor:
    """``log p(d | E) − λ log p(d)``; −inf where there is no sentence.

    >>> weighed(torch.tensor([-1.0, -1.5]), torch.tensor([-1.0, -9.0]), 0.2)
    tensor([-0.8000,  0.3000])
    """
    return torch.where(likelihoods == -torch.inf, likelihoods, likelihoods - weight * priors)


def _chosen(
    captioner: RegionCaptioner,
    language: SentenceModel,
    vocabulary: Vocabulary,
    regions: Regions,
    beams: Beams,
    objective: Objective,
    weight: float,
) -> list[Sentence]:
    count, width, _ = beams.tokens.shape
    rows = beams.tokens.flatten(0, 1)
    priors = sentence_scores(language, rows, vocabulary).view(count, width)
    likelihoods = beams.scores
    if objective == "stepwise":  # the beam's sums are weighed already
        likelihoods = torch.where(beams.scores == -torch.inf, beams.scores, beams.scores + weight * priors)
    scores = likelihoods if objective == "likelihood" else weighed(likelihoods, priors, weight)
    best = scores.argmax(1)
    return [
        Sentence(
            vocabulary.sentence(beams.tokens[unit, place, 1:]),
            float(likelihoods[unit, place]),
            float(priors[unit, place]),
            float(scores[unit, place]),
        )
        for unit, place in enumerate(best.tolist())
    ]


class _Steps:
    """Scores of the next word for all beams of some units."""

    def __init__(
        self, captioner: RegionCaptioner, language: SentenceModel, regions: Regions, width: int, weight: float
    ) -> None:
        self.captioner, self.language, self.weight = captioner, language, weight
        prompt = captioner.prompt(regions)
        # All beams of a unit see the same regions: rows of different units never change places.
        self.prompt = Prompt(*(part.repeat_interleave(width, 0) for part in prompt))
        self.state = CaptionState(*(part.repeat_interleave(width, 0) for part in captioner.begin(prompt)))
        self.prior_state: tuple[Tensor, Tensor] | None = None

    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        if parents is not None:
            self.state = CaptionState(*(part[parents] for part in self.state))
            if self.prior_state is not None:
                self.prior_state = (self.prior_state[0][:, parents], self.prior_state[1][:, parents])
        scores, self.state, _ = self.captioner.step(self.prompt, tokens, self.state)
        if not self.weight:
            return scores
        priors, self.prior_state = self.language.step(tokens, self.prior_state)
        return scores - self.weight * priors
