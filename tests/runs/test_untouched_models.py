"""Whatever a verb does with a model, the caller's own object is the same before and after, and still trains."""

import numpy as np
import pytest
import torch
from torch import nn

import snellen

NAMES = ["a", "b", "c", "d"]
BACKDOOR = {
    "method": "backdoor",
    "screened": [0.0],
    "sigmas": [0.0],
    "samples": 1,
    "steps": 2,
    "refined_samples": 1,
    "refined_steps": 2,
    "refined": 1,
    "sources": 1,
    "confirming": 2,
    "copies": 1,
}


class Network(nn.Module):
    """A user's network, with everything that a careless library would change."""

    def __init__(self, channels=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.frozen = nn.Linear(4, 8).requires_grad_(False)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        return self.head(self.frozen(self.body(images).mean((2, 3))))


def module(channels=3):
    torch.manual_seed(0)
    network = Network(channels).train()
    network.frozen.eval()
    network.heard = []
    network.head.register_forward_hook(lambda _layer, _inputs, _output: None)
    return network


def images(channels=3, count=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, channels), dtype=np.uint8)
    return snellen.load_images(pixels.squeeze(-1) if channels == 1 else pixels, [row % 4 for row in range(count)])


def treated(model, data):
    """An audit, and a training on from the weights that were audited."""
    channels = next(model.parameters()).shape[1]
    report = snellen.audit(model, images(channels, 120, seed=1), checks=["clean"])
    step = {"method": "plain_tuning", "plan": {"epochs": 1}}
    return snellen.treat(report, data, val=images(channels, 80, seed=2), findings="accuracy", treatments=[step])


VERBS = {
    "audit": lambda model, data: snellen.audit(model, data),
    "attack": lambda model, data: snellen.attack(model, data, ["pgd", {"method": "square", "queries": 50}], limit=4),
    "explain": lambda model, data: snellen.explain(model, data, ["grad_cam", "occlusion"], limit=2),
    "certify": lambda model, data: snellen.certify(
        model, data, {"method": "smoothing", "sigma": 0.25, "samples": 100}, limit=2
    ),
    "scan": lambda model, data: snellen.scan(model, data, BACKDOOR),
    "evaluate": lambda model, data: snellen.evaluate([model], ["fgsm"], data, limit=4),
    "treat": treated,
    "load": lambda model, data: snellen.load_classifier(model, NAMES)(torch.rand(2, 3, 16, 16)),
}


def state_of(model):
    return {
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modes": [one.training for one in model.modules()],
        "gradients": [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()],
        "devices": [str(parameter.device) for parameter in model.parameters()],
        "objects": [id(one) for one in (*model.parameters(), *model.buffers(), *model.modules())],
        "hooks": [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules()],
        "attributes": [sorted(vars(one)) for one in model.modules()],
    }


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("verb", VERBS)
def test_the_module_is_bit_equal_and_still_trains(verb, channels):
    model = module(channels)
    before = state_of(model)
    VERBS[verb](model, images(channels))
    after = state_of(model)
    weights = after.pop("weights")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in before.pop("weights").items())
    assert after == before
    model(torch.rand(4, channels, 16, 16)).sum().backward()
    assert model.head.weight.grad is not None
    assert model.frozen.weight.grad is None


def test_a_module_inside_a_pair_stays_as_it_is_too():
    model = module()
    before = state_of(model)
    snellen.audit((model, snellen.Preprocessing(size=(16, 16))), images(), checks=["clean", "adversarial"])
    after = state_of(model)
    assert {key: after[key] for key in after if key != "weights"} == {
        key: before[key] for key in before if key != "weights"
    }
