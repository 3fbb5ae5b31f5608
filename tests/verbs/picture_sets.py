"""Images to shift, and what was written of them."""

import numpy as np
import pyarrow as pa
from PIL import Image

import snellen
from snellen.core.images import ImageSet


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path)


def pixels_by_source(folder):
    """Everything that was written: (setting, severity, source id) → mode and pixels."""
    images = snellen.load_images(folder / "manifest.csv")
    rows = images.table.to_pylist()
    found = {}
    for row in rows:
        with Image.open(folder / row["path"]) as image:
            found[row["group"], float(row["severity"]), row["source_id"]] = (image.mode, np.asarray(image))
    assert len(found) == len(rows)
    return found


class InMemory:
    def __init__(self, pictures):
        self.pictures = pictures

    def read(self, index):
        return self.pictures[index]

    def content_hash(self, index):
        return str(index)


def in_memory(columns, class_names=None, **options):
    pictures = [Image.new("RGB", (6, 4), (index * 20, 50, 100)) for index in range(len(columns["id"]))]
    return ImageSet(InMemory(pictures), pa.table(columns), class_names, **options)


def rows_of(written):
    return snellen.load_images(written.manifest).table.to_pylist()
