"""The one perturbation loop: objective × space × projection × step rule × criterion."""

from snellen.methods.attacks.perturbation.loop import ascend as ascend
from snellen.methods.attacks.perturbation.loop import perturb as perturb
from snellen.methods.attacks.perturbation.objectives import cross_entropy as cross_entropy
from snellen.methods.attacks.perturbation.objectives import difference_of_logits_ratio as difference_of_logits_ratio
from snellen.methods.attacks.perturbation.objectives import negative_margin as negative_margin
from snellen.methods.attacks.perturbation.objectives import on_scores as on_scores
from snellen.methods.attacks.perturbation.projections import L2Ball as L2Ball
from snellen.methods.attacks.perturbation.projections import LinfBall as LinfBall
from snellen.methods.attacks.perturbation.search import Search as Search
from snellen.methods.attacks.perturbation.spaces import PixelSpace as PixelSpace
from snellen.methods.attacks.perturbation.spaces import TanhSpace as TanhSpace
from snellen.methods.attacks.perturbation.steps import NormalizedStep as NormalizedStep
from snellen.methods.attacks.perturbation.steps import SignStep as SignStep

__all__ = [
    "L2Ball",
    "LinfBall",
    "NormalizedStep",
    "PixelSpace",
    "Search",
    "SignStep",
    "TanhSpace",
    "ascend",
    "cross_entropy",
    "difference_of_logits_ratio",
    "negative_margin",
    "on_scores",
    "perturb",
]
