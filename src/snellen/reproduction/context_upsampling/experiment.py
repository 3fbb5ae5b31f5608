"""System 19: does context during upsampling make a pixel-wise network steadier, and context elsewhere not.

One U-Net, one set of scenes, one order and one number of epochs; ways of upsampling differ. All are attacked from the
same starts, and compared by the share of its clean mIoU that each keeps: who knows more has more to lose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snellen.attacks import PGD, Square
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.metrics.segmentation import confusion, mean_overlap
from snellen.reproduction.context_upsampling.full import full
from snellen.reproduction.context_upsampling.materials import CLASSES, segmented_scenes
from snellen.reproduction.sample import Figure
from snellen.systems.context_upsampling.examining import examine, shares_left, standard_attacks
from snellen.systems.context_upsampling.method import pixel_cross_entropy
from snellen.systems.context_upsampling.polyphase import equivalent_kernel
from snellen.systems.context_upsampling.spectra import artifact_score, phase_sum_ratio, stop_band_energy
from snellen.systems.context_upsampling.unet import ContextUNet
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Ways of upsampling, as options of the U-Net. The coarsest maps have 8 pixels a side, where a kernel of 11 would
#: read little but padding: there K is 7.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "transposed": {"kind": "transposed", "kernels": 2},
    "pixel_shuffle": {"kind": "pixel_shuffle"},
    "bilinear": {"kind": "bilinear"},
    "lctc7": {"kind": "lctc", "kernels": 7},
    "lctc11": {"kind": "lctc", "kernels": (7, 11)},
    "lctc11_alone": {"kind": "lctc", "kernels": (7, 11), "small_kernel": None},
    "h2": {"kind": "transposed", "kernels": 2, "decoder_kernel": 7},
}

#: Those that are attacked without gradients.
WITHOUT_GRADIENTS = ("transposed", "pixel_shuffle", "lctc11")

#: Makes the images that are shown to the others.
SURROGATE = "bilinear"


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        side: pixels.
        train: scenes to train on. test: scenes to attack.
        epochs: of every network.
        steps: of the attacks. queries: of the attack without gradients.
    """

    side: int
    train: int
    test: int
    epochs: int
    steps: int
    queries: int


SMALL = Size(side=32, train=1024, test=64, epochs=24, steps=10, queries=300)
SMOKE = Size(side=32, train=32, test=4, epochs=1, steps=2, queries=3)


