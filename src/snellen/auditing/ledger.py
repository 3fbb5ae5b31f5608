"""How often a test set was audited and gated: a file of lines beside the run directories.

A choice among models by the same images fits them to these images, even where each figure is honest. The ledger
counts that. It holds fingerprints (sha256) of images, of models and of checks, never a picture, a name or a
figure. A set that shares images with an earlier one is recognised by a sketch: the smallest of the hashes of its images
(bottom-k sketches: Cohen and Kaplan, PODC 2007).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.core.errors import InputError
from snellen.core.formats import Format
from snellen.core.images import ImageSet
from snellen.core.run import canonical_json

#: Name of the file in a folder.
FILE = "test-sets.jsonl"

#: A line of it.
LINE = Format(FILE, "line of a ledger of test sets")

#: Hashes of a sketch; of up to so many images the overlap is exact.
SKETCH = 512

#: Share of common images from which on another set counts as audited before.
SHARED = 0.01

#: Bytes of a file beyond which it is no ledger.
_MOST_BYTES = 2**28


class LedgerLine(BaseModel):
    """One audit, or one gate, of a set of images.

    Attributes:
        kind: ``audit`` or ``gate``.
        images: number of images. set: hash of their contents, in any order. sketch: smallest hashes of single images.
        model: hash of the model; None where it has none.
        look: hash of all that changes a result: the same audit again is no other look.
        gate: hash of what was required; of gates alone.
        passed: whether the gate passed.
        date: day, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["audit", "gate"]
    images: int = Field(ge=1)
    set: str = Field(pattern="^[0-9a-f]{64}$")
    sketch: tuple[str, ...] = Field((), max_length=SKETCH)
    model: str | None = None
    look: str = Field(pattern="^[0-9a-f]{64}$")
    gate: str | None = None
    passed: bool | None = None
    date: str = ""


class EarlierLooks(BaseModel):
    """What a ledger knew before an audit.

    Attributes:
        audits: other audits of just these images. models: different models in them, this one included.
        gates: gates of just these images.
        overlapping: audits of other sets that share images with this one. shared: the largest share of these images
            that was in one of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    audits: int
    models: int
    gates: int
    overlapping: int = 0
    shared: float = 0.0


@dataclass(frozen=True)
class Ledger:
    """A ledger file and the line of the audit at hand."""

    file: Path
    line: LedgerLine

    @classmethod
    def open(cls, place: Path | str, images: ImageSet, plan: Mapping[str, Any]) -> Ledger:
        """The ledger of a file, or of a folder, for an audit that is about to be reported.

        Args:
            place: the file, or a folder with or without a ``test-sets.jsonl``, such as that of the run directories.
            images: that are audited.
            plan: of the audit.
        """
        hashes = sorted(
            hashlib.sha256(f"snellen test set\0{content}".encode()).hexdigest()[:16]
            for content in set(images.content_hashes)
        )
        whole = hashlib.sha256("\n".join(sorted(images.content_hashes)).encode()).hexdigest()
        model = plan["model"]["fingerprint"]
        requested = {"model": model or plan["model"], "checks": plan["checks"], "seed": plan["seed"], "set": whole}
        line = LedgerLine(
            kind="audit",
            images=len(images),
            set=whole,
            sketch=tuple(hashes[:SKETCH]),
            model=None if model is None else str(model),
            look=_hash(requested),
        )
        return cls(ledger_file(place), line)

    def earlier(self) -> EarlierLooks:
        """What the ledger holds of these images, up to the line of this very audit where it was made before.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        lines = read_ledger(self.file)
        ours = (number for number, line in enumerate(lines) if line.kind == "audit" and line.look == self.line.look)
        before = lines[: next(ours, len(lines))]
        same = [line for line in before if line.set == self.line.set]
        audits = {line.look: line for line in same if line.kind == "audit"}
        models = {line.model or line.look for line in audits.values()} | {self.line.model or self.line.look}
        others = {line.look: line for line in before if line.kind == "audit" and line.set != self.line.set}
        shares = [share for line in others.values() if (share := shared_images(self.line, line)) >= SHARED]
        return EarlierLooks(
            audits=len(audits),
            models=len(models),
            gates=len({(line.look, line.gate) for line in same if line.kind == "gate"}),
            overlapping=len(shares),
            shared=round(max(shares, default=0.0), 3),
        )

    def enter(self) -> None:
        """Add the line of this audit, unless the same audit is in the file.

        Raises:
            InputError: the file cannot be written.
        """
        known = read_ledger(self.file)
        if not any(line.kind == "audit" and line.look == self.line.look for line in known):
            self._append(self.line)

    def enter_gate(self, required: Sequence[str], *, passed: bool) -> None:
        """Add that this audit was gated, unless the same gate is in the file.

        Args:
            required: all that was required, in words.
            passed: what came out.
        """
        gate = _hash(sorted(required))
        line = self.line.model_copy(update={"kind": "gate", "gate": gate, "passed": passed, "sketch": ()})
        same = ("gate", line.look, gate)
        if not any((known.kind, known.look, known.gate) == same for known in read_ledger(self.file)):
            self._append(line)

    def _append(self, line: LedgerLine) -> None:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        record = LINE.stamped(line.model_copy(update={"date": today}).model_dump(mode="json", exclude_none=True))
        text = json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # In one write, so that calls side by side do not mix their lines.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.file, flags, 0o644)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise InputError(f"the ledger {self.file} cannot be written: {error.strerror or error}") from error


