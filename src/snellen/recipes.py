"""Recipes that train a classifier: ``from snellen.recipes import CutMix``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "recipes")

if TYPE_CHECKING:
    from snellen.methods.recipes.augmix import AugMix as AugMix
    from snellen.methods.recipes.cutmix import CutMix as CutMix
    from snellen.methods.recipes.defensive_distillation import DefensiveDistillation as DefensiveDistillation
    from snellen.methods.recipes.label_smoothing import LabelSmoothing as LabelSmoothing
    from snellen.methods.recipes.mixup import Mixup as Mixup
    from snellen.methods.recipes.rand_augment import RandAugment as RandAugment
    from snellen.methods.recipes.saliency_mix import SaliencyMix as SaliencyMix
    from snellen.methods.recipes.supervised import Supervised as Supervised
    from snellen.methods.recipes.targeted_augmentation import TargetedAugmentation as TargetedAugmentation
    from snellen.methods.smoothing.consistency_smoothing import ConsistencySmoothing as ConsistencySmoothing
    from snellen.methods.smoothing.gaussian_smoothing import GaussianSmoothing as GaussianSmoothing
    from snellen.methods.smoothing.smooth_adversarial import SmoothAdversarial as SmoothAdversarial
    from snellen.systems.adversarial_mixup.automix import AutoMix as AutoMix
    from snellen.systems.adversarial_mixup.method import AdversarialMixup as AdversarialMixup
    from snellen.systems.concept_bottleneck.recipe import ConceptBottleneckRecipe as ConceptBottleneckRecipe
    from snellen.systems.context_upsampling.method import ContextUpsampling as ContextUpsampling
    from snellen.systems.edited_regions.recipe import EditedRegionsDetector as EditedRegionsDetector
    from snellen.systems.few_shot_adaptation.tuning import AdaptedTower as AdaptedTower
    from snellen.systems.label_free_tuning.method import LabelFreePromptTuning as LabelFreePromptTuning
    from snellen.systems.label_maps.method import LabelMapsRecipe as LabelMapsRecipe
    from snellen.systems.multiple_instance.bag_pooling import BagPooling as BagPooling
    from snellen.systems.multiple_instance.method import MultipleInstanceLearning as MultipleInstanceLearning
    from snellen.systems.natural_transformations.method import NaturalTransformations as NaturalTransformations
    from snellen.systems.neuron_descriptions.recipe import NeuronDescriber as NeuronDescriber
    from snellen.systems.perception.recipe import PerceptualAutoencoderRecipe as PerceptualAutoencoderRecipe
    from snellen.systems.perturbation_estimation.recipe import PerturbationDenoiser as PerturbationDenoiser
    from snellen.systems.viewpoints.recipe import ViewpointTraining as ViewpointTraining
    from snellen.systems.viewpoints.view_augmentation import ViewAugmentation as ViewAugmentation
