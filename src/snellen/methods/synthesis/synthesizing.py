"""A labelled data set made by a generator, written resumably: settings × classes × rows of the manifest.

The folder, lock, plan, shards and record are those of :mod:`snellen.runs.runner`. A shard is a batch of one setting; a
killed call loses the batch in work and ends with the same bytes. An image in which nothing is drawn is drawn again from
other noise, and rejected if that does not help; both are counted.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, Unpack

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet, Provenance
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine
from snellen.data.files.manifest import load_manifest
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.copies import copies, nearly_constant
from snellen.methods.synthesis.manifest_rows import Manifested, Source
from snellen.methods.synthesis.synthetic_set import MANIFEST, RECORD, WHAT, SyntheticSet
from snellen.runs.generated_files import EXAMPLES, write_images, write_manifest, write_pictures
from snellen.runs.measuring import Put
from snellen.runs.record import RejectedImage
from snellen.runs.reopening import Reopening
from snellen.runs.runner import Call, Running, batches, carried_out
from snellen.runs.safe_names import file_names, relative_names
from snellen.runs.settings import Setting, settings_again, settings_record
from snellen.runs.shard import Shard
from snellen.runs.writer import sha256

#: What progress calls it.
TASK = "generating"

#: How often an image in which nothing is drawn is drawn again before its row is rejected.
REDRAWS = 3

#: Column of the manifest that says how often.
REDRAWN = "redrawn"


@dataclass(frozen=True, eq=False)
class SynthesisWork:
    """Rows of a manifest under several settings; an item is one row of one setting.

    Attributes:
        settings: of :class:`~snellen.methods.synthesis.conditioned.Conditioned`, named.
        source: classes, and real images where there are any.
        count: images of each class in each setting; None: one for each real image, under its path.
        seed: of everything random.
        earlier: folder of a smaller finished set of these settings, whose images are taken as they are.
    """

    settings: Sequence[Setting]
    source: Source
    count: int | None
    seed: int
    earlier: Path | None = None

    @classmethod
    def again(cls, _: Sequence[Classifier], sets: Mapping[str, ImageSet], arguments: Mapping[str, Any]) -> Self:
        """The same work in another process, from what :meth:`reopening` says."""
        source = Source(tuple(arguments["classes"]), sets.get(""), arguments["split"])
        settings = settings_again("synthesis", arguments["settings"])
        earlier = arguments["earlier"]
        return cls(settings, source, arguments["count"], arguments["seed"], None if earlier is None else Path(earlier))

    def reopening(self) -> Reopening:
        """From what a worker makes the same work."""
        return Reopening(
            maker="snellen.methods.synthesis.synthesizing:SynthesisWork.again",
            sets={} if self.source.images is None else {"": self.source.images},
            methods={"synthesis": [setting.method for setting in self.settings]},
            arguments={
                "settings": settings_record(self.settings),
                "classes": list(self.source.classes),
                "split": self.source.split,
                "count": self.count,
                "seed": self.seed,
                "earlier": None if self.earlier is None else str(self.earlier),
            },
        )

    @property
    def methods(self) -> list[Conditioned]:
        """The methods of the settings."""
        return [conditioned(setting) for setting in self.settings]

    @cached_property
    def manifests(self) -> list[list[Manifested]]:
        """The rows of each setting."""
        return [method.rows(self.source, self.count, self.seed) for method in self.methods]

    @cached_property
    def finished(self) -> Mapping[tuple[str, str, str], Mapping[str, str]]:
        """Rows of the earlier set, by setting, class and index."""
        if self.earlier is None:
            return {}
        with (self.earlier / MANIFEST).open(encoding="utf-8", newline="") as stream:
            return {(row["setting"], row["label"], row["index"]): row for row in csv.DictReader(stream)}

    @property
    def rows_of_a_setting(self) -> int:
        """Rows of each setting: as many in all of them."""
        if self.count is None:
            return len(self.manifests[0])
        return self.count * len(self.source.classes)

    def id_of(self, setting: int, row: Manifested) -> str:
        """The id of an image: that of its row, behind the setting where there are several."""
        return row.id if len(self.settings) == 1 else f"{self.settings[setting].name}/{row.id}"

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The file of each image, by its id: the path of the real image whose twin it is, or a plain name."""
        keys = [self.id_of(number, row) for number, rows in enumerate(self.manifests) for row in rows]
        found = file_names(keys, ".png") if self.count is not None else relative_names(keys, ".png")
        return dict(zip(keys, found, strict=True))

    def shards(self, batch_size: int) -> list[range]:
        """Batches of rows, none of two settings."""
        size = self.rows_of_a_setting
        return [
            range(number * size + batch.start, number * size + batch.stop)
            for number in range(len(self.settings))
            for batch in batches(size, batch_size)
        ]

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Generate some rows of one setting; see :class:`~snellen.runs.measuring.Work`."""
        number, size = items.start // self.rows_of_a_setting, self.rows_of_a_setting
        method, setting = self.methods[number], self.settings[number].name
        wanted, rejected = list[Mapping[str, Any]](), list[dict[str, str]]()
        taken = dict[str, dict[str, str]]()
        for item in items:
            row = self.manifests[number][item - number * size]
            key = self.id_of(number, row)
            found = self.finished.get((setting, row.label, str(row.index)))
            if self.earlier is not None and found is not None and is_of(found, row):
                taken[key] = {**found, "id": key, "path": f"images/{self.names[key]}"}
                put(taken[key]["path"], (self.earlier / found["path"]).read_bytes())
                continue
            try:
                wanted.append({**method.request(row, self.source), "id": key})
            except RejectedImageError as error:
                rejected.append({"id": key, "reason": str(error)})
        rows, blank = self._drawn(method, wanted, put)
        progress.advance(TASK, len(items))
        # Earlier images come first in their classes, and so in the rows of a shard.
        known = {"setting": setting, **({} if self.source.split == "train" else {"split": self.source.split})}
        rows = [{**row, **known} for row in (*taken.values(), *rows)]
        return Shard(extra={"rows": rows, "rejected": [*rejected, *blank]})

    def _drawn(
        self, method: Conditioned, wanted: Sequence[Mapping[str, Any]], put: Put
    ) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Generate and write images; also those that stayed without content."""
        found = dict[str, dict[str, str]]()
        parts, left = drawn(method, wanted, Randomness(self.seed))
        for attempt, part in enumerate(parts):
            times = {} if attempt == 0 else {REDRAWN: str(attempt)}
            found |= {row["id"]: {**row, **times} for row in write_images(part, put, {}, names=self.names)}
        reason = f"nothing is drawn in it, {REDRAWS + 1} times"
        return (
            [found[one["id"]] for one in wanted if one["id"] in found],
            [{"id": str(one["id"]), "reason": reason} for one in left],
        )


