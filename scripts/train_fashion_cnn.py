"""Train the embedded default classifier on Fashion-MNIST (28-pixel product thumbnails) and write its artifact.

    python scripts/train_fashion_cnn.py [--source FOLDER] [--target FOLDER] [--checkpoint FILE] [--resume]

The 60,000 training images are split into 55,000 to train and 5,000 to choose the epoch; the 10,000 test images are
looked at once, at the end, with the half-precision weights that are written.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from build_fashion_sample import SOURCE, read_idx
from console import Console
from torch import Tensor

from snellen import __version__
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.images import Split
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import derive_seed
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.training import ImageStore, TrainingPlan, accuracy, cross_entropy, on_scores, record_environment, train
from snellen.training.acceleration import seeded
from snellen.training.transforms import in_sequence, random_flips, random_shifts

TARGET = Path(__file__).parents[1] / "src" / "snellen" / "assets" / "fashion-cnn"
CHECKPOINT = Path("build") / "fashion-cnn" / "training.safetensors"
VAL_COUNT = 5000
LABEL_SMOOTHING = 0.05
SHIFT = 2
ARCHITECTURE = {"name": "fashion_cnn", "widths": [32, 96, 128], "class_count": 10}
DROPOUT = 0.1

PLAN = TrainingPlan(
    epochs=36,
    batch_size=128,
    drop_last=True,
    optimizer="adamw",
    learning_rate=4e-3,
    weight_decay=0.05,
    schedule="one-cycle",
    warmup_steps=3000,
    ema_decay=0.999,
    channels_last=True,
    seed=0,
)
PREPARATION = Preprocessing(size=(28, 28), resize="shorter", resize_to=(28, 28))


def read_split(source: Path, part: str, split: Split | None) -> ImageStore:
    """Read images and labels of "train" or "t10k" as prepared images: grey bytes in three equal channels."""
    images = torch.from_numpy(read_idx(source / f"{part}-images-idx3-ubyte.gz").copy())
    labels = torch.from_numpy(read_idx(source / f"{part}-labels-idx1-ubyte.gz").copy()).long()
    ids = [f"{part}-{position:05d}" for position in range(len(images))]
    return ImageStore.of_tensors(images[:, None].expand(-1, 3, -1, -1), labels, ids=ids, split=split)


def take(store: ImageStore, positions: Tensor, split: Split) -> ImageStore:
    """Some examples of a store, in their order."""
    chosen = positions.sort().values
    ids = [store.ids[position] for position in chosen.tolist()]
    return ImageStore.of_tensors(store.images[chosen], store.targets[chosen], ids=ids, split=split)


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the idx.gz files")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder of the artifact")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="file to save the training to")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--threads", type=int, default=2, help="intra-op threads; part of the record")
    options = parser.parse_args()
    if options.checkpoint.exists() and not options.resume:
        raise SystemExit(f"{options.checkpoint} exists: go on with --resume, or delete it")
    torch.set_num_threads(options.threads)

    everything = read_split(options.source, "train", None)
    generator = torch.Generator().manual_seed(derive_seed(PLAN.seed, "fashion-mnist", "split"))
    order = torch.randperm(len(everything), generator=generator)
    examples, val = take(everything, order[VAL_COUNT:], "train"), take(everything, order[:VAL_COUNT], "val")

    arguments = {name: value for name, value in ARCHITECTURE.items() if name != "name"}
    with seeded(derive_seed(PLAN.seed, "fashion-mnist", "initial weights"), torch.device("cpu")):
        model = FashionCNN(**arguments, dropout=DROPOUT)
    recipe = {
        "method": "scripts/train_fashion_cnn.py",
        "plan": PLAN.model_dump(mode="json"),
        "objective": {"name": "cross_entropy", "label_smoothing": LABEL_SMOOTHING},
        "transform": ["random_flips", {"name": "random_shifts", "pixels": SHIFT}],
        "dropout": DROPOUT,
        "images": {"train": len(examples), "val": len(val)},
    }
    trained = train(
        model,
        examples,
        plan=PLAN,
        objective=on_scores(partial(cross_entropy, label_smoothing=LABEL_SMOOTHING)),
        transform=in_sequence(random_flips, random_shifts(SHIFT)),
        val=val,
        checkpoint=options.checkpoint,
        recipe=recipe,
        progress=Console(),
    )
    for row in trained.history:
        print({name: round(value, 5) for name, value in row.items()})

    stored = {name: t.half() if t.is_floating_point() else t for name, t in trained.weights.items()}
    shipped = FashionCNN(**arguments)
    shipped.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in stored.items()})
    shipped.eval()
    metrics = {
        "test.accuracy": round(accuracy(shipped, read_split(options.source, "t10k", "test"))["accuracy"], 4),
        "val.accuracy": round(accuracy(shipped, val)["accuracy"], 4),
    }
    card = Card(
        name="fashion-cnn",
        kind="classifier",
        architecture=ARCHITECTURE,
        description=(
            "Small CNN for 28-pixel product thumbnails (Fashion-MNIST). Weights are stored in half precision and run "
            "in single precision. test.accuracy: all 10,000 test images, looked at once; val.accuracy: the 5,000 "
            "training images on which the epoch was chosen."
        ),
        class_names=FASHION_CLASSES,
        preparation=PREPARATION.model_dump(mode="json"),
        normalization={"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        metrics=metrics,
        licence="Apache-2.0",
        lineage=Lineage(
            recipe=recipe,
            data=trained.data,
            seed=PLAN.seed,
            code_version=__version__,
            environment=record_environment(),
        ),
    )
    Artifact(stored, card).save(options.target)
    print(f"epoch {trained.best_epoch} of {PLAN.epochs}: {metrics}; written to {options.target}")


if __name__ == "__main__":
    main()
