"""The material libraries (MTL) of Wavefront meshes, and pictures on surfaces below the mesh's folder."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import RejectedImageError
from snellen.data.files.contained_file import read_file
from snellen.data.files.decoding import FORMATS, DecodingLimits, decode, pillow_warnings_contained
from snellen.data.worlds.meshes.mesh import Material

#: Longest edge that a texture keeps, pixels: at the sizes of classifiers, more cannot be seen.
LONGEST_EDGE = 1024

_LIMITS = DecodingLimits(max_pixels=40_000_000, max_aspect=4096.0)


def read_texture(folder: Path, named: str) -> NDArray[np.uint8]:
    """Texture uint8 (h, w, 4), the first row on top and alpha 0 or 255.

    Raises:
        RejectedImageError: no such file below ``folder``, or it is no image that can be read.
    """
    content = texture_file(folder, named)
    colours = decode(content, limits=_LIMITS)
    alpha = _alpha(content, colours.size)
    if max(colours.size) > LONGEST_EDGE:
        scale = LONGEST_EDGE / max(colours.size)
        size = (max(1, round(colours.width * scale)), max(1, round(colours.height * scale)))
        colours, alpha = colours.resize(size, Image.Resampling.BOX), alpha.resize(size, Image.Resampling.BOX)
    # Half transparent pixels cannot be sorted by distance in one pass: a texture covers, or is cut out.
    cut = np.where(np.asarray(alpha) >= 128, 255, 0).astype(np.uint8)
    return np.dstack([np.asarray(colours), cut])


def texture_file(folder: Path, named: str) -> bytes:
    """Bytes of a texture.

    Where a material names a path of the artist's own machine, the file of that name beside the mesh is taken, in upper
    or lower case.

    Raises:
        RejectedImageError: no such file below ``folder``, or too large.
    """
    relative = named.strip().strip('"').replace("\\", "/")
    try:
        return read_file(folder, relative, _LIMITS.max_bytes)
    except RejectedImageError:
        name = re.split(r"[/:]", relative)[-1].lower()
        beside = sorted(path.name for path in folder.iterdir() if path.name.lower() == name)
        if not beside:
            raise
        return read_file(folder, beside[0], _LIMITS.max_bytes)


def _alpha(content: bytes, size: tuple[int, int]) -> Image.Image:
    # The decoder has accepted these bytes; only the channel that it drops is read.
    with pillow_warnings_contained(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if "A" in image.getbands() or "transparency" in image.info:
            return image.convert("RGBA").getchannel("A")
    return Image.new("L", size, 255)


_MOST_BYTES = 4 * 2**20
_FEWEST_OPACITY = 0.05
#: Options of a texture map, by how many values follow.
_OPTIONS = {"-bm": 1, "-boost": 1, "-blendu": 1, "-blendv": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2}
_OPTIONS |= {"-o": 3, "-s": 3, "-t": 3, "-texres": 1, "-type": 1}


def read_materials(folder: Path, libraries: list[str]) -> tuple[dict[str, Material], list[str]]:
    """Materials by name, and what could not be had.

    ``Kd`` is the colour, ``d`` (or 1 − ``Tr``) the opacity, at least 0.05; ``map_Kd`` the texture. A colour under
    a texture is brightened until its largest number is 1 (black becomes white): exporters write 0.64 or 0 there out of
    habit, and multiplied by it a texture would be dark or gone.

    Args:
        folder: where the libraries lie, and below which the textures are.
        libraries: names as in the lines ``mtllib``; a name may hold blanks, or several names may stand in a line.
    """
    materials: dict[str, Material] = {}
    notes: list[str] = []
    # Many materials may name one picture, which is decoded and kept once.
    texture_of = cache(partial(read_texture, folder))
    for name in _names(folder, libraries):
        try:
            content = _read(folder, name)
        except RejectedImageError as error:
            notes.append(f"material library {name!r}: {error}")
            continue
        for block in _blocks(content):
            materials[block["newmtl"]] = _material(block, texture_of, notes)
    return materials, notes


def files_of_libraries(folder: Path, libraries: list[str]) -> list[bytes]:
    """Bytes of all libraries and textures that :func:`read_materials` would read, those that are missing as nothing."""
    contents: list[bytes] = []
    for name in _names(folder, libraries):
        try:
            library = _read(folder, name)
        except RejectedImageError:
            contents.append(b"")
            continue
        contents.append(library)
        for block in _blocks(library):
            if "map_Kd" in block:
                try:
                    contents.append(texture_file(folder, _file_of_map(block["map_Kd"])))
                except RejectedImageError:
                    contents.append(b"")
    return contents


def _names(folder: Path, libraries: list[str]) -> list[str]:
    return [name for line in libraries for name in ([line] if _exists(folder, line) else line.split())]


def _read(folder: Path, name: str) -> bytes:
    return read_file(folder, name.replace("\\", "/"), _MOST_BYTES)


def _exists(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):
        return False


def _blocks(content: bytes) -> list[dict[str, str]]:
    blocks: list[dict[str, str]] = []
    for line in content.decode("utf-8", "replace").splitlines():
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if key == "newmtl":
            blocks.append({key: rest.strip()})
        elif blocks and key and not key.startswith("#"):
            blocks[-1][key] = rest.strip()
    return blocks


def _material(block: dict[str, str], texture_of: Callable[[str], NDArray[np.uint8]], notes: list[str]) -> Material:
    name = block["newmtl"]
    colour = _numbers(block, "Kd", (0.8, 0.8, 0.8), notes)
    dissolved = 1.0 - _numbers(block, "Tr", (0.0,), notes)[0]
    opacity = _numbers(block, "d", (dissolved,), notes)[0]
    texture = None
    if "map_Kd" in block:
        try:
            texture = texture_of(_file_of_map(block["map_Kd"]))
            colour = tuple(value / max(colour) for value in colour) if max(colour) > 0 else (1.0, 1.0, 1.0)
        except RejectedImageError as error:
            notes.append(f"texture {block['map_Kd']!r} of material {name!r}: {error}; the plain colour is shown")
    return Material(name, (colour[0], colour[1], colour[2]), max(opacity, _FEWEST_OPACITY), texture)


def _numbers(block: dict[str, str], key: str, default: tuple[float, ...], notes: list[str]) -> tuple[float, ...]:
    """Numbers of a key, in [0, 1]; the default where they are missing or wrong."""
    if key not in block:
        return default
    words = [word for word in block[key].split() if word != "-halo"][: len(default)]
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        values = ()
    if len(values) == 1:
        values = values * len(default)
    if len(values) != len(default) or any(value != value for value in values):
        notes.append(f"{key} of material {block['newmtl']!r} is {block[key][:40]!r}: {default} is taken")
        return default
    return tuple(min(max(value, 0.0), 1.0) for value in values)


def _file_of_map(line: str) -> str:
    """The file that a map names, which may hold blanks, behind its options.

    >>> _file_of_map("-s 1 1 1 -clamp on light wood.jpg")
    'light wood.jpg'
    """
    words = line.split(" ")
    while len(words) > 1 and words[0] in _OPTIONS:
        words = words[1 + _OPTIONS[words[0]] :]
    return " ".join(words).strip()
