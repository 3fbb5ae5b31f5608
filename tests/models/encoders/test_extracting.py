"""Features: those of the encoder, made once, resumed, refused where damaged, blind to labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from snellen.core.errors import InputError, RejectedImageError, RunConflictError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.run import write_atomically
from snellen.data.files.arrays import load_arrays
from snellen.data.loading import prepared_batches
from snellen.models.encoders.feature_store import FILES, NOT_FINITE, FrozenFeatures, frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.row_file import UNFINISHED


class Counting(nn.Module):
    """Mean colours, and how many images were seen."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return self.scale * images.mean((2, 3))


def encoder(scale: float = 1.0) -> FrozenEncoder:
    made = FrozenEncoder(name="colours", network=Counting(scale), preparation=Preprocessing(size=(8, 8)))
    made.network.seen = 0  # without the probe
    return made


def pictures(count: int, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return load_arrays(pixels, np.arange(count) % 2)


class Broken:
    """A source of which some images cannot be read, and which may be killed at one."""

    def __init__(self, images: ImageSet, bad: set[int], killed: int = -1) -> None:
        self.images, self.bad, self.killed, self.reads = images, bad, killed, 0
        self.content_hash = images.content_hash

    def read(self, index: int) -> Image.Image:
        self.reads += 1
        if index == self.killed:
            raise KeyboardInterrupt
        if index in self.bad:
            raise RejectedImageError("damaged")
        return self.images.read(index)


def broken(count: int, bad: set[int], killed: int = -1) -> ImageSet:
    images = pictures(count)
    return ImageSet(Broken(images, bad, killed), images.table, images.class_names)


def expected(images: ImageSet) -> Tensor:
    (batch,) = prepared_batches(images, Preprocessing(size=(8, 8)), len(images))
    return to_unit(batch.pixels).mean((2, 3))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_each_usable_image_has_its_vector(tmp_path: Path, kept: bool, workers: int) -> None:
    images = broken(21, {0, 13})
    made = frozen_features(
        images, encoder(), folder=tmp_path / "features" if kept else None, batch_size=2, workers=workers
    )
    torch.testing.assert_close(torch.as_tensor(made.features), expected(images))
    usable = [row for row in range(21) if row not in {0, 13}]
    assert made.positions.tolist() == usable
    assert made.ids == tuple(images.ids[row] for row in usable)
    assert made.rejected == {images.ids[0]: "damaged", images.ids[13]: "damaged"}
    assert made.rows[images.ids[14]] == 12


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    images, one = broken(20, set()), encoder()
    first = frozen_features(images, one, folder=tmp_path / "f", batch_size=4)
    assert one.network.seen == images.source.reads == 20
    again = frozen_features(images, one, folder=tmp_path / "f", batch_size=8)
    assert one.network.seen == images.source.reads == 20
    assert torch.equal(again.features, first.features)
    assert torch.equal(FrozenFeatures.load(tmp_path / "f").features, first.features)
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [FILES.record, FILES.rows]


def test_labels_change_nothing_and_are_not_touched(tmp_path: Path) -> None:
    images = pictures(12)
    first = frozen_features(images.unlabelled(), encoder(), folder=tmp_path / "f")
    pixels = np.stack([np.asarray(images.read(row)) for row in range(12)])
    other = load_arrays(pixels, np.arange(12)[::-1] % 2)
    again = frozen_features(other, encoder(), folder=tmp_path / "f")
    assert torch.equal(again.features, first.features)


def test_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = frozen_features(broken(40, {3}), encoder(), folder=tmp_path / "whole", batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        frozen_features(broken(40, {3}, killed=19), encoder(), folder=tmp_path / "f", batch_size=1)
    with pytest.raises(InputError, match="unfinished"):
        FrozenFeatures.load(tmp_path / "f")
    # One of the two confirmed shards of eight is damaged, as by a power cut: it is made again, the other is not.
    rows = np.lib.format.open_memmap(tmp_path / "f" / UNFINISHED / FILES.rows, mode="r+")
    rows[9] = 0
    rows.flush()
    with (tmp_path / "f" / UNFINISHED / "shards.jsonl").open("a") as log:
        log.write('{"start": 16, "sto')
    resumed = encoder()
    made = frozen_features(broken(40, {3}), resumed, folder=tmp_path / "f", batch_size=1)
    assert resumed.network.seen == 40 - 8
    assert torch.equal(made.features, whole.features)
    assert made.rejected == whole.rejected
    assert (tmp_path / "f" / FILES.rows).read_bytes() == (tmp_path / "whole" / FILES.rows).read_bytes()


def test_goes_on_where_it_was_stopped_twice(tmp_path: Path) -> None:
    """A line that was cut off hides none that a later call writes, whatever stands in it."""
    for killed in (9, 17, 33):
        with pytest.raises(KeyboardInterrupt):
            frozen_features(broken(40, {3}, killed=killed), encoder(), folder=tmp_path / "f", batch_size=1)
        with (tmp_path / "f" / UNFINISHED / "shards.jsonl").open("ab") as log:
            log.write('{"start": 16, "rejected": "caf\u00e9'.encode()[:-1])
    resumed = encoder()
    frozen_features(broken(40, {3}), resumed, folder=tmp_path / "f", batch_size=1)
    # Of five shards of eight images, the second was told behind a line that was cut off, and the last never made.
    assert resumed.network.seen == 2 * 8


def test_a_call_that_was_stopped_before_the_record_is_written_makes_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, content: bytes) -> None:
        if path.name == FILES.record:
            (path.parent / f".{path.name}.0123").write_bytes(content[:9])
            raise KeyboardInterrupt
        write_atomically(path, content)

    monkeypatch.setattr("snellen.models.encoders.row_file.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        frozen_features(broken(8, {3}), encoder(), folder=tmp_path / "f", batch_size=1)
    monkeypatch.undo()
    resumed = encoder()
    made = frozen_features(broken(8, {3}), resumed, folder=tmp_path / "f", batch_size=1)
    assert resumed.network.seen == 0
    torch.testing.assert_close(made.features, expected(broken(8, {3})))


def test_shards_of_another_size_leave_no_rejections_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        frozen_features(broken(40, {9}, killed=33), encoder(), folder=tmp_path / "f", batch_size=1)
    made = frozen_features(broken(40, set()), encoder(), folder=tmp_path / "f", batch_size=4)
    assert made.rejected == {}
    torch.testing.assert_close(made.features, expected(broken(40, set())))


def test_other_encoders_and_other_images_are_refused(tmp_path: Path) -> None:
    frozen_features(pictures(4), encoder(), folder=tmp_path / "f")
    with pytest.raises(RunConflictError, match="differs in: encoder_identity"):
        frozen_features(pictures(4), encoder(2.0), folder=tmp_path / "f")
    with pytest.raises(RunConflictError, match="differs in: contents"):
        frozen_features(pictures(4, seed=1), encoder(), folder=tmp_path / "f")
    with pytest.raises(RunConflictError, match="images"):
        frozen_features(pictures(5), encoder(), folder=tmp_path / "f")
    with pytest.raises(KeyboardInterrupt):
        frozen_features(broken(4, set(), killed=2), encoder(), folder=tmp_path / "g")
    with pytest.raises(RunConflictError, match="unfinished features of another encoder"):
        frozen_features(pictures(4), encoder(2.0), folder=tmp_path / "g")
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no features"):
        frozen_features(pictures(4), encoder(), folder=tmp_path / "h")


def test_damage_is_found(tmp_path: Path) -> None:
    frozen_features(pictures(4), encoder(), folder=tmp_path / "f")
    content = bytearray((tmp_path / "f" / FILES.rows).read_bytes())
    content[-2] ^= 1
    (tmp_path / "f" / FILES.rows).write_bytes(content)
    with pytest.raises(InputError, match="its hash differs"):
        frozen_features(pictures(4), encoder(), folder=tmp_path / "f")
    (tmp_path / "f" / FILES.rows).write_bytes(b"not an array")
    with pytest.raises(InputError, match="cannot be read as rows of features"):
        FrozenFeatures.load(tmp_path / "f")
    (tmp_path / "f" / FILES.record).write_text("{}")
    with pytest.raises(InputError, match="no record of features"):
        FrozenFeatures.load(tmp_path / "f")
    with pytest.raises(InputError, match="not there"):
        FrozenFeatures.load(tmp_path / "nowhere")


class Heard:
    def __init__(self) -> None:
        self.done: dict[str, list[float]] = {}

    def begin(self, task: str, total: float) -> None:
        self.done[task] = [total]

    def advance(self, task: str, amount: float, note: str = "") -> None:
        self.done[task].append(amount)

    def finish(self, task: str) -> None:
        self.done[task].append(0)


@pytest.mark.parametrize("kept", [False, True])
def test_every_batch_is_reported(tmp_path: Path, kept: bool) -> None:
    heard = Heard()
    frozen_features(broken(20, {3}), encoder(), folder=tmp_path / "f" if kept else None, batch_size=4, progress=heard)
    total, *steps = heard.done["features"]
    assert (total, sum(steps), max(steps)) == (20, 20, 4)


@pytest.mark.parametrize("kept", [False, True])
def test_what_gives_no_features(tmp_path: Path, kept: bool) -> None:
    folder = tmp_path / "f" if kept else None
    with pytest.raises(InputError, match=r"none of the 3 images .*damaged"):
        frozen_features(broken(3, {0, 1, 2}), encoder(), folder=folder)
    with pytest.raises(InputError, match="no images"):
        frozen_features(pictures(3).select([]), encoder(), folder=folder)
    bad = encoder()
    bad.network.scale.data.fill_(float("nan"))
    with pytest.raises(InputError, match=r"none of the 3 images .*vector is not finite"):
        frozen_features(pictures(3), bad, folder=folder)


class NotOfBlack(Counting):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) / images.amax((1, 2, 3))[:, None]


@pytest.mark.parametrize("kept", [False, True])
def test_a_vector_that_is_not_finite_is_rejected_and_stops_nothing(tmp_path: Path, kept: bool) -> None:
    pixels = np.full((5, 8, 8, 3), 90, dtype=np.uint8)
    pixels[3] = 0
    images = load_arrays(pixels, np.arange(5) % 2)
    one = FrozenEncoder(name="colours", network=NotOfBlack(), preparation=Preprocessing(size=(8, 8)))
    made = frozen_features(images, one, folder=tmp_path / "f" if kept else None, batch_size=2)
    assert made.rejected == {images.ids[3]: NOT_FINITE}
    torch.testing.assert_close(torch.as_tensor(made.features), torch.ones(4, 3))
