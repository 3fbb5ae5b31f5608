"""The resolved plan of an audit: everything that can change a result, fixed before the first shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snellen.auditing.budgeting import Choice
from snellen.auditing.privacy import Privacy
from snellen.auditing.shard_work import AUDITED
from snellen.checks.check import Check, Companion
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.run_plan import describe_beside, describe_data, describe_machine, describe_model


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
