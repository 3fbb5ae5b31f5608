"""Meshes as a set of views: ``meshes:FOLDER?views=16``, ``meshes:FILE.sh3f?label=name``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from snellen.core.cache_folder import writable_cache
from snellen.core.errors import InputError, unknown_name
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.randomness import derive_seed
from snellen.core.refused_values import refused_values
from snellen.data.reference_query import query_parameters
from snellen.data.worlds.meshes.cached_views import CachedViews
from snellen.data.worlds.meshes.mesh_file import attribution_by_object
from snellen.data.worlds.meshes.mesh_list import CATALOGUE, listed_meshes
from snellen.data.worlds.meshes.pybullet_renderer import PyBulletRenderer
from snellen.data.worlds.meshes.pyvista_renderer import PyVistaRenderer
from snellen.data.worlds.meshes.screening import RefusingRenderer
from snellen.data.worlds.solids.solid_set import ViewpointRange, draw_viewpoints
from snellen.data.worlds.view_set import view_set
from snellen.data.worlds.viewpoints import RecordedRenderer

SCHEME = "meshes:"

_RENDERERS: dict[str, type[PyVistaRenderer] | type[PyBulletRenderer]] = {
    "pyvista": PyVistaRenderer,
    "pybullet": PyBulletRenderer,
}

#: Bytes of views that the cache folder keeps at most.
_MOST_VIEWS = 4 * 2**30


class MeshViews(BaseModel):
    """How meshes are drawn.

    >>> MeshViews(views=4).viewpoints
    'natural'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    views: int = Field(16, ge=1, le=10_000, description="views of each object")
    viewpoints: ViewpointRange = Field(
        "natural", description="natural: as in photographs, upright, half from the front; any: from all around"
    )
    size: int = Field(256, ge=8, le=2048, description="side of the images, pixels")
    supersampling: int = Field(2, ge=1, le=8, description="pixels are the mean of this many squared")
    renderer: Literal["pyvista", "pybullet"] = Field("pyvista", description="what draws (extras meshes, bullet)")
    label: Literal["category", "name"] = Field("category", description="what the class of a catalogue's object is")
    labels: str | None = Field(
        None, description="CSV with the columns object and label: these objects and no others, and their classes"
    )
    objects: tuple[str, ...] = Field((), description="only these objects; none named means all")
    cache: bool = Field(True, description="keep views in the cache folder")
    seed: int = Field(0, description="seed of the viewpoints")

    @field_validator("objects", mode="before")
    @classmethod
    def _between_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def load_meshes(
    path: Path, how: MeshViews | None = None, *, split: Split | None = None, name: str | None = None
) -> ImageSet:
    """Make the set of views of the meshes of a place; the class of the object is the label, the object the unit.

    Nothing is rendered before a view is read. An object that cannot be read, or that is blank when it is screened,
    stays in the set: each of its views is rejected with the reason. Models of catalogues are taken out into the cache
    folder; who made them, and the licence, are among the attributes of their views. ``source.skipped`` names entries of
    catalogues that are no objects.

    Args:
        path: a folder of mesh files, with class subfolders, or with ``train``, ``test``, … of class subfolders; a
            catalogue of furniture (``.sh3f``), or a folder of such.
        how: views, viewpoints, size, renderer, which objects.
        split: only objects of this split.
        name: shown in reports.

    Raises:
        InputError: nothing there, no object left, an object that is not there, or a table of labels that is none.
        MissingExtraError: the extra of the renderer is not installed.
    """
    how = how or MeshViews()
    labels = None if how.labels is None else Path(how.labels)
    whole = listed_meshes(path, label=how.label, labels=labels).only(how.objects, path)
    listed = whole if split is None else whole.of_split(split, path)
    classes = listed.classes
    if not listed.files:
        first, (_, reason) = next(iter(listed.refused.items()))
        raise InputError(f"none of the {len(classes)} objects of {path} can be had; first: {first}: {reason}")
    drawn: RecordedRenderer = _RENDERERS[how.renderer](listed.files, size=how.size, supersampling=how.supersampling)
    if how.cache:
        drawn = CachedViews(drawn, writable_cache("views"), max_bytes=_MOST_VIEWS)
    seeds = [derive_seed(how.seed, "viewpoint", name, number) for name in classes for number in range(how.views)]
    splits = [listed.splits.get(object_id) for object_id in classes for _ in range(how.views)]
    images = view_set(
        RefusingRenderer(drawn, listed.refused),
        dict(zip(classes, draw_viewpoints(seeds, how.viewpoints).split(how.views), strict=True)),
        class_names=sorted(set(whole.classes.values())),
        attributes_by_object=attribution_by_object(listed.files),
        split=split,
        generator=f"snellen views of meshes by {how.renderer}",
        seed=how.seed,
        name=name or path.stem,
    )
    if split is None and any(splits):
        column = pa.array(splits, COLUMNS["split"])
        images = replace(images, table=images.table.append_column("split", column))
    images.source.skipped = listed.skipped  # type: ignore[attr-defined]
    return images


def load_reference(text: str, *, split: Split | None = None, name: str | None = None) -> ImageSet:
    """Load ``meshes:PATH`` or ``meshes:PATH?views=8&viewpoints=any&…`` (the scheme may be missing).

    Parameters are those of :class:`MeshViews`.

    Raises:
        UnknownNameError: no such parameter.
        InputError: a value that is refused, or as :func:`load_meshes`.
    """
    place, _, query = text.removeprefix(SCHEME).partition("?")
    title = f"{SCHEME}{text.removeprefix(SCHEME)}"
    if not place or "\0" in text:
        raise InputError(f"{title!r} names no meshes; write meshes:FOLDER or meshes:FILE{CATALOGUE}")
    given = query_parameters(query, title)
    for parameter in given:
        if parameter not in MeshViews.model_fields:
            raise unknown_name("parameter of meshes", parameter, MeshViews.model_fields)
    try:
        how = MeshViews.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{title}: {refused_values(error)}") from error
    return load_meshes(Path(place), how, split=split, name=name)
