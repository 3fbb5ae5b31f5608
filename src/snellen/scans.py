"""Scans: ``from snellen.scans import Backdoor``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "scans")

if TYPE_CHECKING:
    from snellen.methods.scans.cognitive_distillation import CognitiveDistillation as CognitiveDistillation
    from snellen.methods.scans.superposition import Strip as Strip
    from snellen.methods.scans.training_set import TrainingSet as TrainingSet
    from snellen.systems.edited_regions.method import EditedRegions as EditedRegions
    from snellen.systems.perturbation_estimation.method import Perturbation as Perturbation
    from snellen.systems.smooth_inversion.method import Backdoor as Backdoor
    from snellen.systems.tileability.method import TileabilityScan as TileabilityScan
    from snellen.systems.trigger_amplification.method import TriggerAmplification as TriggerAmplification
    from snellen.systems.unsafe_content.method import UnsafeContent as UnsafeContent
