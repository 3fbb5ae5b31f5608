"""A classifier of brightness, images for it, and methods that explain it without looking far."""

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.method import Method
from snellen.core.outcomes import Described, Explained
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.data.loading import prepared_batches

NAMES = ["dark", "light"]
SENTENCE = "the <b>left</b> half"


class Brightness(nn.Module):
    def forward(self, images):
        value = 8 * (images.flatten(1).mean(1) - 0.5)
        scores = torch.stack([-value, value], 1)
        return torch.where(images.flatten(1).mean(1)[:, None] > 0.99, torch.nan, scores)  # white is too much


def brightness(**options):
    preparation = Preprocessing(size=(8, 8), resize="exact", resize_to=(8, 8))
    return Classifier(Brightness(), class_names=NAMES, preparation=preparation, name="brightness", **options)


def grey_images(levels=(20, 60, 127, 200, 250), width=16, height=32):
    """Grey pictures larger than the model takes; those of level 0 are constant for the method below."""
    pixels = np.broadcast_to(np.array(levels, dtype=np.uint8)[:, None, None], (len(levels), height, width)).copy()
    return load_arrays(pixels, [int(level > 127) for level in levels], class_names=NAMES)


class LeftHalf(Method):
    """The left half, whatever the image; black images have no explanation."""

    name = "left_half"
    offset: float = Field(0.0, description="added to a figure")
    requested: ClassVar[list] = []

    def explain(self, classifier, images, targets, *, rng):
        type(self).requested.append(rng.ids)
        count, (height, width) = len(images), images.shape[-2:]
        black = images.flatten(1).amax(1) == 0
        region = torch.zeros(count, height, width, dtype=torch.bool)
        region[:, :, : width // 2] = True
        drop = torch.where(black, torch.nan, images.flatten(1).mean(1))
        return Explained(
            targets=targets,
            status=tuple("no evidence: black" if one else "ok" for one in black.tolist()),
            maps={"evidence": rng.normal("map", (height, width))},
            regions={"left half": region},
            points=torch.where(black[:, None], torch.nan, torch.tensor([[1.0, 5.0]])),
            parts=("left", "right"),
            scores=torch.stack([drop, -drop], 1),
            edits={"left half alone": images * region[:, None]},
            figures={"drop": drop + self.offset},
            controls={"drop": drop / 2},
            text=tuple("" if one else SENTENCE for one in black.tolist()),
            records=tuple({"black": one} for one in black.tolist()),
            assumptions=("nothing was looked at",),
        )


class Layers(Method):
    """Two parts of a model, one of which never does anything."""

    name = "layers"
    described: ClassVar[list] = []

    def describe(self, classifier, images, *, rng, progress=None):
        type(self).described.append(images.name)
        (batch, *_) = prepared_batches(images, classifier.preparation, len(images))
        nothing = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
        return Described(
            parts=("body/1", "body/2"),
            status=("ok", "never active on these images"),
            text=("brightness", ""),
            pictures=(batch.pixels[:2], nothing),
            sources=(tuple(batch.ids[:2]), ()),
            figures={"gain": torch.tensor([0.75, torch.nan])},
            rejected=tuple(batch.rejected),
        )
