"""What is made and trained at each scale, and what reads each shift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snellen.systems.continuous_nuisance.slider import SliderFit

#: Prompt of a class.
TEMPLATE = "a large {}"

#: Shifts that the augmented classifier was trained with.
KNOWN = ("stripes", "bricks")


@dataclass(frozen=True)
class ReadShift:
    """A shift, and what the judge reads of it.

    Args:
        words: in prompts.
        measure: name of a strength that the judge measures; empty where it names a value.
        factor: factor and value whose log-odds the judge gives.
        learning_rate: of its slider; fog and blur hide the object, and are trained more gently.
    """

    words: str
    measure: str = ""
    factor: tuple[str, str] = ("", "")
    learning_rate: float = 6e-4


SHIFTS: Mapping[str, ReadShift] = {
    "fog": ReadShift("in fog", measure="fog", learning_rate=4.5e-4),
    "blur": ReadShift("with blur", measure="blur", learning_rate=4e-4),
    "stripes": ReadShift("with stripes", factor=("texture", "striped")),
    "bricks": ReadShift("on bricks", factor=("background", "brick")),
}


@dataclass(frozen=True)
class Budget:
    """How much is made.

    Args:
        shifts: names, of :data:`SHIFTS`.
        fit: of each slider, but for its learning rate.
        steps: of the sampler.
        guidance_scale: of classifier-free guidance.
        strengths: of trajectories.
        objects: trajectories of each class under each shift.
        calibrated: further ones; the judge's answers on them set the thresholds.
        labelled: strengths of these: up to twice the largest, so that enough images have lost their class.
        alone: objects that are also made each alone.
        scenes: that classifiers are trained on.
        epochs: of their training.
        filtered: whether rejected trajectories are left out of figures of classifiers.
    """

    shifts: tuple[str, ...]
    fit: SliderFit
    steps: int
    guidance_scale: float
    strengths: tuple[float, ...]
    objects: int
    calibrated: int
    labelled: tuple[float, ...]
    alone: int
    scenes: int
    epochs: int
    filtered: bool = True


#: Strengths of the record: twice as far as published, with sliders that are trained more gently.
STRENGTHS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)

SMALL = Budget(
    shifts=tuple(SHIFTS),
    fit=SliderFit(iterations=40, batch_size=8, steps=12),
    steps=20,
    guidance_scale=2.0,
    strengths=STRENGTHS,
    objects=20,
    calibrated=5,
    labelled=(*STRENGTHS, 7.5, 10.0),
    alone=1,
    scenes=2500,
    epochs=16,
)
SMOKE = Budget(
    shifts=("fog",),
    fit=SliderFit(iterations=2, batch_size=2, steps=4),
    steps=4,
    guidance_scale=2.0,
    strengths=(0.0, 2.5),
    objects=1,
    calibrated=1,
    labelled=(0.0, 2.5),
    alone=1,
    scenes=60,
    epochs=1,
    filtered=False,
)
