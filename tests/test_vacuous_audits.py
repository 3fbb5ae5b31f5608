"""Ways of getting preprocessing, sizes, channels, ranges, class order or labels wrong: none of them audits in silence.

Each ends in an error, or in a first finding, that names the cause.
"""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

import snellen
from snellen.core.errors import InputError, ModelError, SnellenError

NAMES = ["red", "green", "blue"]
IMAGES = 60


@cache
def pixels():
    """Noisy pictures of three colours, uint8 (60, 16, 16, 3); the label is the brightest channel."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 120, (IMAGES, 16, 16, 3))
    found[np.arange(IMAGES), :, :, labels()] += 100
    return found.astype(np.uint8)


@cache
def labels():
    return np.arange(IMAGES) % 3


class Colours(nn.Module):
    """The scores are the means of the channels, ``(value · scale + shift)``, so that it is right for any image."""

    def __init__(self, scale=10.0, shift=0.0, order=(0, 1, 2)):
        super().__init__()
        self.scale, self.shift, self.order = scale, shift, list(order)

    def forward(self, images):
        return self.scale * images.mean((2, 3))[:, self.order] + self.shift


def audit(model, images, **options):
    return snellen.audit(model, images, checks=["clean"], **options)


def folder(tmp_path, count=IMAGES, size=lambda row: 16, broken=0, suffix="png"):
    for row in range(count):
        place = tmp_path / "data" / NAMES[labels()[row]] / f"{row:02d}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if row < broken or suffix != "png":
            place.write_bytes(b"no image")
        else:
            Image.fromarray(pixels()[row]).resize((size(row), size(row))).save(place)
    return tmp_path / "data"


class Items(Dataset):
    def __init__(self, change):
        self.change = change

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return self.change(torch.from_numpy(pixels()[index]).permute(2, 0, 1) / 255), int(labels()[index])


def floats():
    return torch.from_numpy(pixels()).permute(0, 3, 1, 2) / 255


def sized_later(row):
    return 16 if row % 20 < 17 else 18


ERRORS = {
    "floats without a range": (
        lambda _: audit(Colours(), (floats(), labels())),
        r"value_range=\(0, 1\)",
    ),
    "floats of bytes declared as [0, 1]": (
        lambda _: snellen.load_images(floats() * 255, labels(), value_range=(0, 1)),
        "leave the declared range from 0 to 1",
    ),
    "normalised floats declared as [0, 1]": (
        lambda _: snellen.load_images((floats() - 0.5) / 0.25, labels(), value_range=(0, 1)),
        "leave the declared range",
    ),
    "a data set of normalised tensors that does not say so": (
        lambda _: audit(Colours(), Items(lambda image: (image - 0.5) / 0.25)),
        "no declared range",
    ),
    "a data set of normalised tensors with a wrong range": (
        lambda _: audit(Colours(), snellen.load_images(Items(lambda image: image * 3 - 1), value_range=(0, 1))),
        "leave the declared range",
    ),
    "a data set with random transforms": (
        lambda _: audit(Colours(), snellen.load_images(Items(torch.rand_like), value_range=(0, 1))),
        "another image each time",
    ),
    "images of several sizes for a model of unknown size": (
        lambda place: audit(Colours(), folder(place, size=lambda row: 16 + row % 2)),
        r"several sizes .*give \(model, transform\)",
    ),
    "sizes that differ beyond the first images": (
        lambda place: audit(snellen.load_classifier(Colours(), NAMES), folder(place, size=sized_later)),
        r"images of data are rejected, more than 5%.*give the model a preparation with a fixed size",
    ),
    "channels that may be either axis": (
        lambda _: audit(Colours(), (np.zeros((6, 3, 8, 3), np.uint8), [0, 1, 2] * 2)),
        "either axis may be the channels",
    ),
    "an alpha channel": (
        lambda _: audit(Colours(), (np.zeros((6, 8, 8, 4), np.uint8), [0, 1, 2] * 2)),
        "Drop an alpha channel",
    ),
    "labels that are numbered from one": (
        lambda _: audit(snellen.load_classifier(Colours(), NAMES), (pixels(), labels() + 1)),
        "has 4 numbered classes, the classifier 3",
    ),
    "labels of another number of images": (
        lambda _: audit(Colours(), (pixels(), labels()[:-1])),
        "59 labels for 60 images",
    ),
    "probabilities in place of labels": (
        lambda _: audit(Colours(), (pixels(), np.full((IMAGES, 3), 0.3))),
        r"labels of shape \(n, k\) are 0 or 1",
    ),
    "too few class names": (
        lambda _: audit(Colours(), (pixels(), labels()), class_names=NAMES[:2]),
        "3 outputs, but 2 class names came",
    ),
    "a class name twice": (
        lambda _: audit(Colours(), (pixels(), labels()), class_names=["red", "green", "red"]),
        "'red' occurs twice",
    ),
    "class names that are none of the folders": (
        lambda place: audit(Colours(), folder(place), class_names=["rot", "gruen", "himmel"]),
        "3 of 3 classes of data are none of the classifier's 3 classes",
    ),
    "broken files": (
        lambda place: audit(Colours(), folder(place, broken=20)),
        r"20 of 60 images of data are rejected, more than 5%: 20 × .* \(blue/02.png, .*, …\)\. Mend .*--allow-rejected",
    ),
    "DICOM files": (
        lambda place: audit(Colours(), folder(place, suffix="dcm")),
        "DICOM files are read as dicom:FOLDER",
    ),
    "a column that is not there": (
        lambda place: snellen.load_images(_table(place), columns={"image": "file", "label": "diagnosis"}),
        "column of .* 'diagnosis'",
    ),
    "a single sigmoid": (
        lambda _: audit(nn.Sequential(nn.Flatten(), nn.Linear(768, 1), nn.Sigmoid()), (pixels(), labels())),
        "one score per image",
    ),
    "weights that are not numbers": (
        lambda _: audit(Colours(scale=float("nan")), (pixels(), labels())),
        "NaN",
    ),
    "a transform that mirrors at random": (
        lambda place: audit((Colours(), _mirroring()), folder(place)),
        "cannot be translated",
    ),
    "a model for another size": (
        lambda _: audit(nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 3)), (pixels(), labels())),
        "fails on 16x16 images",
    ),
}


def _table(place):
    (place / "table.csv").write_text("file,dx\na.png,red\n")
    return place / "table.csv"


def _mirroring():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    return transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])


@pytest.mark.parametrize("wrong", ERRORS)
def test_it_is_an_error_that_names_the_cause(tmp_path, wrong):
    call, message = ERRORS[wrong]
    with pytest.raises((InputError, ModelError), match=message) as caught:
        call(tmp_path)
    assert isinstance(caught.value, SnellenError)


FINDINGS = {
    "outputs in another order": (
        lambda: audit(Colours(order=(2, 0, 1)), (pixels(), labels())),
        "Classes look permuted",
    ),
    "two names that changed places": (
        lambda: audit(Colours(), (pixels(), np.array(NAMES)[labels()]), class_names=["green", "red", "blue"]),
        "Classes look permuted: green ↔ red",
    ),
    "labels turned by one": (lambda: audit(Colours(), (pixels(), (labels() + 1) % 3)), "Classes look permuted"),
    "blue before red": (lambda: audit(Colours(), (pixels()[..., ::-1], labels())), "Classes look permuted"),
    "a model that wants bytes": (
        # It saturates where values are in [0, 1].
        lambda: audit(lambda images: torch.tensor([1.0, 0.0, 0.0]) + images.mean((2, 3)) // 50, (pixels(), labels())),
        "The classifier answers 0 for every image; check its preprocessing",
    ),
    "another normalisation": (
        lambda: audit(
            snellen.load_classifier(
                nn.Sequential(Colours(shift=torch.tensor([0.0, 0.1, 0.0])), nn.ReLU()),
                NAMES,
                preparation=snellen.Preprocessing(size=(16, 16)),
                normalization=snellen.Normalization((5.0,) * 3, (0.5,) * 3),
            ),
            (pixels(), labels()),
        ),
        "for every image; check its preprocessing",
    ),
}


@pytest.mark.parametrize("wrong", FINDINGS)
def test_it_is_the_first_finding(wrong):
    call, title = FINDINGS[wrong]
    report = call()
    assert report.findings, "nothing was found"
    assert title in report.findings[0].title
    assert report.findings[0].level == "severe"


def test_what_is_right_has_no_such_finding():
    for images in ((pixels(), labels()), snellen.load_images(floats(), labels(), value_range=(0, 1))):
        report = audit(Colours(), images)
        assert report.metrics["clean.accuracy"].value == 1.0
        assert not report.findings


def test_a_folder_sorts_its_classes_and_a_model_without_names_is_reported_as_such(tmp_path):
    report = audit(Colours(), folder(tmp_path))
    assert report.findings[0].kind == "class_order", "blue, green, red are the folders; red, green, blue the outputs"
    assert any("taken to be those of the images" in note for note in report.model["notes"])
    named = audit(Colours(), tmp_path / "data", class_names=NAMES)
    assert named.metrics["clean.accuracy"].value == 1.0
    assert not named.findings
