"""What a generator is known to draw wrong, so that no training image is made of it.

``snellen scan generator`` (SAGE, Liu et al. 2024) finds classes whose plain prompt fails, and words with which a prompt
loses its class. A generated data set that avoids them rejects their rows, with the case as the reason.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from snellen.core.errors import InputError
from snellen.core.formats import FORMATS

RECORD = "generator-failures.json"

#: How each reason begins.
KNOWN_TO_FAIL = "the generator "


class FailingWords(BaseModel):
    """Words with which a prompt loses its class.

    Attributes:
        label: the class. words: all of them, in a prompt of that class. case: that found them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    words: tuple[str, ...]
    case: str


class AvoidedFailures(BaseModel):
    """Failures of one generator.

    Attributes:
        weights: hash of each of its networks.
        classes: that fail with their plain prompt: name → reason.
        prompts: words with which a class is lost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, str]
    classes: dict[str, str]
    prompts: tuple[FailingWords, ...]

    @classmethod
    def read(cls, place: Path) -> Self:
        """The failures in a folder of ``snellen scan generator``, or in its record.

        Cases that a judge denied are left out. So are first noise and tokens: no other image begins with them.

        Raises:
            InputError: no such record, or one that cannot be read.
        """
        path = place / RECORD if place.is_dir() else place
        try:
            found = FORMATS[RECORD].read(json.loads(path.read_text(encoding="utf-8")), path)
            classes = {
                row["label"]: row["not_run"] for row in found["searches"] if row["class_fails"] and not row["rival"]
            }
            prompts = tuple(
                FailingWords(label=one["label"], words=tuple(one["added"]), case=one["name"])
                for one in found["cases"]
                if one["space"] == "prompts" and one["added"] and (one["confirmed"] is None or one["confirmed"] >= 0.5)
            )
            return cls(weights=found["plan"]["weights"], classes=classes, prompts=prompts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is no record of failures of a generator ({error}); give the folder that 'snellen scan "
                f"generator' wrote"
            ) from error

    def reason(self, names: tuple[str, ...], prompt: str | None) -> str | None:
        """Why an image is not made; None where nothing speaks against it.

        >>> found = AvoidedFailures(
        ...     weights={}, classes={}, prompts=(FailingWords(label="star", words=("sand",), case="prompts-1"),)
        ... )
        >>> found.reason(("star",), "a star on sand")
        "the generator loses 'star' in prompts with 'sand' (case prompts-1)"

        Args:
            names: of the class, and the words that a prompt says for it.
            prompt: of the image; None of a generator that takes classes.
        """
        own = {name.casefold() for name in names}
        for label, why in self.classes.items():
            if label.casefold() in own:
                return f"{KNOWN_TO_FAIL}fails at {label!r} itself: {why}"
        said = set(re.findall(r"\w+", (prompt or "").casefold()))
        for one in self.prompts:
            wanted = {word for text in one.words for word in re.findall(r"\w+", text.casefold())}
            if one.label.casefold() in own and wanted and wanted <= said:
                words = ", ".join(map(repr, one.words))
                return f"{KNOWN_TO_FAIL}loses {one.label!r} in prompts with {words} (case {one.case})"
        return None


@lru_cache(maxsize=8)
def read_failures(place: Path, _written: int) -> AvoidedFailures:
    """The same, read once while the file stays as it is.

    Args:
        place: see :meth:`AvoidedFailures.read`.
        _written: when it was written, nanoseconds.
    """
    return AvoidedFailures.read(place)


def failures_in(place: Path) -> AvoidedFailures:
    """The failures in a folder; errors as :meth:`AvoidedFailures.read`."""
    path = place / RECORD if place.is_dir() else place
    return read_failures(place, path.stat().st_mtime_ns if path.is_file() else 0)
