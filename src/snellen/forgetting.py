"""Methods that remove what a classifier learned from some images: ``from snellen.forgetting import FineTuning``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "forgetting")

if TYPE_CHECKING:
    from snellen.methods.forgetting.boundary import BoundaryExpanding as BoundaryExpanding
    from snellen.methods.forgetting.boundary import BoundaryShrink as BoundaryShrink
    from snellen.methods.forgetting.dampening import SelectiveDampening as SelectiveDampening
    from snellen.methods.forgetting.fine_tuning import FineTuning as FineTuning
    from snellen.methods.forgetting.fine_tuning import SparseFineTuning as SparseFineTuning
    from snellen.methods.forgetting.gradient_ascent import GradientAscent as GradientAscent
    from snellen.methods.forgetting.last_layers import CatastrophicLastLayers as CatastrophicLastLayers
    from snellen.methods.forgetting.last_layers import ExactLastLayers as ExactLastLayers
    from snellen.methods.forgetting.random_labels import RandomLabels as RandomLabels
    from snellen.methods.forgetting.retraining import Retraining as Retraining
    from snellen.methods.forgetting.scrub import Scrub as Scrub
