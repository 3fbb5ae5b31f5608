"""Images of a class, steered by an ordinary classifier that small adapters have taught the noise: PPAP.

H. Go et al., *Towards Practical Plug-and-Play Diffusion Models*, CVPR 2023, arXiv 2212.05973. The adapters are fitted
once for a pair of classifier and generator, without labels, to images that the generator makes. The generator has no
condition in sampling, the classifier alone gives the class.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import by_experts
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.guided_sampling import GuidedSampling
from snellen.methods.generation.made_images import classifier_of, generator_of
from snellen.methods.generation.teachers import Teacher, classifier_teacher
from snellen.models.diffusion.condition import Condition
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit, experts_in
from snellen.systems.plug_and_play_guidance.low_rank_experts import LowRankExperts


class PlugAndPlayGuidance(GuidedSampling):
    """Steer by an ordinary classifier through experts for ranges of noise.

    Experts are read from their folder, or are fitted and written there when it is not there. They are always fitted
    with seed 0, so that images of any seed can use them.
    """

    name: ClassVar[str] = "plug_and_play_guidance"

    classifier: str = Field("", description="reference of the classifier that guides, with gradients")
    experts: str = Field("", description="folder of the experts; fitted and written there where it is missing")
    fit: TransferFit | None = Field(
        None, description="numbers of a new fit; experts that are there must have been fitted so"
    )
    guidance_scale: float = Field(
        8.5, description="1 means none; published: 7.5, which is one less", allow_inf_nan=False
    )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        if not self.classifier:
            return "needs the classifier that guides: --classifier bundled:scene-cnn"
        return None if self.experts else "needs the folder of the experts, which it may make: --experts FOLDER"

    def make_ready(self, progress: Progress | None = None) -> None:
        """Load the experts, or fit them."""
        ready(self, progress)

    def known_classes(self) -> tuple[str, ...]:
        """Those of the classifier."""
        return classifier_of(self.classifier).class_names

    def base(self, requested: GeneratorCall) -> Condition:
        """Nothing: the classifier alone says the class."""
        return requested.nothing

    def steering(self, requested: GeneratorCall) -> ClassSteer:
        """The gradient of the experts' log-probability."""
        teacher, experts = ready(self)
        return ClassSteer(requested, by_experts(teacher, experts), self.guidance_scale, self.solver)

    def recorded_scale(self) -> float:
        """The scale."""
        return self.guidance_scale

    def notes(self) -> tuple[str, ...]:
        """What the experts cost."""
        _, experts = ready(self)
        return (
            f"{experts.ranges.experts} experts, each with {experts.parameters:,} parameters of its own "
            f"({experts.share:.1%} of the classifier's)",
        )

    def identities(self) -> dict[str, str]:
        """Hashes of the weights of generator, classifier and experts."""
        teacher, experts = ready(self)
        own = {
            f"{number}.{name}": part for number, tensors in enumerate(experts.tensors) for name, part in tensors.items()
        }
        return {**super().identities(), "classifier": teacher.identity(), "experts": hash_tensors(own)}


def ready(method: PlugAndPlayGuidance, progress: Progress | None = None) -> tuple[Teacher, LowRankExperts]:
    """The classifier as a teacher, and its experts, which are fitted first where their folder is missing.

    Raises:
        InputError: a folder with something else, or with experts of another classifier or generator.
    """
    card = Path(method.experts) / "card.json"
    if not card.is_file():
        _made(method, progress)
    return _ready(method, card.read_bytes())


@lru_cache(maxsize=1)
def _ready(method: PlugAndPlayGuidance, card: bytes) -> tuple[Teacher, LowRankExperts]:
    """As :func:`ready`; what the folder holds is part of the key, since it may change between two calls."""
    return _made(method)


def _made(method: PlugAndPlayGuidance, progress: Progress | None = None) -> tuple[Teacher, LowRankExperts]:
    teacher = classifier_teacher(classifier_of(method.classifier))
    generator = generator_of(method.generator)
    return teacher, experts_in(Path(method.experts), teacher, generator, fit=method.fit, progress=progress)