def drawn(
    method: Conditioned, requests: Sequence[Mapping[str, Any]], rng: Randomness
) -> tuple[list[ImageSet], list[Mapping[str, Any]]]:
    """Generate images, those in which nothing is drawn again from other noise.

    Returns:
        The images of each attempt, and the requests that no attempt drew anything for.
    """
    parts, left = list[ImageSet](), list(requests)
    while left and len(parts) <= REDRAWS:
        made = method.generate([_again(one, len(parts)) for one in left], rng=rng)
        empty = nearly_constant(made)
        parts.append(made.select([row for row in range(len(made)) if row not in empty]))
        left = [left[row] for row in sorted(empty)]
    return parts, left


def _again(request: Mapping[str, Any], attempt: int) -> Mapping[str, Any]:
    """The same request with other noise at each further attempt."""
    return request if attempt == 0 else {**request, "seed": derive_seed(request["seed"], REDRAWN, attempt) % 2**31}


def is_of(found: Mapping[str, str], row: Manifested) -> bool:
    """Whether an image of an earlier set is that of a row: it began with the same noise under the same prompt."""
    made = Provenance.model_validate_json(found["provenance"])
    return made.seed == row.seed and (row.prompt is None or made.prompt == row.prompt)


def conditioned(setting: Setting) -> Conditioned:
    """The method of a setting.

    Raises:
        InputError: another kind of method.
    """
    if not isinstance(setting.method, Conditioned):
        raise InputError(f"{setting.name} makes no rows of a manifest, so no data set can be made with it")
    return setting.method


