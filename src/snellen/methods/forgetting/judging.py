"""How well a network forgot: accuracy on forget, remaining and test images, a membership attack, gap to retraining."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.rejections import check_rejected, counted_reasons, listed_reasons
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetter
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.clustered import clustered_share
from snellen.metrics.unlearning import average_gap, membership_attack
from snellen.models.classifiers.trainable import PreparedNetwork, trainable
from snellen.runs.record import Figure
from snellen.training.batches import ImageStore
from snellen.training.evaluation import score_examples
from snellen.training.parts import Labelled
from snellen.training.students import StudentPlan, store_to_measure

Codes = NDArray[np.int64]

#: Exact retraining that is right on so many fewer remaining images than the classifier repeats another training.
SHORT = 0.05

#: A classifier that is right on fewer of its training images did not learn them, and has little to forget.
FITTED = 0.9


class Judgement(BaseModel):
    """Figures of a network beside a forget set; all are shares in [0, 1] with 95 % intervals.

    Attributes:
        unlearning: forget images that are wrong (UA).
        remaining: remaining training images that are right (RA).
        test: test images that are right (TA).
        membership: forget images that the attack calls non-members (MIA).
        separation: area under the ROC curve of forget against test images by the probability of the true class; 0.5:
            they look alike.
        attacked_with: remaining images, and as many test images, that the attack was fitted to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unlearning: Figure
    remaining: Figure
    test: Figure
    membership: Figure
    separation: Figure
    attacked_with: int

    def shares(self) -> dict[str, float]:
        """The four figures that a gap is made of, by name."""
        return {name: float(getattr(self, name).value) for name in ("unlearning", "membership", "remaining", "test")}

    def gap(self, exact: Judgement) -> float:
        """Mean absolute difference to exact retraining without the same forget set, in [0, 1]."""
        return average_gap(self.shares(), exact.shares())


@dataclass(frozen=True, eq=False)
class ForgettingCase:
    """A classifier, the images that it was trained on, and test images, opened and checked.

    Attributes:
        classifier: trained on the images.
        images: its training images, a row for each of the store.
        store: the same, prepared.
        test: images that nothing was trained on, prepared.
        units: code of the unit of each training image, int64 (n,).
        test_units: of each test image.
        notes: warnings, in words.
    """

    classifier: Classifier
    images: ImageSet
    store: ImageStore
    test: Labelled
    units: Codes
    test_units: Codes
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, classifier: Classifier, images: ImageSet, test: ImageSet | None = None, *, progress: Progress | None = None
    ) -> ForgettingCase:
        """Open the images of a classifier.

        Args:
            classifier: with weights.
            images: it was trained on; rows of a split ``test`` are the test images where none are given, and rows of a
                split ``val`` are left out.
            test: images that nothing was trained on.
            progress: callback that receives progress updates.

        Raises:
            InputError: no training or test images, no labels, other classes, or too many images that cannot be used.
            UnsupportedError: a classifier without weights.
        """
        if classifier.task != "single":
            raise InputError(f"{classifier.name} decides {classifier.task}; unlearning is for one class an image")
        splits = np.array(images.column("split"), dtype=object)
        if test is None and "test" in splits:
            test = images.select(np.flatnonzero(splits == "test"))
        if test is None or not len(test):
            raise InputError(
                f"{images.name} has no test images: unlearning is judged beside images that nothing was trained on; "
                f"give some with test=... (--test DATA)"
            )
        chosen_on = int((splits == "val").sum())
        learned = np.flatnonzero((splits != "test") & (splits != "val"))
        if not len(learned):
            raise InputError(
                f"{images.name} has no training images, only images of the splits test and val; give the images that "
                f"the classifier was trained on"
            )
        training = images.select(learned) if len(learned) < len(images) else images
        training = align_labels(training.for_fitting(), classifier.class_names)
        test = align_labels(test, classifier.class_names)
        shared = np.isin(test.content_hashes, training.content_hashes)
        if shared.all():
            raise InputError(
                "every test image is a training image as well; give test images that nothing was trained on"
            )
        store = ImageStore.of_images(training, classifier.preparation, progress=progress)
        check_rejected(store.rejected, len(training), training.name, allowed=False)
        places = {one: row for row, one in enumerate(training.ids)}
        usable = training.select([places[one] for one in store.ids])
        held = store_to_measure(test, StudentPlan(), preparation=classifier.preparation)
        kept = {one: row for row, one in enumerate(test.ids)}
        own = test.select([kept[one] for one in held.ids])
        case = cls(classifier, usable, store, held, _codes(usable), _codes(own))
        left_out = (
            f"{chosen_on} images of the split val count neither as training nor as test images: the classifier was "
            f"chosen by them, and not trained on them.",
        )
        doubled = (
            f"{int(shared.sum())} of {len(shared)} test images have the same bytes as training images, so that test "
            f"accuracy and the membership attack are off.",
        )
        damaged = (*left_out_words("training", store.rejected), *left_out_words("test", held.rejected))
        stated = ((damaged, bool(damaged)), (left_out, bool(chosen_on)), (doubled, bool(shared.any())))
        notes = (*(note for part, holds in stated if holds for note in part), *case._doubts())
        return cls(classifier, usable, store, held, case.units, case.test_units, notes)

    def network(self) -> PreparedNetwork:
        """A trainable copy of the classifier's network."""
        return trainable(self.classifier)

    def _doubts(self) -> tuple[str, ...]:
        """What makes forgetting an empty notion here, in words."""
        scores, targets = score_examples(self.network().eval(), self.store)
        right = float((scores.argmax(1) == targets).double().mean())
        if right >= FITTED:
            return ()
        return (
            f"The classifier is right on {right:.1%} of its training images, less than {FITTED:.0%}. It hardly learned "
            f"them, or these are not its training images, and there is little to forget.",
        )

    def judge(self, network: PreparedNetwork, split: ForgetSplit, *, seed: int = 0) -> Judgement:
        """Judge a network; the attack is fitted to remaining and test images, never to forget images.

        Args:
            network: prepared images → scores.
            split: of the training images.
            seed: of the draw of images for the attack.

        Raises:
            ModelError: scores that are not finite.
        """
        scores, targets = score_examples(network.eval(), split.images)
        test_scores, test_targets = score_examples(network, self.test)
        if not bool(scores.isfinite().all()) or not bool(test_scores.isfinite().all()):
            raise ModelError("the network gives scores that are not finite; a lower learning rate may help")
        sure, test_sure = (_of_the_truth(*pair) for pair in ((scores, targets), (test_scores, test_targets)))
        right, test_right = scores.argmax(1) == targets, test_scores.argmax(1) == test_targets
        gone = split.is_forgotten.numpy()
        attack = membership_attack(sure[~gone], test_sure, sure[gone], seed=seed)
        labels = np.repeat([1, 0], [int(gone.sum()), len(test_sure)])
        surer = np.concatenate([sure[gone], test_sure])
        units = np.concatenate([self.units[gone], self.test_units + self.units.max() + 1])
        area = macro_auroc_interval(labels, np.stack([1 - surer, surer], axis=1), units)
        return Judgement(
            unlearning=_share(~right.numpy()[gone], self.units[gone]),
            remaining=_share(right.numpy()[~gone], self.units[~gone]),
            test=_share(test_right.numpy(), self.test_units),
            membership=_share(attack.non_member, self.units[gone]),
            separation=Figure(value=attack.auroc, low=area.low, high=area.high, n=len(labels)),
            attacked_with=attack.fitted_to,
        )


