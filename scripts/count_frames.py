"""How many functions of this package a call passes before the network runs: fewer are easier to read in a traceback.

    python scripts/count_frames.py            prints the deepest path of each verb
    python scripts/count_frames.py --check    fails where a path is deeper than its bound

Counted are frames in files of ``snellen`` from the public function to the ``forward`` of the user's module, whose own
frame is not among them. The command line is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from torch import nn

import snellen

#: The most frames of each verb.
BOUNDS = {"attack": 8, "audit": 10, "scan": 17}

PACKAGE = Path(snellen.__file__).parent


class Watched(nn.Module):
    """A small classifier that notes the deepest path that leads to it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 3))
        self.paths: list[list[str]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores; the path is noted where the images are followed by gradients, as in a search."""
        if images.requires_grad:
            self.paths.append(path_to(sys._getframe(1)))
        scores: torch.Tensor = self.layers(images)
        return scores


def path_to(frame: FrameType | None) -> list[str]:
    """The functions of this package that are running, outermost first."""
    found = []
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(PACKAGE):
            found.append(f"{file.relative_to(PACKAGE)}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return found[::-1]


def deepest(call: Callable[[snellen.Classifier], object]) -> list[str]:
    """The longest path of a call."""
    module = Watched()
    call(snellen.Classifier(module, class_names=["a", "b", "c"], preparation=snellen.Preprocessing(size=(16, 16))))
    return max(module.paths, key=len)


def paths() -> dict[str, list[str]]:
    """The longest path of each verb."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (48, 16, 16, 3), dtype=np.uint8), np.arange(48) % 3
    images = snellen.load_images((pixels, labels))
    return {
        "attack": deepest(lambda model: snellen.attack(model, images, "pgd")),
        "audit": deepest(lambda model: snellen.audit(model, images, checks=["clean", "adversarial"])),
        "scan": deepest(lambda model: snellen.scan(model, images, {"method": "backdoor", "steps": 2})),
    }


def main() -> int:
    """Print the paths; 1 where one is deeper than its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where a path is deeper than its bound")
    given = parser.parse_args()
    found, deep = paths(), False
    for verb, path in found.items():
        print(f"{verb}: {len(path)} frames, at most {BOUNDS[verb]}")
        print("\n".join(f"  {place}" for place in path))
        deep |= len(path) > BOUNDS[verb]
    return int(given.check and deep)


if __name__ == "__main__":
    sys.exit(main())
