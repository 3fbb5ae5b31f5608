"""Two renderers of meshes, against the projection of the vertices and against each other."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError, MissingExtraError, RejectedImageError, SnellenError
from snellen.data.worlds.meshes.mesh_renderer import LoadedMeshes, check_off_screen
from snellen.data.worlds.meshes.pybullet_renderer import PyBulletRenderer
from snellen.data.worlds.meshes.pyvista_renderer import PyVistaRenderer
from snellen.data.worlds.meshes.screening import screened
from snellen.data.worlds.viewpoints import ANGLE_OF_VIEW, camera_to_world
from tests.data.worlds.meshes.small_meshes import triangle_glb, write_box, write_card

KINDS = {"pyvista": PyVistaRenderer, "pybullet": PyBulletRenderer}
SIZE = 96
VIEWS = torch.tensor(
    [
        [0.0, 0.0, 0.0, 4.0, 0.0, 0.0],
        [0.0, 40.0, 25.0, 4.0, 0.0, 0.0],
        [25.0, 200.0, -50.0, 3.2, 0.3, -0.2],
        [-15.0, -75.0, 65.0, 4.8, -0.4, 0.4],
    ]
)

Renderer = PyVistaRenderer | PyBulletRenderer


def needs(package: str) -> None:
    """Skip where a renderer's package, or what it draws with, is not there."""
    pytest.importorskip(package, reason=f"{package} is not installed")
    if package == "pyvista":
        try:
            check_off_screen()
        except SnellenError as error:
            pytest.skip(str(error))


def knot(path: Path) -> Path:
    """A tube along a trefoil: curved, with holes, convex nowhere."""
    along, around = np.meshgrid(
        np.linspace(0, 2 * np.pi, 90, endpoint=False), np.arange(10) * 2 * np.pi / 10, indexing="ij"
    )
    centre = np.stack(
        [np.sin(along) + 2 * np.sin(2 * along), np.cos(along) - 2 * np.cos(2 * along), -np.sin(3 * along)], -1
    )
    ahead = np.roll(centre, -1, 0) - np.roll(centre, 1, 0)
    side = np.cross(ahead, np.array([0.0, 0.0, 1.0]))
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    up = np.cross(side, ahead / np.linalg.norm(ahead, axis=-1, keepdims=True))
    points = centre + 0.4 * (np.cos(around)[..., None] * side + np.sin(around)[..., None] * up)
    lines = [f"v {x} {y} {z}" for x, y, z in points.reshape(-1, 3)]
    for i in range(90):
        for j in range(10):
            quad = (i * 10 + j, ((i + 1) % 90) * 10 + j, ((i + 1) % 90) * 10 + (j + 1) % 10, i * 10 + (j + 1) % 10)
            lines.append("f " + " ".join(str(corner + 1) for corner in quad))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    write_box(folder / "box.obj")
    knot(folder / "knot.obj")
    write_card(folder)
    write_box(folder / "glass.obj", header="mtllib glass.mtl\n", material="glass")
    (folder / "glass.mtl").write_text("newmtl glass\nKd 0 0 0.5\nd 0.3\n")
    return folder


@pytest.fixture(scope="module", params=sorted(KINDS))
def renderer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Renderer]:
    needs(request.param)
    opened = KINDS[request.param](folder, size=SIZE)
    yield opened
    opened.close()


def projected(points: NDArray[np.float64], viewpoint: torch.Tensor) -> NDArray[np.float64]:
    """Where points of the world are in the image, pixels (n, 2)."""
    inverse = torch.linalg.inv(camera_to_world(viewpoint[None].double()))[0].numpy()
    seen = points @ inverse[:3, :3].T + inverse[:3, 3]
    scale = SIZE / 2 / math.tan(ANGLE_OF_VIEW / 2)
    return SIZE / 2 + scale * np.stack([seen[:, 0], -seen[:, 1]], 1) / -seen[:, 2:]


