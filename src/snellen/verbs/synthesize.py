"""The verb ``snellen.synthesize``: a labelled data set made by a generator, which every other verb reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from snellen.core.errors import InputError
from snellen.core.images import Split
from snellen.core.progress import Progress, Silent
from snellen.data.loading import check_batches
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.methods.synthesis.synthetic_set import RECORD, WHAT, SyntheticSet
from snellen.runs.given import Images, given_images
from snellen.runs.runner import Running
from snellen.runs.settings import Methods, named_settings
from snellen.runs.unfinished import check_free
from snellen.verbs.requests import CLASSES

#: Images of each class, unless a call says how many.
COUNT = 50


def synthesize(
    method: Methods,
    source: Source | Images | Sequence[str],
    *,
    out: Path | str,
    count: int | None = None,
    one_each: bool = False,
    split: Split = "train",
    batch_size: int = 32,
    seed: int = 0,
    sheet: bool = True,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> SyntheticSet:
    """Generate labelled images, class-balanced and nested, and write them as a data set.

    ``manifest.csv`` is what :func:`snellen.load_images` reads. Its columns ``provenance`` and ``synthetic`` say that
    and how each image was generated; ``setting`` and ``index`` say by which setting, and which image of its class it
    is. The first images of each class stay the same when ``count`` rises. ``synthesize.json``, the record, comes last
    and counts copies. A call that was interrupted leaves a folder ``unfinished`` and no record; the same call resumes
    where it stopped and ends with the same bytes.

    >>> import tempfile, snellen
    >>> from snellen.synthesis import ByName
    >>> method = ByName(generator="bundled:scene-diffusion", steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = snellen.synthesize(method, ["star", "ring"], out=folder, count=2)
    ...     snellen.load_images(made.manifest).class_names
    ('ring', 'star')

    Args:
        method: of the area ``synthesis``: what images are conditioned on, with generator and guidance. Several are
            settings of one data set.
        source: names of classes, or ``classes:star,heart``; or labelled real images, whose classes are taken. Where
            images have splits, those of ``split`` alone are used.
        out: a new or empty folder, or one in which the same call was interrupted.
        count: images of each class, for each setting; 50 by default.
        one_each: one image for each real image instead, with its id, path and class: a twin of the data set.
        split: which real images are imitated. What comes belongs to the same split: what is made of ``val`` or
            ``test`` is for testing, and nothing may be trained on it.
        batch_size: images that are generated at once, and what a killed call does again at most.
        seed: of everything random.
        sheet: also draw examples, and a grid of classes.
        progress: callback that receives progress updates.
        running: engine, part, budget: see :class:`~snellen.runs.runner.Running`. A budget makes fewer images of each
            class.

    Raises:
        InputError: another kind of method; ``out`` holds something else; no classes; a class or prompt that the
            generator does not take; real images without what a method is conditioned on; both a count and one_each.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
        RunConflictError: ``out`` holds a data set of another plan.
    """
    check_batches(batch_size)
    if one_each and count is not None:
        raise InputError(f"one image for each real one is as many as there are, and count says {count}; leave one out")
    folder = Path(out)
    settings = named_settings(method, "synthesis")
    check_free(folder, RECORD, WHAT)
    return synthesize_into(
        settings,
        given_source(source, split),
        folder,
        count=None if one_each else COUNT if count is None else count,
        batch_size=batch_size,
        seed=seed,
        sheet=sheet,
        progress=progress or Silent(),
        **running,
    )


def given_source(source: Source | Images | Sequence[str], split: Split = "train") -> Source:
    """Classes, and real images where there are any, from what a call takes.

    >>> given_source("classes:star,ring").classes
    ('star', 'ring')

    Raises:
        InputError: no class, or images that cannot be read.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, str) and source.startswith(CLASSES):
        names = source.removeprefix(CLASSES)
        if "?" in names:
            raise InputError(f"{source!r}: how many images of each class is an option of its own; leave out '?…'")
        return Source(tuple(name.strip() for name in names.split(",")), split=split)
    # A list of paths is a set of images, as everywhere.
    if isinstance(source, list | tuple) and source and all(_is_name(one) for one in source):
        return Source(tuple(str(name) for name in source), split=split)
    return Source.of_images(given_images(source), split)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and not os.path.exists(value)
