"""Label maps from a trained classifier: one pass over the images, once.

Yun et al., CVPR 2021, arXiv 2101.05022, section 3.1. The whole image is squeezed into the square that the annotator
takes, without crop or mirroring, so that shares of a map's height and width are shares of the image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.systems.label_maps.localized_head import LocalizedHead, localized_head
from snellen.systems.label_maps.sparse import SparseMaps, keep_largest
from snellen.systems.label_maps.store import LabelMaps, MappedImages, MapsRecord, existing_maps, write_maps


def annotate(
    images: ImageSet,
    annotator: Classifier,
    out: Path,
    *,
    kept: int = 5,
    size: tuple[int, int] | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> LabelMaps:
    """Write the label maps of an image set.

    Labels are not used. Images that cannot be decoded have no map and are named in the record. A stopped call resumes
    where it stopped; complete maps are returned without running the annotator.

    Args:
        images: their ids name the maps. Where they have class names, the maps are of these classes, found by name among
            the annotator's; else of all the annotator's.
        annotator: ends in a feature map, its mean and a linear layer (see
            :func:`~snellen.systems.label_maps.localized_head.localized_head`).
        out: folder for the maps: free, unfinished, or complete by the same annotator.
        kept: largest scores kept at each place (k in the paper, 5); at most all classes.
        size: height and width that images are squeezed to, pixels; by default those of the annotator's preparation.
        batch_size: images that are scored together; sums of another batch size may differ in the last digit.
        progress: callback that receives progress updates.

    Raises:
        UnsupportedError: an annotator that gives no maps.
        InputError: a class that the annotator does not have; no usable image; or ``out`` holds something else.
        ModelError: scores that are not finite; the message names the images.
        RunConflictError: ``out`` holds maps of another annotator or other images.
    """
    names = images.class_names or annotator.class_names
    columns = _columns(annotator, names, images.name)
    head_size = size or annotator.preparation.size
    plan: dict[str, object] = {
        "annotator": annotator.name,
        "annotator_fingerprint": annotator.fingerprint(),
        "size": None if head_size is None else list(head_size),
        "interpolation": annotator.preparation.interpolation,
        "kept": min(kept, len(names)),
        "classes": list(names),
        "batch_size": batch_size,
    }
    found = existing_maps(out, plan, images.ids)
    if found is not None:
        return found
    head = localized_head(annotator, size)
    assert head_size is not None
    squeezed = Preprocessing(
        size=head_size, resize="exact", resize_to=head_size, interpolation=annotator.preparation.interpolation
    )
    record = MapsRecord(
        plan=plan,
        class_names=names,
        kept=min(kept, len(names)),
        height=head.grid[0],
        width=head.grid[1],
        ids=tuple(images.ids),
    )

    def produce(start: int, stop: int) -> MappedImages:
        return _mapped(images, range(start, stop), head, squeezed, columns, record.kept)

    return write_maps(out, record, produce, batch_size=batch_size, progress=progress)


def _mapped(
    images: ImageSet,
    positions: Sequence[int],
    head: LocalizedHead,
    squeezed: Preprocessing,
    columns: Sequence[int],
    kept: int,
) -> MappedImages:
    pixels, sizes, contents, rejected = [], [], [], dict[int, str]()
    for place, position in enumerate(positions):
        try:
            image = images.read(position)
        except RejectedImageError as error:
            rejected[place] = str(error)
            continue
        pixels.append(squeezed(image))
        sizes.append((image.width, image.height))
        contents.append(images.content_hash(position))
    if not pixels:
        nothing = torch.zeros(0, kept, 1, 1)
        return MappedImages(SparseMaps(nothing, nothing.long()), [], [], rejected)
    scores = head.maps(torch.stack(pixels).to(head.classifier.device))[:, list(columns)]
    unusable = (~torch.isfinite(scores)).flatten(1).any(1)
    if bool(unusable.any()):
        usable = [place for place in range(len(positions)) if place not in rejected]
        named = [images.ids[positions[usable[row]]] for row in unusable.nonzero().flatten().tolist()]
        raise ModelError(
            f"{head.classifier.name} gives scores that are not finite for {', '.join(named[:3])}; leave these images "
            f"out, or use another annotator"
        )
    return MappedImages(keep_largest(scores, kept), sizes, contents, rejected)


def _columns(annotator: Classifier, names: tuple[str, ...], source: str) -> list[int]:
    """Column of the annotator's scores for each class."""
    known = {name: column for column, name in enumerate(annotator.class_names)}
    lacking = [name for name in names if name not in known]
    if lacking:
        raise InputError(
            f"{annotator.name} does not know {len(lacking)} of the {len(names)} classes of {source} "
            f"({', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}): an annotator has the classes of the "
            f"images, by the same names"
        )
    return [known[name] for name in names]
