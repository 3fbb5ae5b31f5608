"""A folder of PNG files with a manifest that :func:`snellen.load_images` reads."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.images import ImageSet, Provenance
from snellen.data.files.file_source import FileSource
from snellen.runs.layout import Layout
from snellen.runs.manifest_columns import label_columns, text_columns
from snellen.runs.settings import Setting, severity_name
from snellen.runs.whole_file import whole_file
from snellen.runs.writer import Row, sha256

MANIFEST = "manifest.csv"

#: Folder of the masks of edited objects: ``masks/SETTING/SEVERITY/CLASS/NAME.png``, outside of the class folders.
MASKS = "masks"

#: Columns of the source that hold for its shifted images too. Masks and boxes do not: a shift may move things.
KEPT = ("split", "unit_id", "caption", "attributes", "bag_id")


class FolderWriter:
    """Files ``SETTING/SEVERITY/CLASS/NAME.png``, masks of edited objects, and last ``manifest.csv``.

    Grey results (three equal channels) are grey files, others RGB, 8 bits.

    Args:
        out: the folder.
        images: the set that is shifted.
        severities: in order.
        seed: of everything random, for the manifest.
    """

    def __init__(self, out: Path, images: ImageSet, severities: Sequence[float], seed: int) -> None:
        self.out, self.images, self.severities, self.seed = out, images, severities, seed
        self.layout = Layout(images)

    def write(self, setting: Setting, index: int, position: int, pixels: NDArray[np.uint8]) -> str:
        """Write one file; see :class:`~snellen.runs.writer.Writer`."""
        grey = bool((pixels == pixels[..., :1]).all())
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))
        return self._save(picture, self._path(setting, position, index))

    def write_mask(self, setting: Setting, index: int, position: int, mask: NDArray[np.bool_]) -> str:
        """Write where an object is, 255 on it; see :class:`~snellen.runs.writer.Writer`."""
        picture = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
        return self._save(picture, self._path(setting, position, index, masks=True))

    def _path(self, setting: Setting, position: int, index: int, *, masks: bool = False) -> Path:
        inside = self.layout.path(setting.name, self.severities[position], index)
        return self.out / MASKS / inside if masks else self.out / inside

    def _save(self, picture: Image.Image, path: Path) -> str:
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_bytes(stream.getvalue())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)  # where the disk is full, it would take the room
        return sha256(stream.getvalue())

    def holds(self, setting: Setting, row: Row) -> bool:
        """Whether the files of an image are there, byte for byte."""
        try:
            return all(
                sha256(self._path(setting, position, row.index, masks=masks).read_bytes()) == recorded
                for masks, hashes in ((False, row.hashes), (True, row.masks))
                for position, recorded in enumerate(hashes)
            )
        except OSError:
            return False

    def discard(self, setting: Setting, row: Row) -> None:
        """Remove the files of an image; see :class:`~snellen.runs.writer.Writer`."""
        for position in range(len(self.severities)):
            for masks in (False, True):
                self._path(setting, position, row.index, masks=masks).unlink(missing_ok=True)

    def conclude(self, settings: Sequence[Setting], rows: Mapping[str, Sequence[Row]]) -> list[str]:
        """Write the manifest: one row per file."""
        with whole_file(self.out / MANIFEST) as stream:
            text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
            table = csv.writer(text)
            known = label_columns(self.images, self.layout.classes) | text_columns(self.images, KEPT)
            masked = ["mask"] if any(row.masks for found in rows.values() for row in found) else []
            columns = ["path", "id", "group", *masked, "provenance", *known, *_FURTHER]
            table.writerow(columns)
            for values in self._rows(settings, rows, known):
                table.writerow([values[column] for column in columns])
            text.detach()
        return [MANIFEST]

    def _rows(
        self, settings: Sequence[Setting], rows: Mapping[str, Sequence[Row]], known: Mapping[str, Sequence[str]]
    ) -> Iterator[dict[str, str]]:
        ids, groups, paths = self.images.ids, self.images.column("group"), _source_paths(self.images)
        for setting in settings:
            method = json.dumps(setting.record, sort_keys=True, ensure_ascii=False)
            for position, severity in enumerate(self.severities):
                for row in rows[setting.name]:
                    source = ids[row.index]
                    made = Provenance(origin="edited", generator=setting.method.name, seed=self.seed, source_id=source)
                    published, path = row.published[position], self.layout.path(setting.name, severity, row.index)
                    yield {
                        "path": path,
                        "id": f"{setting.name}/{severity_name(severity)}/{source}",
                        "group": setting.name,
                        "mask": f"{MASKS}/{path}" if row.masks else "",
                        "provenance": made.model_dump_json(exclude_none=True),
                        **{column: values[row.index] for column, values in known.items()},
                        "method": method,
                        "severity": severity_name(severity),
                        "seed": str(self.seed),
                        "published": "" if published is None else str(published).lower(),
                        "source_id": source,
                        "source_path": paths[row.index],
                        "source_group": "" if groups[row.index] is None else str(groups[row.index]),
                        "sha256": row.hashes[position],
                    }


_FURTHER = ("method", "severity", "seed", "published", "source_id", "source_path", "source_group", "sha256")


def _source_paths(images: ImageSet) -> list[str]:
    """Paths of the source's files, relative to its folder; empty where there are none."""
    source = images.source
    if not isinstance(source, FileSource) or images.rows is None:
        return [""] * len(images)
    return [source.paths[row] for row in images.rows.tolist()]
