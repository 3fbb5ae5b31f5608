"""Pictures of findings: the examples as the model saw them, and as a check changed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from snellen.auditing.shard_work import make_batch
from snellen.checks.check import Batch, Check
from snellen.checks.pictures import keep_picture
from snellen.core.classifier import Classifier
from snellen.core.errors import RejectedImageError
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness


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
        classifier, chosen.ids, chosen.column("unit_id"), pixels, chosen.known_labels, rng, originals=chosen
    )
    if batch is None or lost:
        raise RejectedImageError(f"an image changed while the audit ran: {chosen.ids}")
    return batch
