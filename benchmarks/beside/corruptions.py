"""ImageNet-C beside imagecorruptions-imaug, kind by kind: the same 224-pixel photos, severities 1 to 5."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import numpy as np
import torch
from beside.contest import Contest, Peer
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from corruptions import photos

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.operators import SEVERITIES
from snellen.methods.corruptions.textures import load_textures

PEERS = {"imagecorruptions-imaug": "imagecorruptions"}

#: Photos, and rounds.
COUNT, REPEATS = 8, 3

#: Kinds that draw something: mean changes are compared, not pixels.
RANDOM = {
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow", "frost",
    "fog", "elastic_transform", "spatter",
}  # fmt: skip

#: Grey levels by which pixels may differ, since both cut to bytes.
LEVELS = 2.0

#: Standard errors by which mean changes may differ, and a share of the peer's beside.
ERRORS, SHARE = 4.0, 0.02

Changed = list[NDArray[np.float32]]


def contests(available: Set[str]) -> Iterator[Contest]:
    """One for each kind."""
    if not available:
        return
    import cv2
    import imagecorruptions

    cv2.setNumThreads(1)
    pixels = photos(COUNT)
    images = to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
    chosen = benchmark("imagenet-c")
    textures = load_textures(str(Path(imagecorruptions.__file__).parent / "frost"))
    for kind in chosen.main:

        def ours(kind: str = kind) -> list[Tensor]:
            rng = Randomness(0).bind(COUNT).remembering()
            # Faults of the published code are repeated, and its photographs of frost are taken, where there are any.
            mended, frost = chosen.operator(kind).mended, textures if kind == "frost" else None
            return [
                corrupt(images, chosen, kind, severity, rng, parity=mended, textures=frost) for severity in SEVERITIES
            ]

        def theirs(kind: str = kind) -> Changed:
            return [
                np.stack([imagecorruptions.corrupt(image, corruption_name=kind, severity=level) for image in pixels])
                for level in SEVERITIES
            ]

        peer = {"imagecorruptions-imaug": Peer("imagecorruptions-imaug", theirs)}
        verdict = same_change(pixels, exact=kind not in RANDOM)
        yield Contest(
            f"{kind.replace('_', ' ')}, {COUNT} photos, 5 severities", ours, peer, verdict, REPEATS, part=True
        )


def same_change(pixels: NDArray[np.uint8], *, exact: bool) -> Callable[[list[Tensor], Changed], tuple[bool, str]]:
    """Compare pixels where nothing is drawn, else the mean absolute change, by its standard error over photos."""

    def verdict(mine: list[Tensor], theirs: Changed) -> tuple[bool, str]:
        pairs = [
            (one.permute(0, 2, 3, 1).numpy() * 255, np.asarray(other, dtype=np.float32))
            for one, other in zip(mine, theirs, strict=True)
        ]
        if exact:
            most = max(float(np.abs(one - other).max()) for one, other in pairs)
            return most <= LEVELS, f"largest difference {most:.1f} of 255"
        # By image, over all severities: ours draws once for all of them.
        changes = [np.mean([np.abs(pair[side] - pixels).mean((1, 2, 3)) for pair in pairs], axis=0) for side in (0, 1)]
        apart = changes[0] - changes[1]
        error = float(apart.std(ddof=1)) / len(apart) ** 0.5
        words = f"mean change {changes[0].mean():.2g} and {changes[1].mean():.2g} of 255"
        return abs(float(apart.mean())) <= ERRORS * error + SHARE * float(changes[1].mean()), words

    return verdict
