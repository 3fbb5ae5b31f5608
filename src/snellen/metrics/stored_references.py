"""Published errors of reference models under the corruptions of a benchmark."""

from __future__ import annotations

import tomllib

from snellen.core import package
from snellen.core.errors import unknown_name
from snellen.metrics.corruption_error import Reference

_FILE = tomllib.loads(package.text("metrics/references.toml"))


def stored_reference_names() -> tuple[str, ...]:
    """Names of all stored references, sorted."""
    return tuple(sorted(_FILE["references"]))


def stored_reference(name: str) -> Reference:
    """The published errors of a reference model, by name (``MODEL/BENCHMARK``).

    Those of ``alexnet/imagenet-c`` are one minus accuracy; those of AlexNet on the MedMNIST sets one minus balanced
    accuracy (see :func:`snellen.metrics.balanced.balanced_accuracy`).

    >>> reference = stored_reference("alexnet/imagenet-c")
    >>> reference.clean_error, reference.mean_errors["fog"], reference.severities
    (0.4348, 0.819324, 5)

    Raises:
        UnknownNameError: no such reference; the message lists the nearest names.
    """
    if name not in _FILE["references"]:
        raise unknown_name("reference", name, stored_reference_names())
    row = _FILE["references"][name]
    return Reference(
        name=name,
        clean_error=row["clean_error"],
        mean_errors=dict(row["mean_errors"]),
        severities=row["severities"],
        extra=tuple(row.get("extra", ())),
        source=_FILE["sources"][row["source"]],
        conditions={"benchmark": name.partition("/")[2], "severities": [1, 2, 3, 4, 5]},
    )
