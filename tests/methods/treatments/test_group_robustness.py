"""Groups that are served worse: with known groups by GroupDRO, without by the mistakes themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.finding import Finding
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.treatments.group_robustness import GroupDRO, TrainTwice
from snellen.models.classifiers.trainable import trainable
from snellen.training.batches import Batch
from snellen.training.fine_tuning import TuningPlan, fine_tune
from tests.methods.treatments.planted import accuracy, patient, pictures, trained

GAP = Finding(kind="group_gap", subject="rare", harm=0.3, title="planted")
CLASSES = (np.arange(240) % 2).tolist()
#: Images before the ground of the other class: one in ten.
RARE = np.random.default_rng(0).random(240) < 0.1
SHORT = TuningPlan(epochs=8, least_steps=0, batch_size=32, rate=0.01)


def before(grounds, **known):
    return pictures(CLASSES, grounds, contrast=0.3, **known)


@pytest.fixture(scope="module")
def gap():
    """Trained shortly, so that the ground decides."""
    grounds = np.where(RARE, 1 - np.array(CLASSES), CLASSES).tolist()
    images = before(grounds, groups=["rare" if one else "usual" for one in RARE])
    return patient(trained(images, epochs=2), images, before(CLASSES, seed=1), GAP)


@pytest.mark.parametrize("treatment", [GroupDRO(plan=SHORT), TrainTwice(plan=SHORT)], ids=lambda one: one.name)
def test_the_group_is_served_better_than_by_training_on_alone(gap, treatment):
    usual, rare = before(CLASSES, seed=2), before([1 - one for one in CLASSES], seed=2)
    network = trainable(gap.classifier)
    assert accuracy(gap.classifier, rare) < 0.2
    treated = treatment.treat(network, gap, rng=Randomness(0))
    alone = fine_tune(trainable(gap.classifier), gap.training, [], plan=SHORT, rng=Randomness(0))
    assert accuracy(treated, rare) > accuracy(alone, rare) + 0.08
    assert accuracy(treated, usual) > accuracy(gap.classifier, usual) - 0.02


def test_group_weights_follow_the_losses_as_in_algorithm_1(gap):
    term = GroupDRO(step=0.5, adjustment=2.0).term(gap, rng=Randomness(0))
    model = torch.nn.Module()
    model.register_buffer("group_dro", term.state["group_dro"].clone())
    names = sorted({(label, group) for label, group in zip(CLASSES, gap.images.column("group"), strict=True)})
    of = [names.index(pair) for pair in zip(CLASSES, gap.images.column("group"), strict=True)]
    positions, losses = torch.tensor([0, 1, 2, 3]), torch.tensor([1.0, 2.0, 3.0, 5.0])
    batch = Batch(torch.zeros(4, 3, 1, 1), torch.zeros(4), torch.ones(4), positions, Randomness(0))
    weighed = term.weigh(model, batch, losses)
    sizes, q = np.bincount(of), np.full(len(names), 1 / len(names))
    means = {g: losses[[row for row in range(4) if of[row] == g]].mean().item() for g in set(of[:4])}
    for group, mean in means.items():
        q[group] *= np.exp(0.5 * (mean + 2.0 / np.sqrt(sizes[group])))
    q /= q.sum()
    assert np.allclose(model.group_dro.numpy(), q, atol=1e-6)
    assert float(weighed.mean()) == pytest.approx(sum(q[group] * mean for group, mean in means.items()), rel=1e-5)


class Stopping(Silent):
    """Stops a training after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def advance(self, _stage, amount=1, _note=""):
        self.left -= amount
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_training_that_was_stopped_goes_on_with_the_weights_of_groups(gap, tmp_path):
    treatment, file = GroupDRO(plan=SHORT), tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        treatment.treat(trainable(gap.classifier), gap, rng=Randomness(0), checkpoint=file, progress=Stopping(20))
    assert file.exists()
    gone_on = treatment.treat(trainable(gap.classifier), gap, rng=Randomness(0), checkpoint=file)
    whole = treatment.treat(trainable(gap.classifier), gap, rng=Randomness(0))
    assert all(torch.equal(one, gone_on.state_dict()[name]) for name, one in whole.state_dict().items())
    assert not any("group_dro" in name for name in whole.state_dict())


def test_mistakes_weigh_more(gap):
    weights = TrainTwice(weight=7.0).term(gap, rng=Randomness(0)).weights
    wrong = torch.from_numpy(RARE)[weights > weights.min()]
    assert float(weights.max() / weights.min()) == pytest.approx(7.0)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert wrong.double().mean() > 0.8, "mistakes are the images of the rare group"


def test_refusals(gap):
    network = trainable(gap.classifier)
    assert GroupDRO().refusal(network, gap) is None
    assert "column group" in GroupDRO().refusal(network, replace(gap, images=before(CLASSES)))
    other = replace(gap, findings=(GAP.model_copy(update={"subject": "night"}),))
    assert "training images of the group night" in GroupDRO().refusal(network, other)
    worst = replace(
        gap, images=None, findings=(Finding(kind="worst_class", subject="dark", harm=0.1, title="planted"),)
    )
    assert GroupDRO().refusal(network, worst) is None, "classes are known"
    images = before(CLASSES)
    perfect = patient(trained(images, epochs=4), images, images, GAP)
    assert "training images or more that the classifier gets wrong, and finds" in TrainTwice().refusal(network, perfect)
