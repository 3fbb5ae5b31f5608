"""What renderers of meshes share: files that are read on first use, camera, light, and averaged pictures."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError, SnellenError, import_extra, unknown_name
from snellen.data.files.contained_file import read_file
from snellen.data.worlds.meshes.material_library import files_of_libraries
from snellen.data.worlds.meshes.mesh import Mesh, Part, joined_notes, part_of_corners, placed
from snellen.data.worlds.meshes.mesh_file import MeshFile, checked_ids, mesh_files
from snellen.data.worlds.meshes.wavefront import MOST_BYTES, MOST_TRIANGLES, read_wavefront
from snellen.data.worlds.viewpoints import camera_to_world

#: Shares of a surface's colour that it shows in shadow, and more of it where it faces the light.
AMBIENT, DIFFUSE = 0.5, 0.6

#: Where the light comes from, in camera coordinates: from over the left shoulder.
LIGHT = (-0.45, 0.65, 1.0)

#: Most pixels along an edge that a renderer draws.
MOST_PIXELS = 4096


@dataclass(frozen=True, eq=False)
class CameraStand:
    """A camera in the world, float64 (3,) each; ``matrix`` (4, 4) takes camera coordinates to the world."""

    matrix: NDArray[np.float64]
    position: NDArray[np.float64]
    backwards: NDArray[np.float64]
    upwards: NDArray[np.float64]
    light: NDArray[np.float64]
    near: float
    far: float


def camera_of(viewpoint: Tensor) -> CameraStand:
    """Camera of one viewpoint (1, 6). Near and far planes enclose the sphere of radius 1 about the origin.

    >>> camera_of(torch.tensor([[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]])).position.round(6).tolist()
    [0.0, -4.0, 0.0]

    Raises:
        InputError: a number that is not finite, or a camera within the sphere of the object.
    """
    if not bool(torch.isfinite(viewpoint).all()):
        raise InputError(f"a viewpoint must be six finite numbers, got {viewpoint.tolist()}")
    matrix = camera_to_world(viewpoint.double())[0].numpy()
    position = matrix[:3, 3]
    ahead = float(viewpoint[0, 3])
    if ahead <= 1.05:
        raise InputError(f"a camera must stand outside the object, at a distance above 1.05; got {ahead:g}")
    light = matrix[:3, :3] @ np.array(LIGHT)
    near, far = ahead - 1.04, ahead + 1.04
    return CameraStand(matrix, position, matrix[:3, 2], matrix[:3, 1], light / np.linalg.norm(light), near, far)


def checked_frame(size: int, supersampling: int) -> None:
    """Raise InputError for a size or a supersampling that cannot be drawn."""
    if size < 1 or supersampling < 1 or size * supersampling > MOST_PIXELS:
        raise InputError(
            f"size and supersampling must be at least 1 and their product at most {MOST_PIXELS}; "
            f"got {size} and {supersampling}"
        )


def averaged(
    pixels: NDArray[np.uint8], covered: NDArray[np.bool_], factor: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mean over squares of ``factor`` × ``factor`` pixels, with a white background put behind the object.

    >>> pixels, covered = averaged(np.zeros((2, 2, 3), np.uint8), np.array([[True, False]] * 2), 2)
    >>> pixels.tolist(), covered.tolist()
    ([[[128, 128, 128]]], [[128]])

    Args:
        pixels: uint8 (h · factor, w · factor, 3).
        covered: bool (h · factor, w · factor), where the object is.
        factor: edge of the squares.

    Returns:
        Pixels uint8 (h, w, 3) and coverage uint8 (h, w), 255 where the object covers the whole pixel.
    """
    height, width = covered.shape[0] // factor, covered.shape[1] // factor
    white = np.where(covered[..., None], pixels, np.uint8(255)).reshape(height, factor, width, factor, 3)
    share = covered.reshape(height, factor, width, factor)
    area = factor * factor
    # Integers throughout, halves rounded up: the same on every machine.
    mean = (white.sum(axis=(1, 3), dtype=np.int64) + area // 2) // area
    return mean.astype(np.uint8), ((share.sum(axis=(1, 3), dtype=np.int64) * 255 + area // 2) // area).astype(np.uint8)


def as_tensors(views: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], size: int) -> tuple[Tensor, Tensor]:
    """Images float32 (n, 3, h, w) and coverage float32 (n, h, w), both in [0, 1], of views in bytes."""
    if not views:
        return torch.zeros(0, 3, size, size), torch.zeros(0, size, size)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in views]))
    covered = torch.from_numpy(np.stack([covered for _, covered in views]))
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255, covered.float() / 255


