"""The one benchmark shape: images under a parameterised transformation, paired per image, setting and model."""

from snellen.metrics.sweep.measure import Transformation as Transformation
from snellen.metrics.sweep.measure import Validity as Validity
from snellen.metrics.sweep.measure import measure as measure
from snellen.metrics.sweep.measure import setting_name as setting_name
from snellen.metrics.sweep.views import curve as curve
from snellen.metrics.sweep.views import drops as drops
from snellen.metrics.sweep.views import failure_points as failure_points
from snellen.metrics.sweep.views import first_failures as first_failures
from snellen.metrics.sweep.views import ranking as ranking

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