def edges_of(coverage: NDArray[np.float64]) -> list[float]:
    """Box about what is covered, to a fraction of a pixel."""
    columns, rows = coverage.max(0), coverage.max(1)
    x, y = np.flatnonzero(columns), np.flatnonzero(rows)
    return [x[0] + 1 - columns[x[0]], y[0] + 1 - rows[y[0]], x[-1] + columns[x[-1]], y[-1] + rows[y[-1]]]


@pytest.mark.parametrize("name", ["box", "knot"])
def test_objects_are_where_the_camera_projects_their_vertices(renderer: Renderer, folder: Path, name: str) -> None:
    corners = LoadedMeshes(folder).mesh(name).corners()
    _, coverage = renderer.render(name, VIEWS)
    for viewpoint, covered in zip(VIEWS, coverage.double().numpy(), strict=True):
        points = projected(corners, viewpoint)
        expected = [*np.clip(points.min(0), 0, SIZE), *np.clip(points.max(0), 0, SIZE)]
        np.testing.assert_allclose(edges_of(covered), expected, atol=0.75)


def test_the_silhouette_of_a_box_is_the_hull_of_its_corners(renderer: Renderer, folder: Path) -> None:
    hulls = pytest.importorskip("scipy.spatial")
    corners = LoadedMeshes(folder).mesh("box").corners()
    _, coverage = renderer.render("box", VIEWS)
    middles = np.stack(np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5), -1)
    for viewpoint, covered in zip(VIEWS, coverage.numpy(), strict=True):
        planes = hulls.ConvexHull(projected(corners, viewpoint)).equations
        outside = (middles @ planes[:, :2].T + planes[:, 2]).max(-1)  # signed distance from the hull, pixels
        assert (covered[outside < -1] == 1).all()
        assert (covered[outside > 1] == 0).all()


