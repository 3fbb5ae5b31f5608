"""What an audit keeps to itself: pictures of images, and names. Decided before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.checks.check import Check, Companion, Kept
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.data.privacy.nameless import nameless_record, with_other_name, without_names
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.metrics.corruption_error import stored_reference_names

NO_PICTURES = "No picture of an image was kept, no thumbnail and no heat map."
NO_NAMES = (
    "Names of images, units, groups and bags are pseudonyms; who has the file with the key can look them up. What is "
    "random depends on an image's id, so that attacks and random corruptions draw otherwise than under its name."
)


@dataclass(frozen=True, eq=False)
class Privacy:
    """What may be written of the images.

    Attributes:
        save_images: whether pictures of them may.
        names: pseudonyms for their names; None: names may be written.
    """

    save_images: bool = True
    names: Pseudonyms | None = None

    @classmethod
    def of(cls, save_images: bool, pseudonyms: Path | str | None, folder: Path | None) -> Privacy:
        """Read the file of pseudonyms, or make it; errors as
        :meth:`~snellen.data.privacy.pseudonyms.Pseudonyms.open`.
        """
        return cls(save_images, None if pseudonyms is None else Pseudonyms.open(pseudonyms, outside=folder))

    def applied(
        self, classifier: Classifier, images: ImageSet, given: Mapping[Companion, ImageSet | None]
    ) -> tuple[Classifier, ImageSet, dict[Companion, ImageSet | None]]:
        """Model and images under the names that may be written; these are in the owner's file from now on."""
        if self.names is None:
            return classifier, images, dict(given)
        hidden = without_names(images, self.names)
        others = {name: None if one is None else without_names(one, self.names) for name, one in given.items()}
        model = with_other_name(classifier, self.names)
        self.names.write()
        return model, hidden, others

    def check(self, check: Check) -> Check:
        """A check whose figures name no other model and no other data set than those of published references."""
        reference = check.reference if isinstance(check, CommonCorruptions) else None
        if self.names is None or reference is None or reference.name in stored_reference_names():
            return check
        nameless = replace(reference, name=self.names.of_model(reference.name), source="an audit of one's own")
        return check.model_copy(update={"reference": nameless})

    def records(self, checks: Sequence[Check]) -> list[dict[str, Any]]:
        """The plan's record of checks: their parameters. Names of files are in the owner's file instead."""
        if self.names is None:
            return [check.record() for check in checks]
        found = [nameless_record(check.record(), self.names) for check in checks]
        self.names.write()
        return found

    def kept(self, keep: frozenset[Kept]) -> frozenset[Kept]:
        """What the evidence keeps: instead of fingerprints, which hold thumbnails, hashes of pixels alone."""
        if self.save_images or "fingerprints" not in keep:
            return keep
        return keep - {"fingerprints"} | {"pixel_hashes"}

    @property
    def key_id(self) -> str | None:
        """Which key the pseudonyms were made with."""
        return None if self.names is None else self.names.key_id

    def notes(self) -> list[str]:
        """What a reader of the report must know."""
        return [NO_PICTURES] * (not self.save_images) + [NO_NAMES] * (self.names is not None)
