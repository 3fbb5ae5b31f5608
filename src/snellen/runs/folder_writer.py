"""A folder of PNG files with a manifest that :func:`snellen.load_images` reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.images import ImageSet, Provenance
from snellen.data.files.file_source import FileSource
from snellen.runs.layout import Layout, label_columns, text_columns
from snellen.runs.measuring import Put
from snellen.runs.settings import Setting, severity_name
from snellen.runs.thumbnails import png
from snellen.runs.whole_file import whole_file
from snellen.runs.writer import Row, sha256

MANIFEST = "manifest.csv"

#: Folder of the masks of edited objects: ``masks/SETTING/SEVERITY/CLASS/NAME.png``, outside of the class folders.
MASKS = "masks"

#: Columns of the source that hold for its shifted images too. Masks and boxes do not: a shift may move objects.
KEPT = ("split", "unit_id", "caption", "attributes", "bag_id")


class FolderWriter:
    """Files ``SETTING/SEVERITY/CLASS/NAME.png``, masks of edited objects, and last ``manifest.csv``.

    Grey results (three equal channels) are grey files, others RGB, 8 bits.

    Args:
        images: the set that is shifted.
        severities: in order.
        seed: of everything random, for the manifest.
    """

    def __init__(self, images: ImageSet, severities: Sequence[float], seed: int) -> None:
        self.images, self.severities, self.seed = images, severities, seed
        self.layout = Layout(images)

    def part(self, setting: Setting, members: range, put: Put) -> FolderPart:
        """See :class:`~snellen.runs.writer.Writer`."""
        return FolderPart(self, setting, put)

    def path(self, setting: Setting, position: int, index: int, *, masks: bool = False) -> str:
        """Where an image lies, or the mask of its object."""
        inside = self.layout.path(setting.name, self.severities[position], index)
        return f"{MASKS}/{inside}" if masks else inside

    def discard(self, setting: Setting, row: Row, folder: Path) -> None:
        """Remove the files of an image; see :class:`~snellen.runs.writer.Writer`."""
        for position in range(len(self.severities)):
            for masks in (False, True):
                (folder / self.path(setting, position, row.index, masks=masks)).unlink(missing_ok=True)

    def conclude(
        self,
        settings: Sequence[Setting],
        rows: Mapping[str, Sequence[Row]],
        members: Mapping[str, Sequence[range]],
        folder: Path,
    ) -> list[str]:
        """Write the manifest: one row per file."""
        with whole_file(folder / MANIFEST) as stream:
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


class FolderPart:
    """Writes the files of some images at once; see :class:`~snellen.runs.writer.Part`."""

    def __init__(self, writer: FolderWriter, setting: Setting, put: Put) -> None:
        self._writer, self._setting, self._put = writer, setting, put

    def add(self, index: int, position: int, pixels: NDArray[np.uint8]) -> str:
        """Write one file."""
        grey = bool((pixels == pixels[..., :1]).all())
        content = png(Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels)))
        self._put(self._writer.path(self._setting, position, index), content)
        return sha256(content)

    def add_mask(self, index: int, position: int, mask: NDArray[np.bool_]) -> str:
        """Write where an object is, 255 on it."""
        content = png(Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)))
        self._put(self._writer.path(self._setting, position, index, masks=True), content)
        return sha256(content)

    def close(self) -> None:
        """Nothing is left to write."""


_FURTHER = ("method", "severity", "seed", "published", "source_id", "source_path", "source_group", "sha256")


def _source_paths(images: ImageSet) -> list[str]:
    """Paths of the source's files, relative to its folder; empty where there are none."""
    source = images.source
    if not isinstance(source, FileSource) or images.rows is None:
        return [""] * len(images)
    return [source.paths[row] for row in images.rows.tolist()]
