"""System 36, INS: an instance classifier learnt from labels of bags, and whether it finds what attention does not.

Two worlds of bags of 50 instances, at three shares of positive instances in positive bags. Every way trains the same
network of images from its first layer to its last, with the same optimiser and the same views, on each instance as
often, at the one of two learning rates that the validation bags choose.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snellen.core.images import Split
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.reproduction.multiple_instance.full import full
from snellen.reproduction.multiple_instance.materials import RATES, SIDE, WORLDS, Material, Sizes, material, task_at
from snellen.reproduction.multiple_instance.smoke import smoke_task
from snellen.reproduction.multiple_instance.tile_network import WIDTHS, TileNetwork
from snellen.reproduction.multiple_instance.ways import ABLATIONS, RIVALS, WITHOUT_VIEWS, Budget, compared, measured
from snellen.reproduction.sample import Figure
from snellen.systems.multiple_instance.feature_views import feature_views
from snellen.systems.multiple_instance.image_instances import ImageEncoder, image_views
from snellen.systems.multiple_instance.instance_training import PLAN
from snellen.systems.multiple_instance.settings import InstanceSettings

#: Share of positive instances at which learning rates are chosen, and oracle and ablations are measured.
MIDDLE = 0.1

#: Ways at each share. At the others than the middle, those alone that a claim is about.
AT_RATE = {
    0.5: ("ins", *RIVALS),
    MIDDLE: ("ins", *RIVALS, *ABLATIONS, WITHOUT_VIEWS, "oracle"),
    0.02: ("ins", "copied_labels", "attention"),
}

SIZES = Sizes()
#: Of instance-level learning, which from the fourth on also goes through all bags, and of the other ways, which so are
#: trained on each instance as often, on average over positive and negative bags.
EPOCHS, RIVAL_EPOCHS = 10, 16
_RIVAL_PLAN = PLAN.model_copy(update={"epochs": RIVAL_EPOCHS})
SMALL = Budget(
    width=WIDTHS[-1],
    settings=InstanceSettings(warmup_epochs=2, bags_from=4, queue=1024, projection=32),
    instance_plan=PLAN.model_copy(update={"epochs": EPOCHS}),
    label_plan=_RIVAL_PLAN,
    bag_plan=_RIVAL_PLAN.model_copy(update={"batch_size": 1}),
    rates=(0.01, 0.03),
    views=image_views(SIDE),
    encoder=lambda: ImageEncoder(TileNetwork(), SIDE),
)
SMOKE = Budget(
    width=16,
    settings=InstanceSettings(warmup_epochs=1, bags_from=2, queue=8, projection=8),
    instance_plan=PLAN.model_copy(update={"epochs": 5, "batch_size": 8}),
    label_plan=PLAN.model_copy(update={"epochs": 1, "batch_size": 4}),
    bag_plan=PLAN.model_copy(update={"epochs": 1, "batch_size": 1}),
    rates=(PLAN.learning_rate,),
    views=feature_views(noise=0.2, hidden=0.2),
)


def multiple_instance(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 36.

    Returns:
        Figures of :func:`snellen.reproduction.multiple_instance.ways.measured` as ``RATE.WAY.FIGURE``, the mean over
        the worlds, and for each world as ``WORLD.RATE.WAY.FIGURE``; RATE is in percent. ``RATE.spread`` and
        ``RATE.attending``: see :func:`snellen.reproduction.multiple_instance.ways.compared`. At full scale, see
        :func:`snellen.reproduction.multiple_instance.full.full`.
    """
    if scale == "full":
        return full(seed, progress)
    rng = Randomness(seed)
    if scale == "smoke":
        task = smoke_task(seed, progress)
        return {
            f"smoke.{way}.{name}": value
            for way in ("ins", *ABLATIONS, *RIVALS, WITHOUT_VIEWS, "oracle")
            for name, value in measured(way, task, SMOKE, rng, progress).items()
        }
    per_world: dict[str, dict[str, float]] = {}
    for world, images in WORLDS.items():
        splits: tuple[Split, ...] = ("train", "val", "test")
        held = {split: material(images(split, SIZES, seed), SIZES, progress) for split in splits}
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
        "and the cervical set",
        "36, 20 and 40 bags of 50 instances of 32 pixels in train, val and test",
        "a network of four layers (64 numbers) for a ResNet-18; no weights of ImageNet",
        "10 epochs (1 with copied labels, 2 of warm-up) for 80 to 150; a queue of 1,024 and projections of 32 numbers",
        "rivals written from their papers, with the same network, views and optimiser",
        "16 epochs of rivals, which show each instance as often; one bag a step, 64 instances with copied labels",
        "one of two learning rates for each way and world, chosen by the AUROC of the val bags at 10 %: 0.01 and 0.03",
        "ablations at the rate of the whole, copied labels without views at that of those with views",
    ),
    "full": (
        "DSMIL, CLAM and TransMIL written from their papers; exact attention for Nyström's",
        "the cervical set and TCGA-Lung are not measured",
    ),
}


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
    for way in AT_RATE[rate]:
        like = "ins" if way in ABLATIONS else "copied_labels" if way == WITHOUT_VIEWS else None
        at = chosen.get(way) if like is None else figures[f"{percent}.{like}.learning_rate"]
        found = measured(way, task, SMALL, rng, progress, rates=None if at is None else (at,))
        figures |= {f"{percent}.{way}.{name}": value for name, value in found.items()}
    figures |= compared({way: figures[f"{percent}.{way}.instance_auroc"] for way in AT_RATE[rate]}, percent)
    return figures
