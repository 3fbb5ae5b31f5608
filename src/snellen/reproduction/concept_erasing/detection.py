"""How well prompts with a concept are told from others: the eraser's score, a keyword filter and a linear probe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.metrics.auroc import auroc
from snellen.reproduction.concept_erasing.baselines import keyword_filter, linear_probe, mean_states
from snellen.reproduction.concept_erasing.prompts import EVERYDAY, Concept, Prompt
from snellen.systems.concept_erasing.eraser import ConceptEraser


def detection_figures(
    eraser: ConceptEraser,
    concepts: Sequence[Concept],
    known: Sequence[Sequence[Prompt]],
    synonyms: Sequence[Sequence[Prompt]],
    kept: Sequence[Prompt],
    keep: Sequence[str],
) -> dict[str, float]:
    """Areas under ROC curves and shares of flagged prompts.

    Args:
        eraser: in force.
        concepts: that are erased.
        known: test prompts of each concept in the words that it was calibrated on, in other sentences.
        synonyms: in words that nothing was fitted to.
        kept: test prompts without a concept.
        keep: prompts without one that were fitted to, for the probe.

    Returns:
        ``known.``, ``synonyms.`` and ``unseen.`` (both together): ``auroc`` against kept prompts and ``flagged``;
        ``concept_N.synonyms_auroc``; ``kept.flagged`` and ``everyday.flagged``, the false alarms; and the same areas of
        ``keywords.`` and ``probe.``.
    """
    groups = {
        "known": [prompt.text for part in known for prompt in part],
        "synonyms": [prompt.text for part in synonyms for prompt in part],
    }
    groups["unseen"] = groups["known"] + groups["synonyms"]
    others = [prompt.text for prompt in kept]
    none = eraser.score_prompts(others)
    flagged = eraser.flags(none).double().mean()
    figures = {"kept.flagged": float(flagged), "kept.pass_share": 1 - float(flagged)}
    words = [concept.known for concept in concepts]
    showing = [prompt for concept in eraser.concepts.values() for prompt in concept.prompts]
    probe = linear_probe(_means(eraser, showing), _means(eraser, keep))
    for name, prompts in groups.items():
        scores = eraser.score_prompts(prompts)
        figures |= {
            f"{name}.auroc": area(scores, none),
            f"{name}.flagged": float(eraser.flags(scores).double().mean()),
            f"keywords.{name}.flagged": float(keyword_filter(prompts, words).double().mean()),
            f"keywords.{name}.auroc": area(keyword_filter(prompts, words), keyword_filter(others, words)),
            f"probe.{name}.auroc": area(_means(eraser, prompts) @ probe, _means(eraser, others) @ probe),
        }
    areas = [area(eraser.score_prompts([prompt.text for prompt in part]), none) for part in synonyms]
    figures |= {f"concept_{number}.synonyms_auroc": value for number, value in enumerate(areas, start=1)}
    figures["least.synonyms_auroc"] = min(areas)
    figures["everyday.flagged"] = float(eraser.flags(eraser.score_prompts(EVERYDAY)).double().mean())
    return figures


def area(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve of scores."""
    labels = [1] * len(positive) + [0] * len(negative)
    return auroc(labels, torch.cat([positive, negative]).double().numpy())


def _means(eraser: ConceptEraser, prompts: Sequence[str]) -> Tensor:
    return mean_states(eraser.layer.states(prompts)).double()
