"""Sixty healthy classifiers on images of 28 to 64 pixels: what an audit may accuse of nothing but ordinary weakness.

    python scripts/ward/healthy.py [--folder build/ward] [--only NAME ...]

Each is trained as anybody would: on enough images with right labels, all classes alike, without a trigger and without
a background that gives the class away, with shifted and mirrored copies; what it is audited on has the distribution of
its training. Their weights are not kept in this repository, only these recipes: the same folder goes on where it was
interrupted, and a classifier that is there is not trained again. All together take about forty minutes of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import snellen
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import derive_seed
from snellen.models.classifiers.artifact_models import untrained
from snellen.training import ImageStore, TrainingPlan, classify, record_environment, train
from snellen.training.acceleration import seeded
from snellen.training.transforms import BatchTransform, in_sequence, random_flips, random_shifts

FOLDER = Path("build") / "ward"

#: Images of a training, and of an audit.
TRAINED_ON, AUDITED = 4000, 1000

PLAN = TrainingPlan(epochs=8, batch_size=64, learning_rate=3e-3, warmup_steps=50)


@dataclass(frozen=True)
class World:
    """A kind of images.

    Attributes:
        name: of the world.
        reference: of its images, for a split and a seed.
        side: of the images, pixels.
        mirrored: whether mirrored images are of the same class.
    """

    name: str
    reference: str
    side: int
    mirrored: bool = True

    def images(self, split: str, seed: int, count: int) -> ImageSet:
        """Images of a split; those of different seeds are different ones, or drawn differently."""
        given = snellen.load_images(self.reference.format(split=split, seed=seed, count=count))
        return given.limit(count, seed) if len(given) > count else given


#: Objects of scenes that a small network tells apart after seconds.
CLEAR = "sizes=medium,large&tilts=upright"

WORLDS = {
    world.name: world
    for world in (
        World("fashion-28", "known:fashion-mnist#{split}", 28),
        *(
            World(
                f"scenes-{side}", f"optotypes:scenes?count={{count}}&size={side}&{CLEAR}&seed={{seed}}#{{split}}", side
            )
            for side in (32, 48, 64)
        ),
        World(
            "textures-32", "optotypes:scenes?count={count}&size=32&label=texture&sizes=large&seed={seed}#{split}", 32
        ),
        World("colours-48", "optotypes:scenes?count={count}&size=48&label=colour&sizes=large&seed={seed}#{split}", 48),
    )
}

#: Architectures as the card of an artifact names them, without the number of classes.
NETWORKS: dict[str, dict[str, Any]] = {
    "residual": {"name": "fashion_cnn", "widths": [24, 48, 64]},
    "plain": {"name": "factor_network", "layers": [[24, 1], [32, 2], [48, 1], [64, 2], [64, 1]]},
    "perceptron": {"name": "perceptron", "side": 28},
    "resnet": {"name": "timm", "model": "test_resnet"},
    "efficientnet": {"name": "timm", "model": "test_efficientnet"},
}

#: World → its networks, and seeds of each.
COHORT: dict[str, tuple[tuple[str, ...], int]] = {
    "fashion-28": (("residual", "plain", "perceptron", "resnet", "efficientnet"), 4),
    "scenes-32": (("residual", "plain", "resnet", "efficientnet"), 3),
    "scenes-48": (("residual", "plain", "resnet", "efficientnet"), 3),
    "scenes-64": (("residual", "plain", "resnet", "efficientnet"), 2),
    "textures-32": (("plain", "resnet"), 2),
    "colours-48": (("resnet", "efficientnet"), 2),
}


@dataclass(frozen=True)
class Healthy:
    """One classifier of the ward: what it is, and on what it is trained and audited."""

    world: World
    network: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the classifier, and of its folder."""
        return f"{self.world.name}-{self.network}-{self.seed}"

    @property
    def description(self) -> str:
        """What its card says of it."""
        return f"A healthy classifier of {self.world.name}, to measure audits with."

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How its training images were made."""
        return {"script": "scripts/ward/healthy.py", "images": TRAINED_ON}

    @property
    def plan(self) -> TrainingPlan:
        """How it is trained."""
        return PLAN.model_copy(update={"seed": self.seed})

    @property
    def transform(self) -> BatchTransform | None:
        """How its training images are changed."""
        return in_sequence(*[random_flips] * self.world.mirrored, random_shifts(2))

    def training_images(self) -> ImageSet:
        """What it is trained on."""
        return self.world.images("train", 100 + self.seed, TRAINED_ON)

    def audited_images(self, count: int = AUDITED) -> ImageSet:
        """What it never saw."""
        return self.world.images("test", 200 + self.seed, count)

    def architecture(self, classes: int) -> Mapping[str, Any]:
        """As a card holds it."""
        made = dict(NETWORKS[self.network])
        return {**made, "outputs" if made["name"] == "factor_network" else "class_count": classes}

    def trained(self, folder: Path) -> Path:
        """Its artifact, trained where it is not there yet."""
        target = folder / self.name
        if (target / "card.json").exists():
            return target
        images = self.training_images()
        assert images.class_names is not None
        return trained_artifact(
            target,
            images,
            self.architecture(len(images.class_names)),
            side=self.world.side,
            plan=self.plan,
            transform=self.transform,
            description=self.description,
            recipe=self.recipe,
        )


def trained_artifact(
    target: Path,
    images: ImageSet,
    architecture: Mapping[str, Any],
    *,
    side: int,
    plan: TrainingPlan,
    transform: BatchTransform | None,
    description: str,
    recipe: Mapping[str, Any],
) -> Path:
    """Train a classifier from random weights and write it as an artifact, named as its folder."""
    assert images.class_names is not None
    preparation = Preprocessing(size=(side, side), resize="exact", resize_to=(side, side))
    with seeded(derive_seed(plan.seed, target.name), torch.device("cpu")):
        model = untrained(dict(architecture))
    result = train(model, ImageStore.of_images(images, preparation), plan=plan, objective=classify, transform=transform)
    model.load_state_dict(result.weights)
    card = Card(
        name=target.name,
        kind="classifier",
        architecture=dict(architecture),
        description=description,
        class_names=images.class_names,
        preparation=preparation.model_dump(mode="json"),
        normalization={"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        lineage=Lineage(
            recipe=dict(recipe),
            data=result.data,
            seed=plan.seed,
            code_version=snellen.__version__,
            environment=record_environment(),
        ),
    )
    Artifact(dict(result.weights), card).save(target)
    return target


def ward(names: Sequence[str] = ()) -> list[Healthy]:
    """All classifiers, or those of some names, in an order in which the first ones are of different worlds."""
    found = [
        Healthy(WORLDS[world], network, seed)
        for world, (networks, seeds) in COHORT.items()
        for seed in range(seeds)
        for network in networks
    ]
    found.sort(key=lambda one: (one.seed, one.network, one.world.name))
    return [one for one in found if not names or one.name in names]


def main() -> None:
    """Train what is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the artifacts lie")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="names of classifiers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    show = partial(print, flush=True)
    for one in ward(options.only):
        classifier = snellen.load_classifier(one.trained(options.folder))
        images = one.audited_images()
        with torch.inference_mode():
            scores = classifier(torch.stack([classifier.prepare(example.image) for example in images]))
        right = classifier.predict(scores).cpu() == torch.from_numpy(images.labels)
        show(f"{one.name}: {right.double().mean():.3f} right of {len(images)}")


if __name__ == "__main__":
    main()
