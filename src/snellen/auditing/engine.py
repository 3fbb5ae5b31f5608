"""Run checks over images in shards: decode once, compute clean scores once, write each shard whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.auditing.check import Batch, Check, Kept
from snellen.auditing.clean_evidence import clean_evidence, score_batch
from snellen.auditing.per_image import CARRIED
from snellen.classifier import Classifier
from snellen.data.loading import prepared_batches
from snellen.evidence import Evidence
from snellen.images import ImageSet
from snellen.preparation import to_unit
from snellen.progress import Progress
from snellen.randomness import Randomness
from snellen.run import Run

#: Why an image was set aside whose clean scores cannot be used.
NOT_FINITE = "the model's scores are not finite (NaN or infinity)"

#: Name of the evidence that every run has, whatever its checks.
CLEAN = "clean"

#: Batches in one shard; what a killed run loses at most.
BATCHES_PER_SHARD = 8


def shard_count(images: int, batch_size: int) -> int:
    """How many shards a run of this size has."""
    return -(-images // (batch_size * BATCHES_PER_SHARD))


def run_shards(
    run: Run,
    classifier: Classifier,
    images: ImageSet,
    checks: Sequence[Check],
    *,
    keep: Collection[Kept] = (),
    batch_size: int,
    workers: int,
    rng: Randomness,
    progress: Progress,
    task: str = "audit",
) -> dict[str, float]:
    """Run what is not done yet; returns seconds by check, over all shards, whenever they ran (for timing.json).

    Args:
        checks: those that measure something of their own.
        keep: what the clean evidence holds beside decisions and confidences.
        task: what progress calls it.

    Raises:
        ModelError: scores have a wrong shape.
    """
    cost = {CLEAN: 1.0, **{check.name: check.cost() for check in checks}}
    progress.begin(task, sum(cost.values()) * len(images))
    carried = _carried(images)
    for shard in range(shard_count(len(images), batch_size)):
        first = shard * batch_size * BATCHES_PER_SHARD
        members = images.select(np.arange(first, min(first + batch_size * BATCHES_PER_SHARD, len(images))))
        if run.done(shard):
            progress.advance(task, sum(cost.values()) * len(members), "already done")
            continue
        _run_shard(
            run, shard, classifier, members, checks, keep, carried, cost, batch_size, workers, rng, progress, task
        )
    progress.finish(task)
    total = dict.fromkeys(["reading", *cost], 0.0)
    for shard in range(shard_count(len(images), batch_size)):
        for name, value in run.shard_timing(shard).items():
            total[name] += value
    return total


def _run_shard(
    run: Run,
    shard: int,
    classifier: Classifier,
    members: ImageSet,
    checks: Sequence[Check],
    keep: Collection[Kept],
    carried: Mapping[str, Mapping[str, object]],
    cost: dict[str, float],
    batch_size: int,
    workers: int,
    rng: Randomness,
    progress: Progress,
    task: str,
) -> None:
    seconds: dict[str, float] = dict.fromkeys(["reading", *cost], 0.0)
    evidence: dict[str, list[Evidence]] = {name: [] for name in cost}
    rejected: list[dict[str, str]] = []
    units, labels = members.column("unit_id"), known_labels(members)
    started = time.perf_counter()
    for loaded in prepared_batches(members, classifier.preparation, batch_size, workers=workers):
        rejected += [{"id": key, "reason": reason} for key, reason in loaded.rejected]
        seconds["reading"] += time.perf_counter() - started
        if len(loaded.ids):
            clock = time.perf_counter()
            batch, unusable = make_batch(
                classifier,
                loaded.ids,
                [units[i] for i in loaded.indices],
                loaded.pixels,
                labels[np.asarray(loaded.indices)],
                rng,
                keep,
            )
            rejected += unusable
            if batch is not None:
                known = {name: [values[key] for key in batch.ids] for name, values in carried.items()}
                evidence[CLEAN].append(clean_evidence(batch, keep, known))
            seconds[CLEAN] += time.perf_counter() - clock
            progress.advance(task, cost[CLEAN] * len(loaded.ids), CLEAN)
            for check in checks:
                clock = time.perf_counter()
                if batch is not None and (measured := check.measure(batch)) is not None:
                    evidence[check.name].append(measured)
                seconds[check.name] += time.perf_counter() - clock
                progress.advance(task, cost[check.name] * len(loaded.ids), check.name)
        progress.advance(task, sum(cost.values()) * len(loaded.rejected), "rejected")
        started = time.perf_counter()
    merged = {name: Evidence.merge(parts) for name, parts in evidence.items()}
    run.write_shard(shard, merged, {"rejected": rejected}, timing=seconds)


def known_labels(images: ImageSet) -> NDArray[np.int64]:
    """Labels, −1 where there is none or where this view may not read it."""
    return images.labels if images.has_labels else np.full(len(images), -1, dtype=np.int64)


def _carried(images: ImageSet) -> dict[str, dict[str, object]]:
    """Column → value by id, of the columns in which some image has one, so that all shards agree on their columns."""
    columns = {name: images.column(name) for name in CARRIED}
    return {
        name: dict(zip(images.ids, (None if value is None else CARRIED[name](value) for value in values), strict=True))
        for name, values in columns.items()
        if any(value is not None for value in values)
    }


def make_batch(
    classifier: Classifier,
    ids: Sequence[str],
    unit_ids: Sequence[object],
    pixels: torch.Tensor,
    labels: np.ndarray,
    rng: Randomness,
    keep: Collection[Kept] = (),
) -> tuple[Batch | None, list[dict[str, str]]]:
    """Clean scores of a batch; images whose scores are not finite are set aside by name, None when none is left."""
    batch_images = to_unit(pixels).to(classifier.device)
    scores, features = score_batch(classifier, batch_images, keep)
    finite = torch.isfinite(scores).flatten(1).all(1)
    batch = Batch(
        classifier,
        tuple(ids),
        tuple(None if unit is None else str(unit) for unit in unit_ids),
        batch_images,
        torch.from_numpy(np.ascontiguousarray(labels)).to(classifier.device),
        scores,
        rng.for_examples(ids),
        features,
    )
    if bool(finite.all()):
        return batch, []
    lost = [{"id": ids[p], "reason": NOT_FINITE} for p in (~finite).nonzero().flatten().tolist()]
    return (batch.take(finite.nonzero().flatten()) if bool(finite.any()) else None), lost
