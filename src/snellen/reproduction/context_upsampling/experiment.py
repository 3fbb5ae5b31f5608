"""System 19: does context during upsampling make a pixel-wise network steadier, and context elsewhere not.

One U-Net, one set of scenes, one order and one number of epochs; ways of upsampling differ. All are attacked from the
same starts. The networks of restoration are trained on the same scenes, blurred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snellen.attacks import PGD, CosPGD, Square
from snellen.core.classifier import Classifier
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.methods.attacks.search_attack import SearchAttack
from snellen.metrics.restoration import peak_signal_to_noise
from snellen.metrics.segmentation import confusion, mean_overlap
from snellen.reproduction.context_upsampling.full import full
from snellen.reproduction.context_upsampling.materials import CLASSES, blurred, segmented_scenes
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.context_upsampling.examining import examine, standard_attacks
from snellen.systems.context_upsampling.method import pixel_cross_entropy
from snellen.systems.context_upsampling.polyphase import equivalent_kernel
from snellen.systems.context_upsampling.spectra import artifact_score, phase_sum_ratio, stop_band_energy
from snellen.systems.context_upsampling.unet import ContextUNet
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Ways of upsampling, as options of the U-Net. The coarsest maps have 12 pixels a side, where a kernel of 11 would
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

#: Those that restore images, and those that are attacked without gradients.
RESTORING = ("pixel_shuffle", "lctc11")
WITHOUT_GRADIENTS = ("transposed", "pixel_shuffle", "lctc11")

#: Makes the images that are shown to the others.
SURROGATE = "bilinear"


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        side: pixels.
        train: scenes to train on. test: scenes to attack.
        epochs: of every network. restoring: of those that restore.
        steps: of the attacks. queries: of the attack without gradients.
    """

    side: int
    train: int
    test: int
    epochs: int
    restoring: int
    steps: int
    queries: int


SMALL = Size(side=48, train=512, test=64, epochs=12, restoring=5, steps=10, queries=100)
SMOKE = Size(side=32, train=32, test=4, epochs=1, restoring=1, steps=2, queries=3)


def context_upsampling(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 19.

    Returns:
        Of each variant: ``clean`` and ``ATTACK_LEVELS`` (mIoU over all test pixels), ``parameters``, ``artifacts`` of
        the output of the last upsampling layer, ``stop_band`` and ``phase_ratio`` of its kernels; of some also
        ``square_8``, ``transfer_2`` and ``transfer_8`` (without their gradients). ``transposed.left`` is the share of
        its mIoU that PGD of 8 levels leaves. Of restoration: ``NAME.psnr`` and ``NAME.psnr_pgd_2`` and so on, a value
        for each image.
    """
    if scale == "full":
        return full(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


context_upsampling.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with 32 scenes of 32 pixels, one epoch and attacks of two steps",),
    "small": (
        "scenes of 48 pixels with one of four shapes and exact masks for PASCAL VOC 2012, the same scenes blurred for "
        "GoPro; no disparity",
        "a U-Net of about 120,000 weights for U-Net with ConvNeXt, NAFNet and Restormer; 12 epochs from nothing",
        "kernels of 7 at the coarsest maps, which have 12 pixels a side, and 11 at finer ones",
    ),
    "full": ("PASCAL VOC 2012 by path, a U-Net on ConvNeXt-tiny of timm, with its weights where they are installed",),
}


class Experiment:
    """One seed, which decides scenes, initial weights, order and starts."""

    def __init__(self, size: Size, seed: int, progress: Progress) -> None:
        self.size, self.seed, self.progress = size, seed, progress
        self.train = segmented_scenes("train", size.train, size=size.side, seed=seed)
        test, self.labels = segmented_scenes("tune", size.test, size=size.side, seed=seed)
        self.sharp = test
        self.images = to_unit(test)
        self.rng = Randomness(seed).child("starts").bind(size.test)

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        judged = {name: self.segmenter(name) for name in VARIANTS}
        attacks = standard_attacks(self.size.steps)
        figures: dict[str, Figure] = {}
        for name, classifier in judged.items():
            counts = examine(classifier, self.images, self.labels, attacks, rng=self.rng, progress=self.progress)
            figures |= {f"{name}.{one}": float(mean_overlap(count.sum(0))) for one, count in counts.items()}
            figures |= self.spectra(name, classifier)
        left, whole = (_number(figures[f"transposed.{one}"]) for one in ("pgd_8", "clean"))
        figures["transposed.left"] = left / max(whole, 1e-9)
        return {**figures, **self.without_gradients(judged), **self.restoration()}

    def segmenter(self, name: str) -> Classifier:
        """The trained network of a variant."""
        network = ContextUNet(len(CLASSES), seed=self.seed, **VARIANTS[name])
        made = self.trained(network, *self.train, pixel_cross_entropy, self.size.epochs)
        return Classifier(made, class_names=CLASSES, task="segment", name=name)

    def trained(self, network: nn.Module, images: Tensor, targets: Tensor, objective: Any, epochs: int) -> nn.Module:  # noqa: ANN401
        """The network after the last epoch; nothing is chosen."""
        plan = TrainingPlan(
            epochs=epochs, batch_size=8, learning_rate=3e-3, weight_decay=1e-2, channels_last=True, drop_last=True,
            seed=self.seed,
        )  # fmt: skip
        store = ImageStore.of_tensors(images, targets)
        made = train(network, store, plan=plan, objective=objective, progress=self.progress)
        network.load_state_dict(made.weights)
        return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def spectra(self, name: str, classifier: Classifier) -> dict[str, Figure]:
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
            f"{name}.stop_band": float(stop_band_energy(kernels).nanmean()),
            f"{name}.phase_ratio": float(phase_sum_ratio(kernels).clamp(max=100).median()),
            f"{name}.parameters": float(sum(weight.numel() for weight in network.parameters())),
        }

    def without_gradients(self, judged: Mapping[str, Classifier]) -> dict[str, Figure]:
        """A search by scores alone, and images made on another network: neither can be misled by gradients."""
        found: dict[str, Figure] = {}
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

    def restoration(self) -> dict[str, Figure]:
        """PSNR of deblurred images, clean and under attacks on the squared error."""
        found: dict[str, Figure] = {}
        truth, given = to_unit(self.sharp), blurred(self.sharp)
        found["blurred.psnr"] = Sample.of(peak_signal_to_noise(given, truth).numpy())
        for name in RESTORING:
            blank = ContextUNet(3, seed=self.seed, residual=True, **VARIANTS[name])
            network = self.trained(
                blank, blurred(self.train[0]), to_unit(self.train[0]), squared_error, self.size.restoring
            )
            restorer = Classifier(network, class_names=["red", "green", "blue"], task="score", name=name)
            with torch.no_grad():
                found[f"{name}.psnr"] = Sample.of(peak_signal_to_noise(restorer(given), truth).numpy())
            for size, epsilon in (("2", 2 / 255), ("8", 8 / 255)):
                attacks: tuple[SearchAttack, ...] = (
                    PGD(epsilon=epsilon, steps=self.size.steps),
                    CosPGD(epsilon=epsilon, steps=self.size.steps),
                )
                for attack in attacks:
                    made = attack.attack(restorer, given, truth, rng=self.rng)
                    values = peak_signal_to_noise(made.scores, truth).numpy()
                    found[f"{name}.psnr_{attack.name}_{size}"] = Sample.of(values)
        return found


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    """Mean squared error of each image: (n,)."""
    return (model(batch.images) - batch.targets).square().flatten(1).mean(1)


def _number(figure: Figure) -> float:
    assert isinstance(figure, float)
    return figure
