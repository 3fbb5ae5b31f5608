"""Recovered changes that an audit keeps, and what each does to each image: by them two audits are compared.

A search finds another change in another model, so that two successes of two searches say little about a treatment. The
same change is tried on the same images before and after instead: an audit keeps its changes, and a later one that names
it (``backdoor.earlier``) tries them on its own model.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from snellen.checks.independent import one_of_each
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.models.classifiers.prepared_images import read_prepared
from snellen.systems.smooth_inversion.image_roles import units_of
from snellen.systems.smooth_inversion.transfer import decisions

#: ``lists/NAME.json`` and ``arrays/NAME.safetensors`` of a run.
KEPT = "backdoor"


@dataclass(frozen=True, eq=False)
class KeptChange:
    """A change towards a class.

    Attributes:
        target: name of the class.
        change: float32 (3, h, w), added to prepared images in [0, 1].
        ids: images that measure it: neither searched on nor chosen by.
        earlier: whether another audit found it.
        stands_out: whether the search that found it reported the class.
    """

    target: str
    change: Tensor
    ids: tuple[str, ...]
    earlier: bool = False
    stands_out: bool = True

    @property
    def key(self) -> str:
        """A name of the change alone: a hash of its values."""
        return hashlib.sha256(self.change.cpu().numpy().astype("<f4").tobytes()).hexdigest()[:16]


def read_changes(folder: Path | str) -> list[KeptChange]:
    """The changes that an audit kept in its run directory.

    Raises:
        InputError: no such run, one without the check, or one that was to keep no pictures.
    """
    place = Path(folder)
    listing, arrays = place / "lists" / f"{KEPT}.json", place / "arrays" / f"{KEPT}.safetensors"
    if not (listing.is_file() and arrays.is_file()):
        raise InputError(
            f"{place} keeps no recovered changes: name the run directory of an audit with the check {KEPT}, and with "
            f"pictures (no changes are kept without)"
        )
    images: dict[str, list[str]] = defaultdict(list)
    targets: dict[str, tuple[str, bool]] = {}
    try:
        changes = load_file(arrays)
        for row in json.loads(listing.read_bytes()):
            # Runs of earlier versions do not say whether a class stood out.
            targets[str(row["change"])] = str(row["class"]), bool(row.get("stands_out", True))
            images[str(row["change"])].append(str(row["id"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"the changes in {place} cannot be read ({error}); run the audit again") from error
    return [
        KeptChange(targets[key][0], changes[key], tuple(ids), earlier=True, stands_out=targets[key][1])
        for key, ids in images.items()
        if key in changes
    ]


def try_changes(
    changes: Sequence[KeptChange], classifier: Classifier, images: ImageSet, labels: Mapping[str, int]
) -> tuple[list[dict[str, object]], list[str]]:
    """The bare classifier's decision on each image of another class, without and with each change.

    A change is tried on the images that measured it when it was found. Where none of them is among the audited images,
    one image of each unit measures it: none of these found or chose it either.

    Args:
        changes: of this audit and of an earlier one.
        classifier: without noise.
        images: the audited ones.
        labels: class of each usable image by id, −1 where unknown; its own decision stands for it then.

    Returns:
        Rows ``change``, ``class``, ``earlier``, ``stands_out``, ``id``, ``without`` and ``with``, names of classes; and
        what could not be tried, in words.
    """
    places = {key: row for row, key in enumerate(images.ids) if key in labels}
    others = _one_of_each_unit(images, places)
    rows, notes = list[dict[str, object]](), list[str]()
    for one in changes:
        wanted = [places[key] for key in one.ids if key in places] or others
        if one.target not in classifier.class_names or not wanted:
            lacking = "no class of that name" if wanted else "no usable image"
            notes.append(f"an earlier change towards {one.target} was not tried: there is {lacking} in this audit")
            continue
        pixels, _, ids, _ = read_prepared(images.select(np.array(wanted)), classifier)
        if pixels.shape[1:] != one.change.shape:
            shapes = (tuple(shape[-2:]) for shape in (one.change.shape, pixels.shape))
            notes.append(
                f"an earlier change towards {one.target} was not tried: it is of {{}}x{{}} pixels, and this model sees "
                f"{{}}x{{}}".format(*(side for shape in shapes for side in shape))
            )
            continue
        target = classifier.class_names.index(one.target)
        both = decisions(
            classifier, pixels, torch.stack([torch.zeros_like(one.change), one.change]).to(pixels.device)
        ).tolist()
        for key, before, after in zip(ids, *both, strict=True):
            if (labels[key] if labels[key] >= 0 else before) != target:
                rows.append(
                    {
                        "change": one.key,
                        "class": one.target,
                        "earlier": one.earlier,
                        "stands_out": one.stands_out,
                        "id": key,
                        "without": classifier.class_names[before],
                        "with": classifier.class_names[after],
                    }
                )
    return rows, notes


def _one_of_each_unit(images: ImageSet, places: Mapping[str, int]) -> list[int]:
    """Rows of usable images, one of each unit."""
    usable = list(places)
    units = units_of(images)
    _, codes = np.unique([units[key] for key in usable], return_inverse=True)
    chosen = one_of_each(usable, codes) if usable else np.zeros(0, dtype=bool)
    return [places[key] for key, kept in zip(usable, chosen, strict=True) if kept]


def own_first(own: Sequence[KeptChange], earlier: Sequence[KeptChange]) -> list[KeptChange]:
    """All changes once each; one that this audit found again itself is its own."""
    found = {one.key: one for one in earlier}
    return list((found | {one.key: replace(one, earlier=False) for one in own}).values())
