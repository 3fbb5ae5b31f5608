"""The frame of every resumable call: what is asked, a folder, a plan, shards that stay, and a record that comes last.

A verb says what it measures and what follows from it (:class:`Call`). :func:`carry_out` does what all of them have in
common: a folder of one's own or a temporary one, a lock, resuming, errors of the disk, the record of what was sent. A
call that was interrupted leaves a folder ``unfinished`` and no record; the same call goes on where it stopped and ends
with the same bytes; when everything is there, it writes nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from snellen.core import package
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.formats import FORMATS
from snellen.core.images import ImageSet
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.core.unwritable import unwritable_told
from snellen.data.privacy.nameless import with_other_name, without_names
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.runs.record import EVIDENCE
from snellen.runs.settings import Methods, Setting, named_settings
from snellen.runs.unfinished import UNFINISHED, check_free, check_recognisable, complete, opened

Result = TypeVar("Result", bound=BaseModel)
Model = TypeVar("Model", Classifier, "Classifier | None")


@dataclass(frozen=True)
class Asked(Generic[Model]):
    """What a call over images was asked, checked as far as it can be before a model is run.

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
        }


def asked_of(
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
) -> Asked[Model]:
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
        lacking = setting.method.missing(classifier, images)
        if lacking is not None:
            raise InputError(f"{setting.method.name} {lacking}")
    if names is not None:
        names.write()
    return Asked(classifier, images, settings, names)


@dataclass(frozen=True)
class Call(Generic[Result]):
    """What a verb does inside its folder.

    Attributes:
        what: it writes, in words: "attack", "set of certificates".
        record: name of the file that a complete folder holds.
        result: class of the record, with the fields ``plan``, ``folder`` and, with evidence, ``evidence``.
        plan: makes everything that can change a byte; called once the folder is known to be free.
        measure: does the shards that are not there yet.
        conclude: writes what needs all shards, and makes the record; the folder is its second argument.
        classifier: the model, which must be recognisable where a folder holds something already.
        with_evidence: whether the folder gets ``evidence.parquet``.
    """

    what: str
    record: str
    result: type[Result]
    plan: Callable[[], Mapping[str, Any]]
    measure: Callable[[Run], None]
    conclude: Callable[[Run, Path], Result]
    classifier: Classifier | None = None
    with_evidence: bool = True


def carry_out(call: Call[Result], out: Path | str | None) -> Result:
    """Do a call in its folder, or in a temporary one that is gone afterwards.

    Args:
        call: what is done.
        out: a new or empty folder, or one in which the same call was interrupted or finished; None keeps nothing.

    Raises:
        InputError: ``out`` holds something else.
        RunConflictError: ``out`` holds the same of another plan, or another call is writing there.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call goes on once that is mended.
    """
    with ExitStack() as stack:
        if out is not None:
            folder = Path(out)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / call.what.replace(" ", "-")
        stack.enter_context(unwritable_told(folder))
        check_free(folder, call.record, call.what)
        if call.classifier is not None:
            check_recognisable(folder, call.record, call.classifier, call.what)
        plan = dict(call.plan())
        if "code" not in plan:
            plan["code"] = package.code_hash()
        done = complete(folder, call.record, call.result, plan, call.what)
        if done is not None:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
            held = {"evidence": Evidence.read(folder / EVIDENCE)} if call.with_evidence else {}
            return done.model_copy(update=held)
        with opened(folder, plan) as run:
            call.measure(run)
        result = call.conclude(run, folder)
        record = FORMATS[call.record].stamped(result.model_dump(mode="json"))
        write_atomically(folder / call.record, canonical_json(record))
        shutil.rmtree(run.folder)
        return result.model_copy(update={"folder": folder if out is not None else None})


def write_evidence(evidence: Evidence, folder: Path) -> None:
    """Write ``evidence.parquet`` into a folder, whole or not at all."""
    partial = folder / f".{EVIDENCE}.partial"
    try:
        evidence.write(partial)
        os.replace(partial, folder / EVIDENCE)
    finally:
        partial.unlink(missing_ok=True)  # where the disk is full, it would take the room
