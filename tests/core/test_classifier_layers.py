"""Looking into a classifier: features, edits, and the identity of its weights."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError, UnknownNameError, UnsupportedError
from tests.tiny_network import NAMES, make_network


@pytest.fixture
def classifier():
    return Classifier(make_network(), class_names=NAMES, name="tiny", feature_layer="2")


@pytest.fixture
def images():
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def test_features_equal_a_reference_without_hooks(classifier, images):
    network = classifier.module
    for depth in range(1, len(network) + 1):
        assert torch.equal(classifier.features(images, str(depth - 1)), network[:depth](images))
    assert torch.equal(classifier.features(images), network[:3](images)), "feature_layer is the default"
    assert not any(module._forward_hooks for module in network.modules())


def test_features_are_differentiable(classifier, images):
    images.requires_grad_(True)
    (ours,) = torch.autograd.grad(classifier.features(images, "2").square().sum(), images)
    (reference,) = torch.autograd.grad(classifier.module[:3](images).square().sum(), images)
    assert torch.equal(ours, reference)
    assert ours.any()


def test_an_unknown_layer_lists_near_names(classifier, images):
    model = nn.Sequential()
    model.add_module("block_one", nn.Flatten())
    model.add_module("head", nn.Linear(48, 3))
    named = Classifier(model, class_names=NAMES, name="tiny")
    assert named.layers == ("block_one", "head")
    with pytest.raises(UnknownNameError, match=r"unknown layer of tiny 'block_on'; did you mean 'block_one'"):
        named.features(images, "block_on")
    with pytest.raises(UnknownNameError, match="did you mean 'head'"), named.edit("haed", torch.zeros_like):
        pass
    with pytest.raises(InputError, match="name a layer of tiny: one of block_one, head"):
        named.features(images)


def test_a_layer_that_gives_no_single_tensor_is_refused(images):
    class Pair(nn.Module):
        def forward(self, images):
            return images, images

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.unused, self.head = Pair(), nn.Identity(), nn.Linear(48, 3)

        def forward(self, images):
            return self.head(self.pair(images)[0].flatten(1))

    classifier = Classifier(Network(), class_names=NAMES)
    for layer in ("pair", "unused"):
        with pytest.raises(UnsupportedError, match=f"layer '{layer}' .* does not output one tensor"):
            classifier.features(images, layer)


def test_an_edit_replaces_a_layer_and_undoes_itself(classifier, images):
    before, network = classifier(images), classifier.module
    with classifier.edit("2", lambda output: output * 2) as edited:
        assert edited is classifier
        doubled = classifier(images)
    expected = network[3:](network[:3](images) * 2)
    assert torch.equal(doubled, expected)
    assert not torch.equal(doubled, before)
    assert torch.equal(classifier(images), before)


def test_an_edit_undoes_itself_after_an_exception(classifier, images):
    before = classifier(images)
    with pytest.raises(ZeroDivisionError), classifier.edit("2", torch.zeros_like):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError), classifier.edit("2", lambda output: output[:, :1]):
        classifier(images)  # the next layer does not fit
    assert torch.equal(classifier(images), before)


def test_edits_nest(classifier, images):
    network = classifier.module
    clean, features = classifier(images), network[:3](images)
    with classifier.edit("2", lambda output: output + 1):
        outer = classifier(images)
        with classifier.edit("2", lambda output: output * 3), classifier.edit("5", torch.neg):
            inner = classifier(images)
        assert torch.equal(classifier(images), outer)
        assert torch.equal(classifier.features(images, "2"), features + 1), "features are those of the edited model"
    assert torch.equal(classifier(images), clean)
    assert torch.equal(outer, network[3:](features + 1))
    assert torch.equal(inner, -network[3:]((features + 1) * 3))


def test_a_callable_has_no_layers(images):
    classifier = Classifier(lambda images: images.flatten(1)[:, :3], class_names=NAMES, name="by-url")
    for ask in (lambda: classifier.layers, lambda: classifier.features(images, "0")):
        with pytest.raises(UnsupportedError, match="by-url is not a torch module"):
            ask()
    with pytest.raises(UnsupportedError), classifier.edit("0", torch.zeros_like):
        pass
    assert not classifier.differentiable
    assert "no gradients" in repr(classifier)
    assert classifier(images).shape == (5, 3)


def test_identity_is_the_hash_of_the_weights():
    first, second = (Classifier(make_network(), class_names=NAMES) for _ in range(2))
    assert first.identity == second.identity == hash_tensors(make_network().state_dict())
    assert len(first.identity) == 64
    assert Classifier(make_network(seed=1), class_names=NAMES).identity != first.identity


def test_identity_does_not_depend_on_order_or_memory_layout():
    state = make_network().state_dict()
    expected = hash_tensors(state)
    assert hash_tensors(dict(reversed(state.items()))) == expected
    strided = {name: torch.stack([tensor, tensor], -1)[..., 0] for name, tensor in state.items()}
    assert not all(tensor.is_contiguous() for tensor in strided.values())
    assert hash_tensors(strided) == expected
    assert (
        hash_tensors(
            {name: tensor.clone().requires_grad_(tensor.is_floating_point()) for name, tensor in state.items()}
        )
        == expected
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_identity_does_not_depend_on_the_device(images):
    on_cpu, on_gpu = (Classifier(make_network(), class_names=NAMES, device=d) for d in ("cpu", "cuda"))
    assert on_cpu.identity == on_gpu.identity
    assert torch.allclose(on_cpu(images), on_gpu(images.cuda()).cpu(), atol=1e-4)


def test_identity_changes_with_one_bit_a_name_a_shape_or_a_type():
    base = {"a": torch.tensor([1.0, 2.0]), "empty": torch.zeros(0, 3)}
    one_bit = torch.nextafter(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    variants = [
        base,
        {**base, "a": one_bit},
        {"b": base["a"], "empty": base["empty"]},
        {**base, "a": base["a"][None]},
        {**base, "a": base["a"].double()},
        {**base, "a": base["a"].view(torch.int32)},
        {**base, "empty": torch.zeros(3, 0)},
        {"a": base["a"]},
    ]
    assert len({hash_tensors(variant) for variant in variants}) == len(variants)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.int64, torch.float64])
def test_every_type_of_tensor_can_be_hashed(dtype):
    assert hash_tensors({"a": torch.ones(3).to(dtype), "scalar": torch.ones(()).to(dtype)})


def test_identity_of_a_callable_is_unknown_unless_given():
    assert Classifier(lambda images: images, class_names=NAMES).identity is None
    assert Classifier(lambda images: images, class_names=NAMES, identity="file-hash").identity == "file-hash"
    assert Classifier(make_network(), class_names=NAMES, identity="file-hash").identity == "file-hash"
