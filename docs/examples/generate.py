"""Sample from any generator: only the reference changes.

    python docs/examples/generate.py bundled:scene-diffusion --prompt "a red star on grass"
    python docs/examples/generate.py bundled:fashion-diffusion --class 7
    python docs/examples/generate.py diffusers:FOLDER --prompt "a red star on grass"

FOLDER is what diffusers' save_pretrained writes: Stable Diffusion 1.5, 2.1 or XL, PixArt, DiT, a UNet with classes or
without. A generator that takes classes needs --class, one that takes nothing needs neither.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from snellen.core.errors import SnellenError
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler


def main() -> None:
    """Sample and write one picture beside another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("--prompt", default="a red star on grass")
    parser.add_argument("--class", dest="label", type=int, default=0)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance-scale", type=float, default=2.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("generated.png"))
    given = parser.parse_args()
    sampler = Sampler(load_generator(given.reference, device=given.device), steps=given.steps)
    takes = sampler.generator.takes
    made = generate(
        sampler,
        range(given.count),
        prompts=[given.prompt] * given.count if takes == "prompts" else None,
        classes=[given.label] * given.count if takes == "classes" else None,
        guidance_scale=1.0 if takes == "nothing" else given.guidance_scale,
    )
    rows = made.bytes().permute(2, 0, 3, 1).flatten(1, 2)  # (h, n · w, 3)
    Image.fromarray(rows.numpy()).save(given.out)
    print(f"{given.out}: {len(made)} pictures, {made.calls} calls of networks")


if __name__ == "__main__":
    try:
        main()
    except SnellenError as error:
        raise SystemExit(f"error: {error}") from None
