"""Runs of students that follow a known law."""

import numpy as np

from snellen.systems.scaling_laws.scaling_run import ScalingRun

SIZES = (8, 16, 32, 64, 128, 256)


def runs(k, a=2.0, *, floor=0.0, noise=0.0, sizes=SIZES, seeds=5, config="made", classes=(), seed=0, test=None):
    """Students whose loss is a D^(−k) + floor, up to a factor exp(noise · normal)."""
    rng = np.random.default_rng(seed)
    found = []
    for size in sizes:
        for number in range(seeds):
            factor = np.exp(noise * rng.standard_normal())
            per_class = tuple(float((one_a * size**-one_k) * factor) for one_a, one_k in classes)
            found.append(
                ScalingRun(
                    config=config,
                    size=size,
                    seed=number,
                    loss=float((a * size**-k + floor) * factor),
                    accuracy=0.5,
                    class_losses=per_class,
                    **({} if test is None else {"test": test}),
                )
            )
    return found
