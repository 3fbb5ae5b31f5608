"""What all attacks share: how short the way to the network is, and what is refused before it is taken."""

import inspect

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError
from snellen.core.index import methods
from snellen.core.randomness import Randomness
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.fab import FAB
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.hop_skip_jump import HopSkipJump
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.search_attack import BallAttack, SearchAttack
from snellen.methods.attacks.square import Square
from snellen.methods.attacks.transfer import Transfer
from snellen.testing.conformance import small_problem


class Watched(nn.Module):
    """Remembers the longest chain of our own functions that led to it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
        self.longest = 0

    def forward(self, images):
        ours = [frame for frame in inspect.stack() if "/snellen/" in frame.filename and "/tests/" not in frame.filename]
        self.longest = max(self.longest, len(ours))
        return self.inner(images)


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=3), PGD(steps=3, random_start=False), APGD(steps=3, loss="dlr")])
def test_five_functions_lead_to_the_network(attack):
    model = Watched()
    scale = Normalization(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 2, 3])
    attack.attack(Classifier(model, class_names="abcde", normalization=scale), images, labels)
    # attack, the search of the method, the loop, the evaluation and the classifier.
    assert model.longest == 5


EVERY = {
    name: kind
    for name, entry in methods("attacks").items()
    if hasattr(kind := entry.load(), "attack") and getattr(kind, "takes_classifiers", True)
}


@pytest.mark.parametrize("name", EVERY)
def test_a_bare_model_is_refused_with_the_way_out(name):
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(InputError, match=r"got a Sequential\. Wrap it: snellen\.load_classifier\(model, "):
        EVERY[name]().attack(model, torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))


@pytest.mark.parametrize("name", EVERY)
def test_an_epsilon_in_levels_is_refused(name):
    fields = EVERY[name].model_fields
    if "epsilon" not in fields:
        pytest.skip("has no epsilon")
    with pytest.raises(InputError, match=r"epsilon 8 is above 1, but pixels lie in \[0, 1\]; write 8/255 for 8"):
        EVERY[name](epsilon=8, norm="linf")
    with pytest.raises(InputError, match=r"epsilon 1000 is above 1, .* write 8/255"):
        EVERY[name](epsilon=1000, norm="linf")
    assert EVERY[name](epsilon=1, norm="linf").epsilon == 1
    # A Euclidean length may be larger.
    assert EVERY[name](epsilon=8, norm="l2").epsilon == 8


def test_the_parts_of_a_search_must_be_there():
    class Half(SearchAttack):
        name = "half"

    with pytest.raises(TypeError, match="abstract"):
        Half()
    assert {method for method in EVERY.values() if issubclass(method, BallAttack)} >= {FGSM, PGD, APGD, Square}
    assert not issubclass(FAB, BallAttack)


@pytest.mark.parametrize("attack", [PGD(epsilon=0.01, steps=3), HopSkipJump(budget=60), Transfer()])
def test_without_randomness_and_criterion_it_is_seed_0_and_any_mistake(attack):
    classifier, images, labels = small_problem(count=6)
    short = attack.attack(classifier, images, labels)
    long = attack.attack(classifier, images, labels, criterion=Misclassified(), rng=Randomness(0))
    assert torch.equal(short.images, long.images)
    assert short.status == long.status
