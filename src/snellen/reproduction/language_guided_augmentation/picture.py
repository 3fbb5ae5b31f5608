"""The picture of decisions that lean on a background: images, their edits and their controls.

A small network is trained on stars on water and rings on sand; one image in ten has the other background. It takes
about 20 seconds of one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut, ObjectShortcut
from snellen.reproduction.language_guided_augmentation.experiment import CLASSES as SHOWN_CLASSES
from snellen.reproduction.language_guided_augmentation.experiment import SMALL, Experiment
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.runs.picture_grid import picture_grid
from snellen.systems.language_guided_augmentation.augmenting import teachable, write_edits
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.discovery import Discovery, EditRow

SIDE, CLASSES = 64, ("star", "ring")
#: Images that are trained on, and that are edited.
TRAINED, EXAMINED = 500, 60
#: Flips of each class in the picture.
SHOWN = 3
#: Images of a row in the picture of words.
ACROSS = 10


def planted(split: Split, count: int) -> ImageSet:
    """Stars on water and rings on sand, nine of ten; a small white or purple circle that follows nothing."""
    images = Scenes(count=count, size=SIDE, shapes=CLASSES, sizes=("small", "medium"), seed=1).images(split=split)
    ground = BackgroundShortcut(backgrounds=("water", "sand"), strength=0.9, touch_test=True)
    beside = ObjectShortcut(colours=("white", "purple"), correlation="neutral", radius=0.2, touch_test=True)
    return beside.plant(ground.plant(images, rng=Randomness(0)), rng=Randomness(1))


def trained(images: ImageSet, *, epochs: int = 4) -> Classifier:
    """A small network that was trained on the images."""
    preparation = Preprocessing(size=(SIDE, SIDE))
    pixels = torch.stack([to_unit(preparation.pixels(images.read(row))) for row in range(len(images))])
    labels = torch.from_numpy(images.labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = narrow_network(len(CLASSES))
        optimiser = torch.optim.Adam(network.parameters(), 2e-3)
        for _ in range(epochs):
            for part in torch.randperm(len(pixels)).split(32):
                optimiser.zero_grad()
                functional.cross_entropy(network(pixels[part]), labels[part]).backward()
                optimiser.step()
    return Classifier(network.eval(), class_names=CLASSES, preparation=preparation, name="small network")


def grid(discovery: Discovery, rows: Sequence[EditRow], images: ImageSet) -> Image.Image:
    """A column for each edit: the image, the image without the phrase, and the control.

    Args:
        discovery: made the edits.
        rows: edits that flip a decision, and whose controls do not.
        images: the set.
    """
    places = {key: place for place, key in enumerate(images.ids)}
    kinds: tuple[list[Tensor], ...] = ([], [], [])
    for row in rows:
        made = discovery.again(row)
        assert made.image is not None
        assert made.control is not None
        shown = to_unit(Preprocessing().pixels(images.read(places[row.example_id])))
        for kind, image in zip(kinds, (shown, made.image, made.control), strict=True):
            kind.append((image * 255).round().byte())
    words = [", ".join(CLASSES[decision or 0] for decision in of) for of in zip(*_decisions(rows), strict=True)]
    texts = ("the image", "edited", "control: the same background, drawn anew")
    lines = [
        (pictures, f"{text}; decided as {names}") for pictures, text, names in zip(kinds, texts, words, strict=True)
    ]
    return picture_grid(
        "Decisions that lean on the background", [f"{row.phrase} to {row.alternative}" for row in rows], lines
    )


def _decisions(rows: Sequence[EditRow]) -> list[tuple[int, int | None, int | None]]:
    return [(row.label, row.after, row.control) for row in rows]


def draw(root: Path, target: Path) -> str:
    """Train, examine and draw; returns the ranking for the text of the page."""
    classifier, images, rng = trained(planted("train", TRAINED)), planted("test", EXAMINED), Randomness(0)
    preparation = classifier.preparation
    pixels = torch.stack([to_unit(preparation.pixels(images.read(row))) for row in range(len(images))])
    with torch.no_grad():
        decided = classifier.predict(classifier(pixels))
    right = (decided == torch.from_numpy(images.labels)).nonzero().flatten().tolist()
    labels = [int(images.labels[row]) for row in right]
    found = Shortcuts().examined(images, right, labels, classifier, rng)
    discovery, leans = found.discovery, found.leans
    flips = [of[0].shown[:SHOWN] for of in leans.values()]
    grid(discovery, [row for of in flips for row in of], images).save(target, "WEBP", lossless=True)
    return "\n".join(
        f"{CLASSES[one.label]}: {one.phrase}, {one.images} images, {one.share():.0%} flip, control "
        f"{one.share(control=True):.0%}, beyond {one.lower:.2f}, score {one.score:.2f}"
        for of in leans.values()
        for one in of
    )


def draw_words(root: Path, target: Path) -> None:
    """Edits that taught a word, images from the word, and images from the name: seed 0 of the experiment.

    It takes about a minute and a half of one core.
    """
    with tempfile.TemporaryDirectory() as scratch:
        experiment = Experiment(replace(SMALL, made=ACROSS), 0, Path(scratch), Silent())
        found = experiment.looked(experiment.student(experiment.train))
        edits = write_edits(found, Path(scratch) / "edits", {})
        assert edits is not None, "the student of seed 0 leans on the background"
        taught, few = teachable(edits, SHOWN_CLASSES, "generated from their names")
        assert taught is not None, "enough edits flip its decisions"
        made, plain = experiment.both(taught, few)
        sets = {"edits that change decisions": experiment.bare(edits), "from the word": made, "from the name": plain}
        lines = []
        for label, name in enumerate(SHOWN_CLASSES):
            for text, images in sets.items():
                store = experiment.store(images)
                lines.append((list(store.images[store.targets == label][:ACROSS]), f"{name}: {text}"))
        picture_grid("What a generator learns from edits", [""] * ACROSS, lines).save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"shortcuts-flips": draw, "shortcuts-words": draw_words}
