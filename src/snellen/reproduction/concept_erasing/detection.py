"""How well prompts with a concept are separated from others: the eraser's score, a keyword filter and a linear
probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from snellen.reproduction.concept_erasing.baselines import keyword_filter, linear_probe, mean_states
from snellen.reproduction.concept_erasing.prompts import EVERYDAY, Concept, Prompt
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.concept_erasing.eraser import ConceptEraser

#: Share of the target prompts that may score below the threshold that is not the paper's.
LOW = 0.05


def detection_figures(
    eraser: ConceptEraser,
    concepts: Sequence[Concept],
    known: Sequence[Sequence[Prompt]],
    synonyms: Sequence[Sequence[Prompt]],
    kept: Sequence[Prompt],
    keep: Sequence[str],
) -> dict[str, Figure]:
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
        ``concept_N.synonyms_auroc``; ``kept.flagged`` and ``everyday.flagged``, the false alarms; ``quantile.…``, the
        flagged shares of all these at a threshold that the 5 % quantile of the target scores sets; and the same areas
        of ``keywords.`` and ``probe.``. Areas and shares have a value for each prompt.
    """
    groups = {
        "known": [prompt.text for part in known for prompt in part],
        "synonyms": [prompt.text for part in synonyms for prompt in part],
    }
    groups["unseen"] = groups["known"] + groups["synonyms"]
    others = [prompt.text for prompt in kept]
    none, everyday = eraser.score_prompts(others), eraser.score_prompts(EVERYDAY)
    flagged = share(eraser.flags(none))
    figures: dict[str, Figure] = {"kept.flagged": flagged, "kept.pass_share": 1 - flagged.mean}
    words = [concept.known for concept in concepts]
    showing = [prompt for concept in eraser.concepts.values() for prompt in concept.prompts]
    probe = linear_probe(_means(eraser, showing), _means(eraser, keep))
    lower = replace(eraser, threshold=eraser.margin * float(eraser.score_prompts(showing).quantile(LOW)))
    for name, prompts in groups.items():
        scores = eraser.score_prompts(prompts)
        figures |= {
            f"{name}.auroc": area(scores, none),
            f"{name}.flagged": share(eraser.flags(scores)),
            f"quantile.{name}.flagged": share(lower.flags(scores)),
            f"keywords.{name}.flagged": share(keyword_filter(prompts, words)),
            f"keywords.{name}.auroc": area(keyword_filter(prompts, words), keyword_filter(others, words)),
            f"probe.{name}.auroc": area(_means(eraser, prompts) @ probe, _means(eraser, others) @ probe),
        }
    areas = [area(eraser.score_prompts([prompt.text for prompt in part]), none) for part in synonyms]
    figures |= {f"concept_{number}.synonyms_auroc": value for number, value in enumerate(areas, start=1)}
    figures["least.synonyms_auroc"] = min(one.mean for one in areas)
    figures["everyday.flagged"] = share(eraser.flags(everyday))
    figures |= {"quantile.kept.flagged": share(lower.flags(none))}
    figures |= {"quantile.everyday.flagged": share(lower.flags(everyday))}
    return figures


def area(positive: Tensor, negative: Tensor) -> Sample:
    """Area under the ROC curve: of each positive score the share of the negative ones below it, ties counted half.

    >>> area(torch.tensor([2.0, 1.0]), torch.tensor([0.0, 1.0])).values
    (1.0, 0.75)
    """
    ours, theirs = positive.double()[:, None], negative.double()
    return Sample.of((torch.gt(ours, theirs).double() + torch.eq(ours, theirs).double() / 2).mean(1).tolist())


def share(flags: Tensor) -> Sample:
    """Which prompts are flagged."""
    return Sample.of(flags.double().tolist())


def _means(eraser: ConceptEraser, prompts: Sequence[str]) -> Tensor:
    return mean_states(eraser.layer.states(prompts)).double()
