"""What FGSM, PGD and CW do to one classifier, as figures by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.eight_bits import rounded_success
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.gradient_sizes import gradient_sizes
from snellen.methods.attacks.perturbation import cross_entropy, negative_margin
from snellen.methods.attacks.perturbation.rescaled_objectives import tempered_cross_entropy
from snellen.methods.attacks.steepest_ascent import many_steps, one_step
from snellen.methods.attacks.transfer import transferred
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.shared.pooled_figures import pooled

#: Euclidean distances, in [0, 1] pixel units, at which accuracy under CW is reported.
DISTANCES = (0.1, 0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Strengths:
    """How strong the attacks are.

    Attributes:
        epsilons: L-infinity sizes of the FGSM curve, from 0 on, in [0, 1] pixel units.
        epsilon: the one at which everything else in L-infinity is measured; one of ``epsilons``.
        steps: of PGD.
        cw_steps: Adam steps of each CW search.
        cw_searches: CW searches of each image.
        cw_confidence: kappa, in units of the logits.
        cw_images: the first so many images are attacked by CW.
    """

    epsilons: tuple[float, ...] = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3)
    epsilon: float = 0.05
    steps: int = 20
    cw_steps: int = 200
    cw_searches: int = 6
    cw_confidence: float = 0.0
    cw_images: int = 40

    @property
    def cw(self) -> CarliniWagnerL2:
        """The CW attack of these strengths."""
        return CarliniWagnerL2(steps=self.cw_steps, searches=self.cw_searches, confidence=self.cw_confidence)


def success_of(attacked: Attacked) -> Figure:
    """Which images were broken, of those that were right before; None where none was.

    Images that were misclassified already do not count.
    """
    tried = [status for status in attacked.status if status != "already"]
    return Sample.of([status == "found" for status in tried]) if tried else None


def error_rate(attacked: Attacked) -> float:
    """Share of all images that are wrong after the attack, those included that were wrong before."""
    return float(attacked.success.double().mean())


def clean_figures(classifier: Classifier, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, error (top-1 and top-5), mean confidence and median margin of unchanged images."""
    with torch.no_grad():
        scores = classifier(images)
    top = scores.topk(min(5, scores.shape[1]), dim=1).indices
    two = scores.topk(2, dim=1).values
    right = (scores.argmax(1) == labels).double().mean()
    return {
        "clean_accuracy": float(right),
        "clean_error": float(1 - right),
        "clean_top5_error": float((top != labels[:, None]).all(1).double().mean()),
        "clean_confidence": float(classifier.probabilities(scores).amax(1).mean()),
        "median_margin": float((two[:, 0] - two[:, 1]).median()),
    }


def fgsm_figures(
    classifier: Classifier, images: Tensor, labels: Tensor, strengths: Strengths, rng: Randomness
) -> tuple[dict[str, Figure], Attacked]:
    """The curve over the strengths of FGSM, from 0 on; the attack at the strength of everything else, beside noise.

    ``noise_error`` is that under random signs of the same size: what FGSM gains from the gradient is beyond it.
    """
    figures, chosen = dict[str, Figure](), None
    for epsilon in strengths.epsilons:
        attacked = FGSM(epsilon=epsilon).attack(classifier, images, labels)
        figures[f"fgsm.{epsilon:g}.error"] = error_rate(attacked)
        if epsilon == strengths.epsilon:
            figures["fgsm_success"], chosen = success_of(attacked), attacked
            figures["fgsm_error"] = error_rate(attacked)
            figures["fgsm_rounded_success"] = _rounded(classifier, attacked, labels)
    assert chosen is not None
    signs = rng.bind(len(images)).uniform("noise", tuple(images.shape[1:]), -1.0, 1.0).sign().to(images)
    with torch.no_grad():
        noisy = classifier((images + strengths.epsilon * signs).clamp(0, 1)).argmax(1)
    figures["noise_error"] = float((noisy != labels).double().mean())
    return figures, chosen


