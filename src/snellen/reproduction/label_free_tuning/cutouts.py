"""Captioned cut-outs of the folder tree of Tux Paint's stamps: a part with captions to begin with, and a collection.

Groups are folders. The captions of the collection are not read, and its groups only when all is over.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.catalogue.loading import load_known
from snellen.training.batches import ImageStore

#: Names another folder than where the package of the cut-outs installs them.
STAMPS_VARIABLE = "SNELLEN_STAMPS"

#: Name of a group → folders that it is made of, with all below them.
GROUPS: dict[str, tuple[str, ...]] = {
    "bird": ("animals/birds",),
    "mammal": ("animals/mammals", "animals/marsupials"),
    "garment": ("clothes",),
    "fruit": ("food/fruit",),
    "flower": ("plants/flowers",),
    "vehicle": ("vehicles",),
    "household object": ("household",),
    "road sign": ("town/roadsigns",),
}

#: Sentences that describe each group, as a language model would put them.
SENTENCES: dict[str, tuple[str, ...]] = {
    "bird": (
        "A bird with feathers, two wings and a beak.",
        "An animal with a beak and thin legs, such as a parrot, a duck, an owl or a crane.",
        "A small songbird, a chicken or a bird of prey.",
        "A colourful bird with a long tail.",
    ),
    "mammal": (
        "A furry animal with four legs and a tail.",
        "An animal such as a dog, a horse, a bear, a monkey, a cow or a kangaroo.",
        "A wild animal with fur, hooves, horns or paws.",
        "A large mammal that stands on four legs.",
    ),
    "garment": (
        "A piece of clothing, such as a dress, a shirt, trousers or shoes.",
        "Something made of cloth that people wear.",
        "A hat or a cap to wear on the head.",
        "A coat, a skirt, a pair of jeans or a sandal.",
    ),
    "fruit": (
        "A ripe, round fruit with a stem, such as an apple, an orange or a lemon.",
        "A piece of fresh fruit, for example a banana, a strawberry or a pineapple.",
        "A sweet, juicy fruit with skin and seeds.",
        "Grapes, cherries, a fig or a pomegranate.",
    ),
    "flower": (
        "A blossom with coloured petals on a green stem.",
        "A flower such as a daisy, a rose, a tulip or a sunflower.",
        "Petals around a yellow middle, with green leaves.",
        "A garden plant in bloom.",
    ),
    "vehicle": (
        "A vehicle with wheels, such as a car, a truck, a bus or a bicycle.",
        "A machine to travel in: an airplane, a train, a ship or a motorbike.",
        "A sports car or a racing car.",
        "A sailing boat, a tractor or a fire engine.",
    ),
    "household object": (
        "A tool such as a hammer, a saw, a screwdriver or a wrench.",
        "A thing of the household: a cup, a fork, a bottle or a lamp.",
        "An electronic device such as a camera, a telephone or a calculator.",
        "A pen, a pencil, a brush or a pair of scissors.",
    ),
    "road sign": (
        "A traffic sign with a symbol, on a post beside the street.",
        "A yellow or red sign with an arrow or a word, such as stop.",
        "A flat sign of a simple shape, with a thick border.",
        "A warning sign for drivers.",
    ),
}

#: Share of the cut-outs of a group whose captions the image side may learn from.
CAPTIONED = 0.25

#: Sides of the pictures for the text–image model and for the encoder.
SMALL, LARGE = 32, 128


@dataclass(frozen=True, eq=False)
class Cutouts:
    """Cut-outs as bytes, on white.

    Attributes:
        small: (n, 3, 32, 32), for the text–image model.
        large: (n, 3, 128, 128), for the encoder.
        captions: of the pictures; empty for the collection.
        groups: number of the group of each, int64 (n,), −1 for none; only to judge by.
    """

    small: Tensor
    large: Tensor
    captions: tuple[str, ...]
    groups: Tensor

    def __len__(self) -> int:
        return len(self.small)


def load_cutouts(seed: int) -> tuple[Cutouts, Cutouts]:
    """What is captioned, and the collection: of each group a quarter and the rest; other cut-outs are captioned.

    Raises:
        InputError: the cut-outs are not installed; the message has the command.
    """
    images = load_known("stamps", path=os.environ.get(STAMPS_VARIABLE))
    groups = torch.tensor([_group(text) for text in images.column("attributes")])
    captions = images.column("caption")
    draws = Randomness(seed).for_examples(images.ids).uniform("captioned", ())
    captioned = ((groups < 0) | (draws < CAPTIONED)) & torch.tensor([caption is not None for caption in captions])
    told = _pictures(images, captioned.nonzero().flatten(), groups)
    collection = _pictures(images, ((groups >= 0) & ~captioned).nonzero().flatten(), groups, captioned=False)
    return told, collection


def _pictures(images: ImageSet, rows: Tensor, groups: Tensor, *, captioned: bool = True) -> Cutouts:
    chosen = images.select(rows.tolist()).unlabelled()
    small, large = (
        ImageStore.of_images(chosen, Preprocessing(size=(side, side), resize="exact", resize_to=(side, side)))
        for side in (SMALL, LARGE)
    )
    said = dict(zip(chosen.ids, chosen.column("caption"), strict=True)) if captioned else {}
    group_of = dict(zip(chosen.ids, groups[rows].tolist(), strict=True))
    return Cutouts(
        small=small.images,
        large=large.images,
        captions=tuple(str(said[one]) for one in small.ids) if captioned else (),
        groups=torch.tensor([group_of[one] for one in small.ids]),
    )


def _group(attributes: object) -> int:
    path = "/".join(json.loads(str(attributes))["folders"]) + "/"
    found = [
        number for number, folders in enumerate(GROUPS.values()) if any(path.startswith(f"{one}/") for one in folders)
    ]
    return found[0] if found else -1
