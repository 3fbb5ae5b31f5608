"""Procedural worlds: ``from snellen.worlds import Scenes``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "worlds")

if TYPE_CHECKING:
    from snellen.data.worlds.moving_shapes import MovingShapes as MovingShapes
    from snellen.data.worlds.optotypes.scenes import Scenes as Scenes
    from snellen.data.worlds.slides.slides import Slides as Slides
    from snellen.data.worlds.solids.solid_set import Solids as Solids
    from snellen.data.worlds.solids.turning_solids import TurningSolids as TurningSolids
    from snellen.data.worlds.textures.textures import Textures as Textures
