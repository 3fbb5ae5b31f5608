"""A generating method on a list of requests: images with captions and provenance, as a data set any tool can read."""

from __future__ import annotations

import csv
import io
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import PIL
import torch

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.method import GeneratorMethod, Method, build
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.data.files.manifest import load_manifest
from snellen.runs.class_grid import class_grid
from snellen.runs.image_sheet import image_sheet
from snellen.runs.layout import classes_of
from snellen.runs.manifest_columns import label_columns, text_columns
from snellen.runs.runner import Call, carry_out
from snellen.runs.safe_names import file_names
from snellen.runs.whole_file import whole_file
from snellen.verbs.contact_sheet import choose_examples
from snellen.verbs.generated_set import RECORD, WHAT, GeneratedSet, RejectedRequest
from snellen.verbs.requests import ListedRequests, Requests
from snellen.version import __version__

MANIFEST, SHEET, GRID = "manifest.csv", "sheet.png", "grid.png"

#: Columns that come first in the manifest.
_FIRST = ("path", "id", "label", "labels", "caption")

#: Images on the sheet of examples.
EXAMPLES = 18


def generate(
    method: Method,
    requests: Requests,
    *,
    out: Path | str,
    batch_size: int = 32,
    seed: int = 0,
    sheet: bool = True,
    progress: Progress | None = None,
) -> GeneratedSet:
    """Fulfil every request and write what came: PNG files, ``manifest.csv`` and, last, ``generate.json``.

    The manifest is what :func:`snellen.load_images` reads; its columns ``caption`` and ``provenance`` say what each
    image shows and where it came from. ``sheet.png`` shows examples with their captions; ``grid.png`` a row for each
    class, where several images of several classes were asked for. A call that was interrupted
    leaves a folder ``unfinished`` and no record; the same call goes on where it stopped, and when everything is there,
    it writes nothing.

    Args:
        method: of the area ``generation`` or ``synthesis``.
        requests: see :func:`snellen.verbs.requests.load_requests`.
        out: a new or empty folder, or one in which the same call was interrupted.
        batch_size: requests that the method gets at once, and what a killed call does again at most.
        seed: of everything random.
        sheet: also draw examples, and the grid.
        progress: hears of each request.

    Raises:
        InputError: another kind of method, ``out`` holds something else, no request can be read, or the method gives
            ids that occur twice.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call goes on once that is mended.
        RunConflictError: ``out`` holds a data set of another plan.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is at least 1; got {batch_size}")
    build("generation", method)
    lacking = method.missing()
    if lacking is not None:
        raise InputError(f"{method.name} {lacking}")
    listener, shards = progress or Silent(), -(-len(requests.ids) // batch_size)

    def plan() -> dict[str, Any]:
        # What a method fits before its first image takes its time, and is part of the plan.
        make_ready, check = getattr(method, "make_ready", None), getattr(method, "check", None)
        if make_ready is not None:
            if check is not None and isinstance(requests, ListedRequests):
                check(requests.rows)
            make_ready(listener)
        return _plan(method, requests, batch_size, seed, sheet, listener)

    call = Call(
        what=WHAT,
        record=RECORD,
        result=GeneratedSet,
        plan=plan,
        measure=lambda run: _fulfil(
            run, cast(GeneratorMethod, method), requests, batch_size, Randomness(seed), listener
        ),
        conclude=lambda run, _: _conclude(run, shards, requests, sheet),
        with_evidence=False,
    )
    return carry_out(call, out)


def _plan(
    method: Method, requests: Requests, batch_size: int, seed: int, sheet: bool, progress: Progress
) -> dict[str, Any]:
    """Everything that can change a byte; of models that the method names, their weights too, where it tells them."""
    identities = getattr(method, "identities", None)
    return {
        "kind": "generate",
        "requests": {
            "name": requests.name,
            "fingerprint": requests.fingerprint(progress),
            "count": len(requests.ids),
        },
        "method": method.record(),
        "models": {} if identities is None else dict(identities()),
        "batch_size": batch_size,
        "seed": seed,
        "sheet": sheet,
        "versions": {
            "snellen": __version__,
            "python": platform.python_version(),
            "pillow": PIL.__version__,
            "torch": torch.__version__,
        },
    }


def _fulfil(
    run: Run, method: GeneratorMethod, requests: Requests, batch_size: int, rng: Randomness, progress: Progress
) -> None:
    """Generate and write what is not there yet, shard by shard."""
    starts = range(0, len(requests.ids), batch_size)
    progress.begin("generating", len(requests.ids))
    for shard, start in enumerate(starts):
        members = range(start, min(start + batch_size, len(requests.ids)))
        if run.done(shard) and all((run.folder.parent / row["path"]).is_file() for row in _rows(run, shard)):
            progress.advance("generating", len(members), "already done")
            continue
        asked, rejected = [], []
        for index in members:
            try:
                asked.append(requests.read(index))
            except RejectedImageError as error:
                rejected.append({"id": requests.ids[index], "reason": str(error)})
        rows = _write(run.folder.parent, method.generate(asked, rng=rng)) if asked else []
        run.write_shard(shard, {}, {"rows": rows, "rejected": rejected})
        progress.advance("generating", len(members))
    progress.finish("generating")


def _write(folder: Path, images: ImageSet) -> list[dict[str, str]]:
    """Write the images of one shard; a row of the manifest for each."""
    known = [
        column for column in images.table.column_names if column not in ("id", "label", "labels", "bag_label", "mask")
    ]
    columns = label_columns(images, classes_of(images)) | text_columns(images, known)
    rows = []
    for index, (key, name) in enumerate(zip(images.ids, file_names(images.ids, ".png"), strict=True)):
        path = f"images/{name}"
        with whole_file(folder / path) as stream:
            images.read(index).save(stream, "PNG")
        rows.append({"path": path, "id": key, **{column: values[index] for column, values in columns.items()}})
    return rows


def _rows(run: Run, shard: int) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = run.shard_extra(shard)["rows"]
    return rows


def _conclude(run: Run, shards: int, requests: Requests, sheet: bool) -> GeneratedSet:
    """Write what needs all images, and make the record."""
    folder = run.folder.parent
    rows = [row for shard in range(shards) for row in _rows(run, shard)]
    rejected = tuple(
        RejectedRequest(**found) for shard in range(shards) for found in run.shard_extra(shard)["rejected"]
    )
    if not rows:
        shutil.rmtree(run.folder)
        told = f"; first: {rejected[0].id}: {rejected[0].reason}" if rejected else ""
        raise InputError(f"nothing was generated for the {len(requests.ids)} requests of {requests.name}{told}")
    twice = len(rows) - len({row["id"] for row in rows})
    if twice:
        raise InputError(f"the method gave {twice} ids that occur twice; each image needs one of its own")
    _write_manifest(folder / MANIFEST, rows)
    files = [MANIFEST]
    if sheet:
        made = load_manifest(folder / MANIFEST, name=requests.name)
        chosen = choose_examples(made, range(len(made)), EXAMPLES)
        with whole_file(folder / SHEET) as stream:
            image_sheet(made, chosen, captions=True).save(stream, "PNG")
        files.append(SHEET)
        # Images that were there already may be of many sizes, and their classes are known.
        by_class = class_grid(made) if isinstance(requests, ListedRequests) else None
        if by_class is not None:
            with whole_file(folder / GRID) as stream:
                by_class.save(stream, "PNG")
            files.append(GRID)
    return GeneratedSet(plan=dict(run.plan), written=len(rows), rejected=rejected, files=tuple(files), folder=folder)


def _write_manifest(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    present = {column for row in rows for column in row}
    columns = [*(column for column in _FIRST if column in present), *sorted(present.difference(_FIRST))]
    with whole_file(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
        table = csv.DictWriter(text, columns, restval="")
        table.writeheader()
        table.writerows(rows)
        text.detach()
