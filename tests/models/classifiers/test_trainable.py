"""Copies that can be trained, of classifiers of any form."""

import pytest
import torch
from torch import nn

from snellen.core.errors import UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.assembly import probe_images
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.trainable import trainable, trained_classifier
from tests.tiny_network import NAMES, make_network


class Tokens(nn.Module):
    """Layers on tokens, which ONNX writes as products with constants, and not as layers."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed = nn.Linear(12, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, 4, 4) → (n, 3)."""
        tokens = images.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).reshape(-1, 4, 12)
        return self.head(self.mixed(tokens).tanh().mean(1))


def tuned(network):
    """The network after a step, and how many of its weights moved."""
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    nn.functional.cross_entropy(network(probe_images((4, 4), 6)), torch.arange(6) % 3).backward()
    optimizer.step()
    return sum(int((one != before[name]).sum()) for name, one in network.named_parameters())


def test_constants_of_an_onnx_graph_are_weights_that_learn(tmp_path):
    torch.manual_seed(0)
    module = Tokens()
    whole = load_classifier(module, NAMES, preparation=Preprocessing(size=(4, 4)))
    classifier = load_classifier(f"onnx:{export_onnx(whole, tmp_path / 'tokens.onnx')}")
    network = trainable(classifier)
    weights = 12 * 8 + 8 + 8 * 3 + 3
    assert sum(one.numel() for one in network.parameters()) == weights, "what is added is a constant of the graph, too"
    images = probe_images((4, 4), 6)
    with torch.no_grad():
        untouched = classifier(images)
        assert torch.allclose(network(images), untouched, atol=1e-6)
    assert tuned(network) == weights
    treated = trained_classifier(classifier, network, "a step")
    with torch.no_grad():
        assert torch.equal(classifier(images), untouched)
        assert not torch.allclose(treated(images), untouched, atol=1e-3)


def test_a_copy_has_weights_of_its_own_and_keeps_the_normalisation():
    own = make_network()
    normalised = load_classifier(
        own, NAMES, preparation=Preprocessing(size=(4, 4)), normalization=((0.5,) * 3, (0.25,) * 3)
    )
    network, images = trainable(normalised), probe_images((4, 4), 6)
    with torch.no_grad():
        expected = normalised(images)
        assert torch.allclose(network.eval()(images), expected, atol=1e-6)
    before = {name: one.clone() for name, one in own.state_dict().items()}
    assert tuned(network.train())
    assert all(torch.equal(before[name], one) for name, one in own.state_dict().items())
    with torch.no_grad():
        assert torch.equal(normalised(images), expected)


def test_a_function_has_no_weights():
    classifier = load_classifier(lambda images: images.flatten(1)[:, :3], NAMES, preparation=Preprocessing(size=(4, 4)))
    with pytest.raises(UnsupportedError, match="no weights that can be trained here"):
        trainable(classifier)
