"""Defects to plant in image sets: ``from snellen.defects import LabelNoise``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "defects")

if TYPE_CHECKING:
    from snellen.data.worlds.planting.label_noise import ImageDependentLabelNoise as ImageDependentLabelNoise
    from snellen.data.worlds.planting.label_noise import PairwiseLabelNoise as PairwiseLabelNoise
    from snellen.data.worlds.planting.label_noise import RandomLabelNoise as RandomLabelNoise
    from snellen.data.worlds.planting.near_duplicates import NearDuplicates as NearDuplicates
    from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut as BackgroundShortcut
    from snellen.data.worlds.planting.scene_shortcuts import LetteringShortcut as LetteringShortcut
    from snellen.data.worlds.planting.scene_shortcuts import ObjectShortcut as ObjectShortcut
    from snellen.data.worlds.planting.selections import HiddenSubgroup as HiddenSubgroup
    from snellen.data.worlds.planting.selections import Imbalance as Imbalance
    from snellen.data.worlds.planting.selections import MissingCombinations as MissingCombinations
    from snellen.data.worlds.planting.trigger_planting import PlantTrigger as PlantTrigger
