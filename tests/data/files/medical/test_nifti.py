"""NIfTI volumes are cut right, in one orientation, and hostile ones are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")

from snellen import load_images  # noqa: E402
from snellen.core.deep_picture import DeepPicture  # noqa: E402
from snellen.core.errors import RejectedImageError  # noqa: E402


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def volume() -> np.ndarray:
    values = np.zeros((6, 8, 4), dtype=np.int16)
    values[0, :, 2] = 1000  # the patient's left, in the third axial slice
    values[:, 7, 3] = 500  # anterior, in the fourth
    return values


def test_slices_lie_as_radiologists_see_them_whatever_the_file_orientation(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", volume())
    write(tmp_path / "b.nii", volume()[::-1], np.diag([-1.0, 1, 1, 1]))  # stored from the right to the left
    images = load_images(f"nifti:{tmp_path}")
    assert images.ids == [f"{name}#{at}" for name in ("a.nii.gz", "b.nii") for at in (1, 2, 3, 4)]
    assert len(set(images.column("unit_id"))) == 2
    for first in (0, 4):
        third, fourth = (np.asarray(images.read(first + at))[..., 0] for at in (2, 3))
        assert third.shape == (8, 6)
        assert (third[:, -1] == 255).all()  # the left of the patient is on the right
        assert third[:, :-1].max() == 0
        assert (fourth[0] == 128).all()  # anterior is up
        assert fourth[1:].max() == 0


def test_axes_middle_slices_and_windows(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", volume())
    assert len(load_images(f"nifti:{tmp_path}?axis=sagittal")) == 6
    middle = load_images(f"nifti:{tmp_path}?axis=coronal&slices=middle&window=500,1000")
    assert middle.ids == ["a.nii#5"]
    assert np.asarray(middle.read(0)).max() == 255


def test_hostile_volumes_are_rejections(tmp_path: Path) -> None:
    header = bytearray(write(tmp_path / "good.nii", volume()).read_bytes()[:352])
    header[42:48] = np.array([30000, 30000, 30000], dtype="<i2").tobytes()
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(header)))
    header[42:48] = np.array([300, 300, 300], dtype="<i2").tobytes()
    (tmp_path / "short.nii").write_bytes(bytes(header))
    (tmp_path / "torn.nii.gz").write_bytes(gzip.compress(b"x" * 900)[:40])
    write(tmp_path / "four.nii", np.zeros((4, 4, 4, 2), dtype=np.int16))
    (tmp_path / "text.nii").write_text("hello")
    images = load_images(f"nifti:{tmp_path}")
    reasons = {}
    for row, key in enumerate(images.ids):
        try:
            images.read(row)
        except RejectedImageError as error:
            reasons.setdefault(key.partition(".")[0], str(error))
    assert set(reasons) == {"huge", "short", "torn", "four", "text"}
    assert "announces a volume" in reasons["huge"]
    assert "the file holds 352" in reasons["short"]
    assert "three axes" in reasons["four"]
    assert "not a NIfTI" in reasons["text"]


def test_a_file_is_read_once_for_its_slices_and_again_after_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.nii.gz", volume())
    noise = np.random.default_rng(0).integers(0, 1000, (20, 20, 4)).astype(np.int16)
    (tmp_path / "b.nii.gz").write_bytes(write(tmp_path / "b.nii.gz", noise).read_bytes()[:-200])  # its header is whole
    images, read = load_images(f"nifti:{tmp_path}?window=500,1000"), list[str]()
    stored = type(images.source).stored
    monkeypatch.setattr(
        type(images.source), "stored", lambda self, index: (read.append(self.paths[index]), stored(self, index))[1]
    )
    first = [np.asarray(images.read(row)) for row in range(4)]
    assert read == ["a.nii.gz"]
    for row in range(4, 8):
        with pytest.raises(RejectedImageError):
            images.read(row)
    assert read == ["a.nii.gz", "b.nii.gz"]
    assert np.array_equal(np.asarray(images.read(2)), first[2])
    write(tmp_path / "a.nii.gz", volume() * 0)
    assert np.asarray(images.read(2)).max() == 0
    assert read == ["a.nii.gz", "b.nii.gz", "a.nii.gz", "a.nii.gz"]
    assert len({images.content_hash(row) for row in range(4)}) == 4


@pytest.mark.parametrize(("kind", "deep"), [(np.uint8, False), (np.int16, True)])
def test_a_slice_has_16_bits_where_its_file_stores_more_than_8(tmp_path: Path, kind: type, deep: bool) -> None:
    write(tmp_path / "a.nii.gz", (volume() // 10).astype(kind))
    assert isinstance(load_images(f"nifti:{tmp_path}").read(0), DeepPicture) == deep
