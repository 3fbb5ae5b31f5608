"""A budget of time, resolved once while an audit is planned: how many images, and which checks.

A few batches are read and scored with a clock beside them; each check says how many passes through the model it needs
(:meth:`~snellen.checks.check.Check.cost`). Fewer images are taken first, down to :data:`FLOOR`; below it figures mean
little, so the dearest checks leave one by one; and only when none is left that costs anything, fewer images again, down
to :data:`LEAST`. What was chosen is part of the plan and is never chosen again: clocks differ, a run does not.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.auditing.clean_evidence import clean_evidence
from snellen.auditing.limiting import smallest_limit
from snellen.auditing.shard_work import make_batch
from snellen.checks.check import Check, Companion, Kept
from snellen.core.budget import time_words
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.core.run import read_manifest
from snellen.data.loading import prepared_batches

#: Images below which figures say little: an accuracy of 90 % is then known to ± 2 points at best. Of fewer, all.
FLOOR = 1_000

#: Images below which nothing is audited for the sake of a budget.
LEAST = 100

#: Share of the budget that training and validation images may take before fewer of them are read.
COMPANION_SHARE = 1 / 3

#: Share of the budget after which measuring stops; one batch is measured in any case.
MEASURING_SHARE = 0.05

#: Batches that are measured, and images in each at most. The first of several warms up and is not counted.
BATCHES, BATCH = 4, 32

#: What an audit takes beside its passes: seconds, and seconds for each image, on two slow cores.
OVERHEAD, OVERHEAD_EACH = 1.5, 0.002


class Choice(BaseModel):
    """What fits into a budget; a part of the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(description="the budget")
    images: int = Field(ge=1, description="images to audit at most; whole bags")
    of: int = Field(description="images that there were")
    companions: dict[Companion, int] = Field(default_factory=dict, description="other images to read, at most")
    left_out: dict[str, str] = Field(default_factory=dict, description="checks that do not fit, with the reason")
    estimated: float = Field(description="seconds that all of it was estimated to take")

    def notes(self) -> list[str]:
        """What a reader of the report must know; the same of a choice that was read back, whose names are sorted."""
        parts = [
            f"Budget of {time_words(self.seconds)}: {self.images:,} of {self.of:,} images, drawn at random"
            if self.images < self.of
            else f"Budget of {time_words(self.seconds)}: all {self.of:,} images"
        ]
        parts += [f"at most {count:,} {name} images" for name, count in sorted(self.companions.items())]
        if self.left_out:
            parts.append(f"left out: {', '.join(sorted(self.left_out))}")
        return ["; ".join(parts) + "."]


