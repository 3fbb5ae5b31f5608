"""Objects before the backgrounds of other classes, so that a background says nothing about the class.

Xiao, Engstrom, Ilyas and Madry, "Noise or Signal: The Role of Image Backgrounds in Object Recognition", ICLR 2021,
arXiv 2006.09994: the training set Mixed-Rand, in which every object stands before the background of a random class. The
paper trains on it from scratch, and a class may lend to itself; here every lender is of another class, and in a
fine-tuning for this alone half of the images stay as they were.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.explanations.background_swap import before_backgrounds, shows_object, without_object
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.training.fine_tuning import Term
from snellen.training.transforms import BatchTransform


class BackgroundSwaps(FineTuning):
    """Train on with objects before backgrounds of training images of other classes.

    An image whose mask cannot be read, or shows no object with something around it, stays as it is.

    >>> BackgroundSwaps().treats
    ('background_shortcut', 'background_sensitivity')
    """

    name: ClassVar[str] = "background_swaps"
    treats: ClassVar[tuple[str, ...]] = ("background_shortcut", "background_sensitivity")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Training images without masks, or with masks in one class alone."""
        masks = [None] * len(patient.training) if patient.images is None else patient.images.column("mask")
        masked = [mask is not None for mask in masks]
        if not any(masked):
            return "needs masks of the objects in the training images (column mask, or --masks FOLDER)"
        shown = torch.tensor([shows_object(mask) for mask in training_masks(patient)])
        if len(patient.training.targets[shown].unique()) < 2:
            return (
                f"needs objects with something around them in training images of two classes or more; "
                f"{int(shown.sum())} of {len(shown)} masks show one"
            )
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """The transform of these training images."""
        masks = training_masks(patient)
        shown = torch.tensor([shows_object(mask) for mask in masks])
        return Term(transforms=(_swaps(patient, masks, shown),))


def training_masks(patient: Patient) -> Tensor:
    """The object of each training image as prepared, bool (n, h, w); nothing where no mask can be read.

    They are read once for all treatments of a patient.
    """
    known = patient.remembered.get("training masks")
    if isinstance(known, Tensor):
        return known
    store = patient.training
    masks = torch.zeros(len(store), *store.images.shape[2:], dtype=torch.bool)
    patient.remembered["training masks"] = masks
    if patient.images is None:
        return masks
    objects = ObjectMasks(patient.images, patient.classifier.preparation)
    for row, mask in enumerate(patient.images.column("mask")):
        if mask is not None:
            try:
                masks[row] = objects.of(row, store.images[row])
            except (RejectedImageError, InputError):
                continue
    return masks


def _swaps(patient: Patient, masks: Tensor, shown: Tensor) -> BatchTransform:
    """Put each object before the background of a random image of another class, at a random place.

    Args:
        patient: with training images (n, 3, h, w).
        masks: their objects, bool (n, h, w).
        shown: bool (n,), which of them can be used.
    """
    store = patient.training
    place_of = {example_id: place for place, example_id in enumerate(store.ids)}
    # Targets of a batch may be other than the class: labels may be cleaned in the same training.
    lenders = {
        label: (shown & (store.targets != label)).nonzero().flatten() for label in store.targets.unique().tolist()
    }

    def swap(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        assert rng.ids is not None, "a transform is bound to the examples of its batch"
        places = torch.tensor([place_of[example_id] for example_id in rng.ids])
        drawn, moved = rng.uniform("lender", ()), rng.uniform("place", (2,))
        steps = (moved * torch.tensor(images.shape[2:])).long()
        objects = masks[places].to(images.device)
        backgrounds = images.clone()
        for row, place in enumerate(places.tolist()):
            others = lenders[int(store.targets[place])]
            if bool(shown[place]) and len(others):
                chosen = int(others[min(int(drawn[row] * len(others)), len(others) - 1)])
                lent = to_unit(store.images[chosen].to(images.device))
                backgrounds[row] = without_object(lent, masks[chosen].to(images.device))
            else:
                steps[row] = 0
        return before_backgrounds(images, objects, backgrounds, steps), targets

    return swap
