"""The adversarial images of an attack as files: PNG with a manifest, archives without loss, a sheet of examples."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.images import ImageSet, Provenance
from snellen.core.preprocessing import Preprocessing, to_image, to_unit
from snellen.core.run import Run
from snellen.methods.attacks.perturbation.magnified import magnified
from snellen.runs.archive_writer import array_member
from snellen.runs.layout import Layout, classes_of, label_columns, text_columns
from snellen.runs.picture_grid import picture_grid
from snellen.runs.settings import Setting
from snellen.runs.whole_file import whole_file
from snellen.verbs.attack_batches import IMAGE
from snellen.verbs.contact_sheet import choose_examples

MANIFEST = "manifest.csv"

#: Columns of the source that hold for its adversarial images too.
KEPT = ("split", "unit_id", "caption", "attributes", "bag_id")


@dataclass(frozen=True, eq=False)
class Adversarial:
    """One adversarial image of a shard.

    Attributes:
        index: position in the image set.
        pixels: float32 (3, h, w) in [0, 1].
        row: its row of evidence.
    """

    index: int
    pixels: NDArray[np.float32]
    row: dict[str, object]


def adversarial_images(run: Run, shards: int, setting: Setting, images: ImageSet) -> Iterator[Adversarial]:
    """The adversarial images of one attack, shard by shard, in the order of the set."""
    place = {example_id: index for index, example_id in enumerate(images.ids)}
    for shard in range(shards):
        size = run.shard_extra(shard)["size"]
        shape = (3, size["height"], size["width"])
        for row in run.shard_evidence(shard, setting.name).table.to_pylist():
            content = row.pop(IMAGE)
            if content is not None:
                pixels = np.frombuffer(content, dtype="<f4").reshape(shape)
                yield Adversarial(place[row["example_id"]], pixels, row)


def write_adversarial_images(
    run: Run,
    shards: int,
    settings: Sequence[Setting],
    images: ImageSet,
    preparation: Preprocessing,
    seed: int,
    out: Path,
) -> list[str]:
    """Write all of them; returns paths relative to the folder, without those of the single images.

    ``SETTING/CLASS/NAME.png`` are the images rounded to 8 bits, at the size that the model sees, and ``manifest.csv``
    lists them with ids ``SETTING/ID``. ``SETTING/adversarial.npz`` holds them as they were found: ``images`` float32
    (m, 3, h, w) in [0, 1] and ``ids`` (m,); where images have several sizes there is one archive for each,
    ``adversarial-WIDTHxHEIGHT.npz``. ``contact-sheet-SETTING.png`` shows a few.
    """
    files: list[str] = []
    layout = Layout(images)
    labels = label_columns(images, layout.classes) | text_columns(images, KEPT)
    columns = ["path", "id", "group", "provenance", *labels, *_FURTHER]
    with whole_file(out / MANIFEST) as stream:
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
        table = csv.writer(text)
        table.writerow(columns)
        for setting in settings:
            for one in adversarial_images(run, shards, setting, images):
                path = f"{setting.name}/{layout.place(one.index)}"
                with whole_file(out / path) as file:
                    to_image(torch.from_numpy(one.pixels.copy())).save(file, "PNG")
                source = images.ids[one.index]
                made = Provenance(origin="edited", generator=setting.method.name, seed=seed, source_id=source)
                values = {
                    "path": path,
                    "id": f"{setting.name}/{source}",
                    "group": setting.name,
                    "provenance": made.model_dump_json(exclude_none=True),
                    **{name: column[one.index] for name, column in labels.items()},
                    "source_id": source,
                    "distance": repr(one.row["value"]),
                    "success_8_bits": str(one.row["success_8_bits"]).lower(),
                }
                table.writerow([values[column] for column in columns])
        text.detach()
    files.append(MANIFEST)
    for setting in settings:
        files += _write_archives(run, shards, setting, images, out)
        files += _write_sheet(run, shards, setting, images, preparation, out)
    return files


_FURTHER = ("source_id", "distance", "success_8_bits")


def _write_archives(run: Run, shards: int, setting: Setting, images: ImageSet, out: Path) -> list[str]:
    """One archive for each size, an array at a time: no more than a shard is in memory."""
    ids: dict[tuple[int, int], list[str]] = {}
    for one in adversarial_images(run, shards, setting, images):
        height, width = one.pixels.shape[1:]
        ids.setdefault((height, width), []).append(images.ids[one.index])
    files = []
    for (height, width), names in ids.items():
        stem = "adversarial" if len(ids) == 1 else f"adversarial-{width}x{height}"
        files.append(f"{setting.name}/{stem}.npz")
        with whole_file(out / files[-1]) as stream, zipfile.ZipFile(stream, "w") as archive:
            shape = (len(names), 3, height, width)
            with array_member(archive, "images", np.dtype("<f4"), shape) as member:
                for one in adversarial_images(run, shards, setting, images):
                    if one.pixels.shape[1:] == (height, width):
                        member.write(one.pixels.tobytes())
            listed = np.array(names)
            with array_member(archive, "ids", listed.dtype, listed.shape) as member:
                member.write(listed.tobytes())
    return files


def _write_sheet(
    run: Run, shards: int, setting: Setting, images: ImageSet, preparation: Preprocessing, out: Path
) -> list[str]:
    """A few images as they are, what was changed, and the adversarial image."""
    found = [one.index for one in adversarial_images(run, shards, setting, images)]
    if not found:
        return []
    chosen, classes = choose_examples(images, found), classes_of(images)
    rows: dict[int, tuple[list[Tensor], str]] = {}
    for one in adversarial_images(run, shards, setting, images):
        if one.index in chosen:
            clean = to_unit(preparation.pixels(images.read(one.index)))
            changed = torch.from_numpy(one.pixels.copy())
            taken, names = one.row["prediction"], images.class_names or ()
            becomes = f" taken for {names[taken]}" if isinstance(taken, int) else ""
            picture, factor = magnified(changed - clean)
            sizes = f"L-inf {one.row['linf']:.3g}, L2 {one.row['l2']:.3g}, {factor:.3g}x"
            caption = f"{classes[one.index] or ''}{becomes}: {sizes}  {images.ids[one.index]}"
            rows[one.index] = ([_bytes(clean), _bytes(picture), _bytes(changed)], caption)
    name = f"contact-sheet-{setting.name}.png"
    title = f"{setting.name}  ({images.name})"
    heads = ("clean", "change, magnified", "adversarial")
    with whole_file(out / name) as stream:
        picture_grid(title, heads, [rows[index] for index in sorted(rows)]).save(stream, "PNG")
    return [name]


def _bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().to(torch.uint8)
