"""System 36, INS: an instance classifier learnt from labels of bags, and whether it finds what attention does not.

Two worlds of bags of 100 instances, at five shares of positive instances in positive bags; frozen vectors of an encoder
that never saw the labels; every way with the same vectors and hidden layer, trained on each instance as often, at the
one of two learning rates that the validation bags choose.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snellen.core.errors import InputError
from snellen.core.images import Split
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.models.encoders.head_on_encoder import Standardise, encoder_at
from snellen.reproduction.multiple_instance.materials import RATES, WORLDS, Material, Sizes, material
from snellen.reproduction.multiple_instance.smoke import smoke_task
from snellen.reproduction.multiple_instance.ways import ABLATIONS, RIVALS, Budget, Task, measured
from snellen.systems.multiple_instance.bag_pooling import PLAN as BAG_PLAN
from snellen.systems.multiple_instance.instance_training import PLAN
from snellen.systems.multiple_instance.settings import InstanceSettings

#: Of the vectors: an ImageNet network, shown 64 pixels, its fifth stage, averaged over places.
ENCODER, LAYER, SIDE = "bundled:efficientnet-lite0", "blocks.4", 64

#: Share of positive instances at which learning rates are chosen, and oracle and ablations are measured.
MIDDLE = 0.1

#: Heads that weigh instances by more than their own score.
ATTENDING = ("attention", "clustering_attention", "dual_stream", "transformer")

SIZES = Sizes()
#: Of instance-level learning, which from the sixth on also goes through all bags, and of the other ways, whose heads so
#: are trained on each instance as often, on average over positive and negative bags.
EPOCHS, RIVAL_EPOCHS = 20, 33
SMALL = Budget(
    width=128,
    settings=InstanceSettings(warmup_epochs=4, bags_from=6, queue=1024, projection=64),
    instance_plan=PLAN.model_copy(update={"epochs": EPOCHS}),
    label_plan=BAG_PLAN.model_copy(update={"epochs": RIVAL_EPOCHS, "batch_size": 64}),
    bag_plan=BAG_PLAN.model_copy(update={"epochs": RIVAL_EPOCHS}),
    instance_rates=(0.003, 0.01),
    rates=(2e-4, 1e-3),
)
SMOKE = Budget(
    width=16,
    settings=InstanceSettings(warmup_epochs=1, bags_from=2, queue=8, projection=8),
    instance_plan=PLAN.model_copy(update={"epochs": 5, "batch_size": 8}),
    label_plan=BAG_PLAN.model_copy(update={"epochs": 1, "batch_size": 4}),
    bag_plan=BAG_PLAN.model_copy(update={"epochs": 1}),
    instance_rates=(PLAN.learning_rate,),
    rates=(BAG_PLAN.learning_rate,),
)


def multiple_instance(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 36.

    Returns:
        Figures of :func:`snellen.reproduction.multiple_instance.ways.measured` as ``RATE.WAY.FIGURE``, the mean over
        the worlds, and for each world as ``WORLD.RATE.WAY.FIGURE``; RATE is in percent. ``RATE.spread``: highest less
        lowest AUROC of instances of all ways. ``RATE.attending``: the highest of :data:`ATTENDING`.

    Raises:
        InputError: the scale is full.
    """
    if scale == "full":
        raise InputError(
            "system 36 has no full experiment: it needs CAMELYON16 and days of encoding on a GPU; choose small, or "
            "train on your own slides with 'snellen train multiple-instance-learning slides:FOLDER'"
        )
    rng = Randomness(seed)
    if scale == "smoke":
        task = smoke_task(seed, progress)
        return {
            f"smoke.{way}.{name}": value
            for way in ("ins", *ABLATIONS, *RIVALS, "oracle")
            for name, value in measured(way, task, SMOKE, rng, progress).items()
        }
    encoder = encoder_at(ENCODER, layer=LAYER, side=SIDE)
    per_world: dict[str, dict[str, float]] = {}
    for world, images in WORLDS.items():
        splits: tuple[Split, ...] = ("train", "val", "test")
        held = {split: material(images(split, SIZES, seed), SIZES, encoder, progress) for split in splits}
        per_world[world] = _over_rates(world, held, rng, progress)
    names = [name for name in next(iter(per_world.values())) if not name.endswith("learning_rate")]
    means = {name: float(np.mean([figures[name] for figures in per_world.values()])) for name in names}
    return means | {f"{world}.{name}": value for world, figures in per_world.items() for name, value in figures.items()}


