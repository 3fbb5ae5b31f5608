"""Foundation models that come with the package: folders in the format of their own library, beside a card with hashes.

A folder under ``assets`` holds what the library of the model writes (``config.json``, ``model.safetensors``, tokenizer,
processor; several subfolders for a pipeline) and ``card.json``, which lists every file with its hash. A file that
changed, is missing, or is not on the list makes the whole folder unusable. Weights may be stored in half precision;
adapters run them in single precision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.artifact import Lineage
from snellen.core.errors import InputError, unknown_name
from snellen.core.formats import FORMATS
from snellen.core.package import EMBEDDED, asset, asset_folders

FolderKind = Literal[
    "two-tower",
    "text-encoder",
    "captioner",
    "question-answering",
    "segmenter",
    "diffusion",
    "language-model",
    "image-encoder",
    "other",
]

#: The file that describes a folder.
CARD = "card.json"


class FolderCard(BaseModel):
    """What a user must know about a folder of files.

    Attributes:
        name: of the folder.
        kind: what it holds.
        description: in words.
        licence: under which it is published.
        lineage: how it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: FolderKind
    description: str
    files: dict[str, str] = Field(description="sha256 of each file, by its path within the folder; the card excepted")
    metrics: dict[str, float] = Field(default_factory=dict, description="measured figures, by dotted name")
    licence: str = "Apache-2.0"
    lineage: Lineage


def bundled_folders(assets: Path | None = None) -> dict[str, Path]:
    """Folders with a folder card that come with the package, by name.

    >>> "no-such-model" in bundled_folders()
    False

    Args:
        assets: a folder to look in; None: all of :func:`snellen.core.package.asset_folders`.
    """
    found = {}
    folders = asset_folders() if assets is None else [assets]
    for path in sorted(path for folder in folders for path in folder.glob(f"*/{CARD}")):
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is damaged: {error}; install the package again") from error
        if isinstance(fields, dict) and "files" in fields:  # cards of classifiers have one hash, and no list
            found[path.parent.name] = path.parent
    return found


def bundled_folder(name: str, *, assets: Path | None = None) -> Path:
    """The folder of a bundled model, after a check of every file.

    Raises:
        UnknownNameError: no such name; the message lists those there are.
        InputError: the distribution that holds it is not installed; or a file is missing, has another hash, or is not
            on the card.
    """
    known = bundled_folders(assets)
    if name not in known and name in EMBEDDED and assets is None:
        asset(name)
    if name not in known:
        raise unknown_name("bundled model", name, known)
    read_card(known[name])
    return known[name]


def read_card(folder: Path) -> FolderCard:
    """The card of a folder whose files are those of the card.

    Raises:
        InputError: no card, not a card, one of a newer version, or files that are not those that it lists.
    """
    path = folder / CARD
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        card = FolderCard.model_validate(FORMATS[CARD].read(written, path))
    except InputError:
        raise
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not the card of a folder of files: {error}") from error
    found = hashes(folder)
    if missing := sorted(set(card.files) - set(found)):
        raise InputError(f"{folder} lacks {', '.join(missing[:4])}; install it again")
    if unlisted := sorted(set(found) - set(card.files)):
        raise InputError(
            f"{folder} has files that its card does not list: {', '.join(unlisted[:4])}; remove them, or write the "
            f"card again with write_card()"
        )
    for file, expected in card.files.items():
        if found[file] != expected:
            raise InputError(
                f"{folder / file}: sha256 {found[file][:16]}… is not the card's {expected[:16]}…; file changed?"
            )
    return card


def write_card(
    folder: Path,
    *,
    name: str,
    kind: FolderKind,
    description: str,
    lineage: Lineage,
    metrics: Mapping[str, float] | None = None,
    licence: str = "Apache-2.0",
) -> FolderCard:
    """Write the card of a finished folder, with the hash of every file that lies in it now.

    Raises:
        InputError: no such folder, or nothing in it.
    """
    files = hashes(folder)
    if not files:
        raise InputError(f"{folder} holds no files to write a card for")
    card = FolderCard(
        name=name,
        kind=kind,
        description=description,
        files=files,
        metrics=dict(metrics or {}),
        licence=licence,
        lineage=lineage,
    )
    text = json.dumps(FORMATS[CARD].stamped(card.model_dump(mode="json")), indent=1, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    return card


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file of a folder and its subfolders, by path with forward slashes; the card is left out."""
    return {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / CARD
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
