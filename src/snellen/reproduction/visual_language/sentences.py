"""Sentences about regions, judged by what they state of the object that the decision names.

No class is in the prompt: a captioner that continues a sentence would repeat it, and a reader of that sentence would
find the class there again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from snellen.models.captioners.protocol import Captioner
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.visual_language.materials import ATTRIBUTES, Pictures, likeliest, read
from snellen.systems.visual_language.method import on_black, prepared_for

#: How sentences begin.
PROMPT = "a"


def sentence_figures(captioner: Captioner, pictures: Pictures, regions: Mapping[str, Tensor]) -> dict[str, Figure]:
    """Figures of sentences about regions.

    Args:
        captioner: who speaks.
        pictures: with attributes.
        regions: bool (n, h, w), by name.

    Returns:
        ``shape``, ``colour`` and ``true`` (mean over the attributes), shares of true statements of each image, no
        statement counting as untrue; for each region, the ``whole_image``, and ``constant``, one sentence for all
        images.
    """
    shown = {name: on_black(pictures.images, region) for name, region in regions.items()}
    figures: dict[str, Figure] = {}
    for name, images in {**shown, "whole_image": pictures.images}.items():
        sentences = captioner.caption(prepared_for(captioner, images), prompt=PROMPT).texts
        figures |= _true([read(sentence) for sentence in sentences], pictures.truths, name)
    return figures | _true([likeliest(pictures.truths)] * len(pictures.truths), pictures.truths, "constant")


def _true(statements: Sequence[dict[str, str]], truths: Sequence[dict[str, str]], name: str) -> dict[str, Figure]:
    pairs = list(zip(statements, truths, strict=True))
    right = {part: np.array([said.get(part) == truth[part] for said, truth in pairs]) for part in ATTRIBUTES}
    return {
        f"shape.{name}": Sample.of(right["shape"]),
        f"colour.{name}": Sample.of(right["colour"]),
        f"true.{name}": Sample.of(np.mean(list(right.values()), axis=0)),
    }
