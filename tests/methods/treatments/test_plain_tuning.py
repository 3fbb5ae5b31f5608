"""Plain fine-tuning adds nothing to the cross-entropy."""

from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.treatments.plain_tuning import PlainTuning
from snellen.training.fine_tuning import Term
from tests.methods.treatments.planted import patient, pictures, trained


def test_nothing_is_added():
    images = pictures([0, 1] * 10)
    case = patient(trained(images, epochs=1), images, images, Finding(kind="accuracy", harm=0.1, title="planted"))
    assert vars(PlainTuning().term(case, rng=Randomness(0))) == vars(Term())
