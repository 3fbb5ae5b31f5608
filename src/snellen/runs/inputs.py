"""The inputs of a call over images: a model, images and methods under the names that may be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.run_plan import describe_beside
from snellen.data.privacy.nameless import with_other_name, without_names
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.runs.settings import Methods, Setting, named_settings

Model = TypeVar("Model", Classifier, "Classifier | None")


@dataclass(frozen=True)
class Inputs(Generic[Model]):
    """The inputs of a call over images, checked as far as they can be before a model is run.

    Attributes:
        classifier: under a pseudonym where names are replaced.
        images: at most as many as the limit says, under pseudonyms where names are replaced.
        settings: the methods, named.
        names: the pseudonyms; None where names stay.
    """

    classifier: Model
    images: ImageSet
    settings: Sequence[Setting]
    names: Pseudonyms | None

    def in_plan(self) -> dict[str, Any]:
        """What a plan holds of it."""
        return {
            "settings": [{"setting": setting.name, **setting.record} for setting in self.settings],
            "pseudonyms": None if self.names is None else self.names.key_id,
            **describe_beside(self.images),
        }


def inputs_of(
    classifier: Model,
    images: ImageSet,
    method: Methods,
    area: str,
    *,
    out: Path | str | None,
    pseudonyms: Path | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    check: Callable[[Setting], None] = lambda setting: None,
    masked: bool = True,
) -> Inputs[Model]:
    """Put names in order, name the methods, limit the images, and refuse what no method can do.

    Args:
        classifier: the model; None for methods that need none.
        images: the set.
        method: methods of the area, as objects, names or records.
        area: their area.
        out: folder of the call; the file of pseudonyms must lie outside.
        pseudonyms: file with the key; None: names stay.
        limit: at most so many images, drawn by the seed.
        seed: of the call.
        check: raises an error for a method that the verb refuses.
        masked: whether what a method needs must be among the columns of the images; not where a segmenter finds it.

    Raises:
        InputError: no images, a method that is refused, or one that needs what classifier or images lack.
    """
    names = None
    if pseudonyms is not None:
        names = Pseudonyms.open(pseudonyms, outside=None if out is None else Path(out))
        classifier = classifier if classifier is None else with_other_name(classifier, names)
        images = without_names(images, names)
    settings = named_settings(method, area, names=names)
    for setting in settings:
        check(setting)
    if limit is not None:
        images = images.limit(limit, seed)
    if not len(images):
        raise InputError(f"{images.name} holds no images")
    for setting in settings:
        lacking = setting.method.missing(classifier, images if masked else None)
        if lacking is not None:
            raise InputError(f"{setting.method.name} {lacking}")
    if names is not None:
        names.write()
    return Inputs(classifier, images, settings, names)
