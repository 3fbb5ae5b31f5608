"""What an audit examined, kept so that a treatment can begin from it: classifier, images, checks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from snellen.auditing.checks import resolve_checks
from snellen.auditing.limiting import limited
from snellen.checks.check import Check, Companion
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, SnellenError
from snellen.core.formats import INPUTS
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing
from snellen.core.run import canonical_json, write_atomically
from snellen.data.files.labels import align_labels
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images_again
from snellen.metrics.inspection.fingerprints import pixel_hashes
from snellen.models.classifiers.references import load_classifier_again
from snellen.runs.reopening import described_images, images_again


class DescribedImages(BaseModel):
    """Images by what they were loaded from: see :func:`~snellen.runs.reopening.described_images`.

    Attributes:
        class_names: as given; null where the images name them.
        name: of the set.
        split: train, val or test; null where it is not known.
        hidden: whether names are replaced for privacy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reference: dict[str, Any] = Field(description="what load_images was given, and the folder where it was")
    table: str = Field(description="columns as they were when they were audited: an Arrow stream in base64")
    rows: str = Field(description="their places in what is loaded: little-endian int64 in base64")
    class_names: list[str] | None
    name: str
    split: Split | None
    hidden: bool


class Inputs(BaseModel):
    """What ``inputs.json`` holds.

    Attributes:
        images: those that were audited.
        companions: other sets, such as training images, by their role.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classifier: dict[str, Any] = Field(description="what load_classifier was given, and the folder where it was")
    images: DescribedImages
    companions: dict[Companion, DescribedImages]


@dataclass(frozen=True, eq=False)
class Subject:
    """What was examined, and by what.

    Attributes:
        classifier: the model.
        images: that were audited, with labels in the classifier's classes.
        companions: training and validation images, whole as they were given.
        checks: that were requested.
        seed: of the audit.
        save_images: whether pictures of the images may be kept.
        pseudonyms: whether names were replaced in what the audit wrote.
        fingerprint: of the classifier as it was audited; None: it has no hash, as a plain callable.
    """

    classifier: Classifier
    images: ImageSet
    companions: Mapping[Companion, ImageSet]
    checks: Sequence[Check]
    seed: int
    save_images: bool = True
    pseudonyms: bool = False
    fingerprint: str | None = None

    def write(self, folder: Path) -> None:
        """Write ``inputs.json``, where classifier and images were loaded by references; else nothing.

        Companions without a reference are left out of it.
        """
        if self.classifier.reference is None or self.images.reference is None:
            return
        known = {name: one for name, one in self.companions.items() if one.reference is not None}
        fields = {
            "classifier": self.classifier.reference,
            "images": described_images(self.images),
            "companions": {name: described_images(one) for name, one in known.items()},
        }
        write_atomically(folder / INPUTS.file, canonical_json(INPUTS.stamped(fields)))

    @classmethod
    def read(
        cls,
        folder: Path,
        plan: Mapping[str, Any],
        *,
        classifier: Classifier | None = None,
        images: ImageSet | None = None,
    ) -> Subject:
        """Open what a finished audit examined.

        Args:
            folder: the run directory.
            plan: its manifest.
            classifier: in place of the recorded one; it must be the same to the bit.
            images: in place of the recorded ones, before any limit; they must be the same to the byte.

        Raises:
            InputError: nothing is recorded of what is not given, it is no longer there, or it has changed since.
        """
        recorded = _recorded(folder)
        if recorded is None and (classifier is None or images is None):  # both are recorded, or neither
            raise InputError(
                f"{folder} does not say how its classifier was loaded, nor its images: one or both were objects. Give "
                f"both: classifier=... and images=... (--model REFERENCE --images DATA)"
            )
        checks = resolve_checks([dict(one) for one in plan["checks"]])
        model = classifier or _classifier(recorded, folder)
        if images is None:
            assert recorded is not None, "refused above"
            audited = _opened(recorded.images, "audited", folder)
        else:
            audited = limited(align_labels(images, model.class_names), int(plan["data"]["images"]), int(plan["seed"]))
        if plan["model"]["fingerprint"] is not None and model.fingerprint() != plan["model"]["fingerprint"]:
            raise InputError(
                f"{model.name} is not the classifier that {folder} audited: its weights or preparation differ; give "
                f"that one, or audit this one first"
            )
        if audited.fingerprint() != plan["data"]["fingerprint"]:
            raise InputError(
                f"{audited.name} are not the images that {folder} audited: files, labels or their order differ; give "
                f"those, or audit these first"
            )
        others = recorded.companions if recorded is not None else {}
        found = {name: _opened(one, name, folder) for name, one in others.items()}
        known = str(plan["model"]["fingerprint"]) if plan["model"]["fingerprint"] is not None else None
        seed, pictures = int(plan["seed"]), bool(plan["save_images"])
        return cls(model, audited, found, checks, seed, pictures, plan.get("pseudonyms") is not None, known)


def audited_images(folder: Path) -> ImageSet | None:
    """The images that a run in a folder audited, without its classifier; None where it does not say how to load them.

    Raises:
        InputError: they are no longer there, or cannot be opened.
    """
    recorded = _recorded(folder)
    return None if recorded is None else _opened(recorded.images, "audited", folder)


def whole_images(folder: Path) -> ImageSet | None:
    """All images of the reference that a run in a folder audited, also those that a limit left out; None without one.

    Raises:
        InputError: as :func:`audited_images`.
    """
    recorded = _recorded(folder)
    if recorded is None:
        return None
    with _errors_of("audited", folder):
        return load_images_again(_from_anywhere(recorded.images.reference))


def _recorded(folder: Path) -> Inputs | None:
    file = folder / INPUTS.file
    try:
        return Inputs.model_validate(INPUTS.read(json.loads(file.read_bytes()), file))
    except FileNotFoundError:
        return None
    except SnellenError:  # of a newer version
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); name classifier and images") from error


def _classifier(recorded: Inputs | None, folder: Path, device: str | None = None) -> Classifier:
    if recorded is None:
        raise InputError(
            f"{folder} does not say how its classifier was loaded: it was handed in as an object; give it with "
            f"classifier=... (--model REFERENCE)"
        )
    # The writer of a folder cannot allow other machines: its reader allows them.
    try:
        moved = {} if device is None else {"device": device}
        return load_classifier_again({**recorded.classifier, "allow_remote": [], **moved})
    except SnellenError:  # which says itself what is missing, or not allowed
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the classifier of {folder / INPUTS.file} is not described as one: {error!r}") from error


def recorded_classifier(folder: Path, plan: Mapping[str, Any], device: str | None = None) -> Classifier:
    """The classifier that a finished audit examined, loaded again.

    Args:
        folder: run directory.
        plan: the manifest of the run.
        device: where it shall run; None: where it did.

    Raises:
        InputError: the run does not say how it was loaded, it is no longer there, or it has changed since.
    """
    model = _classifier(_recorded(folder), folder, device)
    if plan["model"]["fingerprint"] is not None and model.fingerprint() != plan["model"]["fingerprint"]:
        raise InputError(f"{model.name} has changed since {folder} audited it: its weights or preparation differ")
    return model


def _opened(described: DescribedImages, name: str, folder: Path) -> ImageSet:
    with _errors_of(name, folder):
        return images_again({**described.model_dump(), "reference": _from_anywhere(described.reference)})


@contextmanager
def _errors_of(name: str, folder: Path) -> Iterator[None]:
    """What cannot be opened is an error that names it, and the folder of this process stays as it is."""
    here = os.getcwd()
    try:
        yield
    except (SnellenError, OSError, pa.ArrowException, KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"the {name} images of {folder} cannot be opened again: {error}") from error
    finally:
        os.chdir(here)


def _from_anywhere(reference: Mapping[str, Any]) -> dict[str, Any]:
    """The reference with paths that hold from every folder: an image set reads its files on demand."""
    folder = reference["folder"]

    def absolute(text: str) -> str:
        place, mark, split = text.partition("#")
        path = os.path.join(folder, place)
        return f"{path}{mark}{split}" if os.path.exists(path) else text

    changed = {
        key: absolute(reference[key]) for key in ("ref", "masks", "table") if isinstance(reference.get(key), str)
    }
    return {**reference, **changed}


#: Images that are read at a time to compare their pixels.
BATCH = 64


def without_copies(images: ImageSet, others: Sequence[ImageSet], preparation: Preprocessing) -> tuple[ImageSet, int]:
    """The images whose stored bytes, prepared pixels or units occur in none of the other sets.

    Bytes are compared where both sets come from the same kind of source. Files and arrays never hold the same bytes, so
    that images of other kinds are read and compared as the classifier is given them.

    Returns:
        The images that are left, and how many were taken out.
    """
    known = {key for other in others for key in other.content_hashes}
    foreign = [other for other in others if type(other.source) is not type(images.source)]
    pixels = {key for other in foreign for key in _pixels(other, preparation).values()}
    seen = _pixels(images, preparation) if foreign else {}
    units = {unit for other in others for unit in other.column("unit_id") if unit is not None}
    kept = [
        row
        for row, (key, unit) in enumerate(zip(images.content_hashes, images.column("unit_id"), strict=True))
        if key not in known and seen.get(row) not in pixels and (unit is None or unit not in units)
    ]
    return (images if len(kept) == len(images) else images.select(kept)), len(images) - len(kept)


def _pixels(images: ImageSet, preparation: Preprocessing) -> dict[int, str]:
    """Hash of the prepared pixels of each image that can be used, by its position."""
    return {
        row: key
        for batch in prepared_batches(images, preparation, BATCH)
        if batch.indices
        for row, key in zip(batch.indices, pixel_hashes(batch.pixels), strict=True)
    }
