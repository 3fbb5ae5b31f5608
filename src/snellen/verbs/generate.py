"""A generating method on a list of requests: images with captions and provenance, as a data set any tool can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self, Unpack, cast, runtime_checkable

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.method import GeneratorMethod, Method, build
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.core.run_plan import describe_machine, describe_model
from snellen.data.files.manifest import load_manifest
from snellen.data.loading import check_batches
from snellen.data.privacy.nameless import hidden_references, nameless_record
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.models.classifiers.references import load_classifier
from snellen.runs.generated_files import EXAMPLES, write_images, write_manifest, write_pictures
from snellen.runs.measuring import Put
from snellen.runs.record import RejectedImage
from snellen.runs.reopening import Reopening
from snellen.runs.runner import Call, Running, batches, carried_out
from snellen.runs.shard import Shard
from snellen.verbs.balanced_groups import as_groups, check_truth, equally_many, label_note
from snellen.verbs.contact_sheet import choose_examples
from snellen.verbs.generated_set import WHAT, GeneratedSet
from snellen.verbs.requests import ImageRequests, ListedRequests, Requests, given_requests

MANIFEST = "manifest.csv"

#: What progress calls it.
TASK = "generating"


@runtime_checkable
class Prepares(Protocol):
    """A method that fits something before its first image."""

    def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Refuse requests that cannot be fulfilled."""

    def make_ready(self, progress: Progress) -> None:
        """Fit it, unless that was done."""


@runtime_checkable
class Joins(Protocol):
    """A method whose images belong together, and that writes what they make: the frames of videos."""

    def join(self, images: ImageSet, folder: Path) -> Sequence[str]:
        """Write files below the folder, from all images; returns the names of those that a record lists."""


