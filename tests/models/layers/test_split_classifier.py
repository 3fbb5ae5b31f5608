"""A classifier cut at a layer gives its own scores again, whatever goes around the layer."""

import copy

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, ModelError, UnknownNameError, UnsupportedError
from snellen.metrics.alignment import random_orthogonal
from snellen.models.layers.split_classifier import PIXELS, SplitClassifier
from snellen.testing.conformance import small_problem


class Block(nn.Module):
    """A residual block whose ReLU is one module that is called twice."""

    def __init__(self, channels):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps):
        return self.relu(maps + self.second(self.relu(self.first(maps))))


class TwoThings(nn.Module):
    """Gives maps and, beside them, their maxima."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(6, 6, 1)

    def forward(self, maps):
        maps = self.inner(maps)
        return maps, maps.amax((2, 3))


class Residual(nn.Module):
    """Blocks, a layer of two outputs that are both used, attention-like tokens, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(Block(6), Block(6))
        self.two = TwoThings()
        self.mix = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, images):
        maps, maxima = self.two(self.blocks(self.stem(images)))
        tokens = self.mix(maps.flatten(2).transpose(1, 2))
        return self.head(torch.cat([tokens.mean(1), maxima], 1))


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    normalization = Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.2))
    return Classifier(Residual(), class_names=list("abcd"), normalization=normalization)


@pytest.fixture(scope="module")
def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


LAYERS = {
    "stem": True, "stem.0": True, "stem.2": True, "blocks.0": True, "blocks.1": True, "blocks": True,
    "blocks.0.first": False, "blocks.1.second": False, "two": False, "two.inner": True, "mix": False, "head": True,
}  # fmt: skip


@pytest.mark.covers("16.1")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("where", ["output", "input"])
def test_decoding_what_was_encoded_gives_the_scores(residual, images, layer, where):
    split = SplitClassifier(residual, layer, images[:3], where=where)
    if where == "output":
        assert split.whole is LAYERS[layer]
    assert split.difference(images) <= 1e-5
    with torch.no_grad():
        representations = split.encode(images)
        kept = representations.clone()
        assert torch.allclose(split.decode(representations, images), residual(images), atol=1e-5)
    assert torch.equal(representations, kept), "a layer behind works in place on what it was given"


@pytest.mark.covers("16.1")
def test_a_changed_representation_does_what_the_layers_behind_say(residual, images):
    """The oracle: the module itself, run by hand from the cut on."""
    split = SplitClassifier(residual, "blocks.0", images)
    changed = split.encode(images) + 0.3
    net = residual.module
    maps, maxima = net.two(net.blocks[1](changed.clone()))
    tokens = net.mix(maps.flatten(2).transpose(1, 2))
    expected = net.head(torch.cat([tokens.mean(1), maxima], 1))
    assert torch.allclose(split.decode(changed), expected, atol=1e-6)


def test_only_the_layers_behind_are_run(residual, images):
    split, ran = SplitClassifier(residual, "blocks.0", images), []
    handle = residual.module.stem[0].register_forward_hook(lambda *_: ran.append("hook"))
    computed = nn.Conv2d.forward
    seen = []
    residual.module.stem[0].forward = lambda maps: seen.append(1) or computed(residual.module.stem[0], maps)
    try:
        with torch.no_grad():
            representations = split.encode(images)
            assert seen == [1]
            split.decode(representations)
        assert seen == [1], "the stem was computed again"
        assert "forward" in vars(residual.module.stem[0]), "an attribute of the caller is gone"
    finally:
        handle.remove()
        del residual.module.stem[0].forward
    assert not any("forward" in vars(module) for module in residual.module.modules())