def test_textures_stand_upright(renderer: Renderer) -> None:
    images, coverage = renderer.render("card", VIEWS[:1])
    assert coverage[0, SIZE // 2, SIZE // 2] == 1

    def colour(down: float, right: float) -> int:
        return int(images[0, :, int(SIZE * down), int(SIZE * right)].argmax())

    assert [colour(0.4, 0.4), colour(0.4, 0.6), colour(0.6, 0.4), colour(0.6, 0.6)] == [0, 0, 1, 2]
    # From behind left and right are exchanged, and it can be seen from there at all.
    images, coverage = renderer.render("card", torch.tensor([[0.0, 180.0, 0.0, 4.0, 0.0, 0.0]]))
    assert [colour(0.4, 0.4), colour(0.4, 0.6), colour(0.6, 0.4), colour(0.6, 0.6)] == [0, 0, 2, 1]


def test_views_do_not_depend_on_company_or_history(renderer: Renderer, folder: Path) -> None:
    together = renderer.render("knot", VIEWS)
    renderer.render("box", VIEWS)
    for row in (2, 0, 3):
        alone = renderer.render("knot", VIEWS[row : row + 1])
        assert torch.equal(alone[0][0], together[0][row])
        assert torch.equal(alone[1][0], together[1][row])
    fresh = type(renderer)(folder, size=SIZE)
    assert torch.equal(fresh.render("knot", VIEWS)[0], together[0])
    fresh.close()
    assert torch.equal(fresh.render("knot", VIEWS)[0], together[0])  # opens again
    fresh.close()


def test_what_is_returned(renderer: Renderer) -> None:
    images, coverage = renderer.render("knot", VIEWS)
    assert (images.shape, coverage.shape) == ((4, 3, SIZE, SIZE), (4, SIZE, SIZE))
    assert (images.dtype, coverage.dtype) == (torch.float32, torch.float32)
    for values in (images, coverage):
        assert (values.min() >= 0) & (values.max() <= 1)
        assert torch.equal((values * 255).round() / 255, values)
    assert (images.permute(0, 2, 3, 1)[coverage == 0] == 1).all()  # white where nothing is
    assert renderer.render("box", VIEWS[:0])[0].shape == (0, 3, SIZE, SIZE)
    assert set(renderer.objects) == {"box", "card", "glass", "knot"}
    assert renderer.class_of("box") == "box"
    assert f"size {SIZE}" in renderer.recipe
    assert renderer.content_hash("box") != renderer.content_hash("knot")


def test_what_is_refused(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown object 'boxx'; did you mean 'box'"):
        renderer.render("boxx", VIEWS)
    with pytest.raises(InputError, match=r"above 1\.05"):
        renderer.render("box", torch.tensor([[0.0, 0, 0, 0.2, 0, 0]]))
    renderer.render("box", VIEWS[:1])  # goes on afterwards
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    write_box(tmp_path / "fine.obj")
    other = type(renderer)(tmp_path, size=16)
    with pytest.raises(RejectedImageError, match=r"^empty: the file has no face"):
        other.render("empty", VIEWS)
    found = screened(other)
    assert (found.accepted, list(found.rejected)) == (("fine",), ["empty"])
    other.close()


@pytest.mark.parametrize("name", ["box", "knot", "card", "glass"])
def test_both_renderers_agree(folder: Path, name: str) -> None:
    for package in KINDS:
        needs(package)
    first, second = PyVistaRenderer(folder, size=SIZE), PyBulletRenderer(folder, size=SIZE)
    images, coverage = first.render(name, VIEWS)
    other_images, other_coverage = second.render(name, VIEWS)
    first.close()
    second.close()
    inside, other = coverage >= 0.5, other_coverage >= 0.5
    union = (inside | other).sum((1, 2))
    assert (union > 20).all()
    assert ((inside & other).sum((1, 2)) / union).min() > 0.99
    # Nor is one shifted against the other by a part of a pixel.
    places = torch.arange(SIZE, dtype=torch.float32)
    for axis in (1, 2):
        centres = [(values.sum(axis) @ places) / values.sum((1, 2)) for values in (coverage, other_coverage)]
        torch.testing.assert_close(centres[0], centres[1], atol=0.06, rtol=0)
    if name != "glass":
        # The light is the same: colours differ by little where both see the object.
        difference = (images - other_images).abs().mean(1)[inside & other]
        assert difference.mean() < 0.05


def test_glass_and_holes_of_textures(folder: Path, tmp_path: Path) -> None:
    needs("pyvista")
    renderer = PyVistaRenderer(folder, size=32)
    images, coverage = renderer.render("glass", VIEWS[:1])
    assert coverage[0, 16, 16] == 1  # glass counts as covered
    assert 0.2 < images[0, 0, 16, 16] < 0.9  # and white shines through
    renderer.close()
    path = write_card(tmp_path)
    holes = np.full((64, 64, 4), 90, np.uint8)
    holes[..., 3] = 255
    holes[:32, :, 3] = 0
    Image.fromarray(holes, "RGBA").save(tmp_path / "card.png")
    renderer = PyVistaRenderer(path.parent, size=32)
    images, coverage = renderer.render("card", VIEWS[:1])
    assert (coverage[0, 12, 16], coverage[0, 20, 16]) == (0, 1)
    assert (images[0, :, 12, 16] == 1).all()
    renderer.close()


def test_pybullet_tells_what_it_leaves_out(folder: Path) -> None:
    needs("pybullet")
    renderer = PyBulletRenderer(folder, size=32)
    assert renderer.notes_of("glass") == ("glass is drawn as opaque",)
    assert renderer.notes_of("box") == ("material '' is in no library: grey",)


def test_any_thread_may_ask(renderer: Renderer) -> None:
    alone = {name: renderer.render(name, VIEWS)[0] for name in ("box", "knot")}
    with ThreadPoolExecutor(3) as threads:
        seen = list(threads.map(lambda name: (name, renderer.render(name, VIEWS)[0]), ["box", "knot", "box", "knot"]))
    assert all(torch.equal(images, alone[name]) for name, images in seen)


def test_other_kinds_of_files(tmp_path: Path) -> None:
    pyvista = pytest.importorskip("pyvista", reason="pyvista is not installed")
    box = pyvista.Box((0, 2, 0, 6, 0, 4)).triangulate()
    box.save(tmp_path / "solid.stl")
    box.save(tmp_path / "points.ply")
    (tmp_path / "scene.glb").write_bytes(triangle_glb())
    (tmp_path / "broken.stl").write_bytes(b"solid nothing\nendsolid nothing\n")
    (tmp_path / "broken.ply").write_bytes(b"ply\nnonsense")
    meshes = LoadedMeshes([*_all_but_same_names(tmp_path)])
    for name in ("solid", "points"):
        mesh = meshes.mesh(name)
        assert mesh.triangle_count == 12
        np.testing.assert_allclose(np.ptp(mesh.corners(), axis=0), np.array([2, 6, 4]) / np.sqrt(14), rtol=1e-6)
        assert "materials of" in mesh.notes[0]
    assert meshes.mesh("scene").triangle_count == 1
    np.testing.assert_allclose(np.ptp(meshes.mesh("scene").corners(), axis=0), [1.2, 0, 1.6], atol=1e-6)  # y up
    for name in ("broken-stl", "broken-ply"):
        with pytest.raises(RejectedImageError, match=f"^{name}: "):
            meshes.mesh(name)


def _all_but_same_names(folder: Path):
    from snellen.data.worlds.meshes.mesh_file import MeshFile

    for path in sorted(folder.iterdir()):
        name = path.stem if path.stem != "broken" else f"broken-{path.suffix[1:]}"
        yield MeshFile(object_id=name, class_name=name, path=path)


def test_vtk_is_silent_but_heard() -> None:
    core = pytest.importorskip("vtkmodules.vtkCommonCore", reason="vtk is not installed")
    from snellen.data.worlds.meshes.mesh_renderer import vtk_messages_kept

    before = core.vtkOutputWindow.GetInstance()
    with vtk_messages_kept() as messages:
        core.vtkOutputWindow.GetInstance().DisplayErrorText("no such thing")
        assert messages == []
    assert any("no such thing" in message for message in messages)
    assert core.vtkOutputWindow.GetInstance() is before


def test_nothing_is_written_to_the_terminal(folder: Path) -> None:
    needs("pyvista")
    program = (
        "import sys; from pathlib import Path; import torch\n"
        "from snellen.data.worlds.meshes.pyvista_renderer import PyVistaRenderer\n"
        f"r = PyVistaRenderer(Path({str(folder)!r}), size=16)\n"
        "r.render('card', torch.tensor([[0.0, 0, 0, 4, 0, 0]])); r.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_without_opengl_there_is_an_error_and_no_crash(folder: Path) -> None:
    pytest.importorskip("pyvista", reason="pyvista is not installed")
    program = (
        "from pathlib import Path; from snellen.core.errors import SnellenError\n"
        "from snellen.data.worlds.meshes.pyvista_renderer import PyVistaRenderer\n"
        "try:\n"
        f"    PyVistaRenderer(Path({str(folder)!r}), size=16).recipe\n"
        "except SnellenError as error:\n"
        "    print(error)\n"
    )
    # VTK has no window of OSMesa on most machines; where it has one, this says nothing and nothing is printed.
    environment = os.environ | {"VTK_DEFAULT_OPENGL_WINDOW": "vtkOSOpenGLRenderWindow"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "" or done.stdout.startswith("VTK finds no OpenGL that draws off screen")


@pytest.mark.parametrize(("package", "extra"), [("pyvista", "meshes"), ("pybullet", "bullet")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"snellen\[{extra}\]"):
        KINDS[package](folder)