@dataclass(frozen=True, eq=False)
class Work:
    """Requests to methods; an item is a request.

    Attributes:
        method: of the area ``generation`` or ``synthesis``.
        requests: that it is to fulfil.
        seed: of everything random.
        hidden: what the images must not reveal about the models that made them; see
            :func:`~snellen.data.privacy.nameless.hidden_references`.
        truth: labels the images, whose classes become groups; None: they keep their classes.
    """

    method: Method
    requests: Requests
    seed: int
    hidden: Mapping[str, str] = field(default_factory=dict)
    truth: Classifier | None = None

    @classmethod
    def again(
        cls, classifiers: Sequence[Classifier], sets: Mapping[str, ImageSet], arguments: Mapping[str, Any]
    ) -> Self:
        """The same work in another process, from what :meth:`reopening` says."""
        method = build("generation", arguments["method"])
        if isinstance(method, Prepares):
            method.make_ready(Silent())
        listed = arguments["listed"]
        requests = ImageRequests(sets[""]) if listed is None else ListedRequests(listed["name"], listed["rows"])
        return cls(method, requests, arguments["seed"], arguments["hidden"], next(iter(classifiers), None))

    def reopening(self) -> Reopening:
        """From what a worker makes the same work."""
        listed = self.requests if isinstance(self.requests, ListedRequests) else None
        return Reopening(
            maker="snellen.verbs.generate:Work.again",
            classifiers=() if self.truth is None else (self.truth,),
            sets={"": self.requests.images} if isinstance(self.requests, ImageRequests) else {},
            methods={"generation": [self.method]},
            arguments={
                "method": self.method.record(),
                "listed": None if listed is None else {"name": listed.name, "rows": [dict(row) for row in listed.rows]},
                "seed": self.seed,
                "hidden": dict(self.hidden),
            },
        )

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Fulfil some requests; see :class:`~snellen.runs.measuring.Work`."""
        wanted, rejected = list[Mapping[str, Any]](), list[dict[str, str]]()
        for index in items:
            try:
                wanted.append(self.requests.read(index))
            except RejectedImageError as error:
                rejected.append({"id": self.requests.ids[index], "reason": str(error)})
        maker = cast(GeneratorMethod, self.method)
        rows = list[dict[str, str]]()
        if wanted:
            made = maker.generate(wanted, rng=Randomness(self.seed))
            if self.truth is not None:
                made, refused = as_groups(made, self.truth)
                rejected += refused
            rows = write_images(made, put, self.hidden) if len(made) else []
        progress.advance(TASK, len(items))
        return Shard(extra={"rows": rows, "rejected": rejected})


def generate(
    method: Method | str | Mapping[str, Any],
    requests: Requests | ImageSet | str | Sequence[str | Mapping[str, Any]],
    *,
    out: Path | str,
    batch_size: int = 32,
    seed: int = 0,
    sheet: bool = True,
    balance: Literal["group"] | None = None,
    truth: Classifier | str | None = None,
    pseudonyms: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> GeneratedSet:
    """Fulfil every request and write what came: PNG files, ``manifest.csv`` and, last, ``generate.json``.

    The manifest is what :func:`snellen.load_images` reads; its columns ``caption`` and ``provenance`` say what each
    image shows and where it came from. ``sheet.png`` shows examples with their captions; ``grid.png`` a row for each
    class, where several images of several classes were requested. A call that was interrupted leaves a folder
    ``unfinished`` and no record; the same call resumes where it stopped. When everything is there, it writes nothing.

    >>> import tempfile, snellen
    >>> from snellen.generation import Sample
    >>> method = Sample(generator="bundled:scene-diffusion", steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     snellen.generate(method, ["a red star", "a blue ring"], out=folder).written
    2

    Args:
        method: of the area ``generation``, as an object, a name or a record.
        requests: a reference, as :func:`snellen.verbs.requests.load_requests` reads it; images; or a list of prompts,
            or of mappings.
        out: a new or empty folder, or one in which the same call was interrupted.
        batch_size: requests that the method gets at once, and what a killed call does again at most.
        seed: of everything random.
        sheet: also draw examples, and the grid.
        balance: ``group``: a set for an audit, with equally many images of each group. The class of a request is the
            group of its image, and the label is what ``truth`` sees. Images that did not get their class are left out.
        truth: with ``balance``, a classifier that labels the images and took no part in making them.
        pseudonyms: file with a key, made if it is not there, outside of ``out``: names of images, units, groups, of the
            list and of files are replaced before anything is written, and can be resolved with it. Prompts stay.
        columns: what the columns of a manifest mean, where the requests are one: ``{"image": "file"}``.
        progress: callback that receives progress updates.
        running: engine, part, budget, allow_rejected: see :class:`~snellen.runs.runner.Running`. A budget takes the
            first requests.

    Raises:
        InputError: another kind of method, ``out`` holds something else, no request can be read, or the method gives
            ids that occur twice; a balance without a truth, by one that guided, or with a group that has no image.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
        RunConflictError: ``out`` holds a data set of another plan.
    """
    check_batches(batch_size)
    method = build("generation", method)
    requests = given_requests(requests, getattr(method, "known_classes", tuple)(), columns)
    lacking = method.missing()
    if lacking is not None:
        raise InputError(f"{method.name} {lacking}")
    if (balance is None) != (truth is None):
        raise InputError(
            "a balance of groups needs a classifier that labels: --balance group --truth MODEL, or neither"
        )
    labelling = None if truth is None else load_classifier(truth)
    listener, names = progress or Silent(), None
    if pseudonyms is not None:
        names = Pseudonyms.open(pseudonyms, outside=Path(out))
        requests = requests.under(names)
        names.write()

    every = requests

    def call(count: int) -> Call[GeneratedSet]:
        few = every.first(count)
        work = Work(method, few, seed, {} if names is None else hidden_references(method.record(), names), labelling)

        def plan() -> dict[str, Any]:
            # What a method fits before its first image takes its time, and is part of the plan.
            if isinstance(method, Prepares):
                if isinstance(few, ListedRequests):
                    method.check(few.rows)
                method.make_ready(listener)
            made_by = _plan(method, few, batch_size, seed, sheet, names, listener)
            if labelling is None:
                return made_by
            check_truth(labelling, made_by["models"])
            return {**made_by, "balance": balance, "truth": describe_model(labelling)}

        shards = batches(len(few.ids), batch_size)
        images = few.images if isinstance(few, ImageRequests) else None
        return Call(
            what=WHAT,
            result=GeneratedSet,
            plan=plan,
            work=lambda _: work,
            shards=shards,
            task=TASK,
            conclude=lambda run, folder: _conclude(run, len(shards), few, method, sheet, folder, labelling),
            images=images,
            seen=None if images is not None else lambda _: range(0),
            again=work.reopening() if isinstance(few, ImageRequests | ListedRequests) else None,
            fits=isinstance(method, Prepares),
            name=few.name,
        )

    with carried_out(call, len(requests.ids), out, listener, running) as carried:
        carried.measure()
    notes = tuple(getattr(method, "notes", tuple)())
    notes = (*notes, *(_missed(carried.result) if hasattr(method, "known_classes") else ()))
    if labelling is not None and carried.result.manifest.is_file():
        made = load_manifest(carried.result.manifest, name=requests.name)
        notes = (*notes, label_note(made, labelling))
    return carried.result.model_copy(update={"notes": notes})


def _missed(made: GeneratedSet) -> tuple[str, ...]:
    """A warning where the method did not accept what some requests got; a part of a set has no manifest yet."""
    if not made.manifest.is_file():
        return ()
    origins = [json.loads(str(text or "{}")) for text in load_manifest(made.manifest, name="made").column("provenance")]
    missed = sum(origin.get("accepted") is False for origin in origins)
    return (f"warning: {missed} of {len(origins)} requests did not get their class",) if missed else ()


def _plan(
    method: Method,
    requests: Requests,
    batch_size: int,
    seed: int,
    sheet: bool,
    names: Pseudonyms | None,
    progress: Progress,
) -> dict[str, Any]:
    """Everything that can change a byte; of models that the method names, their weights too, where it lists them."""
    identities = getattr(method, "identities", None)
    return {
        "kind": "generate",
        "requests": {
            "name": requests.name,
            "fingerprint": requests.fingerprint(progress),
            "count": len(requests.ids),
        },
        "method": method.record() if names is None else nameless_record(method.record(), names),
        **({} if names is None else {"pseudonyms": names.key_id}),
        "models": {
            name if names is None else names.of_model(name): identity
            for name, identity in (() if identities is None else identities().items())
        },
        "batch_size": batch_size,
        "seed": seed,
        "sheet": sheet,
        **describe_machine(None),
    }


def _conclude(
    run: Run,
    shards: int,
    requests: Requests,
    method: Method,
    sheet: bool,
    folder: Path,
    truth: Classifier | None,
) -> GeneratedSet:
    """Write what needs all images, and make the record."""
    extras = [run.shard_extra(shard) for shard in range(shards)]
    rows: list[dict[str, str]] = [row for extra in extras for row in extra["rows"]]
    refused: list[dict[str, str]] = [found for extra in extras for found in extra["rejected"]]
    if truth is not None and rows:
        rows, others = equally_many(rows, _groups_of(requests))
        refused += others
    rejected = tuple(RejectedImage(**found) for found in refused)
    if not rows:
        shutil.rmtree(run.folder)
        first_reason = f"; first: {rejected[0].id}: {rejected[0].reason}" if rejected else ""
        raise InputError(f"nothing was generated for the {len(requests.ids)} requests of {requests.name}{first_reason}")
    twice = len(rows) - len({row["id"] for row in rows})
    if twice:
        raise InputError(f"the method gave {twice} ids that occur twice; each image needs one of its own")
    write_manifest(folder / MANIFEST, rows)
    files = [MANIFEST]
    made = load_manifest(folder / MANIFEST, name=requests.name) if sheet or isinstance(method, Joins) else None
    if isinstance(method, Joins) and made is not None:
        files += method.join(made, folder)
    if sheet and made is not None:
        chosen = choose_examples(made, range(len(made)), EXAMPLES)
        # Images that were there already may be of many sizes, and their classes are known.
        files += write_pictures(made, chosen, folder, grid=isinstance(requests, ListedRequests))
    return GeneratedSet(plan=dict(run.plan), written=len(rows), rejected=rejected, files=tuple(files), folder=folder)


def _groups_of(requests: Requests) -> list[str]:
    """The classes that requests name by words, each once."""
    rows = requests.rows if isinstance(requests, ListedRequests) else ()
    return list(dict.fromkeys(name for row in rows if isinstance(name := row.get("class"), str)))
