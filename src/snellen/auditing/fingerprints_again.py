"""Fingerprints for near duplicates in an audit that keeps no pictures: made once more at the end, and never written.

A fingerprint holds a thumbnail of 16 × 16 pixels, which is a picture of the image. Where none may be kept, the images
that were used are read a second time instead; how images are batched does not change a fingerprint.
"""

from __future__ import annotations

from dataclasses import replace

from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preparation import to_unit
from snellen.data.loading import prepared_batches
from snellen.metrics.inspection.fingerprints import Fingerprints, fingerprint


def with_fingerprints(
    known: PerImage, images: ImageSet, classifier: Classifier, *, batch_size: int, workers: int
) -> PerImage:
    """What is known of the usable images, with their fingerprints; as it is where no check asked for any.

    Batches are those of the audit, so that the same images are usable again, and come in the same order.

    Raises:
        InputError: an image that was readable before is not any more.
    """
    if known.fingerprints is not None or known.pixel_hashes is None:
        return known
    wanted, parts = set(known.ids), list[Fingerprints]()
    for loaded in prepared_batches(images, classifier.preparation, batch_size, workers=workers):
        # Images that were set aside for their scores are read again, but are not among the used ones.
        used = [at for at, key in enumerate(loaded.ids) if key in wanted]
        if used:
            parts.append(fingerprint(to_unit(loaded.pixels[used]).to(classifier.device)))
    lost = len(known) - sum(map(len, parts))
    if lost:
        raise InputError(f"{lost} of {len(known)} images of {images.name} were readable before and are not any more")
    return replace(known, fingerprints=Fingerprints.joined(parts))
