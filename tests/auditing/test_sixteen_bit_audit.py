"""An audit distinguishes classes that differ by less than one step of 8 bits, in each of its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.deep_picture import DeepPicture
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing

SIDE, COUNT = 16, 80


class FineStep(nn.Module):
    """The mean grey against a threshold between 30,000 and 30,060 of 65,535: both are the byte 117."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        above = (images.double().mean((1, 2, 3)) - 30030 / 65535).float() * 65535
        return torch.stack([-above, above], 1)


def pixels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % 2
    # Whole steps of 8 bits that add up to nothing: rounding to bytes takes the difference, and nothing else.
    half = 257 * rng.integers(0, 36, SIDE * SIDE // 2)
    texture = np.stack([rng.permutation(np.concatenate([half, -half])) for _ in range(COUNT)])
    images = 30000 + 60 * labels[:, None, None] + texture.reshape(COUNT, SIDE, SIDE)
    return images.astype(np.uint16), labels


def classifier(resize_to: int | None = None) -> Classifier:
    preparation = Preprocessing(size=(SIDE, SIDE))
    if resize_to is not None:
        preparation = Preprocessing(size=(resize_to,) * 2, resize="exact", resize_to=(resize_to,) * 2)
    return Classifier(FineStep(), class_names=["a", "b"], preparation=preparation)


def from_files(folder: Path, suffix: str) -> ImageSet:
    images, labels = pixels()
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / ("b" if label else "a") / f"{row:03d}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return snellen.load_images(folder)


def from_dicom(folder: Path) -> ImageSet:
    pytest.importorskip("pydicom")
    from tests.data.files.medical.medical_files import write_dicom

    images, labels = pixels()
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        write_dicom(folder / ("b" if label else "a") / f"{row:03d}.dcm", image)
    return snellen.load_images(f"dicom:{folder}")


def from_nifti(folder: Path) -> ImageSet:
    nibabel = pytest.importorskip("nibabel")
    images, labels = pixels()
    for label, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        stack = images[labels == label].transpose(1, 2, 0)
        nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), folder / name / "a.nii.gz")
    return snellen.load_images(f"nifti:{folder}?window=32767.5,65535")


@pytest.mark.parametrize("form", ["arrays", "png", "tiff", "dicom", "nifti"])
def test_all_forms_of_16_bits_reach_the_classifier(form: str, tmp_path: Path) -> None:
    made = {
        "arrays": lambda: snellen.load_images(pixels(), class_names=["a", "b"]),
        "png": lambda: from_files(tmp_path, ".png"),
        "tiff": lambda: from_files(tmp_path, ".tiff"),
        "dicom": lambda: from_dicom(tmp_path),
        "nifti": lambda: from_nifti(tmp_path),
    }
    images = made[form]()
    model = classifier(resize_to=32)
    decided = model.predict(model(torch.stack([model.prepare(images.read(row)) for row in range(len(images))])))
    assert isinstance(images.read(0), DeepPicture)
    labels = torch.from_numpy(images.labels)
    assert float((decided == labels).double().mean()) == 1.0
    # The pictures that reports show have 8 bits, which do not hold the difference.
    shown = torch.stack([model.prepare(Image.fromarray(np.asarray(images.read(row)))) for row in range(len(images))])
    assert float((model.predict(model(shown)) == labels).double().mean()) == 0.5


def test_an_audit_keeps_16_bits_in_its_figures_and_shows_8(tmp_path: Path) -> None:
    images, labels = pixels()
    report = snellen.audit(
        classifier(),
        (images, labels),
        checks=[
            "clean",
            {"check": "corruption", "kinds": ["brightness", "defocus_blur"]},
            {"check": "adversarial", "threats": ["linf:0.05/255", "linf:1/255"]},
            "duplicates",
        ],
        out=tmp_path / "run",
    )
    assert report.metrics["clean.accuracy"].value == 1.0
    # A twentieth of a byte's step (13 of 65,535) is too small; a whole one (257) crosses to the other class.
    assert report.metrics["adversarial.linf.0.05.accuracy"].value == 1.0
    assert report.metrics["adversarial.linf.1.accuracy"].value == 0.0
    # A blur keeps the mean and with it the classes, where nothing rounds to bytes.
    assert report.metrics["corruption.defocus_blur.1.accuracy"].value > 0.8
    rounded = np.rint(images / 257).astype(np.uint8)
    assert snellen.audit(classifier(), (rounded, labels), checks=["clean"]).metrics["clean.accuracy"].value == 0.5
    for picture in (tmp_path / "run").rglob("*.png"):
        assert Image.open(picture).mode in ("RGB", "L", "RGBA", "P")


def test_images_that_differ_below_a_byte_are_no_duplicates() -> None:
    images, labels = pixels()
    images[1], labels[1] = images[0], labels[0]
    images[3] = images[2]
    images[3, 5, 5] += 1
    labels[3] = labels[2]
    kept = snellen.load_images((images, labels), class_names=["a", "b"])
    assert kept.content_hash(0) == kept.content_hash(1)
    assert kept.content_hash(2) != kept.content_hash(3)
    report = snellen.audit(classifier(), kept, checks=["duplicates"])
    (exact,) = [one for one in report.findings if one.subject == "exact"]
    assert {example.example_id for example in exact.examples} <= {"000000", "000001"}
