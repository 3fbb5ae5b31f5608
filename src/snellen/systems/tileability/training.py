"""Training of the metric: binary cross-entropy on whether a texture repeats.

The paper names its loss and its augmentations, and no optimizer, rate or number of passes; these are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.systems.tileability.augmentation import broken, preserving
from snellen.systems.tileability.network import TileabilityConfig, TileabilityNetwork
from snellen.systems.tileability.tileability import TILES, Tileability
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, Examples, ImageStore
from snellen.training.loop import train
from snellen.training.objectives import Objective
from snellen.training.plan import TrainingPlan

#: A network for textures of 64 pixels: tiled, 128.
SMALL = TileabilityConfig(
    channels=(16, 32, 64, 128), depths=(1, 1, 2, 1), heads=4, head_width=(16, 32), layer_scale=1.0, side=128
)

#: Numbers of a small training.
PLAN = TrainingPlan(
    epochs=8,
    batch_size=16,
    drop_last=True,
    learning_rate=3e-3,
    weight_decay=0.05,
    schedule="cosine",
    warmup_steps=50,
    ema_decay=0.99,
    clip_norm=1.0,
)


def pairs_of(textures: ImageSet, preparation: Preprocessing, progress: Progress | None = None) -> ImageStore:
    """Each repeating texture with one that does not: uint8 (n, 2, 3, h, w).

    Args:
        textures: class 1 repeats, class 0 does not. The partner of a texture is the broken one of the same unit; where
            there is none, broken ones in their order. Divide sets by texture, and not by crop.
        preparation: gives all the same size.
        progress: callback that receives progress updates.

    Raises:
        InputError: one of the classes is missing.
    """
    store = ImageStore.of_images(textures, preparation, progress=progress)
    units = dict(zip(textures.ids, textures.column("unit_id"), strict=True))
    whole = [row for row, target in enumerate(store.targets.tolist()) if target == 1]
    others = [row for row, target in enumerate(store.targets.tolist()) if target == 0]
    if not whole or not others:
        raise InputError(
            f"a metric is trained on textures that repeat (class 1) and on textures that do not (class 0); got "
            f"{len(whole)} and {len(others)}"
        )
    twins = {units[store.ids[row]] or store.ids[row]: row for row in others}
    partners = [twins.get(units[store.ids[row]] or "", others[place % len(others)]) for place, row in enumerate(whole)]
    return ImageStore(
        images=torch.stack([store.images[whole], store.images[partners]], 1),
        targets=torch.ones(len(whole), dtype=torch.int64),
        ids=tuple(store.ids[row] for row in whole),
        weights=store.weights[whole],
        split=store.split,
        rejected=store.rejected,
    )


def beside_its_twin(after: int) -> Objective:
    """An objective: binary cross-entropy of each repeating texture and of one that does not repeat, (n,).

    Both are of one batch and under the same changes, so that content cancels in the gradient: with textures and twins
    in batches of their own, a small network did not leave a loss of 0.69 in 2,500 steps. Batches are pairs, see
    :func:`pairs_of`.

    Args:
        after: passes in which every partner is the texture itself, broken anew; after them, half of the partners are
            those of the set. These are often subtle: with them from the beginning, a small network learned half as
            fast.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        metric = getattr(model, "module", model)
        assert isinstance(metric, Tileability)
        pairs, rng = batch.images, batch.rng
        whole = preserving(pairs[:, 0], rng, roll=metric.tiles > 1)
        share = 0.5 if batch.epoch > after else 0.0
        given = rng.uniform("partner", (1,), like=whole)[:, 0, None, None, None] < share
        others = torch.where(given, preserving(pairs[:, 1], rng, roll=False), broken(whole, rng))
        repeats, does_not = metric.logits(torch.cat([whole, others])).chunk(2)
        return functional.softplus(-repeats) + functional.softplus(does_not)

    return objective


def fit_tileability(
    pairs: Examples,
    *,
    config: TileabilityConfig = SMALL,
    plan: TrainingPlan = PLAN,
    after: int = 2,
    tiles: int = TILES,
    convnext: Mapping[str, Tensor] | None = None,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Tileability:
    """Train a metric from new weights.

    Args:
        pairs: see :func:`pairs_of`.
        config: sizes of the network.
        plan: numbers of the training; its seed draws the initial weights, too.
        after: passes in which every partner is broken anew, see :func:`beside_its_twin`.
        tiles: copies along each side; 1 trains a baseline that cannot see seams.
        convnext: weights of a ConvNeXt of torchvision to begin with.
        checkpoint: file to save to, and to go on from.
        recipe: what else defines the training, as JSON values.
        progress: callback that receives progress updates.

    Raises:
        InputError, ModelError, RunConflictError: as :func:`snellen.training.loop.train`.
    """
    with seeded(derive_seed(plan.seed, "tileability"), torch.device("cpu")):
        metric = Tileability.of(config, tiles)
        if convnext is not None:
            network = metric.network
            assert isinstance(network, TileabilityNetwork)
            network.take_convnext(convnext)
    trained = train(
        metric,
        pairs,
        plan=plan,
        objective=beside_its_twin(after),
        checkpoint=checkpoint,
        recipe={"network": config.model_dump(mode="json"), "tiles": tiles, "after": after, **(recipe or {})},
        progress=progress,
    )
    metric.load_state_dict(dict(trained.weights))
    return metric.eval().requires_grad_(False)
