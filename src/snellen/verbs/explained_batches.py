"""One batch of images under an explanation, and a model under a description: rows of evidence, with pictures."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.in_float64 import in_float64
from snellen.core.outcomes import Described, Explained
from snellen.core.preprocessing import Placement, to_image
from snellen.core.randomness import Randomness
from snellen.methods.explanations.overlay import cut_out, overlay, pointed
from snellen.runs.settings import Setting
from snellen.runs.thumbnails import SIDE, thumbnail

#: Columns of shards alone: pictures as PNG files, what each shows, and regions at the size of the original.
PICTURES, HEADS, REGIONS = "pictures", "heads", "regions"

#: Prefixes of columns that hold a figure, and its control.
FIGURE, CONTROL = "figure.", "control."

#: Status of an image, or a part, that was explained.
OK = "ok"

_PICTURE = pa.list_(pa.large_binary())


@dataclass(frozen=True, eq=False)
class ExplainBatch:
    """Usable images with what is known of them.

    Attributes:
        ids: their ids.
        unit_ids: name of each one's independent unit, or None.
        images: prepared, (n, 3, h, w) in [0, 1], on the classifier's device.
        labels: class of each, or None.
        scores: (n, k), finite.
        targets: int64 (n,), the class that is explained.
        sizes: width and height of each original, pixels.
        placements: where each prepared image lies in its original.
        rng: bound to these images.
    """

    ids: tuple[str, ...]
    unit_ids: tuple[str | None, ...]
    images: Tensor
    labels: tuple[int | None, ...]
    scores: Tensor
    targets: Tensor
    sizes: tuple[tuple[int, int], ...]
    placements: tuple[Placement, ...]
    rng: Randomness


def explained_rows(batch: ExplainBatch, classifier: Classifier, setting: Setting, *, keep: bool) -> Evidence:
    """One row for each image under one explanation.

    ``value`` is the probability of the explained class, null where the classifier gives labels only; ``x`` and ``y``
    are the place that the method points at, in pixels of the original, whose first pixel has its centre at (0, 0).

    Args:
        batch: n images.
        classifier: the model that is explained.
        setting: the method and its name.
        keep: also keep pictures.
    """
    found = setting.explainer.explain(classifier, batch.images, batch.targets, rng=batch.rng.child(setting.name))
    probabilities: list[float | None] = [None] * len(batch.ids)
    if classifier.output != "labels":
        each = classifier.probabilities(batch.scores)
        probabilities = each.gather(1, batch.targets.to(each.device)[:, None])[:, 0].tolist()
    places = [
        _on_original(None if found.points is None else found.points[row].tolist(), placement)
        for row, placement in enumerate(batch.placements)
    ]
    scores = [] if found.scores is None else [_finite(row) for row in in_float64(found.scores).tolist()]
    extra: dict[str, pa.Array] = {
        "target": pa.array(found.targets.tolist(), pa.int64()),
        "x": pa.array([None if place is None else place[0] for place in places], pa.float64()),
        "y": pa.array([None if place is None else place[1] for place in places], pa.float64()),
        "parts": pa.array([list(found.parts) or None] * len(batch.ids), pa.list_(pa.string())),
        "scores": _column(scores, len(batch.ids), pa.list_(pa.float64())),
        **_columns(found, len(batch.ids)),
    }
    if keep:
        shown = [_pictures(found, batch, row, classifier.class_names) for row in range(len(batch.ids))]
        extra[PICTURES] = pa.array([[content for _, content in row] for row in shown], _PICTURE)
        extra[HEADS] = pa.array([[head for head, _ in row] for row in shown], pa.list_(pa.string()))
        extra[REGIONS] = pa.array(
            [_region_files(found, row, batch) for row in range(len(batch.ids))],
            pa.list_(pa.struct([("name", pa.string()), ("file", pa.large_binary())])),
        )
    decided = classifier.predict(batch.scores)
    several = classifier.task == "multilabel"
    return Evidence.of(
        batch.ids,
        setting=setting.name,
        model=classifier.name,
        unit_ids=batch.unit_ids,
        label=batch.labels,
        prediction=[None] * len(batch.ids) if several else decided.tolist(),
        value=probabilities,
        status=["ok" if status == OK else "failed" for status in found.status],
        reason=[None if status == OK else status for status in found.status],
        extra=extra,
        spent=found.spent,
        assumptions=[f"{setting.name}: {assumption}" for assumption in found.assumptions],
        control="the same figures for a random part of equal size" if found.controls else None,
    )


def described_rows(found: Described, classifier: Classifier, setting: Setting, *, keep: bool) -> Evidence:
    """One row for each part of a model, whose name stands as ``example_id``."""
    count = len(found.parts)
    sources = [list(row) for row in found.sources]
    extra: dict[str, pa.Array] = {"sources": _column(sources, count, pa.list_(pa.string())), **_columns(found, count)}
    if keep:
        pictures = [[_png(one) for one in row] for row in found.pictures] or [[] for _ in found.parts]
        extra[PICTURES] = pa.array(pictures, _PICTURE)
        heads = [list(row) for row in found.heads] or sources
        extra[HEADS] = pa.array(heads or [[] for _ in pictures], pa.list_(pa.string()))
    return Evidence.of(
        found.parts,
        setting=setting.name,
        model=classifier.name,
        status=["ok" if status == OK else "failed" for status in found.status],
        reason=[None if status == OK else status for status in found.status],
        extra=extra,
        spent=found.spent,
        assumptions=[f"{setting.name}: {assumption}" for assumption in found.assumptions],
        control="the same figures for something random of equal size" if found.controls else None,
    )


def _columns(found: Explained | Described, count: int) -> dict[str, pa.Array]:
    """Columns of what every explanation may say: sentence, figures, controls, and the rest as JSON."""
    figures = {f"{FIGURE}{name}": values for name, values in found.figures.items()}
    figures |= {f"{CONTROL}{name}": values for name, values in found.controls.items()}
    return {
        "text": _column([text or None for text in found.text or ()], count, pa.string()),
        "record": _column(
            [json.dumps(row, sort_keys=True, ensure_ascii=False) for row in found.records], count, pa.string()
        ),
        **{name: pa.array(_finite(in_float64(values).tolist()), pa.float64()) for name, values in figures.items()},
    }


def _column(values: Sequence[object], count: int, kind: pa.DataType) -> pa.Array:
    """A column of so many values, null throughout where the method says nothing of the kind."""
    return pa.array(values, kind) if values else pa.nulls(count, kind)


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _on_original(point: Sequence[float] | None, placement: Placement) -> tuple[float, float] | None:
    """The centre of a pixel of the prepared image, in pixels of the original."""
    if point is None or not all(map(math.isfinite, point)):
        return None
    x, y = placement.to_original(point[0] + 0.5, point[1] + 0.5)
    return x - 0.5, y - 0.5


def _pictures(found: Explained, batch: ExplainBatch, row: int, class_names: Sequence[str]) -> list[tuple[str, bytes]]:
    """What one image looks like to the method: as it is, maps over it, regions of it, and its edits."""
    image = batch.images[row].detach().float().cpu()
    point = None if found.points is None else found.points[row].tolist()
    shown = {"image": image}
    if found.status[row] == OK:
        name = class_names[int(found.targets[row])]
        for title, maps in found.maps.items():
            shown[f"{title} for {name}"] = pointed(overlay(image, maps[row].detach().float().cpu()), point)
        for title, regions in found.regions.items():
            shown[title] = pointed(cut_out(image, regions[row].detach().cpu()), point)
        for title, edited in found.edits.items():
            shown[title] = edited[row].detach().float().cpu()
    return [(title, _png(picture)) for title, picture in shown.items()]


def _region_files(found: Explained, row: int, batch: ExplainBatch) -> list[Mapping[str, object]]:
    """Regions as masks of the original, 255 inside, as PNG files."""
    if found.status[row] != OK:
        return []
    width, height = batch.sizes[row]
    masks = {
        name: batch.placements[row].region_on_original(regions[row], width, height)
        for name, regions in found.regions.items()
    }
    return [
        {"name": name, "file": _png(mask.to(torch.uint8).mul(255).expand(3, -1, -1), grey=True)}
        for name, mask in masks.items()
    ]


def _png(pixels: Tensor, *, grey: bool = False) -> bytes:
    """A picture as a PNG file, reduced to what a sheet shows, unless it is a mask; small ones stay as they are."""
    stream = io.BytesIO()
    whole = pixels if pixels.dtype == torch.uint8 else pixels.clamp(0, 1).mul(255).round().to(torch.uint8)
    small = max(whole.shape[1:]) <= SIDE
    picture = to_image(whole).convert("L") if grey else to_image(whole) if small else thumbnail(whole)
    picture.save(stream, "PNG")
    return stream.getvalue()
