"""Objects of which nothing is to be seen are rejected by name."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.worlds.meshes.mesh_file import MeshFile, attribution_by_object, credit
from snellen.data.worlds.meshes.screening import LOOKS, AcceptedObjects, screened
from snellen.data.worlds.view_set import view_set
from tests.data.worlds.meshes.small_meshes import ColouredSquares


class Troubled(ColouredSquares):
    """One object is fine, one is not there, one is white, one is thin from some sides, one cannot be read."""

    def __init__(self) -> None:
        super().__init__(("fine", "absent", "white", "thin", "broken"))

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        if object_id == "broken":
            raise RejectedImageError("broken: the file has no face with an area")
        images, coverage = super().render(object_id, viewpoints)
        images = images.clamp(max=0.5)
        if object_id == "absent":
            return torch.ones_like(images), torch.zeros_like(coverage)
        if object_id == "white":
            return torch.ones_like(images), coverage
        if object_id == "thin":
            coverage[::4] = 0
        return images, coverage


def test_who_is_rejected_and_why() -> None:
    found = screened(Troubled())
    assert found.accepted == ("fine",)
    assert list(found.rejected) == ["absent", "white", "thin", "broken"]
    assert "blank in 8 of 8 views: it covers 0.00% to 0.00%" in found.rejected["absent"]
    assert "blank in 8 of 8 views: it covers 25.00%" in found.rejected["white"]
    assert "blank in 2 of 8 views" in found.rejected["thin"]
    assert found.rejected["broken"] == "broken: the file has no face with an area"
    assert found.blank_shares == {"fine": 0.0, "absent": 1.0, "white": 1.0, "thin": 0.25}
    assert screened(Troubled(), most_blank=0.25).accepted == ("fine", "thin")
    assert screened(Troubled(), viewpoints=LOOKS[1:3]).accepted == ("fine",)


@pytest.mark.parametrize("name", ["least_coverage", "most_blank", "least_contrast"])
def test_shares_are_checked(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be in"):
        screened(Troubled(), **{name: 1.5})
    with pytest.raises(InputError, match="at least one viewpoint"):
        screened(Troubled(), viewpoints=LOOKS[:0])


def test_accepted_objects_are_a_renderer_of_their_own() -> None:
    renderer = Troubled()
    accepted = AcceptedObjects(renderer, ("thin", "fine"))
    assert accepted.objects == ("thin", "fine")
    assert (accepted.size, accepted.recipe, accepted.class_of("fine")) == (8, renderer.recipe, "fine")
    assert accepted.content_hash("fine") == renderer.content_hash("fine")
    assert torch.equal(accepted.render("fine", LOOKS)[0], renderer.render("fine", LOOKS)[0])
    for ask in (accepted.class_of, accepted.content_hash, lambda name: accepted.render(name, LOOKS)):
        with pytest.raises(InputError, match="'white' is not among the 2 accepted"):
            ask("white")
    with pytest.raises(InputError, match="no object was accepted"):
        AcceptedObjects(renderer, ())
    with pytest.raises(InputError, match="has no object 'sofa'"):
        AcceptedObjects(renderer, ("fine", "sofa"))


def test_makers_are_named_with_every_view(tmp_path) -> None:
    files = [
        MeshFile(object_id="cup", class_name="cup", path=tmp_path / "cup.obj", creator="Ann", licence="CC-BY-3.0"),
        MeshFile(object_id="lamp", class_name="lamp", path=tmp_path / "lamp.obj"),
    ]
    images = view_set(
        ColouredSquares(),
        {"cup": LOOKS[:2], "lamp": LOOKS[:1]},
        attributes_by_object=attribution_by_object(files),
    )
    known = [json.loads(str(attributes)) for attributes in images.column("attributes")]
    assert [record.get("creator") for record in known] == ["Ann", "Ann", None]
    assert [record.get("licence") for record in known] == ["CC-BY-3.0", "CC-BY-3.0", None]
    assert credit(files[1]) is None
