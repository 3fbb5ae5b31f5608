"""Attacks: ``from snellen.attacks import PGD``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "attacks")

if TYPE_CHECKING:
    from snellen.methods.attacks.apgd import APGD as APGD
    from snellen.methods.attacks.carlini_wagner_l0 import CarliniWagnerL0 as CarliniWagnerL0
    from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2 as CarliniWagnerL2
    from snellen.methods.attacks.carlini_wagner_linf import CarliniWagnerLinf as CarliniWagnerLinf
    from snellen.methods.attacks.cospgd import CosPGD as CosPGD
    from snellen.methods.attacks.deepfool import DeepFool as DeepFool
    from snellen.methods.attacks.ensemble import StandardEnsemble as StandardEnsemble
    from snellen.methods.attacks.fab import FAB as FAB
    from snellen.methods.attacks.fgsm import FGSM as FGSM
    from snellen.methods.attacks.hop_skip_jump import HopSkipJump as HopSkipJump
    from snellen.methods.attacks.pgd import PGD as PGD
    from snellen.methods.attacks.randomized_ensemble import RandomizedEnsemble as RandomizedEnsemble
    from snellen.methods.attacks.saliency_map import SaliencyMap as SaliencyMap
    from snellen.methods.attacks.segpgd import SegPGD as SegPGD
    from snellen.methods.attacks.square import Square as Square
    from snellen.methods.attacks.transfer import Transfer as Transfer
    from snellen.systems.feature_guided_search.method import FeatureGuidedSearch as FeatureGuidedSearch
    from snellen.systems.representation_transfer.method import RepresentationTransfer as RepresentationTransfer
    from snellen.systems.viewpoints.method import ViewpointAttack as ViewpointAttack
