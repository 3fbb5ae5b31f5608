"""Pictures of findings: the examples as the model saw them, and as a check changed them, as small WebP files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from snellen.auditing.check import Batch, Check
from snellen.auditing.shard_work import known_labels, make_batch
from snellen.classifier import Classifier
from snellen.errors import RejectedImageError
from snellen.finding import Finding
from snellen.images import ImageSet
from snellen.preparation import to_image
from snellen.randomness import Randomness

#: Longest side of a picture in the report, pixels. Smaller images stay as they are: the page enlarges them, sharply.
SIDE = 160

#: Up to this side, no pixel may change: compression would blur the very thing that is shown.
EXACT = 64


def illustrate_findings(
    findings: Sequence[Finding],
    makers: Mapping[int, Check],
    classifier: Classifier,
    images: ImageSet,
    rng: Randomness,
) -> tuple[list[Finding], dict[str, bytes]]:
    """Add pictures to the examples of findings.

    Args:
        makers: for each finding, by position, the check that made it.

    Returns:
        The findings with picture names (sha256), and the pictures by name.
    """
    blobs: dict[str, bytes] = {}
    position = {key: index for index, key in enumerate(images.ids)}
    illustrated = []
    for number, finding in enumerate(findings):
        # What a check has drawn itself, before and after, is of no audited image.
        if all(example.image is not None for example in finding.examples):
            illustrated.append(finding)
            continue
        try:
            batch = _batch(classifier, images, [position[e.example_id] for e in finding.examples], rng)
        except RejectedImageError:
            # A file that was readable before is not any more: the finding stands on its evidence, without pictures.
            illustrated.append(finding)
            continue
        changed = makers[number].illustrate(finding, batch)
        examples = []
        for row, example in enumerate(finding.examples):
            before = keep_picture(blobs, batch.images[row])
            # A search that is made again may fail where scores differ in the last digit: then there is no picture.
            same = changed is None or torch.equal(changed[row], batch.images[row])
            # Where a check changes nothing again, what it showed itself stays.
            after = example.after if changed is None or same else keep_picture(blobs, changed[row])
            examples.append(example.model_copy(update={"image": before, "after": after}))
        illustrated.append(finding.model_copy(update={"examples": tuple(examples)}))
    return illustrated, blobs


def _batch(classifier: Classifier, images: ImageSet, rows: Sequence[int], rng: Randomness) -> Batch:
    chosen = images.select(np.asarray(rows))
    pixels = torch.stack([classifier.preparation.pixels(chosen.read(row)) for row in range(len(chosen))])
    batch, lost = make_batch(
        classifier, chosen.ids, chosen.column("unit_id"), pixels, known_labels(chosen), rng, originals=chosen
    )
    if batch is None or lost:
        raise RejectedImageError(f"an image changed while the audit ran: {chosen.ids}")
    return batch


def keep_picture(blobs: dict[str, bytes], image: torch.Tensor) -> str:
    """Put an image (3, h, w) in [0, 1] among the pictures, as a small WebP file; returns its name (sha256)."""
    picture = to_image(image)
    scale = min(SIDE / max(picture.size), 1.0)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return keep_file(blobs, picture, lossless=max(size) <= EXACT, quality=85)


def keep_file(blobs: dict[str, bytes], picture: Image.Image, *, lossless: bool = False, quality: int = 80) -> str:
    """Put a picture of any size among the pictures, as a WebP file; returns its name (sha256)."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=lossless, quality=quality, method=4)
    key = hashlib.sha256(stream.getvalue()).hexdigest()
    blobs[key] = stream.getvalue()
    return key
