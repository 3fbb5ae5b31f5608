"""Shifted images as archives in the style of MedMNIST-C."""

import zipfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.arrays import load_arrays
from snellen.verbs.shift import shift
from tests.verbs.small_shifts import Fade, Failing, Grain


def grey(count=6, classes=3):
    rng = np.random.default_rng(0)
    return load_arrays(rng.integers(1, 255, (count, 5, 7), dtype=np.uint8), np.arange(count) % classes)


def colour(count=4):
    rng = np.random.default_rng(1)
    return load_arrays(rng.integers(1, 255, (count, 5, 7, 3), dtype=np.uint8), [300, 0, 1, 2][:count])


def arrays(path):
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist() == ["test_images.npy", "test_labels.npy"]
    with np.load(path) as loaded:  # noqa: TID251 - what any other tool does
        return loaded["test_images"], loaded["test_labels"]


def test_severities_are_stacked_one_after_the_other(tmp_path):
    images = grey()
    written = shift(images, Fade(), severities=(0, 2.5, 5), out=tmp_path / "out", format="medmnist-c", batch_size=4)
    assert [path.name for path in written.archives] == ["fade.npz"]
    pixels, labels = arrays(tmp_path / "out" / "fade.npz")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (18, 5, 7))
    assert (labels.dtype, labels.shape) == (np.uint8, (18, 1))
    clean = np.stack([np.asarray(images.read(index))[..., 0] for index in range(6)])
    for place, severity in enumerate((0, 2.5, 5)):
        wanted = np.round(clean.astype(np.float32) / np.float32(255) * np.float32(1 - severity / 10) * 255)
        assert np.abs(pixels[place * 6 : place * 6 + 6] - wanted).max() <= (0 if severity == 0 else 1)
        assert labels[place * 6 : place * 6 + 6, 0].tolist() == images.labels.tolist()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"fade.npz", "contact-sheet-fade.png", "shift.json"}


def test_an_archive_reads_back_and_holds_what_the_folder_holds(tmp_path):
    images = colour()
    archive = shift(images, [Grain(), Fade()], severities=(1, 3), out=tmp_path / "npz", format="medmnist-c")
    folder = shift(images, [Grain(), Fade()], severities=(1, 3), out=tmp_path / "png")
    files = snellen.load_images(folder.manifest)
    for setting, path in zip(("colour", "fade"), archive.archives, strict=True):
        again = snellen.load_images(path)
        assert again.split == "test"
        assert again.labels.tolist() == images.labels.tolist() * 2
        rows = [index for index, group in enumerate(files.column("group")) if group == setting]
        for index, row in enumerate(rows):
            assert np.array_equal(np.asarray(again.read(index)), np.asarray(files.read(row)))
    assert arrays(archive.archives[0])[1].dtype == np.int64, "class 300 does not fit into a byte"


def test_colour_in_one_image_makes_all_coloured(tmp_path):
    written = shift(grey(), Grain(kind="colour"), severities=(0, 1), out=tmp_path / "out", format="medmnist-c")
    pixels, _ = arrays(written.archives[0])
    assert pixels.shape == (12, 5, 7, 3)
    assert (pixels[:6] == pixels[:6, ..., :1]).all()
    assert not (pixels[6:] == pixels[6:, ..., :1]).all()
    written = shift(grey(), Grain(kind="grey"), severities=(0, 1), out=tmp_path / "grey", format="medmnist-c")
    assert arrays(written.archives[0])[0].shape == (12, 5, 7)


def test_several_labels(tmp_path):
    truth = np.array([[0, 1, 1], [1, 0, 0]])
    images = load_arrays(np.zeros((2, 5, 7), dtype=np.uint8), truth)
    written = shift(images, Fade(), severities=(1, 2), out=tmp_path / "out", format="medmnist-c", allow_rejected=True)
    assert arrays(written.archives[0])[1].tolist() == [*truth.tolist(), *truth.tolist()]
    assert snellen.load_images(written.archives[0]).column("labels") == [*truth.tolist(), *truth.tolist()]


def test_rejected_images_are_left_out_at_all_severities(tmp_path):
    pixels = np.full((4, 5, 7), 100, dtype=np.uint8)
    pixels[1], pixels[2] = 255, 0
    images = load_arrays(pixels, [0, 1, 2, 3])
    written = shift(
        images, [Failing(), Fade()], severities=(1, 2), out=tmp_path / "out", format="medmnist-c", allow_rejected=True
    )
    assert arrays(tmp_path / "out" / "failing.npz")[1].ravel().tolist() == [0, 3, 0, 3]
    assert arrays(tmp_path / "out" / "fade.npz")[1].ravel().tolist() == [0, 1, 2, 3] * 2
    assert written.written == {"failing": 2, "fade": 4}
    only = images.select([1, 2])
    written = shift(only, [Failing(), Fade()], severities=(1, 2), out=tmp_path / "none", format="medmnist-c")
    assert [path.name for path in written.archives] == ["fade.npz"]
    assert written.written == {"failing": 0, "fade": 2}


class Sizes:
    def __init__(self, *sizes):
        self.sizes = sizes

    def read(self, index):
        return Image.new("RGB", self.sizes[index])

    def content_hash(self, index):
        return str(index)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "b"], "label": [0, 1]}, "needs images of one size: 'b' has 8×4 pixels, others have 4×4"),
        ({"id": ["a"]}, "needs a label for each image, 'a' has none"),
        ({"id": ["a"], "label": pa.array([None], pa.int64())}, "needs a label for each image, 'a' has none"),
        (
            {"id": ["a", "c"], "labels": pa.array([[1], None], pa.list_(pa.int8()))},
            "needs a label for each image, 'c' has none",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, columns, message):
    sizes = [(8, 4) if key == "b" else (4, 4) for key in columns["id"]]
    images = ImageSet(Sizes(*sizes), pa.table(columns), ("x", "y"))
    with pytest.raises(InputError, match=message):
        shift(images, Fade(), out=tmp_path / "out", format="medmnist-c")
    assert not (tmp_path / "out").exists()
    hidden = grey().unlabelled()
    with pytest.raises(InputError, match="needs a label"):
        shift(hidden, Fade(), out=tmp_path / "out", format="medmnist-c")


def test_no_image_is_held_but_those_of_a_pass(tmp_path, monkeypatch):
    """The archive is written from the disk: the largest piece of it that is in memory is one image."""
    from snellen.runs import archive_writer

    pieces = []
    real = archive_writer._mapped

    class Watched(np.ndarray):
        def __getitem__(self, place):
            found = np.asarray(super().__getitem__(place))
            pieces.append(found.shape)
            return found

    def watched(*arguments):
        mapped = real(*arguments)
        assert isinstance(mapped, np.memmap)
        return mapped.view(Watched)

    monkeypatch.setattr(archive_writer, "_mapped", watched)
    shift(grey(), Fade(), out=tmp_path / "out", format="medmnist-c")
    assert set(pieces) == {(5, 7, 3)}