def search_figures(
    classifier: Classifier, images: Tensor, labels: Tensor, strengths: Strengths, rng: Randomness
) -> dict[str, Figure]:
    """PGD on cross-entropy and on the margin, and CW, with distances of the successes and what survives as bytes.

    ``cw_log2_distance``: binary logarithm of each distance. Distances are None where CW broke nothing.
    """
    figures = dict[str, Figure]()
    for name, objective in (("pgd", cross_entropy), ("pgd_margin", negative_margin)):
        attacked = many_steps(
            classifier, images, labels, objective=objective, epsilon=strengths.epsilon, steps=strengths.steps, rng=rng
        )
        figures[f"{name}_success"] = success_of(attacked)
    images, labels = images[: strengths.cw_images], labels[: strengths.cw_images]
    attacked = strengths.cw.attack(classifier, images, labels, rng=rng)
    found = torch.tensor([status == "found" for status in attacked.status])
    changes = (attacked.images - images).flatten(1).double()[found]
    lengths = changes.norm(dim=1)
    figures |= {
        "cw_success": success_of(attacked),
        "cw_error": error_rate(attacked),
        "cw_log2_distance": Sample.of(lengths.log2().cpu().numpy()) if len(lengths) else None,
        "cw_median_l2": float(lengths.median()) if len(lengths) else None,
        "cw_mean_l2": float(lengths.mean()) if len(lengths) else None,
        "cw_median_linf": float(changes.abs().amax(1).median()) if len(changes) else None,
        "cw_rounded_success": _rounded(classifier, attacked, labels),
        "cw_gradients": float(attacked.gradients.double().mean()),
    }
    for distance in DISTANCES:
        within = attacked.success & (attacked.distance <= distance)
        figures[f"cw_accuracy_at_{distance:g}"] = 1 - float(within.double().mean())
    return figures


def masking_figures(
    classifier: Classifier, images: Tensor, labels: Tensor, *, temperature: float, epsilon: float
) -> dict[str, Figure]:
    """Shares of inputs with useless gradients of cross-entropy, and FGSM on what does not saturate."""
    sizes = gradient_sizes(classifier, images, labels)
    again: dict[str, Attacked] = {
        "fgsm_tempered": one_step(
            classifier, images, labels, objective=tempered_cross_entropy(temperature), epsilon=epsilon
        ),
        "fgsm_margin": one_step(classifier, images, labels, objective=negative_margin, epsilon=epsilon),
    }
    return {
        "zero_gradient_share": Sample.of(sizes.zero.cpu().numpy()),
        "saturated_share": float(sizes.saturated.double().mean()),
        **{f"{name}_success": success_of(attacked) for name, attacked in again.items()},
    }


def transfer_success(
    surrogate: Classifier, classifier: Classifier, images: Tensor, labels: Tensor, *, epsilon: float
) -> Figure:
    """Which images FGSM on another classifier breaks, of those that this one gets right."""
    return success_of(transferred(FGSM(epsilon=epsilon), surrogate, classifier, images, labels))


def _rounded(classifier: Classifier, attacked: Attacked, labels: Tensor) -> Figure:
    """Which images stay broken once they are rounded to bytes, of those that were right before."""
    survived = rounded_success(classifier, attacked, labels)
    tried = [place for place, status in enumerate(attacked.status) if status != "already"]
    return Sample.of(survived[tried].tolist()) if tried else None


def joined(blocks: Sequence[tuple[int, Mapping[str, Figure]]]) -> dict[str, Figure]:
    """Figures of blocks as those of all images; lengths that CW found from their logarithms."""
    found = pooled(blocks)
    distances = found.get("cw_log2_distance")
    if len(blocks) > 1 and isinstance(distances, Sample):
        lengths = 2.0 ** np.array(distances.values)
        found |= {"cw_median_l2": float(np.median(lengths)), "cw_mean_l2": float(lengths.mean())}
    return found