_lock = threading.RLock()


@contextmanager
def vtk_messages_kept() -> Iterator[list[str]]:
    """Inside a ``with`` block VTK's warnings and errors go to the list, which is filled when the block ends.

    VTK has one output window and one logger for the whole process, so one thread at a time is inside. Both are put
    back.
    """
    core = import_extra("vtkmodules.vtkCommonCore", "meshes", "drawing meshes")
    messages: list[str] = []
    with _lock:
        before, verbosity = core.vtkOutputWindow.GetInstance(), core.vtkLogger.GetCurrentVerbosityCutoff()
        kept = core.vtkStringOutputWindow()
        core.vtkOutputWindow.SetInstance(kept)
        core.vtkLogger.SetStderrVerbosity(core.vtkLogger.VERBOSITY_OFF)
        try:
            yield messages
        finally:
            core.vtkOutputWindow.SetInstance(before)
            core.vtkLogger.SetStderrVerbosity(verbosity)
            messages.extend(
                dict.fromkeys(" ".join(line.split()) for line in kept.GetOutput().splitlines() if line.strip())
            )


def check_off_screen() -> None:
    """Raise SnellenError where VTK finds no OpenGL that draws off screen.

    VTK tries X, EGL and OSMesa in turn. What it makes when none of them is there looks like a window of OSMesa, and
    crashes at the first drawing; the only sign is a warning.
    """
    core = import_extra("vtkmodules.vtkRenderingCore", "meshes", "drawing meshes")
    import_extra("vtkmodules.vtkRenderingOpenGL2", "meshes", "drawing meshes")
    with vtk_messages_kept() as messages:
        window = core.vtkRenderWindow()
        made = type(window).__name__
        del window
    missing = made == "vtkOSOpenGLRenderWindow" and any("libOSMesa not found" in message for message in messages)
    if missing or made == "vtkRenderWindow":
        raise SnellenError(
            "VTK finds no OpenGL that draws off screen (neither X, EGL nor OSMesa); install one that runs on the CPU, "
            "such as Debian's libegl1 with libegl-mesa0, or use PyBulletRenderer"
        )


_ELEMENT = re.compile(rb"^[ \t]*element[ \t]+(\S+)[ \t]+(\S+)", re.MULTILINE)


def check_header(suffix: str, content: bytes) -> None:
    """Raise RejectedImageError for a file that announces more than it holds, or that names other files.

    Args:
        suffix: ".stl", ".ply" or ".glb".
        content: the whole file.
    """
    {".stl": _check_stl, ".ply": _check_ply, ".glb": _check_glb}[suffix](content)


def _check_stl(content: bytes) -> None:
    binary = len(content) >= 84 and len(content) == 84 + 50 * struct.unpack_from("<I", content, 80)[0]
    if not binary and not (content.lstrip()[:5].lower() == b"solid" and b"facet" in content[:65536].lower()):
        raise RejectedImageError("damaged: neither a text STL nor a binary one whose size fits its number of triangles")


