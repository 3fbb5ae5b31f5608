"""What every unlearning method promises, as a plain function that raises ``AssertionError``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from snellen.core.method import Forgetter
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.models.classifiers.trainable import trainable
from snellen.testing.treating import small_patient
from snellen.training.evaluation import score_examples


def check_forgetter(forgetter: Forgetter) -> None:
    """What every unlearning method promises.

    The trained network and the images stay as they are; the network that forgot is in evaluation mode, gives as many
    scores, all finite, and not those that it gave; the same weights again, under any global random state, and with a
    checkpoint.

    >>> from snellen.forgetting import FineTuning
    >>> check_forgetter(FineTuning(epochs=1))

    Args:
        forgetter: with parameters under which it takes a moment: it is carried out twice.
    """
    patient = small_patient()
    network = trainable(patient.classifier).eval()
    split = ForgetSplit(patient.training, torch.arange(0, len(patient.training), 8))
    before = {name: one.clone() for name, one in network.state_dict().items()}, patient.training.fingerprint()
    torch.manual_seed(1)
    forgot = forgetter.forget(network, split, rng=Randomness(0))
    unchanged = all(torch.equal(one, network.state_dict()[name]) for name, one in before[0].items())
    assert unchanged, "the trained network was changed"
    assert patient.training.fingerprint() == before[1], "the images were changed"
    assert not forgot.training, "the network is left in training mode"
    old, new = (score_examples(one, patient.training)[0] for one in (network, forgot))
    assert new.shape == old.shape, f"scores {tuple(old.shape)} became {tuple(new.shape)}"
    assert bool(new.isfinite().all()), "scores are not finite"
    assert not torch.equal(new, old), "all scores are as they were"
    torch.manual_seed(2)
    with tempfile.TemporaryDirectory() as name:
        again = forgetter.forget(network, split, rng=Randomness(0), checkpoint=Path(name) / "training.safetensors")
    same = all(torch.equal(one, again.state_dict()[name]) for name, one in forgot.state_dict().items())
    assert same, "the same seed gives other weights"
