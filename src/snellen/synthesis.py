"""Ways to condition a generated data set: ``from snellen.synthesis import ByName``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "synthesis")

if TYPE_CHECKING:
    from snellen.methods.synthesis.by_caption import ByCaption as ByCaption
    from snellen.methods.synthesis.by_image import ByImage as ByImage
    from snellen.methods.synthesis.by_name import ByName as ByName
