"""Train the second classifiers: what guides a generator must not judge it, so there are two for each kind of image.

    python scripts/embedded/train_second_classifiers.py scenes|fashion [--resume] [--threads N] [--first-steps]

``scene-cnn`` tells the shapes of the small world and may guide, where ``scene-judge`` judges. ``fashion-judge`` judges
Fashion-MNIST, where ``fashion-cnn`` guides: another architecture, other weights, and trained apart.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scene_examples import SceneExamples
from scene_world import SHAPES, SIZE, WORLD, scenes
from torch import Tensor

from runs import fit, options, write_record
from snellen import __version__
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import derive_seed
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.data.worlds.optotypes.scene import Scene
from snellen.models.classifiers.factor_judge import FactorNetwork
from snellen.training import TrainingPlan, accuracy, classify
from snellen.training.acceleration import seeded
from snellen.training.batches import Examples

sys.path.insert(0, str(Path(__file__).parents[1]))
from build_fashion_sample import SOURCE
from train_fashion_cnn import read_split

LAYERS = {
    "scene-cnn": [[32, 1], [64, 2], [64, 1], [96, 2], [96, 1]],
    "fashion-judge": [[32, 1], [32, 2], [64, 1], [64, 2], [128, 1], [128, 2]],
}
PLANS = {
    "scene-cnn": TrainingPlan(
        epochs=4, batch_size=64, learning_rate=2e-3, schedule="one-cycle", warmup_steps=100, mixed_precision="bf16"
    ),
    "fashion-judge": TrainingPlan(
        epochs=5, batch_size=128, learning_rate=3e-3, schedule="one-cycle", warmup_steps=500, mixed_precision="bf16"
    ),
}
DESCRIPTIONS = {
    "scene-cnn": "Tells the six shapes of the small world of the embedded generator; it may guide.",
    "fashion-judge": "Second classifier for Fashion-MNIST (28-pixel thumbnails); judges what fashion-cnn guides.",
}


def shapes_of(drawn: Sequence[Scene]) -> Tensor:
    """Number of each scene's shape among those of the world, int64 (n,)."""
    return torch.tensor([SHAPES.index(scene.objects[0].shape) for scene in drawn])


def scene_sets() -> tuple[Examples, Examples]:
    """Scenes to train on, and others."""
    drawn, others = scenes(WORLD, "train", count=16_000, seen=True), scenes(WORLD, "test", count=2000, seen=False)
    return (
        SceneExamples(drawn, SIZE, shapes_of(drawn)),
        SceneExamples(others, SIZE, shapes_of(others), split="test"),
    )


def fashion_sets() -> tuple[Examples, Examples]:
    """The training images of Fashion-MNIST, and the test images, which are looked at once."""
    return read_split(SOURCE, "train", "train"), read_split(SOURCE, "t10k", "test")


def main() -> None:
    """Train one, measure, write."""
    which = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
    if which not in ("scenes", "fashion"):
        raise SystemExit("error: say which one is trained: scenes or fashion")
    name, classes, size = ("scene-cnn", SHAPES, SIZE) if which == "scenes" else ("fashion-judge", FASHION_CLASSES, 28)
    given, plan = options(__doc__ or ""), PLANS[name]
    examples, test = scene_sets() if which == "scenes" else fashion_sets()
    with seeded(derive_seed(plan.seed, name), torch.device("cpu")):
        model = FactorNetwork(len(classes), LAYERS[name])
    recipe: dict[str, Any] = {"script": "scripts/embedded/train_second_classifiers.py", "layers": LAYERS[name]}
    trained, record = fit(given, name, "classifier", model, examples, plan=plan, objective=classify, recipe=recipe)
    stored = {key: t.half() if t.is_floating_point() else t for key, t in trained.weights.items()}
    model.load_state_dict({key: t.float() if t.is_floating_point() else t for key, t in stored.items()})
    card = Card(
        name=name,
        kind="classifier",
        architecture={"name": "factor_network", "outputs": len(classes), "layers": LAYERS[name]},
        description=DESCRIPTIONS[name],
        class_names=classes,
        preparation=Preprocessing(size=(size, size), resize="exact", resize_to=(size, size)).model_dump(mode="json"),
        normalization={"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        metrics={"test.accuracy": round(accuracy(model.eval(), test)["accuracy"], 4)},
        licence="Apache-2.0",
        lineage=Lineage(
            recipe=recipe,
            data=trained.data,
            seed=plan.seed,
            code_version=__version__,
            environment=record["environment"],
        ),
    )
    Artifact(stored, card).save(given.assets / name)
    write_record(given.assets / name, "classifier", record)
    print(card.metrics)


if __name__ == "__main__":
    main()
