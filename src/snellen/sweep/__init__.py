"""The one benchmark shape: images under a parameterised transformation, paired per image, setting and model."""

from snellen.sweep.measure import Transformation as Transformation
from snellen.sweep.measure import Validity as Validity
from snellen.sweep.measure import measure as measure
from snellen.sweep.measure import setting_name as setting_name
from snellen.sweep.views import curve as curve
from snellen.sweep.views import drops as drops
from snellen.sweep.views import failure_points as failure_points
from snellen.sweep.views import first_failures as first_failures
from snellen.sweep.views import ranking as ranking

__all__ = [
    "Transformation",
    "Validity",
    "curve",
    "drops",
    "failure_points",
    "first_failures",
    "measure",
    "ranking",
    "setting_name",
]
