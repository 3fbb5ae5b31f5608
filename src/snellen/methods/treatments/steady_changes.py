"""Changes under which the audited classifier decides as before: further images for a training that has few of a kind.

Few images that a training weighs much are learned by heart. Mirrored and moved ones are further images of the same
class, unless the side or the place is what distinguishes classes. The classifier itself says whether it is.
"""

from __future__ import annotations

import torch

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import Patient
from snellen.training.transforms import BatchTransform, in_sequence, random_flips, random_shifts

#: So many changed images come to one that stays as it is, which teaches little: it is most often right already.
OFTEN = 2

#: Farthest that an image is moved, as a share of its shorter side, and images that are scored together.
FARTHEST, TOGETHER = 1 / 16, 250


def steady_changes(patient: Patient) -> BatchTransform | None:
    """Mirroring and small shifts, as far as they are steady; None where neither is.

    A change is steady where the audited classifier loses no more by it, on the validation images, than a treatment may
    cost. It is found out once for all treatments of a patient.

    Args:
        patient: classifier and validation images.
    """
    if "steady changes" not in patient.remembered:
        patient.remembered["steady changes"] = _steady(patient)
    found = patient.remembered["steady changes"]
    assert isinstance(found, tuple)
    return in_sequence(*found) if found else None


@torch.no_grad()
def _steady(patient: Patient) -> tuple[BatchTransform, ...]:
    store, classifier = patient.val, patient.classifier
    pixels = max(round(FARTHEST * min(store.images.shape[2:])), 1)
    rng = Randomness(0).child("steady changes")

    def mirrored(images: torch.Tensor, targets: torch.Tensor, rng: Randomness) -> tuple[torch.Tensor, torch.Tensor]:
        return images.flip(3), targets

    # Every image is mirrored to see what that costs; in a training, half of them are.
    pairs: tuple[tuple[BatchTransform, BatchTransform | None], ...] = (
        (random_flips, mirrored),
        (random_shifts(pixels), None),
    )
    right = [0.0] * (1 + len(pairs))
    for rows in torch.arange(len(store)).split(TOGETHER):
        images, targets = store.read(rows)
        shown = to_unit(images) if images.dtype == torch.uint8 else images
        drawn = rng.for_examples([store.ids[row] for row in rows.tolist()])
        variants = [shown, *(((whole or part)(shown, targets, drawn)[0]) for part, whole in pairs)]
        for place, variant in enumerate(variants):
            decided = classifier.predict(classifier(variant.to(classifier.device))).cpu()
            right[place] += float((decided == targets).double().sum())
    least = right[0] - patient.max_loss * len(store)
    return tuple(part for (part, _), count in zip(pairs, right[1:], strict=True) if count >= least)
