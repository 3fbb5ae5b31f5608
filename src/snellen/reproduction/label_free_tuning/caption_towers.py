"""A small text–image model of captioned cut-outs: a vision transformer of 32 pixels into the space of sentences.

There are no free weights of CLIP in a package. So the image side is trained here, on captioned cut-outs that the
collection does not hold: it begins with the layers of ``bundled:scene-clip``, and learns to give the vector of the
caption and of the names that an ImageNet classifier sees, as sentences of MiniLM, whose text side is locked (Zhai et
al., "LiT", CVPR 2022, arXiv 2111.07991). It knows a little of everything; of all captions about one in thirty has the
name of a class in it, mostly flower or fruit.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Classifier, Normalization, hash_tensors
from snellen.core.errors import UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.models.dual_encoders.hugging_face_towers import ClipImageTower
from snellen.models.encoders.sentence_encoder import TextEncoder
from snellen.models.references import load_two_tower
from snellen.models.weights.state_dict_file import WeightsIdentity
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import colour_jitter, in_sequence, random_flips, random_resized_crops

#: Where the image side begins.
BEGINNING = "bundled:scene-clip"

PLAN = TrainingPlan(epochs=60, batch_size=64, learning_rate=2e-3, weight_decay=0.05, warmup_steps=20, clip_norm=1.0)

#: Names that an ImageNet classifier finds likeliest, and the temperature of its scores, that stand for an image.
NAMES, SOFTNESS = 50, 2.0


class CaptionTowers:
    """A :class:`~snellen.models.dual_encoders.towers.TwoTower` of a vision transformer and a locked sentence encoder.

    Args:
        image_tower: normalised images → raw vectors in the sentence space.
        sentences: the locked text side.
        centre: what is taken from each sentence vector, (d,): sentences point in one direction more than in any other.
        preparation: of images.
        normalization: of images.
        scale: what cosines are multiplied by.
    """

    name, context_length, logit_bias, pairwise = "cut-out towers", 256, 0.0, False

    def __init__(
        self,
        image_tower: ClipImageTower,
        sentences: TextEncoder,
        centre: Tensor,
        preparation: Preprocessing,
        normalization: Normalization,
        scale: float = 20.0,
    ) -> None:
        self.image_tower = image_tower.eval().requires_grad_(False)
        self.preparation, self.normalization, self.logit_scale = preparation, normalization, scale
        self.dimension, self.device, self.notes = len(centre), torch.device("cpu"), ()
        self._sentences, self._centre = sentences, centre
        self._identity = WeightsIdentity(self.image_tower)

    def identity(self) -> str:
        """Hash of the image side, of the sentence encoder, and of what is taken from its vectors."""
        return hashlib.sha256(
            f"{self._identity()} {self._sentences.identity()} {hash_tensors({'centre': self._centre})}".encode()
        ).hexdigest()

    def encode_images(self, images: Tensor, *, normalised: bool = True) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] → vectors (n, d)."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in self.normalization)
        vectors: Tensor = self.image_tower((images - mean) / std)
        return F.normalize(vectors, dim=-1) if normalised else vectors

    def encode_patches(self, images: Tensor, *, normalised: bool = True) -> Tensor:
        """There are none."""
        raise UnsupportedError(f"{self.name} has one vector for each image and none for its patches")

    def encode_texts(self, texts: Sequence[str], *, normalised: bool = True, truncate: bool = False) -> Tensor:
        """Texts → vectors (n, d)."""
        vectors = sentence_vectors(self._sentences, texts, self._centre)
        return F.normalize(vectors, dim=-1) if normalised else vectors


def sentence_vectors(sentences: TextEncoder, texts: Sequence[str], centre: Tensor) -> Tensor:
    """Vectors of sentences without the direction that all share: (n, d)."""
    return sentences.encode(list(texts)) - centre


@torch.no_grad()
def named_vectors(scores: Tensor, names: Tensor, *, kept: int = NAMES, softness: float = SOFTNESS) -> Tensor:
    """Images in the space of sentences, by the names that a classifier sees on them.

    Args:
        scores: logits of the classifier, (n, k).
        names: vectors of its class names, centred, (k, d).
        kept: likeliest names that count.
        softness: temperature of the scores.

    Returns:
        (n, d), of length one: names weighted by their probability.

    >>> named_vectors(torch.tensor([[9.0, 0.0]]), torch.eye(2), kept=1)
    tensor([[1., 0.]])
    """
    likeliest = (scores / softness).softmax(1).topk(min(kept, scores.shape[1]), 1)
    return F.normalize((likeliest.values[..., None] * names[likeliest.indices]).sum(1), dim=1)


def fit_caption_towers(
    pixels: Tensor,
    captions: Sequence[str],
    seen: Tensor,
    sentences: TextEncoder,
    centre: Tensor,
    *,
    seed: int,
    plan: TrainingPlan = PLAN,
) -> CaptionTowers:
    """Train the image side on captioned pictures.

    Args:
        pixels: bytes (n, 3, 32, 32).
        captions: of the pictures.
        seen: what an ImageNet classifier sees on them, as :func:`named_vectors` gives it, (n, d).
        sentences: the locked text side.
        centre: see :class:`CaptionTowers`.
        seed: of the new projection, order and views.
        plan: numbers of the training.
    """
    beginning = load_two_tower(BEGINNING)
    tower = copy.deepcopy(beginning.image_tower).requires_grad_(True)
    assert isinstance(tower, ClipImageTower)
    with seeded(seed, torch.device("cpu")):
        tower.projection = nn.Linear(tower.projection.in_features, len(centre), bias=False)
    said = F.normalize(sentence_vectors(sentences, captions, centre), dim=1)
    aims = F.normalize(said + seen, dim=1)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in beginning.normalization)

    def contrast(model: nn.Module, batch: Batch) -> Tensor:
        vectors = F.normalize(model((batch.images - mean) / std), dim=1)
        logits = 10 * vectors @ aims.T
        return F.cross_entropy(logits, batch.positions, reduction="none")

    trained = train(
        tower,
        ImageStore.of_tensors(pixels, torch.zeros(len(pixels), dtype=torch.int64)),
        plan=plan.model_copy(update={"seed": seed}),
        objective=contrast,
        transform=in_sequence(random_resized_crops(0.4), random_flips, colour_jitter(0.3, 0.3, 0.3, 0.05)),
    )
    tower.load_state_dict(dict(trained.weights))
    return CaptionTowers(tower, sentences, centre, beginning.preparation, beginning.normalization)


def imagenet_scores(classifier: Classifier, pixels: Tensor, *, at_once: int = 32) -> Tensor:
    """Logits of a classifier for bytes (n, 3, h, w) of its own size → (n, k)."""
    with torch.no_grad():
        return torch.cat([classifier(part.float() / 255) for part in pixels.split(at_once)])
