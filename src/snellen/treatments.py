"""Treatments of a classifier that was audited: ``from snellen.treatments import TemperatureScaling``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "treatments")

if TYPE_CHECKING:
    from snellen.methods.treatments.adversarial_tuning import PGDTuning as PGDTuning
    from snellen.methods.treatments.adversarial_tuning import TradesTuning as TradesTuning
    from snellen.methods.treatments.background_swaps import BackgroundSwaps as BackgroundSwaps
    from snellen.methods.treatments.batchnorm_reestimation import BatchNormReestimation as BatchNormReestimation
    from snellen.methods.treatments.class_balance import BalancedTuning as BalancedTuning
    from snellen.methods.treatments.class_balance import LastLayerRetraining as LastLayerRetraining
    from snellen.methods.treatments.class_balance import LogitAdjustment as LogitAdjustment
    from snellen.methods.treatments.corruption_tuning import AugMixTuning as AugMixTuning
    from snellen.methods.treatments.corruption_tuning import CorruptionTuning as CorruptionTuning
    from snellen.methods.treatments.domain_reestimation import DomainStatistics as DomainStatistics
    from snellen.methods.treatments.domain_reestimation import LabelShift as LabelShift
    from snellen.methods.treatments.geometric_tuning import NuisanceTuning as NuisanceTuning
    from snellen.methods.treatments.geometric_tuning import ObjectTuning as ObjectTuning
    from snellen.methods.treatments.geometric_tuning import ViewTuning as ViewTuning
    from snellen.methods.treatments.group_robustness import GroupDRO as GroupDRO
    from snellen.methods.treatments.group_robustness import TrainTwice as TrainTwice
    from snellen.methods.treatments.label_cleaning import LabelCorrection as LabelCorrection
    from snellen.methods.treatments.label_cleaning import SuspectRemoval as SuspectRemoval
    from snellen.methods.treatments.label_scores import LabelPlatt as LabelPlatt
    from snellen.methods.treatments.label_scores import LabelTemperature as LabelTemperature
    from snellen.methods.treatments.label_scores import LabelThresholds as LabelThresholds
    from snellen.methods.treatments.neuron_pruning import AdversarialNeuronPruning as AdversarialNeuronPruning
    from snellen.methods.treatments.neuron_pruning import FinePruning as FinePruning
    from snellen.methods.treatments.plain_tuning import PlainTuning as PlainTuning
    from snellen.methods.treatments.score_scaling import DirichletScaling as DirichletScaling
    from snellen.methods.treatments.score_scaling import TemperatureScaling as TemperatureScaling
    from snellen.methods.treatments.score_scaling import VectorScaling as VectorScaling
    from snellen.methods.treatments.synthesized_images import SynthesizedImages as SynthesizedImages
    from snellen.systems.language_guided_augmentation.treating import EditedShortcuts as EditedShortcuts
    from snellen.systems.language_guided_augmentation.treating import PersonalisedImages as PersonalisedImages
    from snellen.systems.natural_transformations.treating import NaturalTuning as NaturalTuning
    from snellen.systems.smooth_inversion.unlearning import TriggerUnlearning as TriggerUnlearning
