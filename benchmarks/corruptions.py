"""The corruptions of ImageNet-C beside imagecorruptions-imaug: the same 224-pixel photos, all settings, one run.

Kind by kind, the contenders alternate and medians are compared, so that a busy machine slows both alike; both use the
same number of threads. Usage: python benchmarks/corruptions.py [--images 16] [--repeats 3] [--threads 1] [--all]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.operators import SEVERITIES


def photos(count: int) -> NDArray[np.uint8]:
    """Photos of 224 × 224 pixels: crops of those in scikit-image, (n, 224, 224, 3)."""
    from skimage import data

    sources = [Image.fromarray(picture()) for picture in (data.astronaut, data.chelsea, data.coffee, data.rocket)]
    crops = []
    for number in range(count):
        source = sources[number % len(sources)]
        side = min(source.size) - 8 * (number // len(sources) % 16)
        left, top = (source.width - side) // 2, (source.height - side) // 2
        crops.append(np.asarray(source.crop((left, top, left + side, top + side)).resize((224, 224))))
    return np.stack(crops)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="the four extra kinds as well (95 settings, not 75)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        import cv2
        import imagecorruptions
    except ImportError as error:
        raise SystemExit("pip install imagecorruptions-imaug: the peer of this benchmark is not installed") from error
    warnings.simplefilter("ignore")
    cv2.setNumThreads(options.threads)

    pixels = photos(options.images)
    images = to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
    chosen = benchmark("imagenet-c")
    kinds = chosen.kinds if options.all else chosen.main

    def ours(kind: str) -> None:
        rng = Randomness(0).bind(len(images)).remembering()
        for severity in SEVERITIES:
            corrupt(images, chosen, kind, severity, rng)

    def theirs(kind: str) -> None:
        for severity in SEVERITIES:
            for image in pixels:
                imagecorruptions.corrupt(image, corruption_name=kind, severity=severity)

    total_ours = total_theirs = 0.0
    print(f"{options.images} images of 224 px, {options.threads} thread(s), median of {options.repeats}; ms per image")
    print(f"{'five severities of':20s} {'ours':>8s} {'peer':>8s} {'ratio':>7s}")
    for kind in kinds:
        ours(kind)  # warm up
        imagecorruptions.corrupt(pixels[0], corruption_name=kind, severity=1)  # compile
        pairs = [(seconds(lambda: ours(kind)), seconds(lambda: theirs(kind))) for _ in range(options.repeats)]  # noqa: B023
        mine, peer = (1000 * statistics.median(column) / len(images) for column in zip(*pairs, strict=True))
        total_ours, total_theirs = total_ours + mine, total_theirs + peer
        print(f"{kind:20s} {mine:8.1f} {peer:8.1f} {peer / mine:6.1f}×", flush=True)
    settings = len(kinds) * len(SEVERITIES)
    print(f"{f'all {settings} settings':20s} {total_ours:8.1f} {total_theirs:8.1f} {total_theirs / total_ours:6.1f}×")
    rates = [settings / total * 1000 for total in (total_ours, total_theirs)]
    print(f"corrupted images per second: {rates[0]:.0f} ours, {rates[1]:.0f} peer")


if __name__ == "__main__":
    main()