def ledger_file(place: Path | str) -> Path:
    """The file that a ledger is: as named, or ``test-sets.jsonl`` in a folder.

    >>> ledger_file("looks.jsonl").name, ledger_file("runs").name
    ('looks.jsonl', 'test-sets.jsonl')
    """
    path = Path(place)
    return path if path.suffix == ".jsonl" and not path.is_dir() else path / FILE


def read_ledger(file: Path) -> list[LedgerLine]:
    """The lines of a ledger; none where there is no file yet.

    Raises:
        InputError: the file cannot be read, or a line is none of a ledger.
    """
    try:
        if file.exists() and file.stat().st_size > _MOST_BYTES:
            raise InputError(f"the ledger {file} is larger than {_MOST_BYTES} bytes; begin another")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"the ledger {file} cannot be read: {reason}") from error
    found = []
    for number, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        where = f"{file}, line {number}"
        try:
            found.append(LedgerLine.model_validate(LINE.read(json.loads(row), where)))
        except (ValueError, RecursionError, ValidationError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{where} is no line of a ledger of test sets; mend or delete the line, or name another file"
            ) from error
    return found


def shared_images(here: LedgerLine, there: LedgerLine) -> float:
    """Share of the images of one set that are in another, from their sketches.

    >>> line = LedgerLine(kind="audit", images=4, set="0" * 64, look="0" * 64, sketch=("a", "b", "c", "d"))
    >>> shared_images(line, line.model_copy(update={"sketch": ("c", "d", "e"), "images": 3}))
    0.5
    """
    ours, theirs = set(here.sketch), set(there.sketch)
    if not ours or not theirs:
        return 0.0
    if len(ours) < SKETCH and len(theirs) < SKETCH:
        return len(ours & theirs) / len(ours)
    least = sorted(ours | theirs)[:SKETCH]
    alike = sum(one in ours and one in theirs for one in least) / len(least)
    return min(alike * (here.images + there.images) / (1 + alike) / here.images, 1.0)


def ledger_words(looks: Mapping[str, Any]) -> str:
    """What a reader should know of the earlier looks, in a sentence or two.

    >>> ledger_words({"audits": 0, "models": 1, "gates": 0})
    'Ledger: the first audit of these images.'
    """
    audits, gates, overlapping = looks["audits"], looks["gates"], looks.get("overlapping", 0)
    words = "Ledger: the first audit of these images"
    if audits:
        models = f"{looks['models']} {'model' if looks['models'] == 1 else 'models'}"
        gated = f"{gates} {'gate' if gates == 1 else 'gates'}"
        words = f"Ledger: audit {audits + 1} of these images; {models} with this one, {gated} before"
    words += "."
    if overlapping:
        words += (
            f" {overlapping} earlier {'audit' if overlapping == 1 else 'audits'} of other sets shared up to "
            f"{looks['shared']:.0%} of them."
        )
    if looks["models"] > 1 or overlapping:
        words += " A model that was chosen by these images looks better on them than it is; new images tell how much."
    return words


def _hash(value: object) -> str:
    text = canonical_json(value)
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()
