"""What ``snellen label`` makes of its options, and the review that may come first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError
from snellen.systems.language_model_annotation.collaboration import Schedule
from snellen.systems.language_model_annotation.collaborators import load_collaborators
from snellen.systems.language_model_annotation.definition import read_concept
from snellen.systems.language_model_annotation.ledger import Limits
from snellen.systems.language_model_annotation.review import Ask
from snellen.systems.language_model_annotation.review import review as review_images


def settings(
    *,
    sizes: Mapping[str, int],
    limits: Mapping[str, int | None],
    **given: Any,  # noqa: ANN401 - arguments of the verb
) -> dict[str, Any]:
    """Options of the command line as arguments of :func:`snellen.label`."""
    return {**given, "schedule": Schedule.model_validate(sizes), "limits": Limits.model_validate(limits)}


def review(
    concept: str,
    pool: str,
    ask: Ask,
    *,
    folder: Path,
    labels: Path | None,
    count: int,
    options: Mapping[str, Any],
) -> Path | None:
    """Label images in the terminal, into ``OUT-review``; the table of labels, or None where the owner stopped.

    Raises:
        InputError: labels from a table too, or see :func:`snellen.systems.language_model_annotation.review.review`.
    """
    if labels is not None:
        raise InputError("--review makes a table of labels, and --labels names one; leave one out")
    models = load_collaborators(
        options["language"],
        options["captioner"],
        options["answers"],
        options["towers"],
        decides=options["decides"],
        device=options["device"],
    )
    own = ("embeddings", "store", "corrections", "schedule", "seed")
    return review_images(
        read_concept(concept),
        pool,
        models,
        ask,
        count=count,
        folder=folder.with_name(f"{folder.name}-review"),
        **{name: options[name] for name in own},
    )
