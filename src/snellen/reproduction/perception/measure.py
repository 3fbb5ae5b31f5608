"""Why the stochastic layer hurts here (20.1, 20.2, 20.5, 20.6): docs/measured/ideal-memory.

    python scripts/measure.py perception --set seed=1000

The autoencoder remembers its training images: all of them attract. But two test images in three settle on an image of
another class. So the borders between the images that attract may be the cause, or the layer itself. Here the layer has
a memory whose borders are known. In each step a copy becomes the training image that is nearest to it. ``nearest`` goes
by the pixels, ``shifted`` by the pixels after the shift of up to two pixels that fits best. Digits, augmentation,
copies, steps, classifiers and their seeds are those of the experiment. A seed takes eight minutes of a core and is a
file; one that is there is left alone.

What was expected: if the borders are the cause, the stochastic layer with the nearest image is at least as accurate as
the classifier of the images (20.1, 20.2). Seed 1000 showed otherwise: most of the loss was gone, and not all. By the
pixels every second augmented digit is nearest to one of another class. ``shifted`` was added after that, because the
augmentation shifts. It was not expected to reach the augmentation alone (20.5, 20.6): what is seen then holds no more
than the few images that are remembered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.perception.digits import Digits, digits
from snellen.reproduction.perception.experiment import SMALL, _bank, _right, _wrong_memory
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.systems.perception.autoencoder import PerceptualAutoencoder
from snellen.systems.perception.layer import PerceptualLayer
from snellen.systems.perception.perceptualized import as_shown
from snellen.systems.perception.recipe import PerceptualAutoencoderRecipe, perceived
from snellen.training.batches import ImageStore

#: Pixels in each direction by which the remembered images may be shifted to be compared.
WAYS = {"nearest": 0, "shifted": 2}


class NearestImage(nn.Module):
    """Images (n, 1, s, s) → the remembered one that is nearest to each, as it was remembered.

    Args:
        remembered: (m, 1, s, s).
        shift: pixels by which a remembered image may be shifted in each direction to be compared.
    """

    def __init__(self, remembered: Tensor, shift: int) -> None:
        super().__init__()
        steps, side = range(2 * shift + 1), remembered.shape[-1]
        padded = F.pad(remembered, (shift,) * 4)
        self.remembered = remembered
        self.compared = torch.cat([padded[..., y : y + side, x : x + side] for y in steps for x in steps]).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """One step."""
        # ‖a − b‖² less ‖a‖², which does not change what is nearest.
        distances = self.compared.square().sum(1) - 2 * images.flatten(1) @ self.compared.T
        return self.remembered[distances.argmin(1) % len(self.remembered)]


def measure_memory(root: Path, progress: Progress, *, seed: int = 1000) -> None:
    """Accuracy behind the layer with an ideal memory, beside that of the images and of their augmentation."""
    path = measured_path(root, f"ideal-memory/{seed}")
    if is_measured(path):
        return
    found: dict[str, Any] = {"seed": seed}
    for per_class, starts in SMALL.per_class.items():
        drawn = digits(SMALL.data, per_class=per_class, test=SMALL.test, val=SMALL.val, side=SMALL.side, seed=seed)
        rng = Randomness(seed).child("reduced set", per_class)
        found[f"r{per_class}"] = _reduced_set(drawn, starts, rng, progress)
    write_measured(path, found)


def _reduced_set(drawn: Digits, starts: int, rng: Randomness, progress: Progress) -> dict[str, dict[str, float]]:
    kind, width = SMALL.autoencoder
    recipe = PerceptualAutoencoderRecipe(
        autoencoder=kind, width=width, side=SMALL.side, copies=SMALL.copies, steps=SMALL.steps
    )
    layer = recipe.layer(rng.generator("perception").initial_seed() % 2**31)
    parts = (drawn.train, ImageStore.of_tensors(drawn.test_images, drawn.test_labels), drawn.val)
    plain = [ImageStore.of_tensors(as_shown(one.images), one.targets) for one in parts]
    found = {
        "raw": _accuracy(plain, None, drawn, starts, rng),
        "augmented": _accuracy(plain, _bank(plain[0], SMALL, rng), drawn, starts, rng),
    }
    for name, shift in WAYS.items():
        seen = [_seen(NearestImage(drawn.train.images, shift), one, layer, progress) for one in parts]
        found[name] = _accuracy(seen, None, drawn, starts, rng)
        found[name]["wrong_memory"] = _wrong_memory(seen[1].images[:, :1], drawn)
    return found


def _seen(memory: NearestImage, examples: ImageStore, layer: PerceptualLayer, progress: Progress) -> ImageStore:
    # The layer calls its autoencoder alone, for which any map from images to images stands.
    return perceived(cast("PerceptualAutoencoder", memory), examples, layer, progress)


def _accuracy(
    parts: list[ImageStore], bank: Tensor | None, drawn: Digits, starts: int, rng: Randomness
) -> dict[str, float]:
    """Of the test images, at the epoch that validation images choose, the mean over classifiers."""
    learnt, queries, val = parts
    chosen = [
        _right(learnt, queries.images, drawn.test_labels, val, bank, SMALL, rng.child(start))[1]
        for start in range(starts)
    ]
    return {"accuracy": float(torch.stack(chosen).mean())}


MEASUREMENTS: Measurements = {"memory": measure_memory}
