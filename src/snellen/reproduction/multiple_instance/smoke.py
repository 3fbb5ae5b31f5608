"""The smoke run: two drawn slides, written and read as CAMELYON16 lies, and vectors of the shape of a ResNet-18's."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from snellen.core.errors import import_extra
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.data.files.whole_slides.loading import load_reference
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.slides.writing import write_slide
from snellen.models.encoders.feature_store import frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.reproduction.multiple_instance.ways import Task
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.training.acceleration import seeded

#: Small slides, each of at least a few tiles of tissue.
WORLD = Slides(tiles_across=8, tile_size=32, positive_rate=0.5, count=4)


def smoke_task(seed: int, progress: Progress) -> Task:
    """One negative and one positive slide, which train and test; for running every stage, not for any figure.

    Raises:
        MissingExtraError: the extras snellen[wsi] and snellen[models] are needed.
    """
    models = import_extra("torchvision.models", "models", "the smoke run of system 36")
    world = WORLD.model_copy(update={"seed": seed})
    with tempfile.TemporaryDirectory() as folder:
        for label, name in ((0, "normal"), (1, "tumor")):
            number = next(index for index in range(world.count) if world.slide(index, split="train").label == label)
            place = Path(folder) / "training" / name / f"{name}_001.tif"
            place.parent.mkdir(parents=True)
            write_slide(world.slide(number, split="train"), place)
        tiles = load_reference(f"{folder}?tile={world.tile_size}&mpp=1.0&classes=normal,tumor", split="train")
        with seeded(seed, torch.device("cpu")):
            network = models.resnet18(weights=None)
        network.fc = nn.Identity()
        size = (world.tile_size, world.tile_size)
        encoder = FrozenEncoder(
            name="resnet18 of random weights", network=network, preparation=Preprocessing(size=size)
        )
        features = frozen_features(tiles, encoder, progress=progress)
        instances = BagInstances.of(tiles, features)
        truth = tiles.labels[features.positions]
        close = getattr(tiles.source, "close", None)
        if close is not None:
            close()
    return Task(instances=instances, val=None, test=instances, train_truth=truth, test_truth=truth)
