"""Draws meshes with VTK, through pyvista: textured, smooth, glass included; off screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import SnellenError, import_extra
from snellen.data.worlds.meshes.mesh import Mesh, Part
from snellen.data.worlds.meshes.mesh_file import MeshFile
from snellen.data.worlds.meshes.mesh_renderer import (
    AMBIENT,
    DIFFUSE,
    MeshRenderer,
    as_tensors,
    averaged,
    camera_of,
    check_off_screen,
    vtk_messages_kept,
)
from snellen.data.worlds.viewpoints import ANGLE_OF_VIEW


class PyVistaRenderer(MeshRenderer):
    """Meshes before a white background, lit from behind the camera.

    The same build of VTK and of OpenGL gives the same bytes, alone or with other views. Glass lets through what its
    opacity says and counts as covered; holes of textures count as not covered. Any thread may call it; make a renderer
    in each process, for a window does not survive a fork.

    Arguments are those of :class:`~snellen.data.worlds.meshes.mesh_renderer.MeshRenderer`.

    Raises:
        MissingExtraError: pyvista is not installed.
    """

    def __init__(
        self, files: Path | Sequence[MeshFile], *, size: int = 224, supersampling: int = 2, meshes_kept: int = 8
    ) -> None:
        self._pyvista = import_extra("pyvista", "meshes", "drawing meshes")
        super().__init__(files, size=size, supersampling=supersampling, meshes_kept=meshes_kept)
        # A context of OpenGL belongs to the thread that made it: one thread draws for all callers.
        self._drawing = ThreadPoolExecutor(1, "snellen-drawing")
        self._stage: _Stage | None = None

    @property
    def recipe(self) -> str:
        """Everything that a picture follows from besides object and viewpoint, the driver of OpenGL included."""
        driver = self._drawing.submit(lambda: self._opened().driver).result()
        vtk = import_extra("vtkmodules.vtkCommonCore", "meshes", "drawing meshes").vtkVersion().GetVTKVersion()
        return (
            f"PyVistaRenderer 1; pyvista {self._pyvista.__version__}; vtk {vtk}; {driver}; size {self.size}; "
            f"supersampling {self.supersampling}; angle {ANGLE_OF_VIEW}; light {AMBIENT} {DIFFUSE}"
        )

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6).

        Returns:
            Images, float32 (n, 3, size, size) in [0, 1], and coverage, float32 (n, size, size); multiples of 1/255.

        Raises:
            RejectedImageError: the object's file cannot be used.
            SnellenError: OpenGL or VTK failed, with their words.
        """
        mesh = self._meshes.mesh(object_id)
        views = self._drawing.submit(self._drawn, object_id, mesh, viewpoints.detach().cpu()).result()
        return as_tensors(views, self.size)

    def close(self) -> None:
        """Give the window back."""
        self._drawing.submit(self._closed).result()

    def _drawn(
        self, object_id: str, mesh: Mesh, viewpoints: Tensor
    ) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        stage = self._opened()
        with vtk_messages_kept() as messages:
            stage.show(object_id, mesh)
            views = [averaged(*stage.view(viewpoint[None]), self.supersampling) for viewpoint in viewpoints]
        if messages:
            raise SnellenError(f"VTK could not render {object_id}: {'; '.join(messages)[:500]}")
        return views

    def _closed(self) -> None:
        if self._stage is not None:
            self._stage.plotter.close()
        self._stage = None

    def _opened(self) -> _Stage:
        if self._stage is None:
            check_off_screen()
            with vtk_messages_kept():  # of X, which is tried first and is not there on a server
                self._stage = _Stage(self._pyvista, self.size * self.supersampling)
        return self._stage


