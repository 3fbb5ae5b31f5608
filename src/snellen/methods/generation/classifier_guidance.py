"""Images of a class, steered by an ordinary classifier: the gradient of its log-probability in each step.

Dhariwal and Nichol, *Diffusion Models Beat GANs on Image Synthesis*, 2021, arXiv 2105.05233, algorithms 1 and 2. The
generator has no condition, the classifier alone gives the class. It was fitted to clean images, so it is shown the
noisy latents as they are, or the denoised estimate; :mod:`snellen.systems.plug_and_play_guidance.method` makes it know
the noise.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import off_the_shelf, on_the_estimate
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.guided_sampling import GuidedSampling
from snellen.methods.generation.made_images import classifier_of
from snellen.methods.generation.teachers import classifier_teacher
from snellen.models.diffusion.condition import Condition


class ClassifierGuidance(GuidedSampling):
    """Steer by an ordinary classifier, on the denoised estimate or on the noisy latents."""

    name: ClassVar[str] = "classifier_guidance"

    classifier: str = Field("", description="reference of the classifier that guides, with gradients")
    sees: Literal["estimate", "estimate-through", "noisy"] = Field(
        "estimate",
        description="the denoised estimate, gradient stopped at the denoiser (whose velocity is held) or led "
        "through it (a second call and backward pass), or noisy latents",
    )
    guidance_scale: float = Field(8.5, description="1 means none; published scales are one less", allow_inf_nan=False)

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        return None if self.classifier else "needs the classifier that guides: --classifier bundled:scene-cnn"

    def known_classes(self) -> tuple[str, ...]:
        """Those of the classifier."""
        return classifier_of(self.classifier).class_names

    def base(self, requested: GeneratorCall) -> Condition:
        """Nothing: the classifier alone says the class."""
        return requested.nothing

    def steering(self, requested: GeneratorCall) -> ClassSteer:
        """The gradient of the classifier's log-probability."""
        teacher = classifier_teacher(classifier_of(self.classifier))
        shown = off_the_shelf(teacher)
        if self.sees != "noisy":
            shown = on_the_estimate(teacher, through=self.sees == "estimate-through")
        return ClassSteer(requested, shown, self.guidance_scale, self.solver)

    def recorded_scale(self) -> float:
        """The scale."""
        return self.guidance_scale

    def identities(self) -> dict[str, str]:
        """Hashes of the weights of generator and classifier."""
        teacher = classifier_teacher(classifier_of(self.classifier))
        return {**super().identities(), "classifier": teacher.identity()}
