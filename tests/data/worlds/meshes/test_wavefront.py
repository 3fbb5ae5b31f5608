"""Reading OBJ and MTL: geometry, textures, what is missing, what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import RejectedImageError
from snellen.data.worlds.meshes.material_library import read_materials
from snellen.data.worlds.meshes.mesh import Mesh
from snellen.data.worlds.meshes.wavefront import MOST_CORNERS, read_wavefront
from tests.data.worlds.meshes.small_meshes import write_box, write_card


def area_and_volume(mesh: Mesh) -> tuple[float, float]:
    """Of a closed mesh, by the divergence theorem."""
    corners = np.concatenate([part.vertices[part.triangles] for part in mesh.parts])
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(across, axis=1).sum() / 2), float((corners[:, 0] * across).sum() / 6)


def written(folder: Path, text: str) -> Path:
    path = folder / "mesh.obj"
    path.write_text(text)
    return path


SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def test_a_box_has_its_area_its_volume_and_normals_that_point_out(tmp_path: Path) -> None:
    mesh = read_wavefront(write_box(tmp_path / "box.obj"))
    assert mesh.triangle_count == 12
    assert area_and_volume(mesh) == pytest.approx((2 * (8 + 12 + 24), 48))
    part = mesh.parts[0]
    away = part.vertices - np.array([1.0, 2.0, 3.0])
    assert ((part.normals * away).sum(1) > 0).all()
    # Edges of a box stay sharp: every normal is an axis.
    np.testing.assert_allclose(np.abs(part.normals).max(1), 1.0)


def test_a_ball_is_smooth(tmp_path: Path) -> None:
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    heights = np.linspace(-np.pi / 2, np.pi / 2, 13)
    lines = [f"v {np.cos(h) * np.cos(t)} {np.cos(h) * np.sin(t)} {np.sin(h)}" for h in heights for t in turns]
    quads = [
        (r * 24 + c, r * 24 + (c + 1) % 24, (r + 1) * 24 + (c + 1) % 24, (r + 1) * 24 + c)
        for r in range(12)
        for c in range(24)
    ]
    lines += ["f " + " ".join(str(corner + 1) for corner in quad) for quad in quads]
    part = read_wavefront(written(tmp_path, "\n".join(lines))).parts[0]
    assert (part.normals * part.vertices).sum(1).min() > 0.99


@pytest.mark.parametrize(
    "face", ["f 1 2 3 4", "f -4 -3 -2 -1", "f 1// 2// 3// 4//", "f 1 2 \\\n 3 4", "f  1/ 2/ 3/ 4/\r"]
)
def test_ways_to_write_a_face(tmp_path: Path, face: str) -> None:
    mesh = read_wavefront(written(tmp_path, SQUARE + face + "\n"))
    assert area_and_volume(mesh)[0] == pytest.approx(1.0)


def test_concave_polygons_keep_their_area(tmp_path: Path) -> None:
    # An L whose fan from the first corner would cover the notch.
    ell = "v 1 2 0\nv 0 2 0\nv 0 0 0\nv 2 0 0\nv 2 1 0\nv 1 1 0\n"
    assert area_and_volume(read_wavefront(written(tmp_path, ell + "f 1 2 3 4 5 6\n")))[0] == pytest.approx(3.0)
    mirrored = "f 6 5 4 3 2 1\n"
    assert area_and_volume(read_wavefront(written(tmp_path, ell + mirrored)))[0] == pytest.approx(3.0)


def test_normals_of_the_file_are_taken_and_made_where_they_are_missing(tmp_path: Path) -> None:
    given = read_wavefront(written(tmp_path, SQUARE + "vn 0 3 4\nf 1//1 2//1 3//1\n"))
    np.testing.assert_allclose(given.parts[0].normals, [[0, 0.6, 0.8]] * 3)
    partly = read_wavefront(written(tmp_path, SQUARE + "vn 0 3 4\nf 1//1 2//1 3\n"))
    np.testing.assert_allclose(partly.parts[0].normals, [[0, 0, 1]] * 3)
    empty = read_wavefront(written(tmp_path, SQUARE + "vn 0 0 0\nf 1//1 2//1 3//1\n"))
    np.testing.assert_allclose(empty.parts[0].normals, [[0, 0, 1]] * 3)


def test_textures_come_with_the_material(tmp_path: Path) -> None:
    mesh = read_wavefront(write_card(tmp_path))
    material = mesh.parts[0].material
    assert mesh.notes == ()
    assert material.texture is not None
    assert material.texture.shape == (64, 64, 4)
    assert material.texture[0, 0].tolist() == [255, 0, 0, 255]
    assert material.texture[-1, 0].tolist() == [0, 255, 0, 255]
    assert material.colour == (1.0, 1.0, 1.0)  # brightened under a texture
    assert not material.cut_out


def test_a_texture_of_the_artists_own_machine_is_found_beside_the_mesh(tmp_path: Path) -> None:
    path = write_card(tmp_path)
    (tmp_path / "card.mtl").write_text("newmtl paper\nmap_Kd -s 1 1 1 C:\\Users\\me\\CARD.png\n")
    mesh = read_wavefront(path)
    assert mesh.notes == ()
    assert mesh.parts[0].material.texture is not None


def test_a_texture_of_many_materials_is_read_once(tmp_path: Path) -> None:
    write_card(tmp_path)
    (tmp_path / "many.mtl").write_text("".join(f"newmtl m{number}\nmap_Kd card.png\n" for number in range(5)))
    materials, notes = read_materials(tmp_path, ["many.mtl"])
    assert (len(materials), notes) == (5, [])
    assert len({id(material.texture) for material in materials.values()}) == 1


def test_holes_of_a_texture(tmp_path: Path) -> None:
    path = write_card(tmp_path)
    holes = np.full((8, 8, 4), 255, np.uint8)
    holes[:4, :, 3] = 100
    Image.fromarray(holes, "RGBA").save(tmp_path / "card.png")
    material = read_wavefront(path).parts[0].material
    assert material.cut_out
    assert material.texture is not None
    assert set(np.unique(material.texture[..., 3])) == {0, 255}


@pytest.mark.parametrize(
    ("library", "said"),
    [
        ("newmtl paper\nmap_Kd away.png\n", "texture 'away.png' of material 'paper': there is no such file"),
        ("newmtl paper\nmap_Kd ../../secret.png\n", "leads out of its folder"),
        ("newmtl paper\nmap_Kd /etc/passwd\n", "absolute"),
        ("newmtl paper\nmap_Kd card.obj\n", "not a readable image"),
        ("newmtl paper\nKd red\n", "Kd of material 'paper' is 'red'"),
        ("newmtl paper\nd nan\n", "d of material 'paper' is 'nan'"),
        ("newmtl glass\n", "material 'paper' is in no library"),
    ],
)
def test_what_is_missing_is_reported(tmp_path: Path, library: str, said: str) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    path = write_card(tmp_path / "a" / "b")
    (path.parent / "card.mtl").write_text(library)
    mesh = read_wavefront(path)
    assert any(said in note for note in mesh.notes), mesh.notes
    assert mesh.parts[0].material.texture is None


def test_a_missing_library_is_reported(tmp_path: Path) -> None:
    path = write_box(tmp_path / "box.obj", header="mtllib gone.mtl\n", material="oak")
    assert [note.split(":")[0] for note in read_wavefront(path).notes] == [
        "material library 'gone.mtl'",
        "material 'oak' is in no library",
    ]


def test_opacity_and_names_with_blanks(tmp_path: Path) -> None:
    path = write_box(tmp_path / "box.obj", header="mtllib my things.mtl\n", material="old glass")
    (tmp_path / "my things.mtl").write_text("newmtl old glass\nKd 0.1 0.2 0.3\nTr 0.75\n")
    material = read_wavefront(path).parts[0].material
    assert (material.colour, material.opacity) == ((0.1, 0.2, 0.3), 0.25)
    (tmp_path / "my things.mtl").write_text("newmtl old glass\nd 0\n")
    assert read_wavefront(path).parts[0].material.opacity == 0.05  # never invisible


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no face with an area"),
        (SQUARE, "no face with an area"),
        (SQUARE + "f 1 1 1\n", "no face with an area"),
        (SQUARE + "f 1 2 9\n", "vertex 9, but there are 4"),
        (SQUARE + "f 1 2 0\n", "vertex 0"),
        (SQUARE + "f -9 1 2\n", "vertex -4"),
        (SQUARE + "f a b c\n", "not indices"),
        (SQUARE + f"f {10**20} 1 2\n", "not indices"),
        (SQUARE + f"f -{10**20} 1 2\n", "not indices"),
        (SQUARE + "f -a 1 2\n", "not indices"),
        ("v 1 2\nf 1 1 1\n", "'v' does not hold 3 numbers"),
        ("v 1 2 x\nf 1 1 1\n", "'v' does not hold 3 numbers"),
        ("v 1 2 inf\nf 1 1 1\n", "not finite"),
        (SQUARE + "vt 0 0\nf 1/1 2/2 3/1\n", "texture coordinate 2"),
        (SQUARE + "vn 0 0 1\nf 1//1 2//7 3//1\n", "normal 7"),
    ],
)
def test_wrong_files_are_rejected_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RejectedImageError, match=said):
        read_wavefront(written(tmp_path, text))


def test_a_concave_face_of_too_many_corners_is_rejected_before_it_takes_time(tmp_path: Path) -> None:
    angles = np.arange(MOST_CORNERS + 2) * 2 * np.pi / (MOST_CORNERS + 2)
    for radii, refused in ((np.ones(len(angles)), False), (np.where(np.arange(len(angles)) % 2, 1, 0.5), True)):
        corners = [f"v {x:.9f} {y:.9f} 0" for x, y in zip(radii * np.cos(angles), radii * np.sin(angles), strict=True)]
        text = "\n".join([*corners, "f " + " ".join(str(1 + place) for place in range(len(angles)))])
        if refused:
            with pytest.raises(RejectedImageError, match="concave face has 514 corners"):
                read_wavefront(written(tmp_path, text))
        else:
            assert read_wavefront(written(tmp_path, text)).triangle_count == MOST_CORNERS


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(RejectedImageError, match="no such file"):
        read_wavefront(tmp_path / "gone.obj")
