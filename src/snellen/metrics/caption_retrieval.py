"""Captions judged by a text–image model: CLIPScore, with and without references, and images found by captions.

Hessel, Holtzman, Forbes, Le Bras and Choi, "CLIPScore: a reference-free evaluation metric for image captioning", EMNLP
2021. Functions of unit vectors, so that any model of two towers can judge; the one that judges is to be another than
the captioner.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: What a cosine is multiplied by, so that scores fill [0, 1] better (equation 1).
WEIGHT = 2.5

#: Captions that are compared with all images at a time.
_TOGETHER = 512

#: By how much the length of a unit vector may be off: rounding of half precision passes, a raw vector does not.
_OFF = 1e-2


def clip_scores(texts: Tensor, images: Tensor, *, weight: float = WEIGHT) -> Tensor:
    """CLIP-S of each caption for its image: w · max(cos, 0), float (n,).

    >>> clip_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))
    tensor([1.5000])

    Args:
        texts: unit vectors of n captions (n, d).
        images: unit vectors of their images (n, d).
        weight: w.

    Raises:
        InputError: shapes that differ, or vectors that are not of length one.
    """
    _check_pairs(texts, images)
    for what, vectors in (("captions", texts), ("images", images)):
        lengths = vectors.float().norm(dim=1)
        if not bool(((lengths - 1).abs() <= _OFF).all()):
            raise InputError(
                f"vectors of {what} have lengths from {float(lengths.min()):.4g} to {float(lengths.max()):.4g}; "
                f"expected 1: divide each by its length"
            )
    return weight * (texts * images).sum(1).clamp(min=0)


def reference_scores(texts: Tensor, references: Sequence[Tensor]) -> Tensor:
    """RefOnlyCLIP-S: the largest cosine of each caption with a reference of its image, at least 0: float (n,).

    Args:
        texts: unit vectors of n captions (n, d).
        references: unit vectors of the references of each image, n tensors (k, d).

    Raises:
        InputError: another number of images than of captions.
    """
    if len(texts) != len(references):
        raise InputError(f"got {len(texts)} captions, and references of {len(references)} images")
    found = [(reference @ text).amax() for text, reference in zip(texts, references, strict=True)]
    return torch.stack(found).clamp(min=0)


def ref_clip_scores(texts: Tensor, images: Tensor, references: Sequence[Tensor], *, weight: float = WEIGHT) -> Tensor:
    """RefCLIP-S: the harmonic mean of CLIP-S and RefOnlyCLIP-S of each caption, float (n,); 0 where both are 0.

    >>> one = torch.tensor([[1.0, 0.0]])
    >>> ref_clip_scores(one, torch.tensor([[0.4, 0.917]]), [one])
    tensor([1.])
    """
    with_image, with_text = clip_scores(texts, images, weight=weight), reference_scores(texts, references)
    return 2 * with_image * with_text / (with_image + with_text).clamp(min=torch.finfo(texts.dtype).tiny)


def ranks(texts: Tensor, images: Tensor) -> Tensor:
    """Place of each caption's own image among all images by their similarity, 1 the best: int64 (n,).

    Ties are broken to the caption's disadvantage: an image that is as similar stands before the caption's own.

    >>> ranks(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    tensor([2, 2])

    Args:
        texts: vectors of n captions (n, d), one for each image of the whole split.
        images: vectors of the n images (n, d).

    Raises:
        InputError: shapes that differ, or values that are not finite.
    """
    _check_pairs(texts, images)
    found = []
    for start in range(0, len(texts), _TOGETHER):
        similar = texts[start : start + _TOGETHER] @ images.T
        own = similar.diagonal(start)[:, None]
        found.append((similar >= own).sum(1))
    return torch.cat(found)


def retrieval_recall(texts: Tensor, images: Tensor, ks: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """R@k: the share of captions whose own image is among the k most similar ones of the whole split.

    >>> retrieval_recall(torch.eye(3), torch.eye(3), (1,))
    {1: 1.0}
    """
    places = ranks(texts, images)
    return {k: float((places <= k).double().mean()) for k in ks}


def _check_pairs(texts: Tensor, images: Tensor) -> None:
    if texts.shape != images.shape or texts.ndim != 2:
        raise InputError(f"n captions and n images are (n, d) each; got {tuple(texts.shape)}, {tuple(images.shape)}")
    for what, vectors in (("captions", texts), ("images", images)):
        # NaN is as large as nothing, so a caption of NaN would stand first.
        if not bool(vectors.isfinite().all()):
            bad = int((~vectors.isfinite()).any(1).sum())
            raise InputError(f"{bad} of {len(vectors)} vectors of {what} are not finite; leave these out")