def _check_ply(content: bytes) -> None:
    head, end, body = content.partition(b"end_header")
    if not content.startswith(b"ply") or not end:
        raise RejectedImageError("damaged: a PLY file begins with 'ply' and a header that ends with 'end_header'")
    for name, count in _ELEMENT.findall(head):
        # Each element takes at least one byte, however it is written.
        if not count.isdigit() or len(count) > 12 or int(count) > len(body):
            raise RejectedImageError(f"damaged: {count[:20]!r} elements {name[:20]!r} in {len(body)} bytes")


def _check_glb(content: bytes) -> None:
    if len(content) < 20 or content[:4] != b"glTF" or content[16:20] != b"JSON":
        raise RejectedImageError("damaged: a GLB file begins with 'glTF' and a part 'JSON'")
    length = struct.unpack_from("<I", content, 12)[0]
    try:
        described = json.loads(content[20 : 20 + length].decode("utf-8"))
        links = [part["uri"] for kind in ("buffers", "images") for part in described.get(kind, []) if "uri" in part]
        counts = [int(part["count"]) for part in described.get("accessors", [])]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise RejectedImageError(f"damaged: its part 'JSON' cannot be read ({str(error)[:80]})") from error
    if any(not str(link).startswith("data:") for link in links):
        raise RejectedImageError("it names other files; store everything in the GLB file")
    if min(counts, default=0) < 0 or sum(counts) > 64 * len(content):
        # Each on its own too: a negative count would make up for one that is too large.
        odd = min(counts) if min(counts) < 0 else sum(counts)
        raise RejectedImageError(f"damaged: it announces {odd} elements in {len(content)} bytes")


def read_mesh(file: MeshFile) -> Mesh:
    """The object of a file, about the origin, in a sphere of radius 1, z up.

    OBJ is read with materials and textures, without further packages. STL, PLY and GLB are read by pyvista, as
    shapes of one colour: their materials are left out, and a note says so.

    Raises:
        RejectedImageError: the file cannot be used; the message begins with the object's id.
        MissingExtraError: a kind of file that needs pyvista.
    """
    try:
        mesh = read_wavefront(file.path) if file.path.suffix.lower() == ".obj" else _read_by_pyvista(file)
        rotation = None if file.rotation is None else np.array(file.rotation, dtype=np.float64).reshape(3, 3)
        return placed(mesh, up=file.up_axis, rotation=rotation)
    except (RejectedImageError, InputError) as error:
        raise RejectedImageError(f"{file.object_id}: {error}") from error


def _read_by_pyvista(file: MeshFile) -> Mesh:
    pyvista = import_extra("pyvista", "meshes", f"reading {file.path.suffix} meshes")
    content = read_file(file.path.parent, file.path.name, MOST_BYTES)
    check_header(file.path.suffix.lower(), content)
    with vtk_messages_kept() as messages:
        try:
            surface = pyvista.read(file.path)
            if isinstance(surface, pyvista.MultiBlock):
                surface = surface.combine(merge_points=False)
            surface = surface.extract_surface(algorithm="dataset_surface").triangulate()
        except Exception as error:  # VTK's readers raise many kinds of errors on damaged files
            raise RejectedImageError(f"damaged: {str(error)[:120] or type(error).__name__}") from error
    part = _part_of_surface(
        np.asarray(surface.points, dtype=np.float64), np.asarray(surface.faces).reshape(-1, 4)[:, 1:].astype(np.int64)
    )
    if part is None:
        raise RejectedImageError("; ".join(["the file has no face with an area", *messages])[:300])
    if len(part.triangles) > MOST_TRIANGLES:
        raise RejectedImageError(f"more than {MOST_TRIANGLES} triangles")
    notes = joined_notes([f"materials of {file.path.suffix} files are not read: grey", *messages])
    return Mesh((part,), notes)


def _part_of_surface(points: np.ndarray, triangles: np.ndarray) -> Part | None:
    if not len(triangles) or not np.isfinite(points).all():
        return None
    return part_of_corners(points, triangles)


