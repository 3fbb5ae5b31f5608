"""The resolved plan of an audit: which images make up a shard, and everything else that can change a result.

Batches are formed of the whole set, so shards change no batch, and no figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snellen.auditing.budgeting import Choice
from snellen.auditing.privacy import Privacy
from snellen.auditing.shard_work import AUDITED
from snellen.checks.check import Check, Companion
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.run_plan import describe_beside, describe_data, describe_machine, describe_model

#: Batches in one shard where nobody says how many shards there are to be; what a killed run loses at most.
BATCHES_PER_SHARD = 8


def shard_count(images: int, batch_size: int, wanted: int | None = None, least: int = 1) -> int:
    """How many shards a set of images has: as many as requested, but never more than batches.

    >>> shard_count(1000, 64), shard_count(1000, 64, 7), shard_count(10, 64, 7)
    (2, 7, 1)

    Args:
        images: in the set.
        batch_size: images in one pass.
        wanted: how many there are to be; None: one for every :data:`BATCHES_PER_SHARD` batches.
        least: in that case, so that several processes have something to do.

    Raises:
        InputError: fewer than 1 is requested.
    """
    if wanted is not None and wanted < 1:
        raise InputError(f"a run has at least 1 shard, got {wanted}")
    batches = -(-images // batch_size)
    return min(max(-(-batches // BATCHES_PER_SHARD), least) if wanted is None else wanted, batches)


def stretch(shard: int, shards: int, images: int, batch_size: int) -> range:
    """Positions of the images in a shard: whole batches, as many in each shard as in any other, or one more.

    >>> [stretch(shard, 2, 10, 3) for shard in range(2)]
    [range(0, 6), range(6, 10)]
    """
    batches = -(-images // batch_size)
    first, last = (place * batches // shards for place in (shard, shard + 1))
    return range(first * batch_size, min(last * batch_size, images))


def plan_of(
    classifier: Classifier,
    images: ImageSet,
    companions: Mapping[Companion, ImageSet],
    checks: Sequence[Check],
    batch_size: int,
    shards: Mapping[str, int],
    seed: int,
    progress: Progress,
    *,
    privacy: Privacy,
    budget: Choice | None,
) -> dict[str, Any]:
    """Everything that can change a result."""
    return {
        "kind": "audit",
        "model": describe_model(classifier),
        "data": describe_data(images, progress),
        **describe_beside(images),
        # After the fingerprints, which read every file: the same images under other labels or another order of classes.
        "contents": {
            AUDITED: images.contents_fingerprint(),
            **{name: given.contents_fingerprint() for name, given in companions.items()},
        },
        "companions": {name: describe_data(given, progress) for name, given in companions.items()},
        "checks": privacy.records(checks),
        "save_images": privacy.save_images,
        "pseudonyms": privacy.key_id,
        "budget": None if budget is None else budget.model_dump(mode="json"),
        "batch_size": batch_size,
        "shards": dict(shards),
        "seed": seed,
        **describe_machine(classifier),
    }
