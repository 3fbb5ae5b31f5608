"""What a report says of images that left this process for their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from snellen.auditing.shard_work import NOT_FINITE
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.models.remote.sent_log import SENT


def sent_note(
    classifier: Classifier,
    evidence: Iterable[Evidence],
    rejected: Iterable[Mapping[str, str]],
) -> list[str]:
    """To which host how many images were sent; nothing where the model runs in this process.

    Images are counted once, however often they were sent: how often depends on where a run was stopped.

    Args:
        classifier: the model.
        evidence: clean evidence of every set of images.
        rejected: images of every set that could not be used. Those without usable scores had been sent.
    """
    if classifier.sent_to is None:
        return []
    images = sum(map(len, evidence)) + sum(row["reason"] == NOT_FINITE for row in rejected)
    return [
        f"{images} images were sent to {classifier.sent_to}, prepared as the model takes them, and so were the copies "
        f"of them that checks changed; {SENT} in the run directory has a line for each request."
    ]
