"""Catalogues of furniture of Sweet Home 3D (.sh3f): what is in them, who made it, and single models taken out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.worlds.meshes.contained_archive import (
    DEFAULT_LIMITS,
    ArchiveLimits,
    extract_folder,
    opened_archive,
    read_member,
)
from snellen.data.worlds.meshes.mesh_file import MeshFile

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_KEY = re.compile(r"((?:\\.|[^\\=:\s])*)[ \t\f]*(?:[=:][ \t\f]*)?", re.DOTALL)
_BLANKS = " \t\f"


def read_properties(content: bytes) -> dict[str, str]:
    r"""Keys and values, the later of equal keys.

    Bytes are UTF-8, or Latin-1 where they are not (as Java has it since version 9). A line that begins with # or ! is a
    comment, one that ends with an odd number of backslashes continues in the next, and \\uXXXX is a character.

    Source: documentation of java.util.Properties.load and java.util.PropertyResourceBundle.

    >>> read_properties(b"# furniture\nid#1=caf\\u00e9\nname#1 : Coffee\\\n   table")
    {'id#1': 'café', 'name#1': 'Coffeetable'}

    Raises:
        InputError: an escape \\u without four digits.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    properties: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _KEY.match(line)
        assert match is not None  # the expression matches the empty text too
        properties[_unescaped(match.group(1))] = _unescaped(line[match.end() :])
    return properties


def _logical_lines(text: str) -> Iterator[str]:
    parts: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        stripped = line.lstrip(_BLANKS)
        if not parts and (not stripped or stripped[0] in "#!"):
            continue
        backslashes = len(stripped) - len(stripped.rstrip("\\"))
        goes_on = backslashes % 2 == 1
        parts.append(stripped[:-1] if goes_on else stripped)
        if not goes_on:
            yield "".join(parts)
            parts = []
    if parts:
        yield "".join(parts)


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match.group(1):
            return chr(int(match.group(1), 16))
        if match.group(2) == "u":
            raise InputError(f"property {text[:60]!r}: \\u must be followed by four hexadecimal digits")
        return _LETTERS.get(match.group(2), match.group(2))

    # Characters beyond the first 65,536 are written as two halves, which only UTF-16 puts together.
    joined = _ESCAPE.sub(character, text)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_PROPERTIES = "PluginFurnitureCatalog.properties"
_MOST_PROPERTY_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class FurnitureModel:
    """One piece of furniture.

    Args:
        object_id: its id in the catalogue ("Blend Swap CC-0#barrel").
        name: what it is ("Barrel").
        category: where it is used ("Miscellaneous").
        model: path of its mesh in the archive.
        creator: who made it; empty where the catalogue does not say.
        size: width, depth and height, centimetres.
        rotation: nine numbers, row by row, of a rotation to be applied to the mesh; None for most.
    """

    object_id: str
    name: str
    category: str
    model: str
    creator: str
    size: tuple[float, float, float]
    rotation: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class FurnitureCatalogue:
    """A catalogue and its own description.

    Args:
        path: the archive.
        name: its name.
        licence: the licence of all its models, in its own words.
        provider: who publishes it.
        models: what is in it, in its order.
        rejected: entries that cannot be used, by number or id, with the reason.
    """

    path: Path
    name: str
    licence: str
    provider: str
    models: tuple[FurnitureModel, ...]
    rejected: dict[str, str]


def read_catalogue(path: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS) -> FurnitureCatalogue:
    """Read what a catalogue holds; no model is unpacked.

    Raises:
        InputError: not a zip archive, or one without a readable ``PluginFurnitureCatalog.properties``.
    """
    with opened_archive(path, limits) as archive:
        try:
            content = read_member(archive, _PROPERTIES, max_bytes=_MOST_PROPERTY_BYTES)
        except RejectedImageError as error:
            raise InputError(f"{path.name} is no catalogue of furniture: {error}") from error
        there = set(archive.namelist())
    properties = read_properties(content)
    numbers = sorted({int(key[3:]) for key in properties if re.fullmatch(r"id#\d{1,7}", key)})
    models: dict[str, FurnitureModel] = {}
    rejected: dict[str, str] = {}
    for number in numbers:
        entry = {key.partition("#")[0]: value for key, value in _entry(properties, number)}
        try:
            model = _model(entry, there)
            if model.object_id in models:
                raise RejectedImageError("another entry has the same id")
            models[model.object_id] = model
        except RejectedImageError as error:
            rejected[f"{number} ({entry['id']})"] = str(error)
    return FurnitureCatalogue(
        path=path,
        name=properties.get("name", path.stem),
        licence=properties.get("license", ""),
        provider=properties.get("provider", ""),
        models=tuple(models.values()),
        rejected=rejected,
    )


