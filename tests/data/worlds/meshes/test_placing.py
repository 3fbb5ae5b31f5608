"""Meshes in their place, and files with what is known about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.worlds.meshes.mesh import Mesh, part_of_corners, placed
from snellen.data.worlds.meshes.mesh_file import MeshFile, mesh_files
from snellen.data.worlds.meshes.mesh_renderer import LoadedMeshes, mesh_content_hash, read_mesh
from tests.data.worlds.meshes.small_meshes import write_box, write_card


def mesh_of(points: np.ndarray) -> Mesh:
    part = part_of_corners(points, np.arange(len(points)).reshape(-1, 3))
    assert part is not None
    return Mesh((part,))


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e4), st.sampled_from(["y", "z"]))
def test_every_mesh_touches_the_sphere_and_is_centred(seed: int, unit: float, up: str) -> None:
    points = np.random.default_rng(seed).normal(size=(30, 3)) * unit * [1, 5, 0.1] + 7 * unit
    corners = placed(mesh_of(points), up=up).corners()
    assert np.linalg.norm(corners, axis=1).max() == pytest.approx(1.0)
    np.testing.assert_allclose(corners.max(0) + corners.min(0), 0, atol=1e-9)
    other = placed(mesh_of(points * 3 - unit), up=up).corners()
    np.testing.assert_allclose(corners, other, atol=1e-9)  # unit and place of the file make no difference


def test_up_axis(tmp_path: Path) -> None:
    path = write_box(tmp_path / "box.obj")  # 2 wide (x), 4 high (y), 6 deep (z)
    extent = np.array([2.0, 6.0, 4.0]) / np.sqrt(14)
    standing = read_mesh(MeshFile(object_id="box", class_name="box", path=path))
    np.testing.assert_allclose(np.ptp(standing.corners(), axis=0), extent)
    lying = read_mesh(MeshFile(object_id="box", class_name="box", path=path, up="z"))
    np.testing.assert_allclose(np.ptp(lying.corners(), axis=0), extent[[0, 2, 1]])
    turned = read_mesh(MeshFile(object_id="box", class_name="box", path=path, rotation=(0, 1, 0, -1, 0, 0, 0, 0, 1)))
    np.testing.assert_allclose(np.ptp(turned.corners(), axis=0), extent[[2, 1, 0]])


def test_the_front_of_a_file_faces_azimuth_0(tmp_path: Path) -> None:
    card = read_mesh(MeshFile(object_id="card", class_name="card", path=write_card(tmp_path)))
    np.testing.assert_allclose(card.parts[0].normals, [[0, -1, 0]] * len(card.parts[0].normals), atol=1e-12)


def test_what_cannot_be_placed() -> None:
    mesh = mesh_of(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    with pytest.raises(InputError, match="orthogonal"):
        placed(mesh, rotation=2 * np.eye(3))
    with pytest.raises(InputError, match="at least one part"):
        Mesh(())


def test_files_of_a_folder(tmp_path: Path) -> None:
    write_box(tmp_path / "chair" / "red.obj")
    write_box(tmp_path / "chair" / "blue" / "model.obj")
    write_box(tmp_path / "stool.OBJ")
    (tmp_path / "chair" / "readme.txt").write_text("hello")
    files = mesh_files(tmp_path)
    assert [(file.object_id, file.class_name) for file in files] == [
        ("chair/blue/model", "chair"),
        ("chair/red", "chair"),
        ("stool", "stool"),
    ]
    assert {file.up_axis for file in files} == {"y"}
    assert {file.up_axis for file in mesh_files(tmp_path, up="z")} == {"z"}


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        mesh_files(tmp_path / "gone")
    with pytest.raises(InputError, match="no mesh file"):
        mesh_files(tmp_path)
    write_box(tmp_path / "a.obj")
    (tmp_path / "a.stl").write_bytes(b"")
    with pytest.raises(InputError, match="two meshes have the id 'a'"):
        mesh_files(tmp_path)
    with pytest.raises(InputError, match=r"meshes are read from \.glb"):
        MeshFile(object_id="a", class_name="a", path=tmp_path / "a.fbx")
    with pytest.raises(InputError, match="nine numbers"):
        MeshFile(object_id="a", class_name="a", path=tmp_path / "a.obj", rotation=(1.0,))
    with pytest.raises(InputError, match="at least one mesh file"):
        LoadedMeshes([])


def test_rejections_name_the_object(tmp_path: Path) -> None:
    (tmp_path / "broken.obj").write_text("v 0 0 0\nf 1 2 3\n")
    meshes = LoadedMeshes(tmp_path)
    with pytest.raises(RejectedImageError, match=r"^broken: a face names vertex"):
        meshes.mesh("broken")
    with pytest.raises(InputError, match="unknown object 'brokn'; did you mean 'broken'"):
        meshes.mesh("brokn")
    with pytest.raises(RejectedImageError, match=r"^gone: there is no such file"):
        mesh_content_hash(MeshFile(object_id="gone", class_name="gone", path=tmp_path / "gone.obj"))


def test_the_content_hash_follows_from_everything_that_is_read(tmp_path: Path) -> None:
    def hashed(**known: object) -> str:
        file = MeshFile(object_id="card", class_name="card", path=tmp_path / "card.obj", **known)  # type: ignore[arg-type]
        return mesh_content_hash(file)

    write_card(tmp_path)
    first = hashed()
    (tmp_path / "unused.png").write_bytes(b"nothing")
    assert hashed() == first
    seen = {first, hashed(up="z"), hashed(rotation=(0, 1, 0, -1, 0, 0, 0, 0, 1))}
    for name in ("card.png", "card.mtl", "card.obj"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b"\n")
        seen.add(hashed())
        (tmp_path / name).write_bytes(content)
    (tmp_path / "card.png").unlink()
    seen.add(hashed())
    assert len(seen) == 7


def test_only_the_latest_meshes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(file: MeshFile) -> Mesh:
        read.append(file.object_id)
        return read_mesh(file)

    monkeypatch.setattr("snellen.data.worlds.meshes.mesh_renderer.read_mesh", counted)
    for name in "abc":
        write_box(tmp_path / f"{name}.obj")
    meshes = LoadedMeshes(tmp_path, kept=2)
    for name in "abacab":
        meshes.mesh(name)
    assert read == ["a", "b", "c", "b"]
