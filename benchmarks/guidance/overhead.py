"""What steering costs beside the networks: seconds of a whole call over those of every network in it, for each term.

Networks are the denoisers, the classifier, the decoder of the latents and the text encoder, forward and backward; the
rest is the sampler, the terms and their bookkeeping. At most 1.1 is asked. Seconds of the processor; medians of runs
that alternate between the terms. Writes docs/measured/guidance-overhead.json; python scripts/write_tables.py
brings it into the page.
Usage: python benchmarks/guidance/overhead.py [--images 20] [--steps 10] [--repeats 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snellen.core.run import write_atomically
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import off_the_shelf, on_the_estimate
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.teachers import classifier_teacher
from snellen.models.diffusion.generate import Steer, Steering, generate
from snellen.models.diffusion.guidance import ReferenceGuidance, Rescaled, autoguidance, classifier_free
from snellen.reproduction.shared.guided_generation.setups import Setup, small_scenes, thumbnails
from snellen.reproduction.shared.guided_generation.weak_denoiser import narrower
from snellen.systems.gradient_free_guidance.gradient_free import Tally
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance, GradientFreeSteer

TARGET = Path(__file__).parents[2] / "docs" / "measured" / "guidance-overhead.json"


class Networks:
    """Seconds inside networks; a call within another counts once."""

    def __init__(self) -> None:
        self.seconds, self.depth, self.began = 0.0, 0, 0.0

    def enter(self, *_: object) -> None:
        """A network begins."""
        if not self.depth:
            self.began = time.process_time()
        self.depth += 1

    def leave(self, *_: object) -> None:
        """It has ended."""
        self.depth -= 1
        if not self.depth:
            self.seconds += time.process_time() - self.began

    @contextmanager
    def watching(self, networks: list[nn.Module]) -> Iterator[None]:
        """Watch forward passes of networks, and all backward passes."""
        handles = [network.register_forward_pre_hook(self.enter) for network in networks]
        handles += [network.register_forward_hook(self.leave) for network in networks]
        backward = torch.autograd.grad

        def timed(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever torch takes
            self.enter()
            try:
                return backward(*given, **named)
            finally:
                self.leave()

        torch.autograd.grad = timed
        try:
            yield
        finally:
            torch.autograd.grad = backward
            for handle in handles:
                handle.remove()


def terms(setup: Setup, requested: GeneratorCall) -> tuple[dict[str, Callable[[], Steer]], list[nn.Module]]:
    """Steering by name, and the networks that it asks."""
    weak = replace(setup.generator.denoiser, network=narrower(setup.generator.denoiser, 0).requires_grad_(False).eval())
    teacher = classifier_teacher(setup.guide)

    def away(rows: range) -> ReferenceGuidance:
        return classifier_free(2.0, requested.nothing.select(rows))

    found: dict[str, Callable[[], Steer]] = {
        "none": lambda: lambda rows, rng: Steering(),
        "classifier-free": lambda: lambda rows, rng: Steering([away(rows)]),
        "classifier-free, rescaled": lambda: lambda rows, rng: Steering([Rescaled([away(rows)], 0.7)]),
        "autoguidance": lambda: lambda rows, rng: Steering([autoguidance(2.0, weak)]),
        "gradient-free": lambda: GradientFreeSteer(GradientFreeGuidance(), setup.guide, requested, None, Tally()),
        "gradient, noisy latents": lambda: ClassSteer(requested, off_the_shelf(teacher), 3.0),
        "gradient, estimate": lambda: ClassSteer(requested, on_the_estimate(teacher, through=True), 3.0),
    }
    generator = setup.generator
    networks: list[nn.Module] = [generator.denoiser.network, weak.network, teacher.network]
    networks += [generator.vae.decoder] if generator.vae is not None else []
    networks += [tower.network for tower in generator.text.towers] if generator.text is not None else []
    return found, networks


def main() -> None:
    """Print one line for each world and term, and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=TARGET)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"images": given.images, "steps": given.steps, "repeats": given.repeats, "worlds": {}}
    for make in (small_scenes, thumbnails):
        setup = replace(make(), steps=given.steps)
        requested = setup.ask(given.images, 1)
        steers, networks = terms(setup, requested)
        ratios: dict[str, list[float]] = {name: [] for name in steers}
        seconds: dict[str, list[float]] = {name: [] for name in steers}
        for _ in range(given.repeats):
            for name, steer in steers.items():
                watch, condition = Networks(), requested.own
                with watch.watching(networks):
                    began = time.process_time()
                    generate(
                        setup.sampler, requested.seeds, condition=condition, steer=steer(), batch_size=given.images
                    )
                    taken = time.process_time() - began
                ratios[name].append(taken / watch.seconds)
                seconds[name].append(taken / given.images)
        for name in steers:
            print(
                f"{setup.name:<11} {name:<26} {statistics.median(seconds[name]):.3f} s an image, time / networks "
                f"{statistics.median(ratios[name]):.3f}",
                flush=True,
            )
        found["worlds"][setup.name] = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    write_atomically(given.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
