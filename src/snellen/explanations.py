"""Explanations: ``from snellen.explanations import GradCAM``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "explanations")

if TYPE_CHECKING:
    from snellen.methods.explanations.grad_cam import GradCAM as GradCAM
    from snellen.methods.explanations.gradient import Gradient as Gradient
    from snellen.methods.explanations.integrated_gradients import IntegratedGradients as IntegratedGradients
    from snellen.methods.explanations.occlusion import Occlusion as Occlusion
    from snellen.methods.explanations.partition_shap import PartitionSHAP as PartitionSHAP
    from snellen.methods.explanations.rise import RISE as RISE
    from snellen.methods.explanations.smooth_grad import SmoothGrad as SmoothGrad
    from snellen.systems.concept_bottleneck.concept_card import ConceptCard as ConceptCard
    from snellen.systems.concept_bottleneck.concept_contributions import ConceptContributions as ConceptContributions
    from snellen.systems.neuron_descriptions.method import NeuronDescriptions as NeuronDescriptions
    from snellen.systems.perception.method import Perception as Perception
    from snellen.systems.style_counterfactuals.method import StyleCounterfactuals as StyleCounterfactuals
    from snellen.systems.visual_language.method import VisualLanguage as VisualLanguage
