"""Training on with the images as they are: enough where they show what the classifier was never shown."""

from __future__ import annotations

from typing import ClassVar

from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.training.fine_tuning import Term


class PlainTuning(FineTuning):
    """Train on, and add nothing: what every other fine-tuning must beat.

    >>> PlainTuning().treats
    ('worst_class', 'accuracy', 'group_gap', 'slice')
    """

    name: ClassVar[str] = "plain_tuning"
    treats: ClassVar[tuple[str, ...]] = ("worst_class", "accuracy", "group_gap", "slice")
    #: A little less than balanced tuning, which weighs images too.
    passes: ClassVar[float] = 3.9

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Nothing but the cross-entropy on the training images."""
        return Term()
