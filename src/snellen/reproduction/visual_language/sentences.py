"""Sentences about regions, with the right class, a wrong one and none in the prompt; judged by attributes and BLEU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.metrics.caption_measures import bleu
from snellen.models.captioners.protocol import Captioner
from snellen.reproduction.visual_language.materials import ATTRIBUTES, Pictures, likeliest, read
from snellen.systems.visual_language.method import on_black, prepared_for

#: How sentences begin, without and with a class.
GENERIC, TELLING = "a", "a {}"


def sentence_figures(
    captioner: Captioner, pictures: Pictures, regions: Tensor, names: Sequence[str], rng: Randomness
) -> dict[str, float]:
    """Figures of sentences about regions.

    Args:
        captioner: who speaks.
        pictures: with attributes and references.
        regions: bool (n, h, w).
        names: of the classes.
        rng: of the wrong classes.

    Returns:
        ``shape``, ``colour`` and ``true`` (mean over the attributes), shares of true statements, nothing said counting
        as untrue; ``bleu``; each for ``generic``, ``right`` and ``wrong`` prompts, and some for ``whole_image`` and
        ``constant``; ``names_wrong``, how often the wrong class is named.
    """
    count = len(pictures.targets)
    right = [names[target] for target in pictures.targets.tolist()]
    steps = torch.randint(1, len(names), (count,), generator=rng.generator("wrong classes")).tolist()
    wrong = [names[(target + step) % len(names)] for target, step in zip(pictures.targets.tolist(), steps, strict=True)]
    shown = prepared_for(captioner, on_black(pictures.images, regions))
    spoken = {
        "generic": list(captioner.caption(shown, prompt=GENERIC).texts),
        "whole_image": list(captioner.caption(prepared_for(captioner, pictures.images), prompt=GENERIC).texts),
    }
    for name, told in (("right", right), ("wrong", wrong)):
        spoken[name] = [
            captioner.caption(shown[row : row + 1], prompt=TELLING.format(word)).texts[0]
            for row, word in enumerate(told)
        ]
    figures: dict[str, float] = {}
    for name, sentences in spoken.items():
        statements = [read(sentence) for sentence in sentences]
        figures |= _true(statements, pictures.truths, name)
        figures[f"bleu.{name}"] = bleu(
            [_words(one) for one in sentences], [list(map(_words, r)) for r in pictures.references]
        )
    figures |= _true([likeliest(pictures.truths)] * count, pictures.truths, "constant")
    for name, sentences in (("told", spoken["wrong"]), ("not_told", spoken["generic"])):
        named = [read(one).get("shape") == word for one, word in zip(sentences, wrong, strict=True)]
        figures[f"names_wrong.{name}"] = float(np.mean(named))
    return figures


def _true(statements: Sequence[dict[str, str]], truths: Sequence[dict[str, str]], name: str) -> dict[str, float]:
    pairs = list(zip(statements, truths, strict=True))
    shares = {part: float(np.mean([said.get(part) == truth[part] for said, truth in pairs])) for part in ATTRIBUTES}
    return {
        f"shape.{name}": shares["shape"],
        f"colour.{name}": shares["colour"],
        f"true.{name}": float(np.mean(list(shares.values()))),
    }


def _words(sentence: str) -> str:
    """The captioner's tokens come with spaces before commas and around hyphens."""
    return sentence.replace(" , ", ", ").replace(" - ", "-")
