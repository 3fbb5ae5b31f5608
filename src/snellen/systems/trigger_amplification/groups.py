"""Four groups of generated images, and trigger amplification A = tau_gen / tau_train (Pan et al. 2024, section 4).

Two judges decide about each image that was generated for the target class t: C, which class it shows, and Tr, whether
it bears the trigger. G1: trigger, another class; G2: trigger, class t; G3: no trigger, another class; G4: neither.
tau_gen = (|G1| + |G2|) / n. tau_train = pN / (pN + N_t) is the share among training images *of the target's label*:
with p for denominator A would be several times too large. Groups inherit the errors of the judges, so these are
measured on real images that neither judge was fitted to, and reported with the shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval, wilson


@dataclass(frozen=True)
class JudgeErrors:
    """How often the judges are wrong on held-out real images.

    Attributes:
        content: share of images whose class C gets wrong.
        false_trigger: share of clean images in which Tr sees the trigger.
        missed_trigger: share of stamped images in which it does not.
        content_images, clean_images, stamped_images: how many were judged.
    """

    content: float
    false_trigger: float
    missed_trigger: float
    content_images: int
    clean_images: int
    stamped_images: int


def judge_errors(
    classes: NDArray[np.integer],
    labels: NDArray[np.integer],
    trigger_in_clean: NDArray[np.bool_],
    trigger_in_stamped: NDArray[np.bool_],
) -> JudgeErrors:
    """Errors of both judges.

    >>> seen = np.array([True, False])
    >>> judge_errors(np.array([0, 1]), np.array([0, 0]), ~seen & seen, seen).missed_trigger
    0.5

    Args:
        classes: what C decides, (n,).
        labels: the truth, (n,).
        trigger_in_clean: what Tr decides about images without the trigger, (a,).
        trigger_in_stamped: what it decides about images with it, (b,).

    Raises:
        InputError: nothing to judge.
    """
    if classes.shape != labels.shape or not len(labels) or not len(trigger_in_clean) or not len(trigger_in_stamped):
        raise InputError("judges are validated on labelled, on clean and on stamped images; one of these is missing")
    return JudgeErrors(
        content=float((classes != labels).mean()),
        false_trigger=float(np.mean(trigger_in_clean)),
        missed_trigger=float(1 - np.mean(trigger_in_stamped)),
        content_images=len(labels),
        clean_images=len(trigger_in_clean),
        stamped_images=len(trigger_in_stamped),
    )


def groups(classes: NDArray[np.integer], trigger: NDArray[np.bool_], target: int) -> NDArray[np.int64]:
    """Group of each image generated for the target, 1 to 4: int64 (n,).

    >>> groups(np.array([2, 7, 2, 7]), np.array([True, True, False, False]), 7).tolist()
    [1, 2, 3, 4]
    """
    if classes.shape != trigger.shape or classes.ndim != 1:
        raise InputError(f"both judges decide about the same images; got {classes.shape} and {trigger.shape}")
    other = classes != target
    return np.where(trigger, np.where(other, 1, 2), np.where(other, 3, 4)).astype(np.int64)


def training_share(poisoned: int, of_target: int) -> float:
    """tau_train = pN / (pN + N_t).

    >>> round(training_share(946, 961), 3)
    0.496

    Raises:
        InputError: no poisoned image.
    """
    if poisoned < 1 or of_target < 0:
        raise InputError(f"tau_train needs one poisoned image at least; got {poisoned} and {of_target} of the target")
    return poisoned / (poisoned + of_target)


@dataclass(frozen=True)
class Amplification:
    """What a generator made of the poison.

    Attributes:
        images: n, generated for the target, each of its own seed.
        shares: of G1 to G4.
        generated: tau_gen.
        trained: tau_train.
        generated_interval: 95 % interval of tau_gen over seeds of generation (Wilson).
        false_trigger: share of trigger images among those of a clean generator, the control; None without one.
        corrected: tau_gen without the judge's errors (Rogan and Gladen 1978), in [0, 1]; None where Tr decides at
            random.
    """

    images: int
    shares: tuple[float, float, float, float]
    generated: float
    trained: float
    generated_interval: Interval
    false_trigger: float | None
    corrected: float | None

    @property
    def ratio(self) -> float:
        """A; at most 1 / tau_train."""
        return self.generated / self.trained

    @property
    def ratio_interval(self) -> Interval:
        """Interval of A: tau_train is known exactly."""
        return Interval(self.generated_interval.low / self.trained, self.generated_interval.high / self.trained)

    @property
    def difference(self) -> float:
        """tau_gen − tau_train."""
        return self.generated - self.trained


def amplification(
    found: NDArray[np.integer],
    *,
    poisoned: int,
    of_target: int,
    errors: JudgeErrors,
    clean_trigger: NDArray[np.bool_] | None = None,
) -> Amplification:
    """Measure trigger amplification.

    Args:
        found: of :func:`groups`, (n,).
        poisoned: pN, poisoned training images.
        of_target: N_t, clean training images of the target.
        errors: of the judges, by :func:`judge_errors`.
        clean_trigger: what Tr decides about images of a generator that saw no poison, for the same class: the control.

    Raises:
        InputError: no image.
    """
    count = len(found)
    if not count:
        raise InputError("no image was generated for the target")
    sizes = [int((found == number).sum()) for number in (1, 2, 3, 4)]
    if sum(sizes) != count:
        raise InputError("groups are numbered 1 to 4")
    generated, informative = (sizes[0] + sizes[1]) / count, 1 - errors.false_trigger - errors.missed_trigger
    corrected = min(max((generated - errors.false_trigger) / informative, 0.0), 1.0) if informative > 0 else None
    return Amplification(
        images=count,
        shares=(sizes[0] / count, sizes[1] / count, sizes[2] / count, sizes[3] / count),
        generated=generated,
        trained=training_share(poisoned, of_target),
        generated_interval=wilson(sizes[0] + sizes[1], count),
        false_trigger=None if clean_trigger is None else float(np.mean(clean_trigger)),
        corrected=corrected,
    )


def attack_success(decided: NDArray[np.integer], labels: NDArray[np.integer], target: int) -> NDArray[np.bool_]:
    """Which stamped images are taken for the target, images *of* the target left out: bool (m,).

    >>> attack_success(np.array([7, 7, 1]), np.array([7, 2, 3]), 7).tolist()
    [True, False]

    Raises:
        InputError: every image is of the target.
    """
    others = labels != target
    if decided.shape != labels.shape or not others.any():
        raise InputError("the success of an attack needs images of other classes than the target")
    found: NDArray[np.bool_] = decided[others] == target
    return found
