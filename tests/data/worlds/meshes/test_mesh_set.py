"""Meshes as a set of views: by reference, from folders and catalogues, with objects that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError, RejectedImageError, UnknownNameError
from snellen.data.references import load_images
from snellen.data.worlds.meshes.mesh_list import listed_meshes
from snellen.data.worlds.meshes.screening import RefusingRenderer
from snellen.data.worlds.view_set import ViewSource, view_set
from tests.data.worlds.meshes.small_meshes import ColouredSquares, write_box, write_card, write_catalogue

pytest.importorskip("pyvista")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_box(tmp_path / "things" / "box" / "a.obj")
    write_card(tmp_path / "things" / "card" / "b", "b")
    return tmp_path / "things"


def test_a_folder_becomes_views_whose_source_knows_its_renderer(folder: Path, cache: Path) -> None:
    images = load_images(f"meshes:{folder}?views=3&size=24")
    assert images.ids == [f"{thing}/{number:04d}" for thing in ("box/a", "card/b/b") for number in range(3)]
    assert (images.class_names, images.labels.tolist()) == (("box", "card"), [0, 0, 0, 1, 1, 1])
    assert images.column("unit_id") == ["box/a"] * 3 + ["card/b/b"] * 3
    assert isinstance(images.source, ViewSource)
    again = images.source.renderer.render("box/a", images.source.viewpoints[:1])[0][0]
    seen = np.asarray(images.read(0))
    assert seen.shape == (24, 24, 3)
    assert np.abs(seen - again.permute(1, 2, 0).mul(255).numpy()).max() < 1
    assert seen.min() < 200  # something is to be seen
    assert len(list((cache / "views").rglob("*.png"))) > 0
    natural, anywhere = (
        load_images(f"meshes:{folder}?views=40&size=24&viewpoints={kind}").source.viewpoints
        for kind in ("natural", "any")
    )
    assert natural[:, 2].min() >= 8 > anywhere[:, 2].min()
    assert load_images(f"meshes:{folder}?views=2&seed=1").source.viewpoints[0].ne(natural[0]).any()
    assert images.reference == {"ref": f"meshes:{folder}?views=3&size=24", "folder": str(Path.cwd())}


def test_without_a_cache_nothing_is_written(folder: Path, cache: Path) -> None:
    load_images(f"meshes:{folder}?views=1&size=16&cache=false").read(0)
    assert not cache.exists()


def test_a_catalogue_keeps_its_makers_and_its_labels_may_be_reported(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path / "small.sh3f", tmp_path)
    images = load_images(f"meshes:{catalogue}?views=1&label=name")
    assert images.class_names == ("Box", "Lamp")
    assert json.loads(str(images.column("attributes")[0]))["creator"] == "Ann Other"
    assert load_images(f"meshes:{catalogue}?views=1&objects=Test#lamp").column("unit_id") == ["Test#lamp"]
    (tmp_path / "told.csv").write_text("object,label\nTest#lamp,table lamp\n")
    told = load_images(f"meshes:{tmp_path}?views=2&labels={tmp_path / 'told.csv'}")  # a folder of catalogues
    assert (told.class_names, told.column("unit_id")) == (("table lamp",), ["Test#lamp"] * 2)


def test_splits_are_folders_of_objects(tmp_path: Path) -> None:
    for place in ("train/box/a", "train/lamp/b", "test/box/c"):
        write_box(tmp_path / "set" / f"{place}.obj")
    test = load_images(f"meshes:{tmp_path / 'set'}?views=1#test")
    assert (test.column("unit_id"), test.split, test.class_names) == (["test/box/c"], "test", ("box", "lamp"))
    assert load_images(f"meshes:{tmp_path / 'set'}?views=1").column("split") == ["test", "train", "train"]
    with pytest.raises(InputError, match=r"no objects of split 'val'; it has: test, train"):
        load_images(f"meshes:{tmp_path / 'set'}#val")


def test_what_cannot_be_used_is_rejected_view_by_view_and_costs_no_neighbour(folder: Path) -> None:
    (folder / "box" / "damaged.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    images = load_images(f"meshes:{folder}?views=2&size=16")
    assert images.column("unit_id")[2:4] == ["box/damaged"] * 2
    assert len(images.fingerprint()) == 64  # a damaged object has a hash too
    read = []
    for row in range(len(images)):
        try:
            read.append(images.read(row).size)
        except RejectedImageError as error:
            read.append(str(error))
    assert read[:2] == read[4:] == [(16, 16)] * 2
    assert all("box/damaged" in str(reason) and "not finite" in str(reason) for reason in read[2:4])


def test_blank_objects_are_refused_and_screened_once() -> None:
    class Blank(ColouredSquares):
        def render(self, object_id: str, viewpoints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            images, coverage = super().render(object_id, viewpoints)
            return images, coverage * (object_id != "lamp")

    drawn = Blank()
    renderer = RefusingRenderer(drawn, {"gone": ("cup", "its file is encrypted")})
    assert renderer.objects == ("cup", "lamp", "gone")
    images = view_set(renderer, dict.fromkeys(renderer.objects, torch.tensor([[0.0, 0, 10, 4, 0, 0]])))
    assert images.labels.tolist() == [0, 1, 0]
    assert images.read(0).size == (8, 8)
    for row, reason in ((1, r"^lamp: blank in 8 of 8 views"), (2, r"^gone: its file is encrypted")):
        for _ in range(2):
            with pytest.raises(RejectedImageError, match=reason):
                images.read(row)
    assert drawn.calls.count(("lamp", 8)) == 1
    assert images.fingerprint() != view_set(drawn, dict.fromkeys(("cup", "lamp"), torch.zeros(1, 6) + 2)).fingerprint()
    with pytest.raises(UnknownNameError, match="unknown object 'cap'; did you mean 'cup'"):
        renderer.reason("cap")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("meshes:", "names no meshes; write meshes:FOLDER"),
        ("meshes:{0}/nowhere", "nowhere is not there; give a folder of mesh files"),
        ("meshes:{0}?view=3", r"unknown parameter of meshes 'view'; did you mean 'views'"),
        ("meshes:{0}?views=0", "views: expected at least 1"),
        ("meshes:{0}?objects=box/b", r"unknown object of things 'box/b'; did you mean 'box/a'"),
        ("meshes:{0}/box/a.obj", "a.obj is one file; give a folder"),
        ("meshes:{0}?labels={0}/none.csv", "the table of labels, is not there"),
        ("meshes:{0}?labels={0}/odd.csv", "has no column 'label'"),
        ("meshes:{0}?labels={0}/twice.csv", "line 3: box/a occurs twice"),
        ("meshes:{0}?labels={0}/half.csv", "an object and a label are needed, got box/a and None"),
        ("meshes:{0}?labels={0}/empty.csv", "names no objects"),
        ("meshes:{0}/box.sh3f", "not a zip archive"),
    ],
)
def test_what_is_refused(folder: Path, reference: str, message: str) -> None:
    for name, text in {"odd": "object\nbox/a\n", "twice": "object,label\nbox/a,a\nbox/a,b\n"}.items():
        (folder / f"{name}.csv").write_text(text)
    (folder / "half.csv").write_text("object,label\nbox/a,\n")
    (folder / "empty.csv").write_text("object,label\n")
    (folder / "box.sh3f").write_bytes(b"PK nothing") if "sh3f" in reference else None
    with pytest.raises(InputError, match=message):
        load_images(reference.format(folder))


def test_links_that_lead_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = write_box(tmp_path / "outside.obj")
    (folder / "box" / "link.obj").symlink_to(outside)
    images = load_images(f"meshes:{folder}?views=1&size=16&objects=box/link")
    with pytest.raises(RejectedImageError, match="box/link"):
        images.read(0)


def test_catalogues_tell_what_are_no_objects(tmp_path: Path) -> None:
    broken = "\nid#3=Test#gone\nname#3=Gone\ncategory#3=Kitchen\nmodel#3=/test/gone.obj\n"
    from tests.data.worlds.meshes.small_meshes import CATALOGUE

    catalogue = write_catalogue(tmp_path / "small.sh3f", tmp_path, properties=CATALOGUE + broken)
    assert listed_meshes(catalogue).skipped[0][0] == "small.sh3f 3 (Test#gone)"
    assert load_images(f"meshes:{catalogue}?views=1").source.skipped == listed_meshes(catalogue).skipped


def test_a_cache_that_cannot_be_written_is_reported_with_the_way_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "file"))
    catalogue = write_catalogue(tmp_path / "small.sh3f", tmp_path)
    for place in (folder, catalogue):
        with pytest.raises(InputError, match="set SNELLEN_CACHE to another folder"):
            load_images(f"meshes:{place}?views=1")
    assert load_images(f"meshes:{folder}?views=1&size=16&cache=false").read(0).size == (16, 16)