multiple_instance.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "two drawn slides in the layout of CAMELYON16, read by OpenSlide; vectors of a ResNet-18 with random weights",
    ),
    "small": (
        "tiles of drawn slides, and Fashion-MNIST with shirts as positive ones, for CAMELYON16, TCGA-Lung, CIFAR-10 "
        "and the cervical set: 60, 32 and 40 bags of 100 instances in train, val and test",
        "frozen vectors of EfficientNet-Lite0's fifth stage at 64 pixels (112 numbers), then a hidden layer of 128, "
        "for a ResNet-18 trained end to end; views are noise and hidden entries of vectors",
        "20 epochs (1 with copied labels, 4 of warm-up) for 80 to 150; a queue of 1,024 and projections of 64 numbers",
        "rivals written from their papers, with the same vectors and hidden layer, and 33 epochs, which are as many "
        "looks at each instance; AdamW, one bag a step, 64 instances with copied labels; no views",
        "one of two learning rates for each way and world, chosen by the AUROC of the val bags at 10 %: 2e-4 and "
        "1e-3, of instance-level learning 0.003 and 0.01 (SGD); ablations at that of the whole",
    ),
}


def task_at(rate: float, held: Mapping[Split, Material]) -> Task:
    """The bags of all splits at a share of positive instances, standardised by the training instances."""
    (instances, train_truth), (val, _), (test, test_truth) = (
        held[split].at(rate) for split in ("train", "val", "test")
    )
    standardise = Standardise(instances.inputs.shape[1])
    standardise.fit(instances.inputs)
    figures = standardise.mean, standardise.deviation
    return Task(
        instances=instances.standardised(*figures),
        val=val.standardised(*figures),
        test=test.standardised(*figures),
        train_truth=train_truth,
        test_truth=test_truth,
    )


def _over_rates(world: str, held: Mapping[Split, Material], rng: Randomness, progress: Progress) -> dict[str, float]:
    """Figures of a world: first at the share at which learning rates are chosen, then with these at all others."""
    figures: dict[str, float] = {}
    chosen: dict[str, float] = {}
    progress.begin(f"ways on {world}", len(RATES))
    for rate in sorted(RATES, key=lambda rate: rate != MIDDLE):
        found = _at_rate(rate, held, chosen, rng.child(world, round(100 * rate)), progress)
        figures |= found
        if rate == MIDDLE:
            chosen = {way: found[f"{round(100 * rate)}.{way}.learning_rate"] for way in ("ins", *RIVALS)}
        progress.advance(f"ways on {world}", 1)
    progress.finish(f"ways on {world}")
    return figures


def _at_rate(
    rate: float, held: Mapping[Split, Material], chosen: Mapping[str, float], rng: Randomness, progress: Progress
) -> dict[str, float]:
    task, percent = task_at(rate, held), f"{round(100 * rate)}"
    figures: dict[str, float] = {}
    for way in ("ins", *RIVALS, *((*ABLATIONS, "oracle") if rate == MIDDLE else ())):
        at = figures[f"{percent}.ins.learning_rate"] if way in ABLATIONS else chosen.get(way)
        found = measured(way, task, SMALL, rng, progress, rates=None if at is None else (at,))
        figures |= {f"{percent}.{way}.{name}": value for name, value in found.items()}
    instances = {way: figures[f"{percent}.{way}.instance_auroc"] for way in ("ins", *RIVALS)}
    figures[f"{percent}.spread"] = max(instances.values()) - min(instances.values())
    figures[f"{percent}.attending"] = max(instances[way] for way in ATTENDING)
    return figures
