"""System 5, CDD-RED, beside its two rivals: a plain denoiser, and one that is aligned with benign decisions alone.

Two victims are attacked; one of them is the surrogate, as in the paper's main table. Denoisers start from the same
weights and see the same pairs for as many epochs: ``do`` is trained on the reconstruction, ``cdd`` on all three terms
with views, ``no_views`` on them without, and ``unattacked`` as ``cdd`` with a surrogate that nobody attacks. ``ds`` is
trained on benign alignment from the weights that ``do`` ended with, as denoised smoothing is, and so for twice as many
epochs. Every pair is judged by the victim that was attacked.
"""

from __future__ import annotations

from collections.abc import Mapping

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.reproduction.perturbation_estimation.arms import measured
from snellen.reproduction.perturbation_estimation.full import full
from snellen.reproduction.perturbation_estimation.setting import SMALL, SMOKE, make_setting
from snellen.reproduction.sample import Figure


def perturbation_estimation(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 5; see :func:`~snellen.reproduction.perturbation_estimation.arms.measured`.

    Raises:
        InputError: the scale is full, and something that it needs is not there.
    """
    if scale == "full":
        return full(seed, progress)
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng = Randomness(seed)
    figures = measured(make_setting(budget, rng, progress), budget.sizes, rng, progress)
    return {prefix + name: value for name, value in figures.items()}


perturbation_estimation.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "bundled classifiers as victims, another of one epoch on 64 images; 20 images for pairs, denoisers of 3 "
        "layers and one epoch",
    ),
    "small": (
        "grey garments of 28 pixels (Fashion-MNIST) for ImageNet at 224: 5,000 for the classifiers, 1,000 others for "
        "pairs, 250 test images, 60 of them under CW and the ensemble; changes of 16/255 at most",
        "two victims, one of them the surrogate, and a third classifier, of 40 to 160 thousand weights and 4 epochs, "
        "for five published networks and a robust ResNet-50",
        "denoisers of 6 layers and 16 channels, 10 epochs of batches of 16 at 1e-3, for 17, 64 and 300 epochs of 4 at "
        "1e-4",
        "CW with 60 iterations and 4 searches; the ensemble with 20 steps, 3 targets and 200 queries",
    ),
    "full": (
        "strengths of the attacks, which the paper's sources do not tell; the learning rate falls along a cosine",
    ),
}