class Rates(BaseModel):
    """Seconds for one image, as measured.

    Attributes:
        each: to hash, read and score it, and to keep what the checks read.
        forward: of one pass through the model alone, the unit of :meth:`~snellen.checks.check.Check.cost`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    each: float
    forward: float


def recorded_choice(folder: Path, seconds: float, images: int) -> Choice | None:
    """What a run in this folder chose for the same budget among as many images; None where there is no such run."""
    try:
        choice = Choice.model_validate(read_manifest(folder)["budget"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return choice if (choice.seconds, choice.of) == (seconds, images) else None


def fitted(
    seconds: float,
    classifier: Classifier,
    images: ImageSet,
    companions: Mapping[Companion, ImageSet],
    checks: Sequence[Check],
    *,
    batch_size: int,
    workers: int,
    seed: int,
    started: float,
    processes: int = 1,
) -> Choice:
    """Measure, and choose what fits.

    Args:
        seconds: the budget.
        classifier: the model.
        images: that are to be audited.
        companions: training and validation images.
        checks: that can run.
        batch_size: images in one pass.
        workers: threads that read ahead.
        seed: of the images that are measured.
        started: reading of ``time.perf_counter`` when the audit began.
        processes: that will work side by side; this one alone is measured.

    Raises:
        InputError: the budget is too small, or nothing could be measured.
    """
    keep = frozenset(kept for check in checks for kept in check.reads)
    rates = measure_rates(classifier, images, keep, batch_size=batch_size, workers=workers, seed=seed, seconds=seconds)
    return choose(
        len(images),
        {check.name: _passes(check) for check in checks},
        rates,
        seconds=seconds,
        spent=time.perf_counter() - started,
        companions={name: len(one) for name, one in companions.items()},
        smallest=smallest_limit(images),
        processes=processes,
    )


def measure_rates(
    classifier: Classifier,
    images: ImageSet,
    keep: Collection[Kept],
    *,
    batch_size: int,
    workers: int,
    seed: int,
    seconds: float,
) -> Rates:
    """Read and score a few batches, drawn at random, and read the clock.

    Raises:
        InputError: not one of these images can be used.
    """
    size, started = min(batch_size, BATCH), time.perf_counter()
    few = images.limit(BATCHES * size, seed)
    labels, each, forward, used = few.known_labels, list[float](), list[float](), 0
    last = started
    for loaded in prepared_batches(few, classifier.preparation, size, workers=workers):
        for index in loaded.indices:
            few.content_hash(index)
        if loaded.ids:
            rows = torch.tensor(loaded.indices).numpy()
            units = [None] * len(loaded.ids)
            batch, _ = make_batch(classifier, loaded.ids, units, loaded.pixels, labels[rows], Randomness(seed), keep)
            if batch is not None:
                clean_evidence(batch, keep)
                used += len(batch.ids)
                scored = time.perf_counter()
                with torch.no_grad():
                    classifier(batch.images)
                forward.append((time.perf_counter() - scored) / len(batch.ids))
                each.append((scored - last) / len(batch.ids))
        last = time.perf_counter()
        if used and last - started > MEASURING_SHARE * seconds:
            break
    if not used:
        raise InputError(f"no image of {len(few)} drawn from {images.name} could be used, so that nothing was measured")
    warm = slice(1, None) if len(each) > 1 else slice(None)
    return Rates(each=_mean(each[warm]), forward=_mean(forward[warm]))


def choose(
    images: int,
    costs: Mapping[str, Callable[[int], float]],
    rates: Rates,
    *,
    seconds: float,
    spent: float = 0.0,
    companions: Mapping[Companion, int] | None = None,
    smallest: int = 1,
    processes: int = 1,
) -> Choice:
    """Images and checks that fit.

    >>> rates = Rates(each=0.01, forward=0.005)
    >>> costs = {"clean": lambda n: 0, "corruption": lambda n: 100, "adversarial": lambda n: 20}
    >>> chosen = choose(5000, costs, rates, seconds=300)
    >>> chosen.images, list(chosen.left_out)
    (2665, ['corruption'])

    Args:
        images: how many there are.
        costs: passes for each image where so many are audited, by check; more images never take less in all.
        rates: measured.
        seconds: the budget.
        spent: seconds of it that are gone.
        companions: other images that are read, by set.
        smallest: images of the smallest bag, where bags are audited whole.
        processes: that work side by side.

    Raises:
        InputError: not even the clean scores of a few images fit.
    """
    each, forward = OVERHEAD_EACH + rates.each / processes, rates.forward / processes
    room = seconds - spent - OVERHEAD
    beside = _companions(companions or {}, each, room)
    room -= each * sum(beside.values())
    kept = {name: cost for name, cost in costs.items() if cost(images) > 0}
    floor, least = min(max(FLOOR, smallest), images), min(max(LEAST, smallest), images)

    def needed_by(count: int) -> float:
        return count * (each + forward * sum(cost(count) for cost in kept.values()))

    def fitting() -> int:
        """The most images, of those there are, that fit."""
        return bisect_right(range(1, images + 1), room, key=needed_by)

    left: dict[str, float] = {}
    while kept and fitting() < floor:
        dearest = max(kept, key=lambda name: kept[name](floor))
        left[dearest] = kept.pop(dearest)(floor)
    count = fitting()
    if count < least:
        needed = seconds - room + each * least
        raise InputError(
            f"the budget of {time_words(seconds)} is too small: the clean scores of {least:,} images alone would take "
            f"about {time_words(needed)}; give more time"
        )
    return Choice(
        seconds=seconds,
        images=count,
        of=images,
        companions={name: number for name, number in beside.items() if number < (companions or {})[name]},
        left_out={
            name: f"is left out: over the budget of {time_words(seconds)}, estimated "
            f"{time_words(cost * forward * floor)} for {floor:,} images"
            for name, cost in left.items()
        },
        estimated=round(seconds - room + needed_by(count), 1),
    )


def _companions(given: Mapping[Companion, int], each: float, room: float) -> dict[Companion, int]:
    """How many of each other set are read: all, or what fits into its share of the time, but not too few."""
    if not given or each * sum(given.values()) <= COMPANION_SHARE * room:
        return dict(given)
    fitting = max(math.floor(COMPANION_SHARE * room / each / len(given)), FLOOR)
    return {name: min(count, fitting) for name, count in given.items()}


def _passes(check: Check) -> Callable[[int], float]:
    return lambda images: check.sized(images).cost()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
