"""Label maps on the disk: exact, small, resumable, and refused where damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError, ModelError, RunConflictError
from snellen.core.images import ImageSet
from snellen.models.encoders.row_file import UNFINISHED
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.sparse import SparseMaps, keep_largest
from snellen.systems.label_maps.store import RECORD, ROWS, LabelMaps, MappedImages, MapsRecord, write_maps
from tests.systems.label_maps.annotators import colour_annotator, two_sided


def record(classes: int, kept: int, size: tuple[int, int], count: int) -> MapsRecord:
    return MapsRecord(
        plan={"annotator": "noise"},
        class_names=tuple(f"class {number}" for number in range(classes)),
        kept=kept,
        height=size[0],
        width=size[1],
        ids=tuple(f"image {row}" for row in range(count)),
    )


def noise(classes: int, kept: int, size: tuple[int, int], count: int) -> SparseMaps:
    generator = torch.Generator().manual_seed(classes)
    scores = (8 * torch.randn(count, classes, *size, generator=generator)).half().float()
    return keep_largest(scores, kept)


def put(maps: SparseMaps):
    def produce(start: int, stop: int) -> MappedImages:
        part = SparseMaps(maps.values[start:stop], maps.indices[start:stop])
        return MappedImages(part, [(40, 30)] * (stop - start), ["ab" * 32] * (stop - start))

    return produce


@pytest.mark.covers("9.8")
@pytest.mark.parametrize(("classes", "kept", "size"), [(1000, 5, (15, 15)), (40_000, 3, (2, 3))])
def test_round_trip_is_exact_and_small(tmp_path: Path, classes: int, kept: int, size: tuple[int, int]) -> None:
    maps = noise(classes, kept, size, 7)
    written = write_maps(tmp_path / "maps", record(classes, kept, size, 7), put(maps), batch_size=3)
    again = LabelMaps.load(tmp_path / "maps").read(torch.tensor([6, 0, 3]))
    assert torch.equal(again.values, maps.values[[6, 0, 3]])
    assert torch.equal(again.indices, maps.indices[[6, 0, 3]])
    index_bytes = 2 if classes <= 32_767 else 4
    assert written.rows.dtype.itemsize == kept * size[0] * size[1] * (2 + index_bytes) + 40
    on_disk = sum(path.stat().st_size for path in (tmp_path / "maps").iterdir())
    dense = 7 * classes * size[0] * size[1] * 4
    if classes == 1000:
        assert dense / (on_disk - (tmp_path / "maps" / RECORD).stat().st_size) > 50
        assert dense / on_disk > 50
    assert isinstance(written.rows, np.memmap)
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [RECORD, ROWS]


@pytest.mark.covers("9.10")
def test_the_annotator_sees_each_image_once(tmp_path: Path) -> None:
    annotator = colour_annotator()
    images = two_sided(8)
    maps = annotate(images, annotator, tmp_path / "maps", kept=2, batch_size=3)
    probes = 2
    assert annotator.spent.queries == len(images) + probes
    assert len(maps) == 8
    assert maps.rows["size"].tolist() == [[32, 16]] * 8
    again = annotate(images, annotator, tmp_path / "maps", kept=2, batch_size=3)
    assert annotator.spent.queries == len(images) + probes
    assert again.record == maps.record


def test_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    images, out = two_sided(8), tmp_path / "maps"
    whole = annotate(images, colour_annotator(), tmp_path / "whole", batch_size=2)
    killed = colour_annotator()
    read = images.source.read

    class Dying:
        def read(self, index: int):
            if index == 5:
                raise KeyboardInterrupt
            return read(index)

        content_hash = staticmethod(images.source.content_hash)

    with pytest.raises(KeyboardInterrupt):
        annotate(ImageSet(Dying(), images.table, images.class_names), killed, out, batch_size=2)
    with pytest.raises(InputError, match="unfinished"):
        LabelMaps.load(out)
    # One confirmed shard is damaged, as by a power cut: it is made again, the other is not.
    rows = np.lib.format.open_memmap(out / UNFINISHED / ROWS, mode="r+")
    rows["values"][2] = 0
    rows.flush()
    with (out / UNFINISHED / "shards.jsonl").open("a") as log:
        log.write('{"start": 4, "sto')
    resumed = colour_annotator()
    maps = annotate(images, resumed, out, batch_size=2)
    assert resumed.spent.queries == 2 + 6
    assert (out / ROWS).read_bytes() == (tmp_path / "whole" / ROWS).read_bytes()
    assert maps.record == whole.record


def test_another_plan_is_refused(tmp_path: Path) -> None:
    annotate(two_sided(4), colour_annotator(), tmp_path / "maps")
    with pytest.raises(RunConflictError, match="differs in: annotator_fingerprint"):
        annotate(two_sided(4), colour_annotator(scale=5.0), tmp_path / "maps")
    with pytest.raises(RunConflictError, match="images"):
        annotate(two_sided(5), colour_annotator(), tmp_path / "maps")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        annotate(two_sided(4), colour_annotator(), tmp_path / "other")


def test_damage_is_found(tmp_path: Path) -> None:
    annotate(two_sided(4), colour_annotator(), tmp_path / "maps")
    with (tmp_path / "maps" / ROWS).open("r+b") as stream:
        stream.seek(-200, os.SEEK_END)
        stream.write(b"\x01\x02")
    with pytest.raises(InputError, match="its hash differs"):
        LabelMaps.load(tmp_path / "maps")
    with pytest.raises(InputError, match="not there"):
        LabelMaps.load(tmp_path / "nowhere")
    held = json.loads((tmp_path / "maps" / RECORD).read_text())
    (tmp_path / "maps" / RECORD).write_text(json.dumps({**held, "kept": 1}))
    with pytest.raises(InputError, match="does not hold what"):
        LabelMaps.load(tmp_path / "maps")


def test_what_cannot_be_a_map(tmp_path: Path) -> None:
    bad = noise(10, 2, (3, 3), 4)
    bad.values[1, 0, 0, 0] = 1e6
    with pytest.raises(InputError, match="float16"):
        write_maps(tmp_path / "large", record(10, 2, (3, 3), 4), put(bad), batch_size=4)
    wide = SparseMaps(bad.values.clamp(max=9), bad.indices + 8)
    with pytest.raises(InputError, match="outside the 10 classes"):
        write_maps(tmp_path / "wide", record(10, 2, (3, 3), 4), put(wide), batch_size=4)
    annotator = colour_annotator(scale=float("nan"))
    with pytest.raises(ModelError, match="scores that are not finite"):
        annotate(two_sided(2), annotator, tmp_path / "nan")
    odd = colour_annotator(names=("red", "green", "violet"))
    with pytest.raises(InputError, match=r"does not know 1 of the 3 classes of halves \(blue\)"):
        annotate(two_sided(2), odd, tmp_path / "odd")


def test_classes_are_found_by_name(tmp_path: Path) -> None:
    more = colour_annotator(names=("blue", "unused", "green", "red"))
    maps = annotate(two_sided(3), more, tmp_path / "more", kept=3)
    plain = annotate(two_sided(3), colour_annotator(), tmp_path / "plain", kept=3)
    dense = [one.read(torch.arange(3)).dense(3) for one in (maps, plain)]
    assert torch.equal(*dense)
