"""Draws meshes with the software renderer of pybullet (TinyRenderer): no OpenGL, fast, plain."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.errors import SnellenError, import_extra
from snellen.data.worlds.meshes.mesh import Mesh, Part
from snellen.data.worlds.meshes.mesh_file import MeshFile
from snellen.data.worlds.meshes.mesh_renderer import (
    AMBIENT,
    DIFFUSE,
    CameraStand,
    MeshRenderer,
    as_tensors,
    averaged,
    camera_of,
)
from snellen.data.worlds.viewpoints import ANGLE_OF_VIEW


class PyBulletRenderer(MeshRenderer):
    """Meshes before a white background, lit from behind the camera, by the CPU alone.

    The same build gives the same bytes, alone or with other views. Glass is drawn as opaque, and holes of textures are
    filled: :class:`snellen.data.worlds.meshes.pyvista_renderer.PyVistaRenderer` draws both.

    Arguments are those of :class:`~snellen.data.worlds.meshes.mesh_renderer.MeshRenderer`.

    Raises:
        MissingExtraError: pybullet is not installed.
    """

    def __init__(
        self, files: Path | Sequence[MeshFile], *, size: int = 224, supersampling: int = 2, meshes_kept: int = 8
    ) -> None:
        self._bullet = import_extra("pybullet", "bullet", "drawing meshes with TinyRenderer")
        super().__init__(files, size=size, supersampling=supersampling, meshes_kept=meshes_kept)
        self._lock = threading.Lock()
        self._client, self._shown = -1, ""

    def notes_of(self, object_id: str) -> tuple[str, ...]:
        """What was wrong with an object's files, and what this renderer cannot show of it."""
        mesh = self._meshes.mesh(object_id)
        holes = any(part.material.cut_out for part in mesh.parts)
        glass = any(part.material.opacity < 1 for part in mesh.parts)
        left_out = [("holes of textures are drawn as filled", holes), ("glass is drawn as opaque", glass)]
        return (*mesh.notes, *(text for text, there in left_out if there))

    @property
    def recipe(self) -> str:
        """Everything that a picture follows from besides object and viewpoint."""
        return (
            f"PyBulletRenderer 1; pybullet {self._bullet.getAPIVersion()}; size {self.size}; supersampling "
            f"{self.supersampling}; angle {ANGLE_OF_VIEW}; light {AMBIENT} {DIFFUSE}"
        )

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6).

        Returns:
            Images, float32 (n, 3, size, size) in [0, 1], and coverage, float32 (n, size, size); multiples of 1/255.

        Raises:
            RejectedImageError: the object's file cannot be used.
            SnellenError: pybullet failed.
        """
        mesh = self._meshes.mesh(object_id)
        with self._lock:
            try:
                self._show(object_id, mesh)
                views = [self._view(camera_of(viewpoint[None])) for viewpoint in viewpoints.detach().cpu()]
            except self._bullet.error as error:
                self._shown = ""
                raise SnellenError(f"pybullet could not render {object_id}: {error}") from error
        return as_tensors([averaged(*view, self.supersampling) for view in views], self.size)

    def close(self) -> None:
        """Give the world back."""
        with self._lock:
            if self._client >= 0:
                self._bullet.disconnect(self._client)
            self._client, self._shown = -1, ""

    def _show(self, object_id: str, mesh: Mesh) -> None:
        if self._shown == object_id:
            return
        if self._client < 0:
            self._client = self._bullet.connect(self._bullet.DIRECT)
        self._bullet.resetSimulation(physicsClientId=self._client)
        # Files are remembered by name: another object's part must not come out of that memory.
        self._bullet.setPhysicsEngineParameter(enableFileCaching=0, physicsClientId=self._client)
        with tempfile.TemporaryDirectory(prefix="snellen-meshes-") as folder:
            for number, part in enumerate(mesh.parts):
                self._add(part, Path(folder), number)
        self._shown = object_id

    def _add(self, part: Part, folder: Path, number: int) -> None:
        bullet, client = self._bullet, self._client
        path = folder / f"{number}.obj"
        path.write_bytes(_wavefront_of(part))
        shape = bullet.createVisualShape(
            bullet.GEOM_MESH,
            fileName=str(path),
            rgbaColor=[*part.material.colour, 1.0],
            specularColor=[0.0, 0.0, 0.0],
            physicsClientId=client,
        )
        body = bullet.createMultiBody(baseVisualShapeIndex=shape, physicsClientId=client)
        if part.material.texture is not None and part.texture_coordinates is not None:
            picture = folder / f"{number}.png"
            Image.fromarray(np.ascontiguousarray(part.material.texture[..., :3]), "RGB").save(picture)
            texture = bullet.loadTexture(str(picture), physicsClientId=client)
            bullet.changeVisualShape(body, -1, textureUniqueId=texture, physicsClientId=client)

    def _view(self, stand: CameraStand) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels uint8 (edge, edge, 3) and where the object is, bool (edge, edge)."""
        edge, bullet = self.size * self.supersampling, self._bullet
        projection = list(bullet.computeProjectionMatrixFOV(math.degrees(ANGLE_OF_VIEW), 1.0, stand.near, stand.far))
        # TinyRenderer samples the upper left corner of each pixel, not at its middle: half a pixel makes up for it.
        projection[8] += 1.0 / edge
        projection[9] += 1.0 / edge
        _, _, pixels, _, bodies = bullet.getCameraImage(
            edge,
            edge,
            viewMatrix=np.linalg.inv(stand.matrix).T.reshape(-1).tolist(),
            projectionMatrix=projection,
            lightDirection=stand.light.tolist(),
            lightColor=[1.0, 1.0, 1.0],
            lightAmbientCoeff=AMBIENT,
            lightDiffuseCoeff=DIFFUSE,
            lightSpecularCoeff=0.0,
            shadow=0,
            renderer=bullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        drawn = np.asarray(pixels, dtype=np.uint8).reshape(edge, edge, 4)[..., :3]
        return drawn, np.asarray(bodies).reshape(edge, edge) >= 0


def _wavefront_of(part: Part) -> bytes:
    """A part as a Wavefront file without materials, each triangle from both sides.

    TinyRenderer leaves out what is turned away from the camera, and furniture is full of sheets of a single side. Which
    side a triangle's normals are on, and not the order of its corners, says which of the two copies is the front.
    """
    textured = part.material.texture is not None and part.texture_coordinates is not None
    coordinates = part.texture_coordinates if textured else None
    first, second, third = (part.vertices[part.triangles[:, place]] for place in range(3))
    turned = (np.cross(second - first, third - first) * part.normals[part.triangles].sum(1)).sum(1) < 0
    front = np.where(turned[:, None], part.triangles[:, ::-1], part.triangles) + 1
    count = len(part.vertices)
    form = "f {0}/{0}/{3} {1}/{1}/{4} {2}/{2}/{5}" if textured else "f {0}//{3} {1}//{4} {2}//{5}"
    lines = [
        *(f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in part.vertices.tolist()),
        *(f"vt {u:.7f} {v:.7f}" for u, v in ([] if coordinates is None else coordinates.tolist())),
        *(f"vn {x:.6f} {y:.6f} {z:.6f}" for x, y, z in np.concatenate([part.normals, -part.normals]).tolist()),
        *(form.format(a, b, c, a, b, c) for a, b, c in front.tolist()),
        *(form.format(c, b, a, c + count, b + count, a + count) for a, b, c in front.tolist()),
    ]
    return "\n".join([*lines, ""]).encode()
