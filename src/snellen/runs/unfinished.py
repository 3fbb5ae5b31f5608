"""The folder of a call that writes: free, unfinished or complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError
from snellen.core.formats import FORMATS
from snellen.core.run import Run
from snellen.models.remote.sent_log import SENT
from snellen.runs.folder_lock import only_writer

#: Folder inside the folder of the call that says what is done already; gone when everything is.
UNFINISHED = "unfinished"

Record = TypeVar("Record", bound=BaseModel)


def check_free(folder: Path, record: str, what: str) -> None:
    """Refuse a folder that holds something else than what this call writes, whole or unfinished.

    Args:
        folder: the folder.
        record: name of the file that a complete one holds.
        what: what is written, in words.

    Raises:
        InputError: it does, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with --out")
    ours = any((folder / name).exists() for name in (record, UNFINISHED))
    if folder.is_dir() and not ours and _contents(folder):
        raise InputError(f"{folder} is not empty and holds no {what}; choose another --out")


def check_recognisable(folder: Path, record: str, classifier: Classifier, what: str) -> None:
    """Refuse to go on, or to take a finished folder for done, with a model that cannot be identified.

    Raises:
        InputError: the folder holds something, and the classifier has no fingerprint.
    """
    if any((folder / name).exists() for name in (record, UNFINISHED)) and classifier.fingerprint() is None:
        raise InputError(
            f"{folder} holds {_article(what)} {what}, and {classifier.name} cannot be hashed (a plain callable, or an "
            f"edited model): it cannot be compared with the model of that {what}; choose another --out"
        )


def any_shard(parts: Path) -> bool:
    """Whether an unfinished call recorded a shard."""
    return any(parts.glob("shards/[0-9]*"))


def forget_fruitless(folder: Path) -> None:
    """Take away what a killed call left that wrote nothing to go on with: another plan may have the folder."""
    parts = folder / UNFINISHED
    if parts.is_dir() and _contents(folder) == [parts] and not any_shard(parts):
        shutil.rmtree(parts)


@contextmanager
def opened(folder: Path, plan: Mapping[str, Any], *, shared: bool = False) -> Iterator[Run]:
    """The run inside a folder, new or resumed; a new one that fails before its first shard leaves nothing.

    Args:
        folder: of the call.
        plan: of the call.
        shared: whether others of the same plan may write there at the same time.

    Raises:
        RunConflictError: the folder holds an unfinished call of another plan, or another call is writing there.
    """
    new, parts = not folder.exists(), folder / UNFINISHED
    with only_writer(folder, shared=shared):
        if not shared:
            forget_fruitless(folder)
        try:
            yield Run.open(parts, plan)
        except Exception:
            # What this call wrote is of no use to the next one, which would do it again.
            if new and not shared and not any_shard(parts):
                _empty(folder)
            raise


def complete(folder: Path, record: str, kind: type[Record], plan: Mapping[str, Any], what: str) -> Record | None:
    """The record in a folder if it is complete and of this plan; None when there is none.

    Args:
        folder: the folder; set as ``folder`` of the record.
        record: name of its file.
        kind: its class, which has a field ``plan``.
        plan: of this call.
        what: what is written, in words.

    Raises:
        RunConflictError: it is of another plan.
        InputError: it cannot be read, or a newer version of Snellen wrote it.
    """
    path = folder / record
    if not path.is_file():
        return None
    try:
        written = json.loads(path.read_bytes())
        found = kind.model_validate(FORMATS[record].read(written, path)).model_copy(update={"folder": folder})
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no record of {_article(what)} {what}; choose another --out") from error
    held, wanted = found.model_dump()["plan"], json.loads(json.dumps(plan))
    if held != wanted:
        differing = sorted(key for key in {*held, *wanted} if held.get(key) != wanted.get(key))
        raise RunConflictError(
            f"{folder} holds another {what} (differs in: {', '.join(differing)}); choose another --out, or delete it "
            f"first"
        )
    return _as_planned(found, wanted)


def _as_planned(found: Record, plan: Mapping[str, Any]) -> Record:
    """A record whose settings have the order of the plan again, which a file sorted by name does not keep."""
    settings, planned = getattr(found, "settings", None), plan.get("settings")
    if not isinstance(settings, dict) or not isinstance(planned, list):
        return found
    names = [one.get("setting") for one in planned]
    if set(settings) - set(names):
        return found
    return found.model_copy(update={"settings": {name: settings[name] for name in names if name in settings}})


def _contents(folder: Path) -> list[Path]:
    """What is in a folder beside the record of what was sent, which is always there."""
    return [path for path in folder.iterdir() if path.name != SENT]


def _empty(folder: Path) -> None:
    """Take away what was written, and the folder unless something was sent."""
    if not (folder / SENT).exists():
        shutil.rmtree(folder)
        return
    for path in _contents(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
