"""MedMNIST-C beside medmnistc, the authors' package, kind by kind: the same 224-pixel photos, severities 1 to 5.

Each kind is that of the first set which has it. The package needs ImageMagick's library.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np
import torch
from beside.contest import Contest, Peer
from beside.corruptions import COUNT, REPEATS, Changed, same_change
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from corruptions import photos

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.operators import SEVERITIES

PEERS = {"medmnistc": "medmnistc.corruptions.registry"}

#: Coloured sets, which have all kinds but three.
SETS = ("dermamnist", "pathmnist", "tissuemnist", "chestmnist")

#: Kinds that draw something.
RANDOM = {
    "gaussian_noise", "speckle_noise", "impulse_noise", "shot_noise", "motion_blur", "stain_deposit", "bubble",
    "characters",
}  # fmt: skip


def contests(available: Set[str]) -> Iterator[Contest]:
    """One for each kind."""
    if not available:
        return
    import cv2
    from medmnistc.corruptions.registry import CORRUPTIONS_DS, DATASET_RGB

    cv2.setNumThreads(1)
    kinds: dict[str, str] = {}
    for name in SETS:
        for kind in CORRUPTIONS_DS[name]:
            kinds.setdefault(kind, name)
    pixels = photos(COUNT)
    images = to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
    for kind, name in kinds.items():
        chosen, published = benchmark(name), CORRUPTIONS_DS[name][kind]
        published.rng = np.random.default_rng(0)  # as its maker of data sets does

        def ours(kind: str = kind, chosen=chosen) -> list[Tensor]:
            rng = Randomness(0).bind(COUNT).remembering()
            return [corrupt(images, chosen, kind, severity, rng) for severity in SEVERITIES]

        def theirs(published=published, coloured: bool = DATASET_RGB[name]) -> Changed:
            levels = []
            for level in range(len(SEVERITIES)):
                changed = [np.asarray(published.apply(Image.fromarray(image), level)) for image in pixels]
                if not coloured:  # as its maker of data sets does
                    changed = [np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in changed]
                levels.append(np.stack(changed))
            return levels

        verdict = same_change(pixels, exact=kind not in RANDOM)
        what = f"{kind.replace('_', ' ')} of {name}, {COUNT} photos, 5 severities"
        yield Contest(what, ours, {"medmnistc": Peer("medmnistc", theirs)}, verdict, REPEATS, part=True)