def test_the_network_is_as_before_also_after_an_error(residual, images):
    split = SplitClassifier(residual, "blocks.0", images)
    before = {name: tensor.clone() for name, tensor in residual.module.state_dict().items()}
    with pytest.raises(ModelError, match=r"\(2, 5, 8, 8\)"):
        split.decode(torch.zeros(2, 5, 8, 8))
    assert not any("forward" in vars(module) for module in residual.module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in residual.module.state_dict().items())
    assert torch.equal(residual(images), residual(images))


def test_queries_and_gradients_are_counted_for_the_classifier(residual, images):
    split = SplitClassifier(residual, "blocks.1", images)
    representations = split.encode(images).requires_grad_(True)
    with residual.counting() as spent:
        split.decode(representations).sum().backward()
    assert (spent().queries, spent().gradients) == (6, 6)


@pytest.mark.covers("16.4")
@pytest.mark.parametrize("layer", ["blocks.0", "mix", "two.inner"])
def test_another_basis_changes_no_score_and_every_representation(residual, images, layer):
    split = SplitClassifier(residual, layer, images)
    rotation = random_orthogonal(6, torch.Generator().manual_seed(3)).float()
    rotated = split.with_basis(rotation)
    assert rotated.difference(images) <= 1e-5
    with torch.no_grad():
        ours, theirs = split.encode(images), rotated.encode(images)
    dim = 2 if ours.ndim == 3 else 1
    assert torch.allclose(theirs.movedim(dim, -1), ours.movedim(dim, -1) @ rotation, atol=1e-6)
    assert (theirs - ours).abs().max() > 0.1
    stretched = rotated.with_basis(torch.diag(torch.linspace(0.5, 2, 6)))
    assert stretched.difference(images) <= 1e-5


@pytest.mark.covers("16.10")
def test_pixels_are_the_representation_in_front_of_all_layers(residual, images):
    split = SplitClassifier(residual, PIXELS, images)
    with torch.no_grad():
        assert split.encode(images) is images
        assert torch.equal(split.decode(images), residual(images))
    assert split.place == "pixels"


@pytest.mark.covers("16.13")
def test_the_place_tells_the_side_of_a_nonlinearity(residual, images):
    assert SplitClassifier(residual, "stem.2", images).place == "stem.2, after the nonlinearity ReLU"
    before = SplitClassifier(residual, "stem.2", images, where="input")
    assert before.place == "stem.2, before the nonlinearity ReLU"
    assert before.encode(images).min() < 0 <= SplitClassifier(residual, "stem.2", images).encode(images).min()
    assert SplitClassifier(residual, "head", images).place == "head, output of Linear"


def test_what_cannot_be_cut_is_refused(residual, images):
    with pytest.raises(UnknownNameError, match="stem"):
        SplitClassifier(residual, "sten", images)
    with pytest.raises(UnsupportedError, match=r"'blocks\.0\.relu'.* is called 2 times in a pass"):
        SplitClassifier(residual, "blocks.0.relu", images)
    split = SplitClassifier(residual, "blocks.0.first", images)
    representations = split.encode(images)
    with pytest.raises(InputError, match="a shortcut goes around it"):
        split.decode(representations)
    remote = Classifier(lambda batch: residual(batch), class_names=list("abcd"), name="remote")
    with pytest.raises(UnsupportedError, match="remote is not a torch module"):
        SplitClassifier(remote, "stem", images)


def test_a_model_that_is_random_is_refused(images):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(192, 2)

        def forward(self, batch):
            return self.head(batch.flatten(1) + 0.1 * torch.rand(len(batch), 192))

    with pytest.raises(ModelError, match="random at inference"):
        SplitClassifier(Classifier(Noisy(), class_names=["a", "b"]), "head", images)


def test_of_a_model_that_says_the_same_of_every_image_nothing_is_assumed(images):
    classifier, _, _ = small_problem()
    constant = copy.deepcopy(classifier.module)
    constant[-1].weight.data.zero_()
    split = SplitClassifier(Classifier(constant, class_names=classifier.class_names), "1", images)
    assert not split.whole
    assert split.difference(images) == 0
