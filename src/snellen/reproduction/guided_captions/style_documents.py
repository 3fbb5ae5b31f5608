"""Documents for a language model that is to be prompted: captions of one style, one after the other.

Which style a document has shows in its first captions alone, so a model of such documents continues a prompt in the
prompt's style.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.tokens.token_rows import pad
from snellen.systems.guided_captions.caption_tuning import CaptionRows

#: Captions of a document.
TOGETHER = 4


def style_documents(
    captioner: CrossAttentionCaptioner,
    styles: Sequence[Sequence[Sequence[str]]],
    *,
    seed: int,
    together: int = TOGETHER,
) -> CaptionRows:
    """Documents of every style, each caption of another scene; parted as prompts are, by the end mark.

    Args:
        captioner: whose tokens they have.
        styles: for each style the captions of each scene.
        seed: of the order of the scenes.
        together: captions of a document, or as many as a style has scenes.

    Returns:
        One row for each document.
    """
    rows: list[list[int]] = []
    for number, style in enumerate(styles):
        order = np.random.default_rng([seed, number]).permutation(len(style)).tolist()
        count = min(together, len(order))
        for start in range(0, len(order) - count + 1, count):
            told = [style[row][place % len(style[row])] for place, row in enumerate(order[start : start + count])]
            pieces = [row.tolist() for row in captioner.tokenise(told)]
            rows.append([pieces[0][0], *(token for one in pieces for token in one[1:])])
    tokens, mask = pad(rows, filler=captioner.end_token)
    return CaptionRows(tokens[:, None], mask[:, None])
