"""Labels of the owner, image by image, by a key each; an interrupted review resumes behind the last answer.

A half of the images comes from queries of both sides, so that a rare concept has positives to measure on; the other
half is drawn at random from the rest of the pool. They come in random order, so that the side does not show.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.core.run import write_atomically
from snellen.models.encoders.feature_store import frozen_features
from snellen.runs.given import Images, given_images
from snellen.runs.safe_names import file_names
from snellen.runs.thumbnails import png
from snellen.systems.language_model_annotation.collaboration import Schedule
from snellen.systems.language_model_annotation.collaborators import Collaborators
from snellen.systems.language_model_annotation.definition import Definition
from snellen.systems.language_model_annotation.mining import Mined, initial_batch, mine, write_queries
from snellen.systems.language_model_annotation.preparing import default_store, defined

#: Most images of a review, and the name of its table.
MOST, TABLE = 100, "labels.csv"

#: Name and description of the concept that the labels are about, beside the table.
CONCEPT = "concept.json"

#: Reads the owner's answer: question and file of the image → y, n, s (skip) or q (stop here).
Ask = Callable[[str, Path], str]


def chosen_rows(mined: Mined, pool: int, count: int, seed: int) -> list[int]:
    """Which images are reviewed, in their order: half from the queries, the others at random; no image twice."""
    queried = initial_batch(mined, count // 2)
    rng = np.random.default_rng(derive_seed(seed, "review"))
    rest = [row for row in rng.permutation(pool).tolist() if row not in set(queried)]
    rows = [*queried, *rest[: count - len(queried)]]
    return [rows[place] for place in rng.permutation(len(rows)).tolist()]


def review(
    concept: Definition,
    pool: Images,
    models: Collaborators,
    ask: Ask,
    *,
    count: int,
    folder: Path,
    embeddings: Path,
    store: Path | None = None,
    corrections: Sequence[str] = (),
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
    seed: int = 0,
    progress: Progress | None = None,
) -> Path | None:
    """Show images one by one, and write the owner's labels after each answer.

    Args:
        concept, pool, corrections, embeddings, store, schedule, seed: as of :func:`snellen.label`.
        models: that take part.
        ask: reads an answer.
        count: images, at most 100.
        folder: for the images and ``labels.csv``; one that was begun is resumed.
        progress: callback that receives progress updates.

    Returns:
        The table, which ``labels`` takes; a skipped image has an empty label. None where the owner stopped before the
        last image.

    Raises:
        InputError: a number of images that cannot be, an answer that is none, or a folder of another concept.
    """
    if not 2 <= count <= MOST:
        raise InputError(f"a review has 2 to {MOST} images; got {count}")
    images = given_images(pool).for_fitting().unlabelled()
    definition, talk = defined(concept, models, default_store(store), corrections)
    queries = write_queries(definition, talk, each=schedule.queries)
    features = frozen_features(images, models.encoder, folder=embeddings, progress=progress)
    vectors = models.encode([text for _, text in queries.all])
    mined = mine(queries, vectors, features.features, k=schedule.per_query)
    usable = images.select(features.positions)
    return ask_for_labels(usable.select(chosen_rows(mined, len(usable), count, seed)), definition, ask, folder)


def ask_for_labels(images: ImageSet, definition: Definition, ask: Ask, folder: Path) -> Path | None:
    """Labels of all images in their order; see :func:`review`.

    Raises:
        InputError: a folder with labels of another concept, or an answer that is none.
    """
    table = folder / TABLE
    _keep_concept(folder / CONCEPT, definition)
    found = read_answers(table)
    for place, (one, name) in enumerate(zip(images.ids, file_names(images.ids, ".png"), strict=True), 1):
        if one in found:
            continue
        path = folder / name
        write_atomically(path, png(images.read(place - 1)))
        question = f"{place} of {len(images)}: does it show {definition.name}? y yes, n no, s skip, q stop"
        answer = ask(question, path)
        if answer == "q":
            return None
        if answer not in ("y", "n", "s"):
            raise InputError(f"an answer is y, n, s or q; got {answer!r}. The same command resumes behind the last one")
        found[one] = {"y": "yes", "n": "no", "s": ""}[answer]
        _write(table, found)
    return table


def _keep_concept(path: Path, definition: Definition) -> None:
    """Write what the review is about, or refuse a folder that is about something else."""
    own = {"name": definition.name, "description": definition.description}
    if not path.is_file():
        write_atomically(path, (json.dumps(own, indent=1) + "\n").encode())
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}); review into another folder") from error
    if held != own:
        raise InputError(
            f"{path.parent} holds labels of another concept ({str(held)[:200]}); name another folder, or remove it"
        )


def read_answers(table: Path) -> dict[str, str]:
    """Answers of an earlier call, by id; empty without one."""
    if not table.is_file():
        return {}
    rows = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"), newline=""))
    return {row["id"]: row["label"] for row in rows}


def _write(table: Path, found: Mapping[str, str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([("id", "label"), *found.items()])
    write_atomically(table, text.getvalue().encode())
