"""Furniture from natural and random viewpoints under EfficientNet-Lite0: docs/measured/real-viewpoints.json.

The classifier is ``bundled:efficientnet-lite0`` (extra ``imagenet``). The objects are those of Sweet Home 3D's
catalogues (Debian: sweethome3d-furniture) that :mod:`snellen.reproduction.viewpoints.furniture_counterparts` names a
class of ImageNet for. PyVista renders them (extra ``meshes``). An object that is blank from more than two of eight
sides is left out. The parts ``views`` and ``attack`` write their figures into the same file. Views are kept in the
cache folder, so that both can be started again. Each takes about ten minutes on one core.

The twelve objects that are attacked are those whose ids have the smallest SHA-256, among the objects with at least one
natural view that is classified correctly. The picture shows the map of the random views above a sheet of the attack.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from snellen.core.classifier import Classifier
from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.data.files.labels import align_labels
from snellen.data.references import load_images
from snellen.data.worlds.view_set import ViewSource
from snellen.metrics.clustered import clustered_mean
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.documents import Measurements, measured_path, picture_path
from snellen.reproduction.viewpoints.furniture_counterparts import class_of_object
from snellen.systems.viewpoints.attacked_view_set import AttackedViewSet
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.systems.viewpoints.view_map import map_picture, view_map
from snellen.verbs.attack import attack

#: Where Debian puts the catalogues.
CATALOGUES = "/usr/share/sweethome3d/furniture"

#: Views of each object from natural places and from anywhere, the side of a view, and the seed of the viewpoints.
NATURAL, ANYWHERE, SIDE, SEED = 16, 24, 256, 0

#: Objects that are attacked, and the attack: as published but for fewer components, views and steps, which is what a
#: processor can render.
ATTACKED = 12
ATTACK = ViewpointAttack(components=3, popsize=21, iterations=12, samples=32)

#: Fields of the map.
AZIMUTHS, ELEVATIONS = 8, 5

BATCH = 16


def measure_views(root: Path, progress: Progress, *, catalogues: str = CATALOGUES) -> None:
    """Measure accuracy by viewpoint."""
    _keep(root, views(load_classifier("bundled:efficientnet-lite0"), catalogues, progress))


def measure_attack(
    root: Path, progress: Progress, *, catalogues: str = CATALOGUES, work: str = "furniture-attacked"
) -> None:
    """Attack the camera and draw; a stopped attack resumes from the folder ``work``."""
    classifier = load_classifier("bundled:efficientnet-lite0")
    found = _keep(root, attacked(classifier, catalogues, Path(work), progress))
    if "map" in found:
        picture = drawn(found, Path(work) / f"sheet-{ATTACK.name}-1.png")
        picture.save(picture_path(root, "viewpoints-furniture"), "WEBP", quality=80, method=6)


def _keep(root: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Write one part beside the other; returns both."""
    path = measured_path(root, "real-viewpoints")
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(as_text(before | found), encoding="utf-8")
    return before | found


def furniture(catalogues: str, **parameters: object) -> ImageSet:
    """The objects with a counterpart, as a set of views labelled with classes of ImageNet."""
    rows = "".join(f"{object_id},{label}\n" for object_id, label in class_of_object().items())
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "labels.csv"
        table.write_text(f"object,label\n{rows}", encoding="utf-8")
        query = "&".join(f"{name}={value}" for name, value in {"labels": table, "size": SIDE, **parameters}.items())
        return load_images(f"meshes:{catalogues}?{query}")


def views(classifier: Classifier, catalogues: str, progress: Progress) -> dict[str, Any]:
    """Accuracy on natural views and on views from anywhere, by object, and a map of the latter."""
    looked = {
        kind: classified(
            classifier,
            align_labels(furniture(catalogues, views=count, viewpoints=kind, seed=SEED), classifier.class_names),
            progress,
        )
        for kind, count in (("natural", NATURAL), ("any", ANYWHERE))
    }
    labels = class_of_object()
    rejected = looked["natural"]["rejected"]
    objects = [object_id for object_id in labels if object_id not in rejected]
    rows = []
    for object_id in objects:
        row: dict[str, Any] = {"object": object_id, "class": labels[object_id]}
        for kind, seen in looked.items():
            of_object = np.array([owner == object_id for owner in seen["objects"]])
            row |= {f"{kind}.{name}": int(seen[name][of_object].sum()) for name in ("right", "in_five")}
        rows.append(row)
    seen = looked["any"]
    mapped = view_map(seen["viewpoints"], seen["right"], seen["objects"], azimuths=AZIMUTHS, elevations=ELEVATIONS)
    figures: dict[str, Any] = {}
    for kind, looks in looked.items():
        for name in ("right", "in_five"):
            figures[f"{kind}.{name}"] = mean_of(looks[name], looks["objects"])
    by_object = [np.array([row[f"{kind}.right"] for row in rows]) for kind in looked]
    shares = by_object[0] / NATURAL, by_object[1] / ANYWHERE
    figures["drop"] = mean_of(shares[0] - shares[1], objects)
    return {
        "classifier": classifier.name,
        "views": {"natural": NATURAL, "any": ANYWHERE, "side": SIDE, "seed": SEED},
        "figures": figures,
        "counts": {
            "objects": len(objects),
            "classes": len({labels[object_id] for object_id in objects}),
            "always right": int(((shares[0] == 1) & (shares[1] == 1)).sum()),
            "never right": int(((shares[0] == 0) & (shares[1] == 0)).sum()),
            "right from natural views at least once": int((shares[0] > 0).sum()),
        },
        "map": {
            "azimuths": mapped.azimuths,
            "elevations": mapped.elevations,
            "right": [[round(value, 4) for value in row] for row in mapped.means.tolist()],
            "views": mapped.views.tolist(),
        },
        "rejected": rejected,
        "objects": rows,
    }


