"""Fine-tuning for objects and cameras that stand elsewhere, and for weather: with the change that was found.

Engstrom, Tran, Tsipras, Schmidt and Madry, "Exploring the landscape of spatial robustness", ICML 2019, arXiv
1712.02779: random translations and rotations in training. Where masks are known, the object alone is moved, turned or
resized before its own background, as the check does it; else the whole image is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.operators import SEVERITIES
from snellen.methods.explanations.background_swap import shows_object, without_object
from snellen.methods.treatments.background_swaps import training_masks
from snellen.methods.treatments.corruption_tuning import damage_at_severities
from snellen.methods.treatments.steady_changes import OFTEN, steady_changes
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.fine_tuning import Term
from snellen.training.transforms import BatchTransform, in_sequence, random_flips, random_perspectives

#: Smallest and largest share of the image that a resized object covers; factors of images whose object is unknown.
SHARES, FACTORS = (0.03, 0.6), (0.4, 1.25)

#: Farthest that a whole image is moved, as a share of its side: of places, and in pixels: of sub-pixel positions.
FARTHEST, SUB_PIXEL = 0.3, 1.0

#: Words of nuisances → kinds of corruption that look like them.
NUISANCES = {
    "fog": "fog",
    "haze": "fog",
    "snow": "snow",
    "frost": "frost",
    "rain": "spatter",
    "blur": "defocus_blur",
    "noise": "gaussian_noise",
    "contrast": "contrast",
    "brightness": "brightness",
}


class ObjectTuning(FineTuning):
    """Train on with objects of other sizes, at other places, and turned: whichever was found.

    >>> ObjectTuning().treats
    ('attribute',)
    """

    name: ClassVar[str] = "object_tuning"
    treats: ClassVar[tuple[str, ...]] = ("attribute",)

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Attributes that are none of size, place and direction."""
        subjects = patient.subjects("attribute")
        if subjects and not set(subjects) & set(_ATTRIBUTES):
            return f"changes {', '.join(_ATTRIBUTES)} of objects, and not {', '.join(subjects)}"
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Transforms for each attribute, then mirroring and moving where that changes no class."""
        masks, steady = training_masks(patient), steady_changes(patient)
        subjects = set(patient.subjects("attribute"))
        changes = [_of_objects(patient, masks, one) for one in _ATTRIBUTES if one in subjects]
        if steady is not None:  # after the object, whose mask says where it is
            changes = [in_sequence(one, steady) for one in changes]
        return Term(transforms=tuple(changes) * OFTEN)


class ViewTuning(FineTuning):
    """Train on with images in perspective and mirrored, or moved by parts of a pixel: as if the camera stood elsewhere.

    A picture in perspective shows no other side of its object. Where the camera sees one, the treatment is limited,
    and images from there are needed. For positions between pixels see Azulay and Weiss, "Why do deep convolutional
    networks generalize so poorly to small image transformations?", JMLR 2019, arXiv 1805.12177.

    >>> ViewTuning().distortion
    0.5
    """

    name: ClassVar[str] = "view_tuning"
    treats: ClassVar[tuple[str, ...]] = ("viewpoint", "aliasing")

    distortion: float = Field(
        0.5, gt=0, lt=1, description="how far corners of an image move inwards, as a share of half its side"
    )

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """A transform for each of the two kinds."""
        kinds = {finding.kind for finding in patient.findings}
        found: Mapping[str, BatchTransform] = {
            "viewpoint": in_sequence(random_flips, random_perspectives(self.distortion, share=1.0)),
            "aliasing": whole_images(lambda drawn, size: Move(shift=(2 * drawn[:, :2] - 1) * SUB_PIXEL)),
        }
        return Term(transforms=tuple(transform for kind, transform in found.items() if kind in kinds))


class NuisanceTuning(FineTuning):
    """Train on with images under the kind of corruption that looks like the nuisance: fog, snow, rain, blur, noise.

    A nuisance comes in every strength, so all severities of an audit take part. An image stays as it is as often as it
    is damaged by one of the nuisances, since a corruption only resembles one.
    """

    name: ClassVar[str] = "nuisance_tuning"
    treats: ClassVar[tuple[str, ...]] = ("nuisance",)

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Nuisances that no corruption looks like."""
        subjects = patient.subjects("nuisance")
        if subjects and not any(corruption_like(one) for one in subjects):
            return f"knows {', '.join(NUISANCES)}, and no corruption that looks like {', '.join(subjects)}"
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """A transform for each nuisance that is known."""
        kinds = dict.fromkeys(map(corruption_like, patient.subjects("nuisance")))
        published = benchmark("imagenet-c")
        return Term(transforms=tuple(damage_at_severities(published, (kind,), SEVERITIES) for kind in kinds if kind))


def corruption_like(nuisance: str) -> str | None:
    """The kind of corruption that looks like a nuisance; None where there is none.

    >>> corruption_like("dense fog"), corruption_like("cartoon")
    ('fog', None)
    """
    return next((NUISANCES[word] for word in nuisance.lower().replace("_", " ").split() if word in NUISANCES), None)


@dataclass(frozen=True, eq=False)
class Move:
    """How n images are moved: factors (n,), radians (n,), and pixels right and down (n, 2); None: not."""

    scale: Tensor | None = None
    turn: Tensor | None = None
    shift: Tensor | None = None