def furniture_meshes(
    catalogue: FurnitureCatalogue,
    cache: Path,
    *,
    object_ids: Iterable[str] | None = None,
    label: Literal["category", "name"] = "category",
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> tuple[tuple[MeshFile, ...], dict[str, str]]:
    """Take models out of a catalogue, for a renderer.

    Each model's folder goes to a folder of its own below ``cache``, named by the archive's name and size and the
    model's path; what is there and whole is not written again.

    Args:
        catalogue: as read.
        cache: folder that may be emptied at any time.
        object_ids: which models; None: all.
        label: what the class of an object is.
        limits: what is refused.

    Returns:
        The mesh files, in the order of the catalogue, and the models that cannot be had, by id, with the reason.

    Raises:
        InputError: an id that is not in the catalogue.
    """
    wanted = None if object_ids is None else set(object_ids)
    unknown = sorted((wanted or set()) - {model.object_id for model in catalogue.models})
    if unknown:
        raise InputError(f"{catalogue.name} has no {unknown[0]!r}; its ids are in catalogue.models")
    files, rejected = [], {}
    with opened_archive(catalogue.path, limits) as archive:
        for model in catalogue.models:
            if wanted is not None and model.object_id not in wanted:
                continue
            inside = PurePosixPath(model.model)
            folder = "" if str(inside.parent) == "." else str(inside.parent)
            try:
                extracted = extract_folder(archive, folder, _place(catalogue, folder, cache), limits=limits)
            except RejectedImageError as error:
                rejected[model.object_id] = str(error)
                continue
            files.append(
                MeshFile(
                    object_id=model.object_id,
                    class_name=model.category if label == "category" else model.name,
                    path=extracted / inside.name,
                    rotation=model.rotation,
                    creator=model.creator or None,
                    licence=catalogue.licence or None,
                    source=catalogue.name,
                )
            )
    return tuple(files), rejected


def _place(catalogue: FurnitureCatalogue, folder: str, cache: Path) -> Path:
    """Folder of a model in the cache: names from the archive are hashed, never used as paths."""
    recipe = f"{catalogue.path.name}\0{catalogue.path.stat().st_size}\0{folder}"
    return cache / hashlib.sha256(recipe.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _entry(properties: dict[str, str], number: int) -> list[tuple[str, str]]:
    keys = ("id", "name", "category", "model", "creator", "width", "depth", "height", "modelRotation")
    return [(key, properties[f"{key}#{number}"]) for key in keys if f"{key}#{number}" in properties]


def _model(entry: dict[str, str], there: set[str]) -> FurnitureModel:
    missing = [key for key in ("id", "name", "category", "model") if not entry.get(key, "").strip()]
    if missing:
        raise RejectedImageError(f"it has no {', '.join(missing)}")
    model = entry["model"].strip().lstrip("/")
    if PurePosixPath(model).suffix.lower() != ".obj":
        raise RejectedImageError(f"its model {model!r} is not an OBJ file")
    if model not in there:
        raise RejectedImageError(f"its model {model!r} is not in the archive")
    width, depth, height = (_number(entry.get(key, "0")) for key in ("width", "depth", "height"))
    rotation = None
    if "modelRotation" in entry:
        rotation = tuple(_number(word) for word in entry["modelRotation"].split())
        if len(rotation) != 9:
            raise RejectedImageError(f"its rotation has {len(rotation)} numbers, not nine")
    return FurnitureModel(
        object_id=entry["id"].strip(),
        name=entry["name"].strip(),
        category=entry["category"].strip(),
        model=model,
        creator=entry.get("creator", "").strip(),
        size=(width, depth, height),
        rotation=rotation,
    )


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise RejectedImageError(f"{word[:40]!r} is not a number") from error
