"""Grad-CAM: its equations by hand, the layers it finds, and the ones it refuses."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import UnknownNameError, UnsupportedError
from snellen.methods.explanations.attributed import NO_EVIDENCE, NOT_FINITE
from snellen.methods.explanations.grad_cam import as_map, coarse_grad_cam, grad_cam, last_map_layer


class Small(nn.Module):
    """Two convolutions, an in-place ReLU behind the second, a pooled head."""

    def __init__(self, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Tanh())
        self.body = nn.Conv2d(4, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(5, classes)

    def forward(self, images):
        return self.head(self.pool(self.relu(self.body(self.stem(images)))).flatten(1))


def classifier_of(model=None, **options):
    options = {"normalization": Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.2)), **options}
    return Classifier(model or Small(), class_names=["a", "b", "c"], name="small", **options)


IMAGES = torch.rand(5, 3, 12, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 1, 2, 2, 0])


def by_hand(classifier, layer, images, targets):
    """Equations 1 and 2, with a plain hook."""
    kept = []
    handle = classifier.module.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
    scores = classifier(images.clone().requires_grad_())
    handle.remove()
    chosen = scores[torch.arange(len(images)), targets]
    (gradient,) = torch.autograd.grad(chosen.sum(), kept[0])
    return (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).detach()


@pytest.mark.parametrize("layer", ["stem", "relu", "stem.0"])
def test_the_equations(layer):
    classifier = classifier_of()
    coarse, value, _ = coarse_grad_cam(classifier, IMAGES, TARGETS, layer=layer)
    assert coarse.shape == (5, 6, 4)
    assert torch.allclose(coarse, by_hand(classifier, layer, IMAGES, TARGETS), atol=1e-6)
    assert torch.allclose(value, classifier(IMAGES)[torch.arange(5), TARGETS].double())


def test_a_layer_that_the_next_one_changes_in_place_is_seen_as_it_was():
    classifier = classifier_of()
    coarse, _, _ = coarse_grad_cam(classifier, IMAGES, TARGETS, layer="body")
    with torch.no_grad():
        before = classifier.module.body(classifier.module.stem(classifier.normalise(IMAGES)))
    leaf = before.clone().requires_grad_()
    scores = classifier.module.head(leaf.relu().mean((2, 3)))
    (gradient,) = torch.autograd.grad(scores[torch.arange(5), TARGETS].sum(), leaf)
    assert torch.allclose(coarse, (gradient.mean((2, 3), keepdim=True) * before).sum(1), atol=1e-6)


def test_the_last_map_is_found_and_enlarged():
    classifier = classifier_of()
    assert last_map_layer(classifier, IMAGES[:1]) == "relu"
    found = grad_cam(classifier, IMAGES, TARGETS)
    coarse = by_hand(classifier, "relu", IMAGES, TARGETS).relu()
    expected = nn.functional.interpolate(coarse[:, None], (12, 8), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(found.maps, expected, atol=1e-6)
    assert found.base.isnan().all()
    assert found.gap.isnan().all()
    signed = grad_cam(classifier, IMAGES, TARGETS, positive=False).maps
    assert bool((signed < 0).any())
    assert bool((found.maps >= 0).all())


def test_probabilities_have_gradients_of_their_own():
    classifier = classifier_of()
    probability = grad_cam(classifier, IMAGES, TARGETS, of="probability", positive=False)
    assert torch.allclose(probability.value, classifier(IMAGES).softmax(1)[torch.arange(5), TARGETS].double())
    assert not torch.allclose(probability.maps, grad_cam(classifier, IMAGES, TARGETS, positive=False).maps, atol=1e-3)


def test_neither_chunk_nor_neighbours_change_a_map():
    classifier = classifier_of()
    whole = grad_cam(classifier, IMAGES, TARGETS).maps
    assert torch.allclose(grad_cam(classifier, IMAGES, TARGETS, chunk=2).maps, whole, atol=1e-6)
    assert torch.allclose(grad_cam(classifier, IMAGES[3:], TARGETS[3:]).maps, whole[3:], atol=1e-6)


def test_what_it_costs_and_that_it_leaves_no_trace():
    classifier = classifier_of()
    before = classifier(IMAGES)
    spent = grad_cam(classifier, IMAGES, TARGETS, layer="relu").spent
    assert (spent.queries, spent.gradients) == (5, 5)
    assert grad_cam(classifier, IMAGES, TARGETS).spent.queries == 5  # the layer is found on the way
    assert grad_cam(classifier, IMAGES, TARGETS, chunk=4).spent.queries == 6  # one look to find the layer
    decided = grad_cam(classifier, IMAGES, None)
    assert (decided.spent.queries, decided.spent.gradients) == (5, 5)
    assert torch.equal(decided.maps, grad_cam(classifier, IMAGES, before.argmax(1)).maps)
    assert torch.equal(classifier(IMAGES), before)
    assert classifier.fingerprint() is not None


def test_gradients_that_are_switched_off_outside_do_not_matter():
    classifier = classifier_of()
    with torch.no_grad():
        assert grad_cam(classifier, IMAGES, TARGETS).maps.any()


def test_statuses():
    class Odd(Small):
        def forward(self, images):
            scores = super().forward(images) * (images.mean((1, 2, 3)) > 0.01)[:, None]
            return torch.where(images[:, :1, 0, 0] == 0.125, torch.nan, scores)

    images = IMAGES[:3].clone()
    images[1] = 0
    images[2, 0, 0, 0] = 0.125
    found = grad_cam(classifier_of(Odd(), normalization=None), images, TARGETS[:3], positive=False)
    assert found.status[1:] == (NO_EVIDENCE, NOT_FINITE)
    assert found.status[0] == "ok"
    assert found.maps[2].isnan().all()
    assert found.maps[:2].isfinite().all()


def test_tokens_of_a_square_are_a_map():
    tokens = torch.arange(2 * 11 * 3.0).view(2, 11, 3)
    found = as_map(tokens, "blocks.1", "vit")
    assert found.shape == (2, 3, 3, 3)
    assert torch.equal(found[1, :, 0, 1], tokens[1, 3])  # two tokens stand before the patches


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.block = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        tokens = self.block(self.patches(images).flatten(2).transpose(1, 2)).tanh()
        return self.head(tokens.mean(1))


def test_a_transformer_is_not_read_at_its_patches_unless_requested():
    classifier = classifier_of(Tokens())
    images = torch.rand(2, 3, 12, 12)
    with pytest.raises(UnsupportedError, match=r"tokens \(block\).*Name a layer"):
        grad_cam(classifier, images, TARGETS[:2])
    assert grad_cam(classifier, images, TARGETS[:2], layer="block").maps.shape == (2, 12, 12)


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        return self.head(self.norm(self.patches(images).permute(0, 2, 3, 1)).mean((1, 2)))


def test_a_map_with_channels_last_is_not_misread():
    with pytest.raises(UnsupportedError, match="none gives"):
        last_map_layer(classifier_of(ChannelsLast()), IMAGES[:1])


def test_what_has_no_layers_no_gradients_or_no_map_is_refused():
    with pytest.raises(UnsupportedError, match="Grad-CAM needs"):
        grad_cam(Classifier(lambda x: x.flatten(1)[:, :3], class_names=["a", "b", "c"]), IMAGES, TARGETS)
    with pytest.raises(UnsupportedError, match="Grad-CAM needs"):
        grad_cam(classifier_of(differentiable=False), IMAGES, TARGETS)
    flat = classifier_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 8, 3)))
    with pytest.raises(UnsupportedError, match="can be taken for its last map"):
        grad_cam(flat, IMAGES, TARGETS)
    with pytest.raises(UnsupportedError, match=r"layer 'pool' of small gives \(5, 5, 1, 1\)"):
        grad_cam(classifier_of(), IMAGES, TARGETS, layer="pool")
    with pytest.raises(UnknownNameError, match="did you mean 'body'"):
        grad_cam(classifier_of(), IMAGES, TARGETS, layer="bodi")


def test_no_images_give_no_maps():
    found = grad_cam(classifier_of(), IMAGES[:0], TARGETS[:0])
    assert len(found.maps) == 0
    assert found.status == ()
