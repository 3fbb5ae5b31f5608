"""The published benchmark as data: its shifts, prompts, sampler, filter and training, for Stable Diffusion 2.

Nothing of it is shipped: the folder of ``stabilityai/stable-diffusion-2`` (``diffusers:FOLDER``), the tokens of classes
(ImageNet*), CLIP ViT-B/16 and DINOv2 ViT-L/14 with registers (``hf:FOLDER``) are given by reference. All 1,400 sliders
take about 2,000 hours of a GPU and the images about 350; a few classes and shifts take a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from snellen.systems.continuous_nuisance.filtering import PUBLISHED_THRESHOLDS
from snellen.systems.continuous_nuisance.settings import SliderFit
from snellen.systems.continuous_nuisance.strengths import PUBLISHED

#: Eight styles and six kinds of weather, as the prompts name them.
STYLES = ("cartoon", "plush toy", "pencil sketch", "painting", "sculpture", "graffiti", "video game", "tattoo")
WEATHERS = ("heavy snow", "heavy rain", "dense fog", "haze", "dust", "sandstorm")


@dataclass(frozen=True)
class PublishedSettings:
    """Settings of the benchmark on ImageNet.

    Attributes:
        shifts: words of each.
        template: prompt of a class.
        shifted: prompt of a class under a shift, with its words.
        negative: prompt to guide away from.
        guidance_scale: of classifier-free guidance.
        steps: of the sampler, DDIM.
        gate: highest timestep at which sliders act.
        strengths: of a trajectory.
        classes: of ImageNet.
        seeds: of each class; the first one is 1.
        size: height and width that are trained on and generated.
        kept_size: height and width of the images that are kept.
        dtype: of the generator's weights.
        fit: of a slider, one for each class and shift.
        thresholds: of the filter, with ``quirk``.
        reference: classifier whose errors are the unit of rCE. The sources do not name one; AlexNet is that of
            ImageNet-C.
    """

    shifts: tuple[str, ...] = (*STYLES, *WEATHERS)
    template: str = "a picture of a {}"
    shifted: str = "{}, {}"
    negative: str = "blurry,text,caption,lowquality,lowresolution,low res,grainy,ugly"
    guidance_scale: float = 7.5
    steps: int = 50
    gate: float = 750.0
    strengths: tuple[float, ...] = PUBLISHED
    classes: int = 100
    seeds: int = 50
    size: int = 512
    kept_size: int = 256
    dtype: str = "bfloat16"
    fit: SliderFit = field(default_factory=lambda: SliderFit(size=512))
    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(PUBLISHED_THRESHOLDS))
    reference: str = "torchvision:alexnet"


IMAGENET = PublishedSettings()
