"""What a scan is reported as: a verdict in guarded words, what it rests on, figures, a row for each class, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.outcomes import Shown
from snellen.methods.attacks.perturbation.magnified import magnified
from snellen.systems.smooth_inversion.class_outliers import rank_p_value
from snellen.systems.smooth_inversion.class_scan import ClassScan, Recovered, ScanPlan
from snellen.systems.smooth_inversion.strength import Strength


@dataclass(frozen=True, eq=False)
class ScanReport:
    """A scan, and what it is reported with.

    Attributes:
        found: by the scan.
        plan: how much was searched.
        classifier: that was scanned.
        null: rates of all classes in clean models (m, k); None without any.
    """

    found: ClassScan
    plan: ScanPlan
    classifier: Classifier
    null: NDArray[np.float64] | None = None

    @property
    def reported(self) -> tuple[Recovered, ...]:
        """Classes that stand out, and whose change sends enough images."""
        return self.found.suspicious(self.plan)

    @property
    def rank_p_value(self) -> float | None:
        """Of the rank among clean models; None without any."""
        return None if self.null is None else rank_p_value(self.found.rates, self.null, self.plan.null_spread)

    def verdict(self) -> str:
        """In guarded words: what stands out, or that nothing does within the budget."""
        found = self.found
        if not self.reported:
            noise = ", ".join(f"{sigma:g}" for sigma in sorted({*self.plan.screened, *self.plan.sigmas}))
            return (
                f"no outlier within budget: epsilon {found.strength.epsilon:.3g}, sigma {noise}, {found.sources} "
                f"images searched on, changes that are added at a fixed place"
            )
        against = (
            ("log odds above the middle class" + " and above copies of the model" * bool(found.recovered[0].copied))
            if found.excess is None
            else "spreads above the same class of clean models"
        )
        return "; ".join(
            f"suspicious: class {self.classifier.class_names[one.target]!r}: a change recovered from one image sends "
            f"{one.effect.rate:.0%} of {one.effect.counted} other images there ({found.score(one.target):.1f} "
            f"{against}{_confirmed(one)})"
            for one in self.reported
        )

    def assumptions(self) -> tuple[str, ...]:
        """What the verdict rests on."""
        found, plan = self.found, self.plan
        stated = [
            "a change that is added at a fixed place; triggers that move or bend are found only as far as one works",
            "a class that stands out is a suspicion, no proof: models without a trigger may have one too",
            _length(found.strength),
        ]
        confirmations = [one.confirmation for one in found.recovered if one.confirmation]
        if confirmations:
            stated.append(
                f"a class is reported where more than {plan.rate:.0%} of all images give a change that carries over to "
                f"{plan.rate:.0%} of the others: exact binomial test on {confirmations[0].tried} further images, at "
                f"{plan.error:.0%}, for this model and over the draw of images"
            )
        tried = min((one.tried for one in confirmations), default=None)
        if tried is not None and plan.rate**tried > plan.error:
            stated.append(
                f"only {tried} further images of units of their own were left to confirm a class, which is too few to "
                f"report any: give images of more units, or more images"
            )
        if self.null is None:
            copied = len(found.recovered[0].copied) if found.recovered else 0
            return (
                *stated,
                "no clean models of the same task were given (clean), which alone show what is usual for a class; "
                + (
                    f"copies of this model, tuned on the images, stand in for them ({copied})"
                    if copied
                    else "classes are compared with each other alone"
                ),
            )
        count = len(self.null)
        return (
            *stated,
            f"rank among {count} clean models: p = {self.rank_p_value:.3g}; {count} models can show "
            f"{1 / (count + 1):.3g} at best, and that only if this model, were it clean, is of their kind",
        )

    def figures(self) -> dict[str, float | None]:
        """Numbers of the whole scan, by name."""
        found, best = self.found, self.found.recovered[0]
        low, high = best.effect.interval()
        figures: dict[str, float | None] = {
            "largest z among classes": float(found.z.max()),
            "largest contrast": float(found.contrast.max()),
            "epsilon": found.strength.epsilon,
            "adversarial radius": found.strength.radius,
            "middle class reached": float(np.median(found.rates)),
            "recovered.rate": best.effect.rate,
            "recovered.rate.low": low,
            "recovered.rate.high": high,
            "recovered.l2": float(best.change.norm()),
            "recovered.sigma": best.sigma,
        }
        if best.confirmation is not None:
            figures |= {
                "confirmed by": float(best.confirmation.carried),
                "confirming images": float(best.confirmation.tried),
                "confirmed.low": best.confirmation.low,
                "confirmed.p value": best.confirmation.p_value(self.plan.rate),
            }
        if self.null is not None:
            figures["p value among clean models"] = self.rank_p_value
        return figures

    def rows(self, setting: str) -> Evidence:
        """A row for each class, with its rate as value."""
        found, names = self.found, self.classifier.class_names
        best = {one.target: one for one in found.recovered}
        reported = {one.target for one in self.reported}

        def of(read: Callable[[Recovered], float | None]) -> pa.Array:
            return pa.array([read(best[t]) if t in best else None for t in found.targets], pa.float64())

        return Evidence.of(
            [names[target] for target in found.targets],
            setting=setting,
            model=self.classifier.name,
            label=list(found.targets),
            value=found.rates.tolist(),
            reason=[
                "stands out" if target in reported else "zero gradient" if target in found.zero_gradients else None
                for target in found.targets
            ],
            extra={
                "z": pa.array(found.z.tolist(), pa.float64()),
                "rank": pa.array([1 + found.ranking.index(target) for target in found.targets], pa.int64()),
                "contrast": pa.array(found.contrast.tolist(), pa.float64()),
                "excess": pa.array(
                    [None] * len(found.z) if found.excess is None else found.excess.tolist(), pa.float64()
                ),
                "concentration": pa.array(found.concentration.tolist(), pa.float64()),
                "copied_rate": of(lambda one: max(one.copied, default=None)),
                "above_copies": of(lambda one: one.above_copies),
                "recovered_rate": of(lambda one: one.effect.rate),
                "recovered_low": of(lambda one: one.effect.interval().low),
                "recovered_high": of(lambda one: one.effect.interval().high),
                "recovered_sigma": of(lambda one: one.sigma),
            },
            assumptions=self.assumptions(),
            control=f"the same search towards each of the {len(found.targets)} classes",
        )

    def pictures(self, images: Tensor) -> list[Shown]:
        """The changes of the leading classes beside the images (n, 3, h, w) that they were found on."""
        return [_shown(one, images[one.source].cpu(), self.classifier) for one in self.found.recovered]


def _shown(one: Recovered, source: Tensor, classifier: Classifier) -> Shown:
    change = one.change.cpu()
    picture, factor = magnified(change)
    name = classifier.class_names[one.target]
    return Shown(
        name=name,
        text=f"towards {name!r}: {one.effect.rate:.0%} of {one.effect.counted} others, {factor:.3g}x",
        pictures={
            "image": source,
            "with the change": (source + change).clamp(0, 1),
            "change, magnified": picture,
        },
    )


def _confirmed(one: Recovered) -> str:
    if one.confirmation is None:
        return ""
    return f"; confirmed by {one.confirmation.carried} of {one.confirmation.tried} further images"


def _length(strength: Strength) -> str:
    """How long changes were, and why."""
    if strength.reached is None:
        return f"changes of length {strength.epsilon:.3g} (epsilon), as given and whatever ordinary classes do at it"
    radius = "" if strength.radius is None else f", {strength.epsilon / strength.radius:.1f} adversarial radii"
    return (
        f"changes of length {strength.epsilon:.3g}{radius}: chosen so that a short search towards the middle class "
        f"reaches it from {strength.reached:.0%} of other images"
    )
