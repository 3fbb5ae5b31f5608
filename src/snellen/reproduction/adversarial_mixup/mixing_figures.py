"""What a classifier trained on mixed images is worth: accuracy, calibration, corruption, FGSM, occlusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.attacks.fgsm import FGSM
from snellen.metrics.calibration import expected_calibration_error
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.shared.corruption_benchmark import CorruptionErrors, corruption_benchmark
from snellen.systems.adversarial_mixup.adversarial_mixing import AdversarialMixing
from snellen.training.batches import Examples
from snellen.training.mixing import draw_blend, share_gap

#: One kind of corruption of each family of ImageNet-C, at its five severities.
KINDS = ("gaussian_noise", "defocus_blur", "fog", "pixelate")
#: Shares of an image that are covered.
COVERED = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
BINS, PATCH = 15, 4
#: Sizes of the attack, in 255ths: the published one, and one under which small networks are still right at times.
EPSILONS = (2, 8)
#: Images that are scored, or attacked, at once.
CHUNK = 600


@dataclass(frozen=True, eq=False)
class Examined:
    """What is tested on.

    Args:
        images: with labels, of the split test.
        corrupted: so many of them are corrupted.
        kinds: of corruption.
        covered: shares of the image that are covered, one after the other.
    """

    images: ImageSet
    corrupted: int
    kinds: Sequence[str] = KINDS
    covered: Sequence[float] = COVERED


def tested(classifier: Classifier, test: Examined, rng: Randomness) -> tuple[dict[str, Figure], CorruptionErrors]:
    """Figures by name, and the errors under corruption, by which other classifiers are measured.

    Returns:
        ``accuracy``; ``ece`` in 15 bins; ``fgsm_N_error`` at N/255 for each N of :data:`EPSILONS`;
        ``corrupted_error``, mean over kinds and severities; ``occlusion.SHARE.accuracy`` and ``occluded_accuracy``,
        their mean. Accuracies and errors of the attack have a value for each image.
    """
    images = torch.stack([classifier.prepare(example.image) for example in test.images])
    labels = torch.from_numpy(np.asarray(test.images.labels))

    def answers(of: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            best = [classifier.probabilities(classifier(part)).max(1) for part in of.split(CHUNK)]
        return torch.cat([one.values for one in best]), torch.cat([one.indices for one in best]) == labels

    confidence, right = answers(images)
    errors = corruption_benchmark(
        classifier, test.images.limit(test.corrupted), benchmark_name="imagenet-c", kinds=test.kinds, batch_size=300
    )
    bound = rng.for_examples(test.images.ids)
    curve = {share: answers(covered_by_patches(images, share, bound))[1].double() for share in test.covered}
    figures: dict[str, Figure] = {
        "accuracy": _sample(right),
        "ece": expected_calibration_error(confidence.numpy(), right.numpy(), BINS),
        **{f"fgsm_{size}_error": _sample(attacked(classifier, images, labels, size / 255)) for size in EPSILONS},
        "corrupted_error": float(np.mean([np.mean(values) for values in errors.errors.values()])),
        **{f"occlusion.{share:g}.accuracy": _sample(values) for share, values in curve.items()},
        "occluded_accuracy": _sample(torch.stack(list(curve.values())).mean(0)),
    }
    return figures, errors


def _sample(values: Tensor) -> Sample:
    return Sample.of(values.double().numpy())


def attacked(classifier: Classifier, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Which images are wrong after FGSM, those included that were wrong before: bool (n,)."""
    attack = FGSM(epsilon=epsilon)
    return torch.cat(
        [
            attack.attack(classifier, some, truth).success
            for some, truth in zip(images.split(CHUNK), labels.split(CHUNK), strict=True)
        ]
    )


def training_accuracy(classifier: Classifier, examples: Examples) -> float:
    """Share of the training images that a classifier has right."""
    images, labels = examples.read(torch.arange(len(examples.ids)))
    with torch.no_grad():
        found = torch.cat([classifier(to_unit(part)).argmax(1) for part in images.split(CHUNK)])
    return float((found == labels).double().mean())


def covered_by_patches(images: Tensor, share: float, rng: Randomness) -> Tensor:
    """Cover square patches of 4 pixels with black; a larger share covers the same ones and more.

    Args:
        images: (n, c, h, w).
        share: of the patches of each image that are covered, in [0, 1].
        rng: bound to the examples.

    Returns:
        Images of the same shape.
    """
    height, width = images.shape[2:]
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    order = rng.uniform("patches", (rows * columns,), like=images).argsort(1).argsort(1)
    shown = (order >= round(share * rows * columns)).view(-1, 1, rows, columns).to(images.dtype)
    shown = shown.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)[:, :, :height, :width]
    return images * shown


@dataclass(frozen=True, eq=False)
class MaskWatch:
    """Measures the masks of the same blends after every epoch: an ``Evaluate`` of the training loop.

    The epoch counts as the figure to select by, so that the last one is taken.
    """

    parts: int
    masks: list[Tensor] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def __call__(self, module: nn.Module, examples: Examples) -> Mapping[str, float]:
        """Keep the masks and how far they are from the shares of the labels."""
        assert isinstance(module, AdversarialMixing)
        module.follow()
        positions = torch.arange(len(examples.ids))
        images = examples.read(positions)[0].float() / 255
        rng = Randomness(0).for_examples(examples.ids)
        draw = draw_blend(rng, len(images), parts=self.parts, alpha=1.0, like=images)
        masks = module.blend(images, draw).masks
        self.masks.append(masks)
        self.gaps.append(float(share_gap(masks, draw.shares).mean()))
        return {"epoch": float(len(self.masks))}

    def figures(self) -> dict[str, float]:
        """Mean distance between masks of the same blend at two epochs; gap and spread at the last one."""
        masks = torch.stack(self.masks)
        distances = [float((one - other).abs().mean()) for row, one in enumerate(masks) for other in masks[:row]]
        return {
            "mask_diversity": float(np.mean(distances)) if distances else 0.0,
            "mask_share_gap": self.gaps[-1],
            "mask_spread": float(masks[-1].flatten(2).std(2).mean()),
        }
