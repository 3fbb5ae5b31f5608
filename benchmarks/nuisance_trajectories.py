"""Trajectories of nuisances, forked and batched, beside each image in a run of its own: same sliders, prompts, seeds.

C classes × S strengths × N seeds under each shift. Both ways run in one process and alternate, and their images are
compared. It is the processor's time of the process on a CPU, wall time on an accelerator. How much batches gain
belongs to the machine; calls and rows of the network do not. Without a generator it is that of the package, whose
network is small: the time around its calls shows.
Usage: python benchmarks/nuisance_trajectories.py [--generator REF] [--seeds 3] [--steps 20] [--repeats 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.continuous_nuisance.slider import SliderFit
from snellen.systems.continuous_nuisance.slider_folder import sliders_in
from snellen.systems.continuous_nuisance.strengths import PUBLISHED
from snellen.systems.continuous_nuisance.trajectories import Trajectories, sample_trajectories, sampled_alone
from snellen.systems.continuous_nuisance.words import class_prompt, named_phrases

#: Enough of a training for sliders that change images; how well is not measured here.
FIT = SliderFit(iterations=8, batch_size=4, steps=10, learning_rate=5e-3)


def main() -> None:
    """Measure, print, and write a record where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", default="bundled:scene-diffusion")
    parser.add_argument("--classes", nargs="+", default=["star", "ring", "heart"])
    parser.add_argument("--concepts", nargs="+", default=["stripes=with stripes", "fog"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=2.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="file for the record")
    options = parser.parse_args()
    record = compare(options)
    print(json.dumps(record, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def compare(options: argparse.Namespace) -> dict[str, object]:
    """Both ways, alternating."""
    generator = load_generator(options.generator, device=options.device)
    prompts = [class_prompt("a {}", name) for name in options.classes for _ in range(options.seeds)]
    seeds = list(range(1, len(prompts) + 1))
    sampler = Sampler(generator, steps=options.steps)
    with tempfile.TemporaryDirectory() as folder:
        sliders = sliders_in(
            Path(folder) / "sliders", generator, named_phrases(options.concepts), sorted(set(prompts)), fit=FIT
        )

        def together() -> Trajectories:
            return sample_trajectories(
                sampler, sliders, prompts, seeds, PUBLISHED,
                guidance_scale=options.guidance_scale, batch_size=options.batch_size,
            )  # fmt: skip

        def alone() -> Trajectories:
            return sampled_alone(sampler, sliders, prompts, seeds, PUBLISHED, guidance_scale=options.guidance_scale)

        ways: dict[str, Callable[[], Trajectories]] = {"together": together, "alone": alone}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        made: dict[str, Trajectories] = {}
        together()  # warms up
        for repeat in range(options.repeats):
            for way in list(ways) if repeat % 2 else list(ways)[::-1]:
                started = _now(options.device)
                made[way] = ways[way]()
                taken[way].append(_now(options.device) - started)
    seconds = {way: statistics.median(times) for way, times in taken.items()}
    moved = (made["together"].images[:, :, -1] - made["together"].images[:, :, 0]).abs().mean()
    return {
        "generator": options.generator,
        "parameters": sum(parameter.numel() for parameter in generator.denoiser.network.parameters()),
        "classes": len(options.classes),
        "strengths": len(PUBLISHED),
        "seeds": options.seeds,
        "shifts": len(sliders),
        "images": made["alone"].images[:, :, :, 0, 0, 0].numel(),
        "steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "batch_size": options.batch_size,
        "repeats": options.repeats,
        "device": options.device,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "seconds": {way: round(value, 3) for way, value in seconds.items()},
        "ratio": round(seconds["together"] / seconds["alone"], 4),
        "ratios": [round(ours / theirs, 4) for ours, theirs in zip(taken["together"], taken["alone"], strict=True)],
        "rows_ratio": round(made["together"].rows / made["alone"].rows, 4),
        "calls_ratio": round(made["together"].calls / made["alone"].calls, 4),
        "largest_difference": float((made["together"].images - made["alone"].images).abs().max()),
        "mean_change_by_the_largest_strength": round(float(moved), 4),
    }


def _now(device: str) -> float:
    """Seconds; on an accelerator after what was started there has ended."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
