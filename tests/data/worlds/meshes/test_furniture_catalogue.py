"""Catalogues of Sweet Home 3D."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.data.worlds.meshes.furniture_catalogue import furniture_meshes, read_catalogue
from snellen.data.worlds.meshes.mesh_renderer import read_mesh
from tests.data.worlds.meshes.small_meshes import CATALOGUE, write_catalogue


def test_what_a_catalogue_says(tmp_path: Path) -> None:
    catalogue = read_catalogue(write_catalogue(tmp_path / "small.sh3f", tmp_path))
    assert (catalogue.name, catalogue.licence, catalogue.provider) == ("Small catalogue", "Made up © 2020", "nobody")
    assert [(model.object_id, model.name, model.category) for model in catalogue.models] == [
        ("Test#box", "Box", "Kitchen"),
        ("Test#lamp", "Lamp", "Bedroom"),
    ]
    assert catalogue.models[0].creator == "Ann Other"
    assert catalogue.models[0].size == (20.5, 60.0, 40.0)
    assert catalogue.models[1].rotation == (1, 0, 0, 0, 0, 1, 0, -1, 0)
    assert catalogue.rejected == {}


def test_models_come_out_with_their_makers(tmp_path: Path) -> None:
    catalogue = read_catalogue(write_catalogue(tmp_path / "small.sh3f", tmp_path))
    files, rejected = furniture_meshes(catalogue, tmp_path / "cache")
    assert rejected == {}
    assert [(file.object_id, file.class_name) for file in files] == [("Test#box", "Kitchen"), ("Test#lamp", "Bedroom")]
    assert (files[0].creator, files[0].licence, files[0].source) == ("Ann Other", "Made up © 2020", "Small catalogue")
    assert files[1].creator is None
    assert files[0].path.parent.parent == tmp_path / "cache"
    # The second is the same box, turned about x by its rotation: what was deep is high.
    box, lamp = (np.ptp(read_mesh(file).corners(), axis=0) for file in files)
    np.testing.assert_allclose(lamp, box[[0, 2, 1]])
    named, _ = furniture_meshes(catalogue, tmp_path / "cache", object_ids=["Test#lamp"], label="name")
    assert [file.class_name for file in named] == ["Lamp"]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_entries_that_cannot_be_used_are_reported(tmp_path: Path) -> None:
    properties = (
        CATALOGUE
        + """
id#3=Test#gone
name#3=Gone
category#3=Kitchen
model#3=/test/gone/gone.obj
id#4=Test#other
name#4=Other
category#4=Kitchen
model#4=/test/other.dae
id#5=Test#nameless
category#5=Kitchen
id#6=Test#box
name#6=Again
category#6=Kitchen
model#6=/test/box/box.obj
id#7=Test#turned
name#7=Turned
category#7=Kitchen
model#7=/test/box/box.obj
modelRotation#7=1 0 0
id#8=Test#wide
name#8=Wide
category#8=Kitchen
model#8=/test/box/box.obj
width#8=very
"""
    )
    catalogue = read_catalogue(write_catalogue(tmp_path / "small.sh3f", tmp_path, properties=properties))
    assert len(catalogue.models) == 2
    assert catalogue.rejected == {
        "3 (Test#gone)": "its model 'test/gone/gone.obj' is not in the archive",
        "4 (Test#other)": "its model 'test/other.dae' is not an OBJ file",
        "5 (Test#nameless)": "it has no name, model",
        "6 (Test#box)": "another entry has the same id",
        "7 (Test#turned)": "its rotation has 3 numbers, not nine",
        "8 (Test#wide)": "'very' is not a number",
    }


def test_a_model_in_a_hostile_folder_is_left_out_by_name(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path / "small.sh3f", tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("test/lamp/../../../evil.obj", "evil")
    files, rejected = furniture_meshes(read_catalogue(path), tmp_path / "cache")
    assert [file.object_id for file in files] == ["Test#box"]
    assert list(rejected) == ["Test#lamp"]
    assert "leads out of its folder" in rejected["Test#lamp"]


def test_what_is_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "text.sh3f").write_text("hello")
    with pytest.raises(InputError, match="not a zip archive"):
        read_catalogue(tmp_path / "text.sh3f")
    with zipfile.ZipFile(tmp_path / "empty.sh3f", "w"):
        pass
    with pytest.raises(InputError, match="no catalogue of furniture"):
        read_catalogue(tmp_path / "empty.sh3f")
    catalogue = read_catalogue(write_catalogue(tmp_path / "small.sh3f", tmp_path))
    with pytest.raises(InputError, match="has no 'Test#sofa'"):
        furniture_meshes(catalogue, tmp_path / "cache", object_ids=["Test#sofa"])


INSTALLED = Path("/usr/share/sweethome3d/furniture")


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="Debian's sweethome3d-furniture is not installed")
@pytest.mark.parametrize(
    ("name", "count", "licence"),
    [
        ("BlendSwap-CC-0", 175, "Public domain"),
        ("BlendSwap-CC-BY", 135, "Creative Commons Attribution 3.0"),
        ("KatorLegaz", 90, "Creative Commons Attribution 3.0"),
        ("Reallusion", 25, "Creative Commons"),
        ("Scopia", 395, "Creative Commons Attribution 3.0"),
    ],
)
def test_real_catalogues(tmp_path: Path, name: str, count: int, licence: str) -> None:
    catalogue = read_catalogue(INSTALLED / f"{name}.sh3f")
    assert (len(catalogue.models), catalogue.rejected) == (count, {})
    assert catalogue.licence.startswith(licence)
    assert all(model.creator and min(model.size) > 0 for model in catalogue.models)
    files, rejected = furniture_meshes(catalogue, tmp_path, object_ids=[catalogue.models[0].object_id])
    assert rejected == {}
    assert np.linalg.norm(read_mesh(files[0]).corners(), axis=1).max() == pytest.approx(1)
