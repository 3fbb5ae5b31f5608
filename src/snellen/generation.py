"""Methods that generate images and captions: ``from snellen.generation import Sample``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "generation")

if TYPE_CHECKING:
    from snellen.methods.generation.classifier_guidance import ClassifierGuidance as ClassifierGuidance
    from snellen.methods.generation.sample import Sample as Sample
    from snellen.methods.generation.variation import Variation as Variation
    from snellen.systems.concept_erasing.method import Erase as Erase
    from snellen.systems.continuous_nuisance.method import ContinuousNuisance as ContinuousNuisance
    from snellen.systems.distributional_control.method import DistributionalControl as DistributionalControl
    from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance as GradientFreeGuidance
    from snellen.systems.guided_captions.method import GuidedCaptions as GuidedCaptions
    from snellen.systems.plug_and_play_guidance.method import PlugAndPlayGuidance as PlugAndPlayGuidance
    from snellen.systems.text_image_to_video.method import TextImageToVideo as TextImageToVideo
