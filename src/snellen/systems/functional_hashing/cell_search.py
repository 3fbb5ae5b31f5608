"""The verb ``snellen.search``: labelled images in, a classifier of the best cell and the account of the cache out.

Each candidate is a shard, written when its fitness is known. A candidate depends on the fitness of those before it, so
they are done in turn; a killed search repeats the known ones without training and continues the same sequence.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from snellen.core.errors import InputError, SnellenError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.run_plan import describe_data, describe_machine
from snellen.data.class_balance import held_out
from snellen.data.files.splits import split_of
from snellen.data.references import load_images
from snellen.runs.given import Images, given_images
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.unfinished import check_free
from snellen.systems.functional_hashing.cell_space import CellSettings, check_stacks
from snellen.systems.functional_hashing.concluding import conclude
from snellen.systems.functional_hashing.function_cache import FunctionCache
from snellen.systems.functional_hashing.functional_hash import MANTISSA_BITS, check_mantissa_bits
from snellen.systems.functional_hashing.record import RECORD, WHAT, CellSearch
from snellen.systems.functional_hashing.search_work import TASK, Searched, SearchWork
from snellen.systems.functional_hashing.searching import Keys, Strategy, check_search

#: One in so many images of each class measures fitness, where none are given for that.
SHARE_HELD_OUT = 5


def search(
    images: Images,
    *,
    out: Path | str,
    val: Images | None = None,
    candidates: int = 400,
    strategy: Strategy = "evolution",
    population: int = 100,
    tournament: int = 10,
    keys: Keys = "functional",
    max_num_evals: int = 1,
    remove_probability: float = 0.0,
    capacity: int | None = None,
    mantissa_bits: int = MANTISSA_BITS,
    side: int = 32,
    cells: CellSettings = CellSettings(),  # noqa: B008 - frozen
    final_epochs: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> CellSearch:
    """Search a network for your images, and train equal cells once: those that differ by order and unused parts alone.

    ``out`` then holds ``classifier``, which :func:`snellen.audit` opens; ``candidates.jsonl``; ``costs.json`` with the
    seconds of this run and, last, the record ``search.json``. A call that was interrupted resumes where it stopped and
    proposes the same candidates.

    Population and tournament are those of the published demonstration. With fewer candidates than the population all
    are drawn at random.

    Args:
        images: labelled images, one label each. Of several splits, ``train`` is trained on and ``val`` measures; test
            images are not touched.
        out: a new or empty folder, or one in which the same call was interrupted.
        val: images that measure fitness and train nothing; None: the split ``val``, or a fifth of each class.
        candidates: that are proposed.
        strategy: ``random``, ``evolution`` (the child replaces the oldest) or ``elitism`` (it replaces the worst).
        population: of evolution and elitism.
        tournament: members; the best of them has a child.
        keys: what makes two candidates equal: ``functional``, ``structural`` (the same cells, found without a probe),
            or ``none``, which takes no setting of the cache.
        max_num_evals: trainings of a key that are averaged before it is frozen.
        remove_probability: with which a key is forgotten after a hit.
        capacity: keys that the cache holds; None: no limit.
        mantissa_bits: of the functional hash, 1 to 52.
        side: height and width of the networks' images, pixels.
        cells: how cells are built, probed and trained.
        final_epochs: of the training of the best cell.
        seed: of everything random.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; neither a budget nor a part.

    Raises:
        InputError: settings out of range or without effect, one class, several labels for an image, test images, other
            classes, or images that train and measure.
        UnwritableError, RunConflictError: see :func:`snellen.synthesize`.
    """
    folder, listener = Path(out), progress or Silent()
    check_free(folder, RECORD, WHAT)
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError(
            f"a {WHAT} takes neither a budget of time nor a part: candidates depend on each other; limit --candidates"
        )
    for name, value, least in (("candidates", candidates, 1), ("final epochs", final_epochs, 1), ("side", side, 8)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{name}: expected a whole number, got {value!r}")
        if value < least:
            raise InputError(f"{name}: expected at least {least}, got {value}")
    check_mantissa_bits(mantissa_bits)
    check_stacks(cells.stacks, side)
    searching = {
        "strategy": strategy, "population": population, "tournament": tournament, "keys": keys,
        "mantissa_bits": mantissa_bits,
    }  # fmt: skip
    caching: dict[str, Any] = {
        "max_num_evals": max_num_evals, "remove_probability": remove_probability, "capacity": capacity
    }  # fmt: skip
    FunctionCache(**caching)  # refuses what is out of range before anything is read
    check_search(strategy, keys, population, tournament)
    _check_effect(keys, mantissa_bits, caching)
    train, measured = _images(given_images(images), None if val is None else given_images(val), seed)
    searched = Searched(train, measured, side, cells, searching, caching, seed, running.get("allow_rejected", False))

    @cache
    def plan() -> dict[str, Any]:
        return {
            "kind": WHAT,
            "data": describe_data(train, listener),
            "val": describe_data(measured, listener),
            "side": side,
            "cells": cells.model_dump(mode="json"),
            "search": searching,
            "cache": caching,
            "candidates": candidates,
            "final_epochs": final_epochs,
            "seed": seed,
            **describe_machine(None),
        }

    def call(_: int) -> Call[CellSearch]:
        return Call(
            what=WHAT,
            result=CellSearch,
            plan=plan,
            work=lambda run: SearchWork(searched, run),
            shards=[range(item, item + 1) for item in range(candidates)],
            task=TASK,
            conclude=lambda run, where: conclude(
                run, where, searched, candidates, final_epochs, _test_images(images), listener,
            ),
            images=None,
            seen=lambda _: range(0),
            fits=True,
            forecast=lambda: searched.forecast(candidates, final_epochs),
            costs=lambda: (
                f"{candidates:,} candidates; the time is without a hit, and about a third to a half are hits",
            ),
            rejected=lambda _: (),
            name=train.name,
        )  # fmt: skip

    listener.begin(WHAT, 1)
    with carried_out(call, candidates, folder, listener, running) as carried:
        carried.measure()
    listener.finish(WHAT)
    return carried.result


def _check_effect(keys: str, mantissa_bits: int, caching: dict[str, Any]) -> None:
    """Refuse settings that these keys do not use.

    Raises:
        InputError: as above.
    """
    plain = {"max_num_evals": 1, "remove_probability": 0.0, "capacity": None}
    unused = [name for name, value in plain.items() if keys == "none" and caching[name] != value]
    if keys != "functional" and mantissa_bits != MANTISSA_BITS:
        unused.append("mantissa_bits")
    if unused:
        raise InputError(f"{', '.join(unused)}: without effect where the keys are {keys!r}; leave it out")


def _test_images(images: Images) -> str:
    """The reference of the test images of a set that was named; empty where it has none."""
    if not isinstance(images, str | os.PathLike):
        return ""
    place, _, split = os.fspath(images).rpartition("#")
    reference = f"{place if place and split_of(split) else os.fspath(images)}#test"
    try:
        return reference if len(load_images(reference)) else ""
    except SnellenError:
        return ""


def _images(images: ImageSet, val: ImageSet | None, seed: int) -> tuple[ImageSet, ImageSet]:
    """Images to train on, and those that measure fitness.

    Raises:
        InputError: as :func:`search`.
    """
    splits = set(images.column("split"))
    if val is None and "val" in splits:
        val = images.of_split("val")
    train = (images.of_split("train") if "train" in splits else images).for_fitting()
    if not train.class_names or not train.has_labels:
        raise InputError(f"{train.name} has no labels; a search needs labelled images, such as a folder of each class")
    if not (train.labels >= 0).any():
        raise InputError(f"{train.name}: a search needs images with one label each")
    if len(train.class_names) < 2:
        raise InputError(f"{train.name} has one class, {train.class_names[0]!r}: there is nothing to classify")
    if val is None:
        return held_out(train, SHARE_HELD_OUT, seed)
    if val.class_names != train.class_names:
        raise InputError(f"{val.name} has other classes than {train.name}; both need the same, in one order")
    val = val.for_fitting()
    # By content and not by id: two folders name different images alike.
    shared = int(np.isin(val.content_hashes, train.content_hashes).sum())
    if shared:
        raise InputError(
            f"{shared} of {len(val)} images of {val.name} are also in {train.name}: an image that trains cannot "
            "measure; give others, or leave them out of one set"
        )
    return train, val
