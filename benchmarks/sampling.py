"""The sampler beside the pipeline of diffusers: same folder, prompts, noise, solver and steps, one run.

Two figures for each setting: the time of a run over the time that the network's calls take *inside the same run*, for
us and for the pipeline, so that other work on the machine slows both parts alike; and the ratio of the pipeline's time
to ours. It is the processor's time of the process on a CPU, wall time on an accelerator. Neither encodes prompts nor
decodes latents. Runs of the contenders alternate, and medians are compared. Without a folder, one in the form of Stable
Diffusion 1.5 with random weights is made; the smaller the network, the more the loop around it shows.
Usage: python benchmarks/sampling.py [--folder FOLDER] [--images 4] [--steps 20] [--repeats 5] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler, initial_noise, seeded
from snellen.models.diffusion.smoke import write_smoke_folder

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
}


class Stopwatch:
    """Time of a run, and of the network's calls within it."""

    def __init__(self, generator: Generator) -> None:
        self.device = generator.device
        self.inside = 0.0
        self.began = 0.0
        generator.denoiser.network.register_forward_pre_hook(self._begin)
        generator.denoiser.network.register_forward_hook(self._end)

    def now(self) -> float:
        """Seconds; on an accelerator after what was started there has ended."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def time(self, run: Callable[[], Tensor]) -> tuple[float, float]:
        """Seconds of a run, and how many times those of the network's calls that is."""
        self.inside = 0.0
        started = self.now()
        run()
        taken = self.now() - started
        return taken, taken / self.inside

    def _begin(self, *_: object) -> None:
        self.began = self.now()

    def _end(self, *_: object) -> None:
        self.inside += self.now() - self.began


def main() -> None:
    """Print one line for each solver and guidance scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="of a Stable Diffusion model")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or write_smoke_folder("stable-diffusion-1.5", Path(made) / "smoke")
        compare(folder, options)


def contenders(folder: str | Path, device: str) -> tuple[Generator, StableDiffusionPipeline]:
    """The generator, and the pipeline of diffusers around the same network."""
    import diffusers

    generator = load_generator(f"diffusers:{folder}", device=device)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, safety_checker=None)
    pipe = pipe.to(device)
    pipe.unet = generator.denoiser.network  # one network, one stopwatch
    pipe.set_progress_bar_config(disable=True)
    return generator, pipe


def pair(
    generator: Generator, pipe: StableDiffusionPipeline, solver: str, scale: float, images: int, steps: int
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Our call and the pipeline's: latents from the same noise and prompts."""
    import diffusers

    rng = seeded(range(images))
    noise = initial_noise(rng, generator.latent_shape(), generator)
    given, null = generator.encode_prompts(["a red star"] * images), generator.null(images)
    sampler, terms = Sampler(generator, steps=steps, solver=solver), [classifier_free(scale, null)]
    scheduler = getattr(diffusers, SCHEDULERS[solver]).from_config({**pipe.scheduler.config, "clip_sample": False})

    def ours() -> Tensor:
        return sampler.run(sampler.start(rng, noise=noise), given, guidance=terms).latents

    def theirs() -> Tensor:
        pipe.scheduler = scheduler
        return pipe(
            prompt_embeds=given.text,
            negative_prompt_embeds=null.text,
            num_inference_steps=steps,
            guidance_scale=scale,
            latents=noise,
            output_type="latent",
        ).images

    return ours, theirs


def compare(folder: str | Path, options: argparse.Namespace) -> None:
    """Measure one folder."""
    generator, pipe = contenders(folder, options.device)
    stopwatch = Stopwatch(generator)
    parameters = sum(parameter.numel() for parameter in generator.denoiser.network.parameters())
    print(
        f"{Path(folder).name}, {parameters / 1e6:.1f} M parameters, {options.images} images {generator.image_size}, "
        f"{options.steps} steps, {options.device}, {torch.get_num_threads()} threads"
    )
    for solver in SCHEDULERS:
        for scale in (1.0, 7.5):
            ours, theirs = pair(generator, pipe, solver, scale, options.images, options.steps)
            difference = float((ours() - theirs()).abs().max())  # and warm up
            measured: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
            turns = [("ours", ours), ("theirs", theirs)]
            for repeat in range(options.repeats):
                for who, run in turns if repeat % 2 else turns[::-1]:
                    measured[who].append(stopwatch.time(run))
            seconds, ratios = (
                {who: statistics.median(pair[part] for pair in pairs) for who, pairs in measured.items()}
                for part in (0, 1)
            )
            print(
                f"  {solver:<13} guidance {scale:g}: time / network calls {ratios['ours']:.3f} (diffusers "
                f"{ratios['theirs']:.3f}), diffusers / ours {seconds['theirs'] / seconds['ours']:.2f}, "
                f"largest difference {difference:.0e}"
            )


if __name__ == "__main__":
    main()