def left_out_words(which: str, lost: Mapping[str, str]) -> tuple[str, ...]:
    """What of a set cannot be used, in words; nothing where all of it can."""
    if not lost:
        return ()
    reasons = listed_reasons(counted_reasons(lost.values()))
    return (f"Left out, because they cannot be used: {len(lost)} {which} images, {reasons}.",)


def falls_short(before: Judgement, exact: Judgement, forget_set: str) -> tuple[str, ...]:
    """A warning, in words, where exact retraining does not come near the classifier on images that both may know."""
    own, other = (float(one.remaining.value or 0) for one in (before, exact))
    if own - other < SHORT:
        return ()
    return (
        f"Retrained without {forget_set}, the network is right on {other:.1%} of the remaining images, and the "
        f"classifier on {own:.1%}. The retraining is not as good as the training was (too few passes, another recipe), "
        f"and gaps to it say little.",
    )


def random_rows(count: int, total: int, rng: Randomness) -> torch.Tensor:
    """Rows of a random forget set of ``count`` of ``total`` images, int64, ascending."""
    return torch.randperm(total, generator=rng.generator("random forget set"))[:count].sort().values


def timed_forgetting(
    method: Forgetter, network: PreparedNetwork, split: ForgetSplit, *, rng: Randomness, progress: Progress | None
) -> tuple[PreparedNetwork, float]:
    """What a method makes of a network, and its seconds, without any judging (the paper's run time)."""
    started = time.perf_counter()
    made = method.forget(network, split, rng=rng, progress=progress)
    return made, time.perf_counter() - started


def _of_the_truth(scores: torch.Tensor, targets: torch.Tensor) -> NDArray[np.float64]:
    """Probability of the true class of each image, float64 (n,)."""
    found: NDArray[np.float64] = scores.double().softmax(1).gather(1, targets[:, None])[:, 0].numpy()
    return found


def _codes(images: ImageSet) -> Codes:
    return np.unique(np.array(images.units, dtype=str), return_inverse=True)[1].astype(np.int64)


def _share(right: NDArray[np.bool_], units: Codes) -> Figure:
    low, high = clustered_share(right, units)
    return Figure(value=float(right.mean()), low=low, high=high, n=len(right))