#: Four draws of each image, uniform in [0, 1), and (width, height) of the image → how it is moved.
Drawn = Callable[[Tensor, Tensor], Move]

#: What is done to a whole image for each attribute.
_ATTRIBUTES: Mapping[str, Drawn] = {
    "size": lambda drawn, size: Move(scale=FACTORS[0] * (FACTORS[1] / FACTORS[0]) ** drawn[:, 0]),
    "position": lambda drawn, size: Move(shift=(2 * drawn[:, :2] - 1) * FARTHEST * size),
    "direction": lambda drawn, size: Move(turn=(2 * drawn[:, 0] - 1) * torch.pi),
}


def whole_images(move: Drawn) -> BatchTransform:
    """Move whole images about their middle; what comes in from outside is mirrored.

    Args:
        move: four draws of each image, uniform in [0, 1), and (width, height) of the image → how it is moved.
    """

    def change(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        size = torch.tensor([images.shape[3], images.shape[2]], device=images.device)
        found = move(rng.uniform("move", (4,), like=images), size)
        return _sampled(images, ((size - 1) / 2).expand(len(images), 2), found, "bilinear", "reflection"), targets

    return change


def _of_objects(patient: Patient, masks: Tensor, attribute: str) -> BatchTransform:
    """Move each object before its own background; a whole image, where nobody knows the object.

    Args:
        patient: with training images (n, 3, h, w).
        masks: their objects, bool (n, h, w).
        attribute: what is changed.
    """
    place_of = {example_id: place for place, example_id in enumerate(patient.training.ids)}
    shown = torch.tensor([shows_object(mask) for mask in masks])
    whole = whole_images(_ATTRIBUTES[attribute])

    def change(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        assert rng.ids is not None, "a transform is bound to the examples of its batch"
        places = torch.tensor([place_of[example_id] for example_id in rng.ids])
        changed, known = whole(images, targets, rng)[0], shown[places].nonzero().flatten()
        if len(known):
            at = known.to(images.device)
            own, objects = images[at], masks[places[known]].to(images.device)
            centres, move = _object_move(objects, rng[known].uniform("object", (4,), like=images), attribute)
            moved = _sampled(own, centres, move, "bilinear", "border")
            seen = _sampled(objects[:, None].to(own.dtype), centres, move, "nearest", "zeros")[:, 0] > 0.5
            behind = torch.stack([without_object(*pair) for pair in zip(own, objects, strict=True)])
            changed[at] = torch.where(seen[:, None], moved, behind)
        return changed, targets

    return change


def _object_move(masks: Tensor, drawn: Tensor, attribute: str) -> tuple[Tensor, Move]:
    """Middles of the objects' boxes, x and y (n, 2), and moves under which the objects stay inside where they can."""
    height, width = masks.shape[1:]
    size = torch.tensor([width, height], device=masks.device)
    boxes = []
    for across in (masks.any(1), masks.any(2)):
        places = torch.arange(across.shape[1], device=masks.device).expand(across.shape)
        first = torch.where(across, places, across.shape[1]).amin(1)
        boxes.append((first, torch.where(across, places, -1).amax(1)))
    low, high = (torch.stack([box[end] for box in boxes], 1).float() for end in (0, 1))
    centres, halves = (low + high) / 2, (high - low + 1) / 2
    scale, turn = torch.ones_like(drawn[:, 0]), torch.zeros_like(drawn[:, 0])
    if attribute == "size":
        wanted = SHARES[0] * (SHARES[1] / SHARES[0]) ** drawn[:, 0]
        largest = (size / (2 * halves)).amin(1)
        scale = torch.minimum((wanted / masks.float().mean((1, 2))).sqrt(), largest)
    if attribute == "direction":
        turn = (2 * drawn[:, 0] - 1) * torch.pi
        halves = torch.linalg.vector_norm(halves, dim=1, keepdim=True).expand(-1, 2)
    room = (size / 2 - halves * scale[:, None]).clamp(min=0)
    middle = (size - 1) / 2
    aim = middle + room * (2 * drawn[:, 2:] - 1) if attribute == "position" else centres
    return centres, Move(scale, turn, torch.minimum(torch.maximum(aim, middle - room), middle + room) - centres)


def _sampled(images: Tensor, centres: Tensor, move: Move, mode: str, outside: str) -> Tensor:
    """Images (n, c, h, w) scaled and turned about points (n, 2), x and y in pixels, and moved."""
    count, _, height, width = images.shape
    scale = images.new_ones(count) if move.scale is None else move.scale
    turn = images.new_zeros(count) if move.turn is None else move.turn
    shift = images.new_zeros(count, 2) if move.shift is None else move.shift
    x = torch.arange(width, device=images.device, dtype=images.dtype)[None, None] - (centres + shift)[:, 0, None, None]
    y = torch.arange(height, device=images.device, dtype=images.dtype)[None, :, None]
    y = y - (centres + shift)[:, 1, None, None]
    cosine, sine = (turn.cos() / scale)[:, None, None], (turn.sin() / scale)[:, None, None]
    from_x = cosine * x + sine * y + centres[:, 0, None, None]
    from_y = -sine * x + cosine * y + centres[:, 1, None, None]
    grid = torch.stack([(2 * from_x + 1) / width - 1, (2 * from_y + 1) / height - 1], 3)
    return functional.grid_sample(images, grid, mode=mode, padding_mode=outside, align_corners=False).clamp(0, 1)