_LIBRARY = re.compile(rb"^[ \t]*mtllib[ \t]+(.*?)[ \t\r]*$", re.MULTILINE)


def mesh_content_hash(file: MeshFile) -> str:
    """Hash of all that a mesh is made from (sha256, hex): its file, materials, textures, and how it is turned.

    Reads the files, but neither parses the mesh nor decodes a texture. Other files of the folder do not count.

    Raises:
        RejectedImageError: the mesh's own file cannot be read; the message begins with the object's id.
    """
    try:
        content = read_file(file.path.parent, file.path.name, MOST_BYTES)
    except RejectedImageError as error:
        raise RejectedImageError(f"{file.object_id}: {error}") from error
    parts = [file.path.suffix.lower().encode(), repr((file.up_axis, file.rotation)).encode(), content]
    if file.path.suffix.lower() == ".obj":
        libraries = [name.decode("utf-8", "replace") for name in _LIBRARY.findall(content)]
        parts += files_of_libraries(file.path.parent, libraries)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


class LoadedMeshes:
    """Meshes by id.

    Args:
        files: a folder (see :func:`snellen.data.worlds.meshes.mesh_file.mesh_files`), or the files.
        kept: meshes in memory.
    """

    def __init__(self, files: Path | Sequence[MeshFile], *, kept: int = 8) -> None:
        listed = mesh_files(files) if isinstance(files, Path) else tuple(files)
        if not listed:
            raise InputError("a renderer of meshes needs at least one mesh file, got none")
        checked_ids([file.object_id for file in listed])
        self.files = {file.object_id: file for file in listed}
        self._kept, self._memory = kept, OrderedDict[str, Mesh]()
        self._hashes: dict[str, str] = {}
        self._lock = threading.Lock()

    def file(self, object_id: str) -> MeshFile:
        """File of an object. Raises UnknownNameError for another id."""
        if object_id not in self.files:
            raise unknown_name("object", object_id, self.files)
        return self.files[object_id]

    def mesh(self, object_id: str) -> Mesh:
        """Mesh of an object. Raises RejectedImageError where its file cannot be used."""
        file = self.file(object_id)
        with self._lock:
            if object_id not in self._memory:
                self._memory[object_id] = read_mesh(file)
                while len(self._memory) > self._kept:
                    self._memory.popitem(last=False)
            self._memory.move_to_end(object_id)
            return self._memory[object_id]

    def content_hash(self, object_id: str) -> str:
        """Hash of the files of an object and of how it is turned (hex)."""
        if object_id not in self._hashes:
            self._hashes[object_id] = mesh_content_hash(self.file(object_id))
        return self._hashes[object_id]


class MeshRenderer:
    """What renderers of meshes share: the objects, and the size of their pictures.

    Args:
        files: a folder of meshes, or the files.
        size: height and width of the images, pixels.
        supersampling: pixels are the mean of this many squared.
        meshes_kept: meshes in memory.

    Raises:
        InputError: no mesh files, or a size that cannot be rendered.
    """

    def __init__(
        self, files: Path | Sequence[MeshFile], *, size: int = 224, supersampling: int = 2, meshes_kept: int = 8
    ) -> None:
        checked_frame(size, supersampling)
        self.size, self.supersampling = size, supersampling
        self._meshes = LoadedMeshes(files, kept=meshes_kept)

    @property
    def objects(self) -> tuple[str, ...]:
        """Ids of the objects."""
        return tuple(self._meshes.files)

    def class_of(self, object_id: str) -> str:
        """Name of the class of an object."""
        return self._meshes.file(object_id).class_name

    def content_hash(self, object_id: str) -> str:
        """Hash of the files of an object and of how it is turned (hex)."""
        return self._meshes.content_hash(object_id)

    def notes_of(self, object_id: str) -> tuple[str, ...]:
        """What was wrong with an object's files: textures that are missing, for one."""
        return self._meshes.mesh(object_id).notes
