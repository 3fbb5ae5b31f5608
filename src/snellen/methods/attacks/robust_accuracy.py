"""Robust accuracy under noise and attacks of one size, on images that the classifier judges correctly.

Qu et al. 2025, section 4.3: K correctly classified images are drawn, and robust accuracy is 1 − mean(is adversarial).
The budget here is in pixels of [0, 1], for the attacks of the library and for the noise alike, which has the same norm.
The published code works in normalised pixels; :func:`in_pixels` converts its numbers.

Attacks climb pre-softmax scores. A softmax behind probabilities shrinks gradients and makes a classifier look robust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.deepfool import DeepFool
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.norms import Norm, uphill
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.search_attack import SearchAttack

#: Images that are drawn for each source, and their seed: as published.
DRAWN, SEED = 500, 2023


def in_pixels(epsilon: float, deviation: Sequence[float]) -> tuple[float, ...]:
    """A budget of normalised space in pixels of [0, 1], for each channel: x = (p − mean) / deviation.

    The published 0.01 on CLIP's normalisation is about 0.0027, less than one of 255 levels.

    >>> [round(255 * one, 2) for one in in_pixels(0.01, (0.26862954, 0.26130258, 0.27577711))]
    [0.69, 0.67, 0.7]
    """
    return tuple(epsilon * one for one in deviation)


def noise_of_norm(images: Tensor, norm: Norm, epsilon: float, rng: Randomness) -> Tensor:
    """Images with a random change of exactly this size before it is cut to [0, 1]: (n, 3, h, w) → (n, 3, h, w).

    L-infinity: each value moves by ±epsilon. L2: a Gaussian direction of length epsilon.
    """
    drawn = rng.bind(len(images)).normal("noise", images.shape[1:], like=images).to(images.dtype)
    return (images + epsilon * uphill(norm, drawn)).clamp(0, 1)


def correct_rows(right: Tensor, count: int, seed: int = SEED) -> Tensor:
    """Positions of at most ``count`` correctly classified images, drawn by the seed and kept in order: int64 (m,).

    Raises:
        InputError: none is classified correctly.
    """
    rows = right.nonzero().flatten().cpu()
    if not len(rows):
        raise InputError("no image is classified correctly, so robust accuracy has no images to be measured on")
    if len(rows) <= count:
        return rows
    order = np.random.default_rng(Randomness(seed).generator("correct").initial_seed()).permutation(len(rows))
    return rows[torch.from_numpy(np.sort(order[:count]))]


@dataclass(frozen=True, eq=False)
class Robustness:
    """Which images of the drawn set stand.

    Attributes:
        rows: their positions among the given images, int64 (m,).
        stands: by attack, bool (m,): the decision is still right.
        finite: by attack, bool (m,): the search met finite scores alone; others show nothing and are left out.
    """

    rows: Tensor
    stands: Mapping[str, Tensor]
    finite: Mapping[str, Tensor] = field(default_factory=dict)

    def accuracy(self, attack: str) -> float | None:
        """Robust accuracy: the share that stands among images whose search was finite; None where there is none."""
        kept = self.finite[attack]
        return float(self.stands[attack][kept].float().mean()) if bool(kept.any()) else None


def attacks_of(norm: Norm = "linf", epsilon: float = 2 / 255, steps: int = 100) -> dict[str, SearchAttack]:
    """FGSM, PGD and DeepFool with one budget in pixels."""
    return {
        "fgsm": FGSM(norm=norm, epsilon=epsilon),
        "pgd": PGD(norm=norm, epsilon=epsilon, steps=steps),
        "deepfool": DeepFool(norm=norm, epsilon=epsilon, steps=steps),
    }


def measure_robustness(
    classifier: Classifier,
    images: Tensor,
    unsafe: Tensor,
    ids: Sequence[str],
    *,
    count: int = DRAWN,
    seed: int = SEED,
    norm: Norm = "linf",
    epsilon: float = 2 / 255,
    steps: int = 100,
    batch_size: int = 64,
) -> Robustness:
    """Attack correctly classified images of one source.

    Args:
        classifier: of two classes, safe and unsafe, whose scores are logits before any softmax.
        images: prepared images, float (n, 3, h, w) in [0, 1].
        unsafe: the truth, int64 (n,) of 0 and 1.
        ids: n ids; draws of an image depend on its id.
        count: images that are drawn, at most.
        seed: of the draw and of all noise.
        norm: of the change.
        epsilon: its size, in pixels of [0, 1].
        steps: of PGD and DeepFool.
        batch_size: images in one pass.

    Raises:
        InputError: probabilities in place of logits, other classes, or no image that is classified correctly.
    """
    if classifier.output != "logits" or len(classifier.class_names) != 2:
        raise InputError(
            f"robust accuracy needs two scores before any softmax, safe and unsafe; {classifier.name} gives "
            f"{classifier.output} of {len(classifier.class_names)} classes"
        )
    images, unsafe = images.to(classifier.device), unsafe.to(classifier.device)
    rows = correct_rows(_right(classifier, images, unsafe, batch_size), count, seed)
    chosen, labels, names = images[rows], unsafe[rows], [ids[row] for row in rows.tolist()]
    # By construction; a classifier that answers otherwise the second time cannot be measured.
    if not bool(_right(classifier, chosen, labels, batch_size).all()):
        raise InputError(
            f"{classifier.name} judges the same images differently each time; robust accuracy is not defined"
        )
    stands: dict[str, list[Tensor]] = {"noise": []}
    finite: dict[str, list[Tensor]] = {"noise": []}
    searches = attacks_of(norm, epsilon, steps)
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        rng = Randomness(seed).for_examples(names[part])
        noisy = noise_of_norm(chosen[part], norm, epsilon, rng)
        stands["noise"].append(_right(classifier, noisy, labels[part], batch_size))
        finite["noise"].append(torch.ones_like(stands["noise"][-1]))
        for name, attack in searches.items():
            found = attack.attack(classifier, chosen[part], labels[part], rng=rng)
            stands.setdefault(name, []).append(~found.success)
            usable = [status != "not finite" for status in found.status]
            finite.setdefault(name, []).append(torch.tensor(usable, device=found.success.device))
    return Robustness(
        rows,
        {name: torch.cat(parts).cpu() for name, parts in stands.items()},
        {name: torch.cat(parts).cpu() for name, parts in finite.items()},
    )


@torch.no_grad()
def _right(classifier: Classifier, images: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    parts = [classifier(part).argmax(1) for part in images.split(batch_size)]
    return torch.cat(parts) == labels if parts else torch.zeros(0, dtype=torch.bool)