def synthesize_into(
    settings: Sequence[Setting],
    source: Source,
    folder: Path,
    *,
    count: int | None,
    batch_size: int = 32,
    seed: int = 0,
    sheet: bool = True,
    earlier: Path | None = None,
    progress: Progress,
    **running: Unpack[Running],
) -> SyntheticSet:
    """Generate ``count`` images of each class in each setting, or one for each real image without a count.

    See :func:`snellen.synthesize`.

    ``earlier`` is the folder of a finished set of the same source and seed with fewer images: these are not generated
    again where class, index, prompt and noise are the same.

    Raises:
        InputError: a count below 1, a source that a setting cannot use, or another kind of method.
    """
    if count is not None and count < 1:
        raise InputError(f"at least 1 image of each class is generated; got {count}")
    if count is None and running.get("budget") is not None:
        raise InputError("one image is generated for each real one, so a budget cannot make fewer: leave it out")
    items = count if count is not None else len(source.images) if source.images is not None else 1
    for setting in settings:
        conditioned(setting)

    def call(number: int) -> Call[SyntheticSet]:
        if count is None and source.images is not None:  # a trial makes a few of them
            own = replace(source, images=source.images.select(range(number))) if number < items else source
            work = SynthesisWork(settings, own, None, seed)
        else:
            work = SynthesisWork(settings, source, None if count is None else number, seed, earlier)
        shards = work.shards(batch_size)

        def plan() -> dict[str, Any]:
            for method, rows in zip(work.methods, work.manifests, strict=True):
                method.check(rows, source)
            return _plan(work, batch_size, sheet, progress)

        return Call(
            what=WHAT,
            result=SyntheticSet,
            plan=plan,
            work=lambda _: work,
            shards=shards,
            task=TASK,
            conclude=lambda run, where: _conclude(run, len(shards), work, sheet, where),
            images=source.images,
            seen=lambda _: range(0 if source.images is None else len(source.images)),
            again=work.reopening(),
            name=", ".join(source.classes[:3]),
        )

    with carried_out(call, items, folder, progress, running) as carried:
        carried.measure()
    return carried.result


def _plan(work: SynthesisWork, batch_size: int, sheet: bool, progress: Progress) -> dict[str, Any]:
    """Everything that can change a byte."""
    images = work.source.images
    described = {"name": ", ".join(work.source.classes)} if images is None else describe_data(images, progress)
    captions = {} if images is None else {"captions": images.column("caption")} if _captioned(work) else {}
    return {
        "kind": "synthesize",
        "source": {"classes": list(work.source.classes), **described, **captions},
        "settings": [{"setting": setting.name, **setting.record} for setting in work.settings],
        "models": {setting.name: conditioned(setting).identities() for setting in work.settings},
        "count": work.count,
        **({} if work.source.split == "train" else {"split": work.source.split}),
        "batch_size": batch_size,
        "seed": work.seed,
        "sheet": sheet,
        # An image may differ by rounding from one that is generated in another batch.
        **({} if work.earlier is None else {"earlier": sha256((work.earlier / RECORD).read_bytes())}),
        **describe_machine(None),
    }


def _captioned(work: SynthesisWork) -> bool:
    return any(method.name == "by_caption" for method in work.methods)


def _conclude(run: Run, shards: int, work: SynthesisWork, sheet: bool, folder: Path) -> SyntheticSet:
    """Write what needs all images, and make the record."""
    extras = [run.shard_extra(shard) for shard in range(shards)]
    rows: list[dict[str, str]] = [row for extra in extras for row in extra["rows"]]
    rejected = tuple(RejectedImage(**found) for extra in extras for found in extra["rejected"])
    if not rows:
        shutil.rmtree(run.folder)
        raise InputError(f"no image was generated; first: {rejected[0].id}: {rejected[0].reason}")
    by_setting = {setting.name: [row for row in rows if row["setting"] == setting.name] for setting in work.settings}
    write_manifest(folder / MANIFEST, rows)
    files = [MANIFEST]
    several = len(work.settings) > 1
    found = {}
    for name, own in by_setting.items():
        path = folder / (f"{name}.csv" if several else MANIFEST)
        if several and own:
            write_manifest(path, own)
            files.append(path.name)
        found[name] = copies(load_manifest(path), work.source.images) if own else None
    if sheet:
        made = load_manifest(folder / MANIFEST, name=WHAT)
        files += write_pictures(made, range(min(EXAMPLES, len(made))), folder)
    written = {name: dict(Counter(row["label"] for row in own)) for name, own in by_setting.items()}
    return SyntheticSet(
        plan=dict(run.plan),
        written=written,
        copies=found,
        redrawn={name: sum(REDRAWN in row for row in own) for name, own in by_setting.items()},
        rejected=rejected,
        files=tuple(files),
        folder=folder,
    )
