"""The one perturbation loop: objective × space × projection × step rule × criterion."""

from snellen.perturbation.loop import perturb as perturb
from snellen.perturbation.objectives import cross_entropy as cross_entropy
from snellen.perturbation.objectives import difference_of_logits_ratio as difference_of_logits_ratio
from snellen.perturbation.objectives import negative_margin as negative_margin
from snellen.perturbation.objectives import on_scores as on_scores
from snellen.perturbation.projections import L2Ball as L2Ball
from snellen.perturbation.projections import LinfBall as LinfBall
from snellen.perturbation.spaces import PixelSpace as PixelSpace
from snellen.perturbation.spaces import TanhSpace as TanhSpace
from snellen.perturbation.steps import NormalizedStep as NormalizedStep
from snellen.perturbation.steps import SignStep as SignStep

__all__ = [
    "L2Ball",
    "LinfBall",
    "NormalizedStep",
    "PixelSpace",
    "SignStep",
    "TanhSpace",
    "cross_entropy",
    "difference_of_logits_ratio",
    "negative_margin",
    "on_scores",
    "perturb",
]
