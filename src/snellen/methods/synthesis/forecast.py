"""How long a generator takes for one image here, before anybody pays for many."""

from __future__ import annotations

import time

from snellen.core.randomness import Randomness
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.manifest_rows import Source

#: Steps of the two short trials, and images of each.
_FEW, _MORE, _TOGETHER = 1, 3, 2


def seconds_an_image(method: Conditioned, source: Source, seed: int = 0) -> float:
    """Seconds of this machine for one image: a line through short trials of two images with one and three steps.

    A larger batch may take less for each image.

    Args:
        method: that generates the image.
        source: classes, and real images where there are any.
        seed: of the manifest.

    Raises:
        InputError: a source that the method cannot use, or a class or prompt that the generator does not take.
    """
    rows = method.rows(source, _TOGETHER, seed)[:_TOGETHER]
    wanted = [method.request(row, source) for row in rows]

    def taken(steps: int) -> float:
        tried = method.model_copy(update={"steps": steps})
        started = time.perf_counter()
        tried.generate(wanted, rng=Randomness(seed))
        return time.perf_counter() - started

    taken(_FEW)  # loads the generator
    few, more = taken(_FEW), taken(_MORE)
    step = max(more - few, 0.0) / (_MORE - _FEW)
    return (few + (method.steps - _FEW) * step) / len(wanted)