class _Stage:
    """A window off screen with one object in it."""

    def __init__(self, pyvista: ModuleType, edge: int) -> None:
        self.pyvista, self.edge, self.shown = pyvista, edge, ""
        self.core = import_extra("vtkmodules.vtkRenderingCore", "meshes", "drawing meshes")
        self.plotter = pyvista.Plotter(off_screen=True, window_size=(edge, edge), lighting="none")
        self.plotter.set_background("white")
        self.renderer, self.window = self.plotter.renderer, self.plotter.render_window
        self.window.SetMultiSamples(0)
        self.light = self.core.vtkLight()
        self.light.SetLightTypeToSceneLight()
        self.light.PositionalOff()
        self.renderer.AddLight(self.light)
        self.actors: list[tuple[object, bool]] = []
        self.window.Render()
        capabilities = dict(line.partition(":")[::2] for line in (self.window.ReportCapabilities() or "").splitlines())
        self.driver = " ".join(
            capabilities.get(f"OpenGL {what} string", "").strip() for what in ("renderer", "version")
        )

    def show(self, object_id: str, mesh: Mesh) -> None:
        if self.shown == object_id:
            return
        for actor, _ in self.actors:
            self.renderer.RemoveActor(actor)
        self.actors = [(self._actor(part), part.material.opacity < 1) for part in mesh.parts]
        for actor, _ in self.actors:
            self.renderer.AddActor(actor)
        self.shown = object_id

    def view(self, viewpoint: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels uint8 (edge, edge, 3) and where the object is, bool (edge, edge)."""
        stand = camera_of(viewpoint)
        camera = self.renderer.GetActiveCamera()
        camera.SetPosition(*stand.position)
        camera.SetFocalPoint(*(stand.position - stand.backwards))
        camera.SetViewUp(*stand.upwards)
        camera.SetViewAngle(math.degrees(ANGLE_OF_VIEW))
        camera.SetClippingRange(stand.near, stand.far)
        self.light.SetPosition(*stand.light)
        self.light.SetFocalPoint(0.0, 0.0, 0.0)
        pixels = self._drawn()
        glass = [actor for actor, translucent in self.actors if translucent]
        for actor in glass:
            actor.ForceOpaqueOn()  # type: ignore[attr-defined]
        if glass:
            self._drawn()  # glass leaves no depth unless it is drawn as opaque
        depth = self._depth()
        for actor in glass:
            actor.ForceOpaqueOff()  # type: ignore[attr-defined]
        return pixels, depth < 1.0

    def _drawn(self) -> NDArray[np.uint8]:
        common = import_extra("vtkmodules.vtkCommonCore", "meshes", "drawing meshes")
        support = import_extra("vtkmodules.util.numpy_support", "meshes", "drawing meshes")
        self.window.Render()
        values = common.vtkUnsignedCharArray()
        self.window.GetPixelData(0, 0, self.edge - 1, self.edge - 1, 0, values, 0)
        return np.asarray(support.vtk_to_numpy(values)).reshape(self.edge, self.edge, 3)[::-1].copy()

    def _depth(self) -> NDArray[np.float32]:
        common = import_extra("vtkmodules.vtkCommonCore", "meshes", "drawing meshes")
        support = import_extra("vtkmodules.util.numpy_support", "meshes", "drawing meshes")
        values = common.vtkFloatArray()
        self.window.GetZbufferData(0, 0, self.edge - 1, self.edge - 1, values)
        return np.asarray(support.vtk_to_numpy(values)).reshape(self.edge, self.edge)[::-1].copy()

    def _actor(self, part: Part) -> object:
        faces = np.concatenate([np.full((len(part.triangles), 1), 3), part.triangles], axis=1)
        surface = self.pyvista.PolyData(part.vertices.astype(np.float32), faces.reshape(-1))
        surface.point_data.active_normals = part.normals.astype(np.float32)
        material = part.material
        actor, mapper = (
            self.core.vtkActor(),
            import_extra("vtkmodules.vtkRenderingOpenGL2", "meshes", "drawing meshes").vtkOpenGLPolyDataMapper(),
        )
        if material.texture is not None and part.texture_coordinates is not None:
            surface.active_texture_coordinates = part.texture_coordinates.astype(np.float32)
            texture = self.pyvista.Texture(material.texture if material.cut_out else material.texture[..., :3])
            texture.SetInterpolate(True)
            texture.SetMipmap(not material.cut_out)
            texture.SetRepeat(True)
            actor.SetTexture(texture)
        mapper.SetInputData(surface)
        mapper.ScalarVisibilityOff()
        actor.SetMapper(mapper)
        look = actor.GetProperty()
        look.SetColor(*material.colour)
        look.SetOpacity(material.opacity)
        look.SetAmbient(AMBIENT)
        look.SetDiffuse(DIFFUSE)
        look.SetInterpolationToPhong()
        if material.opacity >= 1:
            actor.ForceOpaqueOn()
        return actor
