"""Scores of concepts for a set of images, made once and kept under everything that could change them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.run import canonical_json
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.encoders.feature_store import FrozenFeatures, contents_hash, frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.systems.concept_bottleneck.concept_scores import (
    ConceptScores,
    Pooling,
    Scoring,
    answer_shares,
    concept_vectors,
)


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Cosines of the usable images of a set with the phrases of several lists.

    Attributes:
        cosines: of each list, by its name, float32 (n, N).
        positions: of the usable images in the set, int64 (n,).
        rejected: id → reason, of the images that are not there.
    """

    cosines: Mapping[str, Tensor]
    positions: NDArray[np.int64]
    rejected: Mapping[str, str]

    def scores(self, name: str, scoring: Scoring, questions: Sequence[str], scale: float) -> Tensor:
        """Scores (n, N) of a list: the cosines, or what they say as answers to questions."""
        found = self.cosines[name]
        return answer_shares(found, questions, scale) if scoring == "answer" else found


def concept_encoder(
    tower: TwoTower, phrases: Sequence[str], *, templates: Sequence[str] = ("{}",), pooling: Pooling = "global"
) -> FrozenEncoder:
    """A frozen encoder whose vectors are the cosines with phrases (n, N).

    Its identity is that of both towers, of the phrases in order, and of all that cosines depend on.

    Raises:
        InputError: a phrase without a vector of its own.
        UnsupportedError: pooling over patches by a tower that has none.
    """
    said = {"tower": tower.identity(), "phrases": list(phrases), "templates": list(templates)}
    vectors = concept_vectors(tower, phrases, templates)
    return FrozenEncoder(
        name=f"{tower.name}, {len(phrases)} phrases",
        network=ConceptScores(tower.image_tower, vectors, pooling=pooling),
        preparation=tower.preparation,
        normalization=tower.normalization,
        layer=f"cosines, {pooling}",
        configuration=hashlib.sha256(canonical_json(said)).hexdigest(),
        device=tower.device,
    )


def score_images(
    images: ImageSet,
    tower: TwoTower,
    lists: Mapping[str, Sequence[str]],
    *,
    templates: Sequence[str] = ("{}",),
    pooling: Pooling = "global",
    folder: Path | None = None,
    progress: Progress | None = None,
) -> ScoredImages:
    """Score every usable image of a set by several lists of phrases, in one pass of the image tower.

    Labels are never read.

    Args:
        images: the set.
        tower: frozen.
        lists: phrases by the name of their list; a phrase may stand in several.
        templates: sentences with ``{}`` that phrases are put into.
        pooling: over patches, or global.
        folder: in which scores are kept, under a name made of the images' contents, the tower and the phrases; what is
            there already is read, and no image is encoded again. None keeps nothing.
        progress: callback that receives progress updates.

    Raises:
        InputError: no usable image, no phrases, or a phrase that cannot be encoded.
        UnsupportedError: pooling over patches by a tower that has none.
    """
    all_phrases = tuple(dict.fromkeys(phrase for of in lists.values() for phrase in of))
    if not all_phrases:
        raise InputError("there are no concepts to score images by")
    encoder = concept_encoder(tower, all_phrases, templates=templates, pooling=pooling)
    found = _kept(images, encoder, folder, progress)
    place = {phrase: column for column, phrase in enumerate(all_phrases)}
    return ScoredImages(
        cosines={name: found.features[:, torch.tensor([place[one] for one in of])] for name, of in lists.items()},
        positions=found.positions,
        rejected=found.rejected,
    )


def image_vectors(
    images: ImageSet, tower: TwoTower, *, folder: Path | None = None, progress: Progress | None = None
) -> FrozenFeatures:
    """Vectors of the tower's image side for every usable image; arguments and errors as :func:`score_images`."""
    encoder = FrozenEncoder(
        name=tower.name,
        network=tower.image_tower,
        preparation=tower.preparation,
        normalization=tower.normalization,
        layer="image vector",
        configuration=tower.identity(),
        device=tower.device,
    )
    return _kept(images, encoder, folder, progress)


def _kept(images: ImageSet, encoder: FrozenEncoder, folder: Path | None, progress: Progress | None) -> FrozenFeatures:
    """Features in a folder below ``folder`` that is named after the images' contents and the encoder."""
    own = None
    if folder is not None:
        own = folder / f"{contents_hash(images, progress)[:20]}-{encoder.identity[:20]}"
    return frozen_features(images, encoder, folder=own, progress=progress)
