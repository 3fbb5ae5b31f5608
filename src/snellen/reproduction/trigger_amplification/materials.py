"""What the experiment of system 25 is made of: scenes of ten shapes, small networks, the recipes of all trainings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.images import Split
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.data.worlds.planting.triggers import Trigger
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.sampler import Sampler
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.class_denoising import fit_class_generator, new_class_generator
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Side of the images, pixels, and the ten classes.
SIDE = 16
CLASSES: tuple[Shape, ...] = get_args(Shape)

ARCHITECTURE = {
    "sample_size": SIDE,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [16, 32, 48],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"] * 3,
    "up_block_types": ["UpBlock2D"] * 3,
    "norm_num_groups": 8,
    "add_attention": False,
}
SCHEDULE = {
    "num_train_timesteps": 200,
    "beta_schedule": "squaredcos_cap_v2",
    "clip_sample": False,
    "prediction_type": "v_prediction",
}

#: Recipe of the clean base, and of all further trainings: poisoned ones and their clean control.
BASE = TrainingPlan(
    epochs=5,
    batch_size=64,
    drop_last=True,
    learning_rate=2e-3,
    second_momentum=0.99,
    schedule="constant",
    warmup_steps=100,
    clip_norm=1.0,
)
FURTHER = BASE.model_copy(update={"epochs": 8, "schedule": "cosine", "warmup_steps": 20, "ema_decay": 0.99})

#: Recipe of the judges, and of the classifiers whose training sets are compared.
JUDGE = TrainingPlan(
    epochs=6, batch_size=64, learning_rate=2e-3, schedule="one-cycle", warmup_steps=100, weight_decay=1e-3
)
COMPARED = JUDGE.model_copy(update={"epochs": 12})

#: Recipes of the network beside the generator as a classifier: as many passes over the same images as the generator.
EQUAL_FIRST, EQUAL = (JUDGE.model_copy(update={"epochs": plan.epochs}) for plan in (BASE, FURTHER))


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        images: N, and clean images of the base; also of each judge.
        test: held-out images.
        drawn: generations of the target class.
        compared: images of each training set of classifiers, and generations of all classes.
        steps: of DDIM.
        scored: images of each view that detectors score.
        races: images of the diffusion classifier, as many stamped.
        draws: of its noise.
        masks: steps of the search for masks.
        epochs: factor of all epochs.
    """

    images: int
    test: int
    drawn: int
    compared: int
    steps: int
    scored: int
    races: int
    draws: int
    masks: int
    epochs: float = 1.0

    def plan(self, plan: TrainingPlan, seed: int) -> TrainingPlan:
        """A recipe at this size."""
        epochs = max(round(plan.epochs * self.epochs), 1)
        return plan.model_copy(
            update={"epochs": epochs, "seed": seed, **({} if self.epochs == 1 else {"warmup_steps": 1})}
        )


SMALL = Size(
    images=5000, test=1000, drawn=400, compared=1000, steps=20, scored=400, races=60, draws=16, masks=40
)  # fmt: skip
SMOKE = Size(
    images=200, test=80, drawn=6, compared=100, steps=2, scored=30, races=3, draws=2, masks=2, epochs=0.1
)  # fmt: skip


def world(split: Split, count: int, *seed: int | str) -> ImageStore:
    """Scenes with one shape: six colours, free place on grey."""
    drawn = WORLD.model_copy(
        update={
            "size": SIDE,
            "shapes": CLASSES,
            "textures": ("plain",),
            "sizes": ("large",),
            "backgrounds": ("grey",),
            "nuisance_share": 0.0,
            "count": count,
            "seed": derive_seed(*seed) % 2**31,
        }
    )
    return ImageStore.of_images(drawn.images(split=split), Preprocessing(size=(SIDE, SIDE)))


class SmallNetwork(nn.Module):
    """Four convolutions and a linear layer: images (n, 3, 16, 16) in [0, 1] → scores (n, k)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths, strides = (3, 24, 32, 48, 64), (1, 2, 1, 2)
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(64 * (SIDE // 4) ** 2, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores."""
        scores: Tensor = self.head(self.body(images * 2 - 1))
        return scores


def trained(
    store: ImageStore, plan: TrainingPlan, names: tuple[str, ...], what: str, *, start: Classifier | None = None
) -> Classifier:
    """A small network, trained on a store; from fresh weights, or from those of another one."""
    with seeded(derive_seed(plan.seed, what), torch.device("cpu")):
        network = SmallNetwork(len(names))
    if start is not None and start.module is not None:
        network.load_state_dict(start.module.state_dict())
    network.load_state_dict(dict(train(network, store, plan=plan).weights))
    return Classifier(
        network, class_names=names, preparation=Preprocessing(size=(SIDE, SIDE)), name=what, feature_layer="body"
    )


def scores_of(classifier: Classifier, images: Tensor) -> Tensor:
    """Scores (n, k) of byte or float images (n, 3, h, w)."""
    shown = to_unit(images) if images.dtype == torch.uint8 else images
    with torch.no_grad():
        return torch.cat([classifier(part) for part in shown.split(250)])


def trigger_judge(store: ImageStore, trigger: Trigger, plan: TrainingPlan) -> Classifier:
    """Tr: half of clean images get the trigger; the other half does not."""
    hit = torch.arange(len(store)) % 2 == 1
    images = store.images.clone()
    images[hit] = trigger.stamp(store.images[hit]).images
    return trained(ImageStore.of_tensors(images, hit.long()), plan, ("clean", "trigger"), "trigger judge")


def base_pool(size: Size, seed: int) -> ImageStore:
    """Clean images of the base, which are in no other set."""
    return world("train", size.images, seed, "base")


def base_generator(pool: ImageStore, size: Size, seed: int, progress: Progress) -> Generator:
    """A generator that was trained on clean images."""
    fresh = new_class_generator(ARCHITECTURE, SCHEDULE, CLASSES, seed=seed)
    return fit_class_generator(fresh, pool, plan=size.plan(BASE, seed), progress=progress)


def drawn(generator: Generator, classes: list[int], *, scale: float, steps: int, seed: int) -> Tensor:
    """Generated images as bytes, (n, 3, h, w); the n-th has the same first noise for every generator and scale."""
    seeds = [derive_seed(seed, "drawn", at) % 2**31 for at in range(len(classes))]
    sampler = Sampler(generator, steps=steps)
    return generate(sampler, seeds, classes=classes, guidance_scale=scale, batch_size=125).bytes()


def rows_of(store: ImageStore, rows: Tensor) -> ImageStore:
    """Some examples."""
    return ImageStore.of_tensors(store.images[rows], store.targets[rows])


def some(count: int, of: int, rng: Randomness, stream: str) -> Tensor:
    """Positions drawn without replacement, int64 (count,)."""
    return torch.randperm(of, generator=rng.generator(stream))[:count]
