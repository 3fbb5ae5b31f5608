"""Mistakes that attack libraries have been reported to make, each looked for in every attack of the index.

In the wild: failures returned as black images, epsilon in the units of normalised inputs, ranges that nobody checked, a
method of an attack that silently took the place of one of its base class, tensors left on another device, a dozen
passes for each step, packages imported that nobody uses.
"""

import subprocess
import sys
from functools import cache

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import SnellenError
from snellen.core.index import methods
from snellen.core.method import Method
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.expectation import _OverTransformations
from snellen.methods.attacks.perturbation.stopping import Stalled
from snellen.testing.conformance import small_problem

EVERY = {
    name: kind
    for name, entry in methods("attacks").items()
    if hasattr(kind := entry.load(), "attack") and getattr(kind, "takes_classifiers", True)
}

#: What is promised here does not depend on how long a search is.
SHORT = {"steps": 6, "searches": 2, "queries": 40, "budget": 60, "target_classes": 2, "draws": 2}

#: Images that each attack gets; where it succeeds on none, nothing would be seen.
COUNT = 6


def problem():
    return small_problem(count=COUNT)


@pytest.fixture(params=EVERY)
def attack(request):
    return made(request.param)


def made(name):
    return EVERY[name](**{key: value for key, value in SHORT.items() if key in EVERY[name].model_fields})


@cache
def result(name):
    """What an attack found on the problem, the same for all tests."""
    classifier, images, labels = problem()
    return made(name).attack(classifier, images, labels), classifier


def test_no_attack_takes_the_place_of_something_of_the_base_class(attack):
    own = {name for name in vars(type(attack)) if not name.startswith("__")}
    meant = {"name", "needs", "finds", "treats", "missing"} | {name for name in own if name.startswith("model_")}
    taken = {name for name in own & set(dir(Method)) - meant if not name.startswith(("_abc", "_decl", "_class"))}
    # What pydantic itself puts on every model.
    assert taken <= set(vars(type("Plain", (Method,), {"__module__": __name__})))


def test_epsilon_is_in_pixels_whatever_the_model_normalises(attack):
    classifier, images, labels = problem()
    scale = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in scale)

    class Undone(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier.module

        def forward(self, normalised):
            return self.inner(normalised * std + mean)

    other = Classifier(
        Undone(), class_names=classifier.class_names, preparation=classifier.preparation, normalization=scale
    )
    plain, _ = result(attack.name)
    normalised = attack.attack(other, images, labels)
    # The same function, up to rounding: a search that follows it may end elsewhere, but not in other units.
    both = plain.success & normalised.success
    assert plain.success.any()
    assert both.sum() >= 0.6 * plain.success.sum()
    assert torch.allclose(normalised.distance[both].median(), plain.distance[both].median(), rtol=0.2, atol=1e-3)


@pytest.mark.parametrize("shift", [-0.5, 0.5])
def test_images_outside_the_range_are_refused(attack, shift):
    classifier, images, labels = problem()
    with pytest.raises(SnellenError, match=r"\[0, 1\]"):
        attack.attack(classifier, images + shift, labels)


def test_nothing_is_done_to_the_model(attack):
    _, classifier = result(attack.name)
    before = problem()[0].module.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.module.state_dict().items())
    # Gradients of the weights cost as much as those of the image, and nobody asked for them.
    assert all(p.grad is None and not p.requires_grad for p in classifier.module.parameters())
    assert not classifier.module.training


def test_a_gradient_step_costs_one_pass(attack):
    if "gradients" not in attack.needs or attack.name in ("standard_ensemble", "fab", "saliency_map"):
        pytest.skip("of several parts, or with searches of its own beside the gradients")
    spent = result(attack.name)[0].spent
    assert spent.gradients > 0
    assert spent.queries <= 2 * spent.gradients + 3 * COUNT


#: Results beside those that every attack returns lie on the CPU.
_BESIDE = {"feature_guided_search"}


def test_new_tensors_are_made_on_the_device_of_the_images(attack, monkeypatch):
    if attack.name in _BESIDE:
        pytest.skip("tells more than other attacks do, on the CPU")
    classifier, images, labels = problem()
    # Draws are made on the CPU on purpose, and so are two accounts that move by themselves.
    for owner, method in ((Randomness, "_draw"), (Stalled, "__init__"), (_OverTransformations, "__init__")):
        monkeypatch.setattr(owner, method, _on_the_cpu(getattr(owner, method)))
    try:
        torch.set_default_device("meta")
        attacked = attack.attack(classifier, images, labels)
    finally:
        torch.set_default_device(None)
    for tensor in (attacked.images, attacked.success, attacked.distance, attacked.queries, attacked.scores):
        assert tensor.device == images.device


def _on_the_cpu(function):
    def call(*arguments, **options):
        with torch.device("cpu"):
            return function(*arguments, **options)

    return call


def test_attacks_need_nothing_but_torch():
    code = (
        "import sys\n"
        "from snellen.core.index import methods\n"
        "for entry in methods('attacks').values(): entry.load()()\n"
        "heavy = {'timm', 'torchvision', 'transformers', 'diffusers', 'onnxruntime', 'cv2', 'scipy', 'sklearn',\n"
        "         'tensorflow', 'jax', 'pandas', 'matplotlib'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
