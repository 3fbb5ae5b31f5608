"""What a search of prompts will cost: pictures through the denoiser, counted, and seconds, measured on a few."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from snellen.core.progress import Silent
from snellen.methods.forgetting.prompt_erasing import TOGETHER, Erasing, Probe, Prompted, draw, erased, retrained
from snellen.models.diffusion.sampler import Sampler
from snellen.verbs.prompt_networks import Study

#: Steps of a stage that are measured, beside one alone: what comes once falls out of the difference.
TRIED = 3


@dataclass(frozen=True)
class PromptCosts:
    """Pictures through the denoiser, by stage.

    Attributes:
        sampled: pictures that are drawn, times steps of the sampler.
        guided: predictions of such a step: 2 with guidance, else 1.
        probed: noisy pictures whose losses are read, or whose targets are predicted.
        erased: pictures of steps of erasing, of the search and of the sets that are judged.
        retrained: pictures of steps of retraining.
    """

    sampled: int
    guided: int
    probed: int
    erased: int
    retrained: int

    @classmethod
    def of(cls, study: Study) -> PromptCosts:
        """Count what a study does."""
        drawn, sets = len(study.table) * study.drawn, len(study.sets)
        networks = 2 if study.retraining is None else 3
        seen = 0 if study.judge is None else sets * networks * 2 * study.count * study.images
        search, again = study.search, study.retraining
        # Three probes have two predictions for their targets; the losses of two are read before any erasing.
        probes = 3 * 2 + 2 + search.upper_steps + sets * (networks - 1)
        return cls(
            sampled=(2 * drawn + seen) * study.sampler.steps,
            guided=1 if study.guidance_scale == 1 else 2,
            probed=probes * drawn,
            erased=search.upper_steps * _pictures(search.lower) + sets * _pictures(study.erasing),
            retrained=0 if again is None else sets * again.steps * again.batch_size,
        )

    @property
    def forward(self) -> int:
        """Predictions: three for each picture of an erasing; two of them make its target."""
        return self.sampled * self.guided + self.probed + 3 * self.erased + self.retrained

    @property
    def backward(self) -> int:
        """Gradients."""
        return self.erased + self.retrained

    def __str__(self) -> str:
        return f"passes: about {self.forward:,} pictures forward, {self.backward:,} backward"


def forecast(study: Study) -> float:
    """Seconds of a study, by a few pictures of each stage in this process."""
    costs, generator, silent = PromptCosts.of(study), study.generator, Silent()
    few = Prompted.of(generator, study.table.prompts[:TOGETHER])
    rng, weights = study.rng("forecast"), np.ones(len(few))
    pictures = draw(few, 1, Sampler(generator, 1), study.guidance_scale, rng, silent)
    each = _each(lambda steps: draw(few, 1, Sampler(generator, steps), study.guidance_scale, rng, silent))
    seconds = costs.sampled * each / len(few)
    probe = Probe.of(few, pictures, study.erasing.negative_guidance, rng)
    seconds += costs.probed * _taken(lambda: probe.losses(generator.denoiser.network)) / len(few)
    numbers = study.erasing

    def erase(steps: int) -> object:
        return erased(few, pictures, weights, numbers.model_copy(update={"steps": steps}), rng)

    seconds += costs.erased * _each(erase) / numbers.batch_size
    if (again := study.retraining) is not None:

        def retrain(steps: int) -> object:
            return retrained(few, pictures, [0], again.model_copy(update={"steps": steps}), rng)

        seconds += costs.retrained * _each(retrain) / again.batch_size
    return seconds


def _pictures(erasing: Erasing) -> int:
    return erasing.steps * erasing.batch_size


def _taken(stage: Callable[[], object]) -> float:
    started = time.perf_counter()
    stage()
    return time.perf_counter() - started


def _each(stage: Callable[[int], object]) -> float:
    """Seconds of one more step of a stage; all of the longer run where the clock shows no difference."""
    one, more = _taken(partial(stage, 1)), _taken(partial(stage, TRIED))
    return (more - one) / (TRIED - 1) if more > one else more / TRIED
