"""The published files, one PyTorch tensor for each image: both axis orders, odd names, and files that are no maps."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.arrays import ArraySource
from snellen.systems.label_maps.published import import_published
from snellen.systems.label_maps.sparse import crop_targets

CLASSES = tuple(f"n{number:08d}" for number in range(20))
IDS = ("n00000003/a.JPEG", "n00000003/b.v2.final.JPEG", "n00000004/c")


def images(ids: tuple[str, ...] = IDS) -> ImageSet:
    table = pa.table({"id": list(ids), "label": pa.array([3] * len(ids), pa.int64())})
    return ImageSet(ArraySource(np.zeros((len(ids), 8, 8), dtype=np.uint8)), table, CLASSES, name="published")


def published(height: int = 4, width: int = 6) -> Tensor:
    """Class 3 left, class 8 right, as (2, 5, h, w)."""
    values = torch.zeros(5, height, width)
    indices = torch.arange(5)[:, None, None].repeat(1, height, width) + 10
    values[0], indices[0, :, : width // 2], indices[0, :, width // 2 :] = 7.0, 3, 8
    return torch.stack([values, indices.float()])


def write(folder: Path, name: str, tensor: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensor, path)


def test_reads_files_by_the_names_of_the_images(tmp_path: Path) -> None:
    for name in ("n00000003/a.pt", "n00000003/b.v2.final.pt", "n00000004/c.pt"):
        write(tmp_path / "published", name, published())
    left = torch.tensor([[0.0, 0.0, 0.5, 1.0]]).repeat(3, 1)
    upper = torch.tensor([[0.0, 0.0, 1.0, 0.5]]).repeat(3, 1)
    maps = import_published(images(), tmp_path / "published", tmp_path / "hw", axes="hw")
    assert (maps.record.height, maps.record.width, maps.record.kept) == (4, 6, 5)
    assert crop_targets(maps.read(torch.arange(3)), left, 20).argmax(1).tolist() == [3, 3, 3]
    turned = import_published(images(), tmp_path / "published", tmp_path / "wh", axes="wh")
    assert (turned.record.height, turned.record.width) == (6, 4)
    assert crop_targets(turned.read(torch.arange(3)), upper, 20).argmax(1).tolist() == [3, 3, 3]


def test_images_without_a_file_are_named(tmp_path: Path) -> None:
    write(tmp_path / "published", "n00000003/a.JPEG.pt", published())
    maps = import_published(images(), tmp_path / "published", tmp_path / "maps")
    assert len(maps) == 1
    assert maps.record.rejected["n00000004/c"] == "no file n00000004/c.pt"
    with pytest.raises(InputError, match=r"holds no label map of the 3 images.*n00000003/a\.pt"):
        import_published(images(), tmp_path, tmp_path / "none")
    outside = images(("../published/n00000003/a.JPEG",))
    (tmp_path / "inner").mkdir()
    with pytest.raises(InputError, match="holds no label map"):
        import_published(outside, tmp_path / "inner", tmp_path / "outside")


class Harmful:
    def __reduce__(self):
        return (print, ("ran",))


def spoiled(change: str) -> object:
    tensor = published()
    if change == "nan":
        tensor[0, 0, 0, 0] = float("nan")
    elif change == "classes":
        tensor[1] += 15
    elif change == "fractions":
        tensor[1, 0, 0, 0] = 2.5
    elif change == "shape":
        return tensor[0]
    elif change == "dictionary":
        return {"map": tensor}
    return Harmful() if change == "code" else tensor


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("nan", "holds NaN or infinity"),
        ("classes", "whole numbers from 0 to 19.*other classes"),
        ("fractions", "whole numbers"),
        ("shape", r"\(2, m, h, w\)"),
        ("dictionary", "expected one tensor, got a dict"),
        ("code", "cannot be read as a tensor alone"),
    ],
)
def test_refuses_what_is_no_map(tmp_path: Path, change: str, match: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "published", "n00000003/a.pt", spoiled(change))
    with pytest.raises(InputError, match=match):
        import_published(images(), tmp_path / "published", tmp_path / "maps")
    assert "ran" not in capsys.readouterr().out


def test_refuses_archives_that_could_grow(tmp_path: Path) -> None:
    path = tmp_path / "published" / "n00000003" / "a.pt"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 1000)
    with pytest.raises(InputError, match="compressed"):
        import_published(images(), tmp_path / "published", tmp_path / "maps")
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(InputError, match="not a PyTorch file in the ZIP format"):
        import_published(images(), tmp_path / "published", tmp_path / "maps")
    path.write_bytes(b"\0" * (2**20 + 1))
    with pytest.raises(InputError, match="more than 1048576"):
        import_published(images(), tmp_path / "published", tmp_path / "maps")