def attacked(classifier: Classifier, catalogues: str, out: Path, progress: Progress) -> dict[str, Any]:
    """GMVFool on the chosen objects: figures of all, and of each."""
    objects = chosen(classifier, catalogues, progress)
    images = furniture(catalogues, views=NATURAL, viewpoints="natural", seed=SEED, objects=",".join(objects))
    result = attack(classifier, images, ATTACK, out=out, seed=SEED, progress=progress)
    assert isinstance(result, AttackedViewSet)
    figures = result.settings[ATTACK.name]
    kept = ("object_id", "class_name", "status", "natural", "random", "attacked", "taken_for", "entropy", "credit")
    return {
        "attack": ATTACK.record(),
        "under attack": {
            "natural": result.natural_accuracy.model_dump(),
            "random": result.random_accuracy.model_dump(),
            "attacked": figures.accuracy_under_attack.model_dump(),
            "statuses": figures.statuses,
            "renders": figures.renders,
            "blanks": figures.blanks,
        },
        "attacked": [{name: getattr(one, name) for name in kept} for one in figures.objects],
    }


def classified(classifier: Classifier, images: ImageSet, progress: Progress) -> dict[str, Any]:
    """Whether each view that can be read is right, and right among the first five."""
    assert isinstance(images.source, ViewSource)
    kept: list[int] = []
    rejected: dict[str, str] = {}
    prepared: list[torch.Tensor] = []
    best: list[torch.Tensor] = []
    progress.begin(images.name, len(images))
    for row in range(len(images)):
        try:
            prepared.append(classifier.prepare(images.read(row)))
            kept.append(row)
        except RejectedImageError as error:
            rejected[images.source.owners[row]] = str(error)
        if len(prepared) == BATCH or (row == len(images) - 1 and prepared):
            with torch.no_grad():
                best.append(classifier(torch.stack(prepared)).topk(5).indices)
            prepared.clear()
        progress.advance(images.name, 1)
    progress.finish(images.name)
    hits = (torch.cat(best) if best else torch.zeros(0, 5)) == torch.from_numpy(images.labels[kept])[:, None]
    return {
        "objects": [images.source.owners[row] for row in kept],
        "viewpoints": images.source.viewpoints[kept].numpy(),
        "right": hits[:, 0].numpy(),
        "in_five": hits.any(1).numpy(),
        "rejected": rejected,
    }


def mean_of(values: np.ndarray, objects: Sequence[str]) -> dict[str, float]:
    """Mean with a 95 % interval in which objects, not views, are drawn."""
    units = np.unique(np.array(objects), return_inverse=True)[1]
    mean = clustered_mean(values.astype(np.float64), units)
    low, high = mean.interval()
    return {"value": round(float(values.mean()), 4), "low": round(low, 4), "high": round(high, 4), "n": len(values)}


def chosen(classifier: Classifier, catalogues: str, progress: Progress) -> list[str]:
    """The objects that are attacked; see above."""
    found: list[str] = []
    for object_id in sorted(class_of_object(), key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if len(found) < ATTACKED:
            images = furniture(catalogues, views=NATURAL, viewpoints="natural", seed=SEED, objects=object_id)
            seen = classified(classifier, align_labels(images, classifier.class_names), progress)
            found += [object_id] * bool(seen["right"].any())
    return found


def drawn(found: Mapping[str, Any], sheet: Path) -> Image.Image:
    """The map above a sheet of objects, whose lines name their makers."""
    mapped = found["map"]
    above = map_picture(
        np.array(mapped["right"], dtype=np.float64),
        tuple(mapped["azimuths"]),
        tuple(mapped["elevations"]),
        f"Right decisions on views of {found['counts']['objects']} pieces of furniture",
    )
    with Image.open(sheet) as below:
        whole = Image.new("RGB", (max(above.width, below.width), above.height + below.height), "white")
        whole.paste(above, (0, 0))
        whole.paste(below.convert("RGB"), (0, above.height))
    return whole


def as_text(found: dict[str, Any]) -> str:
    """JSON with one line for each object."""
    lists = {name: found[name] for name in ("objects", "attacked") if name in found}
    head = json.dumps({name: value for name, value in found.items() if name not in lists}, indent=1, ensure_ascii=False)
    body = [
        f' "{name}": [\n' + ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows) + "\n ]"
        for name, rows in lists.items()
    ]
    return ",\n".join([head.removesuffix("\n}"), *body]) + "\n}\n"


MEASUREMENTS: Measurements = {"views": measure_views, "attack": measure_attack}
