"""Small sets with a planted weakness, and networks that were trained into it: what treatments are tested on."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.methods.treatments.treatment import Patient
from snellen.training.batches import ImageStore
from snellen.training.evaluation import score_examples
from snellen.training.fine_tuning import TuningPlan
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

SIDE, OBJECT = 16, 7
NAMES = ("dark", "light")
GROUNDS = np.array([(0.15, 0.5, 0.15), (0.15, 0.15, 0.5)])
SEEN = Preprocessing(size=(SIDE, SIDE))

#: Fewer and larger steps than usual, for small networks and few images.
LONG = TuningPlan(epochs=16, batch_size=32, rate=0.02)


class Pictures:
    """A darker or lighter square before green or blue ground."""

    def __init__(self, classes, grounds, seed, contrast, corner=None, noise=0.05, light=(1.0, 0.0)):
        self.classes, self.grounds, self.seed, self.contrast, self.corner = classes, grounds, seed, contrast, corner
        self.noise, self.light = noise, light

    def _drawn(self, index):
        rng = np.random.default_rng((self.seed, index))
        place = rng.integers(0, SIDE - OBJECT + 1, 2) if self.corner is None else np.array(self.corner)
        return rng, tuple(slice(start, start + OBJECT) for start in place.tolist())

    def read(self, index):
        rng, part = self._drawn(index)
        pixels = np.broadcast_to(GROUNDS[self.grounds[index]], (SIDE, SIDE, 3)).copy()
        pixels[part] = 0.5 + self.contrast * (self.classes[index] - 0.5)
        noisy = (pixels + rng.normal(0, self.noise, pixels.shape)) * self.light[0] + self.light[1]
        return Image.fromarray((255 * noisy.clip(0, 1)).round().astype(np.uint8))

    def read_mask(self, index, path):
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        mask[self._drawn(index)[1]] = 255
        return Image.fromarray(mask)

    def content_hash(self, index):
        drawn = self.classes[index], self.grounds[index]
        return f"{self.seed} {index} {drawn} {self.contrast} {self.corner} {self.noise} {self.light}"


def pictures(
    classes: Sequence[int],
    grounds: Sequence[int] | None = None,
    *,
    labels: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    masks: bool = False,
    seed: int = 0,
    contrast: float = 0.5,
    corner: tuple[int, int] | None = None,
    noise: float = 0.05,
    light: tuple[float, float] = (1.0, 0.0),
) -> ImageSet:
    """Images of classes before grounds (none: drawn at random); labels are the classes unless they are given."""
    count = len(classes)
    drawn = np.random.default_rng(seed).integers(0, 2, count).tolist() if grounds is None else list(grounds)
    columns = {"id": [f"{seed}-{row}" for row in range(count)], "label": list(classes if labels is None else labels)}
    if masks:
        columns["mask"] = ["there"] * count
    if groups is not None:
        columns["group"] = list(groups)
    shown = Pictures(list(classes), drawn, seed, contrast, corner, noise, light)
    return ImageSet(shown, pa.table(columns), NAMES, name="pictures")


def network(*, pooled: bool = False, seed: int = 0) -> nn.Sequential:
    """Two scores of an image, by three small layers; ``pooled``: wherever the object is."""
    torch.manual_seed(seed)
    side = 1 if pooled else 4
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(side),
        nn.Flatten(),
        nn.Linear(16 * side * side, 2),
    )


def trained(images: ImageSet, *, epochs: int = 6, pooled: bool = False) -> Classifier:
    """A network that was trained on images as they are labelled."""
    model = network(pooled=pooled)
    plan = TrainingPlan(epochs=epochs, batch_size=32, learning_rate=0.01, seed=0)
    model.load_state_dict(train(model, ImageStore.of_images(images, SEEN), plan=plan).weights)
    return Classifier(model.eval(), class_names=NAMES, preparation=SEEN, name="planted")


def patient(classifier: Classifier, images: ImageSet | None, val: ImageSet, *findings: Finding, **known) -> Patient:
    """With images as the verb prepares them."""
    store = None if images is None else ImageStore.of_images(images, SEEN)
    return Patient(classifier, findings, ImageStore.of_images(val, SEEN), store, images, **known)


def accuracy(model: nn.Module | Classifier, images: ImageSet) -> float:
    """Share of right decisions."""
    scores, labels = score_examples(model if isinstance(model, nn.Module) else model.module, store(images))
    return float((scores.argmax(1) == labels).double().mean())


def store(images: ImageSet) -> ImageStore:
    """Prepared images."""
    return ImageStore.of_images(images, SEEN)
