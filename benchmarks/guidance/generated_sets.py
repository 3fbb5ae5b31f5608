"""What a generated data set costs beside the networks: seconds of the whole verb over those of every network in it.

Manifest, seeds, the sampler, WebP or PNG files, the search for copies and the record are the rest. At most 1.1 is
wanted. Seconds of the processor, medians over repeats. Writes docs/measured/generated-sets.json.
Usage: python benchmarks/guidance/generated_sets.py [--images 64] [--repeats 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from overhead import Networks
from torch import nn

import snellen
from snellen.core.run import write_atomically
from snellen.methods.synthesis.conditioned import generator_of
from snellen.synthesis import ByName

TARGET = Path(__file__).parents[2] / "docs" / "measured" / "generated-sets.json"

#: Generators, and classes that they draw.
GENERATORS = {"bundled:scene-diffusion": "optotypes:scenes?count=40&shapes=star,ring,heart,cross#train"}


def main() -> None:
    """Print one line for each generator and number of steps, and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=TARGET)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, object] = {"images": given.images, "repeats": given.repeats}
    for reference, data in GENERATORS.items():
        generator, real = generator_of(reference), snellen.load_images(data)
        networks: list[nn.Module] = [generator.denoiser.network]
        networks += [generator.vae.decoder] if generator.vae is not None else []
        networks += [tower.network for tower in generator.text.towers] if generator.text is not None else []
        for steps in (10, 30):
            ratios, seconds = list[float](), list[float]()
            for repeat in range(given.repeats + 1):
                watch, method = Networks(), ByName(generator=reference, steps=steps)
                with tempfile.TemporaryDirectory() as folder, watch.watching(networks):
                    began = time.process_time()
                    count = given.images // len(real.class_names)
                    snellen.synthesize(method, real, out=f"{folder}/set", count=count, seed=repeat)
                    taken = time.process_time() - began
                if repeat:  # the first one loads
                    ratios.append(taken / watch.seconds)
                    seconds.append(taken / given.images)
            name = f"{reference}, {steps} steps"
            found[name] = round(statistics.median(ratios), 3)
            print(f"{name}: {statistics.median(seconds):.3f} s an image, time / networks {found[name]}", flush=True)
    write_atomically(given.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