def context_upsampling(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 19.

    Returns:
        Of each variant: ``clean`` and ``ATTACK_LEVELS`` (mIoU over all test pixels), ``ATTACK_LEVELS_left`` (as a
        share of its clean mIoU), ``parameters``, ``artifacts`` of the output of the last upsampling layer; of its
        kernels ``stop_band``, ``phase_broken`` (share of those whose phases differ in sign or hold a sum of 0) and
        ``phase_ratio`` (median of the others). Of some also ``square_8``, ``transfer_2`` and ``transfer_8`` (without
        their gradients). ``h2.behind`` is what H2 lacks of the baseline's clean mIoU, ``transposed.square_8_taken``
        what the search by scores takes from the baseline. None is what could not be measured.
    """
    if scale == "full":
        return full(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


context_upsampling.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with 32 scenes of 32 pixels, one epoch and attacks of two steps",),
    "small": (
        "scenes of 32 pixels with one of four shapes and exact masks for PASCAL VOC 2012; no restoration, no disparity",
        "a U-Net of about 120,000 weights for U-Net with ConvNeXt; 24 epochs from nothing",
        "kernels of 7 at the coarsest maps, which have 8 pixels a side, and 11 at finer ones",
    ),
    "full": ("PASCAL VOC 2012 by path, a U-Net on ConvNeXt-tiny of timm, with its weights where they are installed",),
}


class Experiment:
    """One seed, which decides scenes, initial weights, order and starts."""

    def __init__(self, size: Size, seed: int, progress: Progress) -> None:
        self.size, self.seed, self.progress = size, seed, progress
        self.train = segmented_scenes("train", size.train, size=size.side, seed=seed)
        test, self.labels = segmented_scenes("val", size.test, size=size.side, seed=seed)
        self.images = to_unit(test)
        self.rng = Randomness(seed).child("starts").bind(size.test)

    def figures(self) -> dict[str, float | None]:
        """All figures of a seed."""
        judged = {name: self.segmenter(name) for name in VARIANTS}
        attacks = standard_attacks(self.size.steps)
        figures: dict[str, float | None] = {}
        for name, classifier in judged.items():
            counts = examine(classifier, self.images, self.labels, attacks, rng=self.rng, progress=self.progress)
            figures |= {f"{name}.{one}": float(mean_overlap(count.sum(0))) for one, count in counts.items()}
            figures |= self.spectra(name, classifier)
        figures |= self.without_gradients(judged)
        return {**figures, **shares_left(figures), **behind(figures), **taken(figures)}

    def segmenter(self, name: str) -> Classifier:
        """The network of a variant after the last epoch; nothing is chosen."""
        network = ContextUNet(len(CLASSES), seed=self.seed, **VARIANTS[name])
        plan = TrainingPlan(
            epochs=self.size.epochs, batch_size=16, learning_rate=3e-3, weight_decay=1e-2, channels_last=True,
            drop_last=True, seed=self.seed,
        )  # fmt: skip
        store = ImageStore.of_tensors(*self.train)
        made = train(network, store, plan=plan, objective=pixel_cross_entropy, progress=self.progress)
        network.load_state_dict(made.weights)
        network = network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return Classifier(network, class_names=CLASSES, task="segment", name=name)

    def spectra(self, name: str, classifier: Classifier) -> dict[str, float | None]:
        """Of the last upsampling layer, which gives maps of the size of the images."""
        network = classifier.module
        assert isinstance(network, ContextUNet)
        last = len(network.upsampling) - 1
        with torch.no_grad():
            maps = classifier.features(self.images, f"upsampling.{last}")
            scores = classifier(self.images).softmax(1)
        kernels = equivalent_kernel(network.upsampling[last])
        return {
            f"{name}.artifacts": artifact_score(maps),
            f"{name}.output_artifacts": artifact_score(scores),
            f"{name}.stop_band": _known(stop_band_energy(kernels).nanmean()),
            **{f"{name}.{one}": value for one, value in phase_figures(phase_sum_ratio(kernels)).items()},
            f"{name}.parameters": float(sum(weight.numel() for weight in network.parameters())),
        }

    def without_gradients(self, judged: Mapping[str, Classifier]) -> dict[str, float | None]:
        """A search by scores alone, and images made on another network: neither can be misled by gradients."""
        found: dict[str, float | None] = {}
        square = {"square_8": Square(epsilon=8 / 255, queries=self.size.queries)}
        surrogate = judged[SURROGATE]
        made = {
            size: PGD(epsilon=epsilon, steps=self.size.steps).attack(surrogate, self.images, self.labels, rng=self.rng)
            for size, epsilon in (("2", 2 / 255), ("8", 8 / 255))
        }
        for name in WITHOUT_GRADIENTS:
            counts = examine(judged[name], self.images, self.labels, square, rng=self.rng, progress=self.progress)
            found[f"{name}.square_8"] = float(mean_overlap(counts["square_8"].sum(0)))
            for size, attacked in made.items():
                with torch.no_grad():
                    decided = judged[name].predict(judged[name](attacked.images))
                count = confusion(decided, self.labels, len(CLASSES)).sum(0)
                found[f"{name}.transfer_{size}"] = float(mean_overlap(count))
        return found


def behind(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """What the control lacks of the baseline's clean mIoU; below 0 where it is better."""
    return {"h2.behind": _minus(figures["transposed.clean"], figures["h2.clean"])}


def taken(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """What the search by scores takes from the baseline's clean mIoU."""
    return {"transposed.square_8_taken": _minus(figures["transposed.clean"], figures["transposed.square_8"])}


def phase_figures(ratios: Tensor) -> dict[str, float | None]:
    """Share of the kernels whose ratio is infinite, and the median of the others; None where there are none."""
    finite = ratios[ratios.isfinite()]
    return {
        "phase_broken": float(ratios.isinf().double().mean()),
        "phase_ratio": float(finite.median()) if len(finite) else None,
    }


def _known(value: Tensor) -> float | None:
    return float(value) if bool(value.isfinite()) else None


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
