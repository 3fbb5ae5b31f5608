"""What stands in a folder while it is treated, so that the same call resumes where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError, RunConflictError
from snellen.core.run import canonical_json, write_atomically
from snellen.training.checkpoints import differences

#: The request, while it is carried out.
UNFINISHED = "treating.json"

#: What is written of a note.
_KEPT = ("request", "judging", "begun", "ended")


@dataclass(eq=False)
class TreatmentNote:
    """What stands in a folder while it is treated: the request, and what was done about each proposal, in order.

    Attributes:
        file: it stands in.
        request: the request.
        judging: seconds that the checks took on the validation images when they were first run; None before.
        begun: for each proposal the most passes over the training images that there was time for, 0 where nothing
            limits them; None where there was no time for it.
        ended: whether no further one is tried: the audit's images may be open.
    """

    file: Path
    request: Mapping[str, Any]
    judging: float | None = None
    begun: list[int | None] = field(default_factory=list)
    ended: bool = False

    def write(self) -> None:
        """Write it."""
        write_atomically(self.file, canonical_json({name: vars(self)[name] for name in _KEPT}))


def opened_note(folder: Path, request: Mapping[str, Any]) -> TreatmentNote:
    """Take a free folder, or one that holds an unfinished treatment of the same.

    Raises:
        InputError: it holds something else, or a finished treatment.
        RunConflictError: an unfinished treatment of something else.
    """
    note = TreatmentNote(folder / UNFINISHED, json.loads(canonical_json(request)))
    if not note.file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is not an empty folder; name a new one with --out")
        folder.mkdir(parents=True, exist_ok=True)
        note.write()
        return note
    recorded = json.loads(note.file.read_bytes())
    if recorded.keys() != set(_KEPT):
        raise RunConflictError(
            f"{folder} holds an unfinished treatment of another version of Snellen, which cannot be resumed; name a "
            f"new folder with --out, or delete it to start anew"
        )
    differing = differences(recorded["request"], note.request)
    if differing:
        raise RunConflictError(
            f"{folder} holds an unfinished treatment that differs from this one in: {', '.join(differing)}; name a new "
            f"folder with --out, or delete it to start anew"
        )
    return TreatmentNote(note.file, note.request, recorded["judging"], recorded["begun"], recorded["ended"])
