"""The classifier: what it computes and what it refuses."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from tests.tiny_network import NAMES, make_network


@pytest.fixture
def classifier():
    return Classifier(make_network(), class_names=NAMES, name="tiny", feature_layer="2")


@pytest.fixture
def images():
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.smoke
def test_normalises_inside(images):
    normalization = Normalization((0.5, 0.4, 0.3), (0.1, 0.2, 0.4))
    network = make_network().eval()
    classifier = Classifier(network, class_names=NAMES, normalization=normalization)
    channels = [(images[:, c] - normalization.mean[c]) / normalization.std[c] for c in range(3)]
    expected = torch.stack(channels, 1)
    assert torch.equal(classifier.normalise(images), expected)
    assert torch.equal(classifier(images), network(expected))
    plain = Classifier(network, class_names=NAMES)
    assert torch.equal(plain(images), network(images))


def test_prepares_with_its_own_preparation():
    preparation = Preprocessing(size=(4, 4), resize="shorter", resize_to=(5, 5))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    classifier = Classifier(make_network(), class_names=NAMES, preparation=preparation)
    assert torch.equal(classifier.prepare(picture), preparation(picture))
    assert "4x4" in repr(classifier)


def test_freezes_and_goes_to_evaluation_mode(images):
    network = make_network().train()
    classifier = Classifier(network, class_names=NAMES)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert torch.equal(classifier(images), classifier(images)), "dropout and batch statistics are off"
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not classifier(images).requires_grad


@pytest.mark.parametrize("task", ["single", "ordinal"])
@given(rows=st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_probabilities_sum_to_one_and_keep_the_decision(task, rows):
    scores = torch.tensor(rows)
    classifier = Classifier(make_network(), class_names=NAMES, task=task)
    probabilities = classifier.probabilities(scores)
    assert probabilities.dtype == torch.float64
    assert torch.allclose(probabilities.sum(1), torch.ones(len(rows), dtype=torch.float64), atol=1e-12)
    picked = probabilities.gather(1, classifier.predict(scores)[:, None])
    assert torch.allclose(picked[:, 0], probabilities.amax(1), rtol=1e-12)


def test_log_probabilities_give_back_the_probabilities():
    classifier = Classifier(make_network(), class_names=NAMES, output="log-probabilities")
    expected = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    assert torch.allclose(classifier.probabilities(expected.log()), expected)
    assert classifier.predict(expected.log()).tolist() == [1]


@pytest.mark.parametrize(
    ("output", "scores", "probabilities"),
    [
        ("logits", [[math.log(0.6 / 0.4), math.log(0.4 / 0.6), -9.0]], [[0.6, 0.4, 1 / (1 + math.exp(9))]]),
        ("log-probabilities", [[math.log(0.6), math.log(0.4), math.log(0.01)]], [[0.6, 0.4, 0.01]]),
    ],
)
def test_multilabel_decides_at_probability_one_half(output, scores, probabilities):
    classifier = Classifier(make_network(), class_names=NAMES, task="multilabel", output=output)
    scores = torch.tensor(scores, dtype=torch.float64)
    assert torch.allclose(classifier.probabilities(scores), torch.tensor(probabilities, dtype=torch.float64))
    assert classifier.predict(scores).tolist() == [[1, 0, 0]]
    assert classifier.predict(scores).dtype == torch.int64


def test_labels_alone_decide_but_have_no_probabilities():
    single = Classifier(lambda images: images, class_names=NAMES, output="labels", name="by-url")
    assert single.predict(torch.tensor([[0.0, 0.0, 1.0]])).tolist() == [2]
    with pytest.raises(UnsupportedError, match="by-url gives labels only"):
        single.probabilities(torch.tensor([[0.0, 0.0, 1.0]]))
    several = Classifier(lambda images: images, class_names=NAMES, output="labels", task="multilabel")
    assert several.predict(torch.tensor([[0.0, 1.0, 1.0]])).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, math.nan, math.inf, -math.inf])
def test_values_outside_the_unit_range_are_refused_with_the_likely_reason(classifier, images, value):
    images[3, 1, 2, 2] = value
    with pytest.raises(InputError, match="Normalisation happens inside the classifier") as raised:
        classifier(images)
    assert "tiny takes images in [0, 1]" in str(raised.value)
    assert classifier.spent == Spent()


def test_the_ends_of_the_range_pass_with_rounding(classifier, images):
    images[0, 0, 0, 0], images[0, 0, 0, 1] = -5e-7, 1 + 5e-7
    assert classifier(images).shape == (5, 3)


@pytest.mark.parametrize(
    ("wrong", "came"),
    [
        (torch.rand(3, 4, 4), r"torch.float32 \(3, 4, 4\)"),
        (torch.rand(2, 1, 4, 4), r"torch.float32 \(2, 1, 4, 4\)"),
        (torch.rand(2, 4, 4, 3), r"torch.float32 \(2, 4, 4, 3\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), r"torch.uint8 \(2, 3, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), r"torch.int64 \(2, 3, 4, 4\)"),
        (np.zeros((2, 3, 4, 4), dtype=np.float32), "a ndarray, not a tensor"),
    ],
)
def test_other_shapes_and_types_are_refused_with_what_to_do(classifier, wrong, came):
    with pytest.raises(InputError, match=came + r"\. Use classifier\.prepare\(image\)"):
        classifier(wrong)


def test_an_empty_batch_is_refused(classifier):
    with pytest.raises(InputError, match="empty batch"):
        classifier(torch.rand(0, 3, 4, 4))


def test_a_wrong_number_of_classes_names_both_and_the_option(images):
    classifier = Classifier(make_network(), class_names=["cat", "dog"], name="tiny")
    with pytest.raises(ModelError, match=r"tiny gives 3 scores per image, but 2 class names.*--classes FILE"):
        classifier(images)


@pytest.mark.parametrize(
    ("model", "came"),
    [
        (lambda images: (images.flatten(1)[:, :3],), "tuple"),
        (lambda images: {"logits": images.flatten(1)[:, :3]}, "dict"),
        (lambda images: images.flatten(1)[:, :3].numpy(), "ndarray"),
        (lambda images: images.mean(), r"\(\)"),
        (lambda images: images.flatten(1)[:, 0], r"\(5,\)"),
        (lambda images: images.flatten(1)[:2, :3], r"\(2, 3\)"),
    ],
)
def test_other_outputs_are_refused(images, model, came):
    with pytest.raises(ModelError, match=rf"odd returned {came} for 5 images; expected scores \(n, k\)"):
        Classifier(model, class_names=NAMES, name="odd")(images)


def test_class_names_are_needed():
    with pytest.raises(InputError, match="at least one class name"):
        Classifier(make_network(), class_names=[])


def test_the_fingerprint_is_the_same_whether_or_not_the_identity_was_read(classifier):
    before = classifier.fingerprint()
    assert classifier.identity is not None
    assert classifier.fingerprint() == before


class Remembering(torch.nn.Module):
    """Keeps what it was given, and works with it a moment later, as some networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_network()
        self.wait = lambda: None

    def forward(self, images):
        self.last = images
        self.wait()
        return self.inner(self.last)


def test_a_twin_shares_weights_and_nothing_else(images):
    classifier = Classifier(Remembering(), class_names=NAMES, name="tiny")
    twin = classifier.twin()
    own, other = classifier.module.inner.parameters(), twin.module.inner.parameters()
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(own, other, strict=True))
    expected = classifier(images)
    twin.module.wait = lambda: classifier(1 - images)  # the other one is called between the two steps of this one
    with classifier.counting() as spent, twin.counting() as spent_by_twin:
        assert torch.equal(twin(images), expected)
    assert (spent(), spent_by_twin()) == (Spent(queries=10), Spent(queries=5))
    assert (twin.fingerprint(), twin.name) == (classifier.fingerprint(), "tiny")
    with twin.edit("inner.1", torch.zeros_like):
        assert torch.equal(classifier(images), expected)


def test_a_network_that_keeps_what_it_computed_with_gradients_has_a_twin(images):
    class Keeping(Remembering):
        def forward(self, images):
            self.hidden = self.inner(images)
            return self.hidden

    classifier = Classifier(Keeping(), class_names=NAMES, name="tiny")
    classifier(images.clone().requires_grad_(True))
    assert classifier.module.hidden.grad_fn is not None
    assert torch.equal(classifier.twin()(images), classifier(images))


def test_a_classifier_can_be_copied(images):
    classifier = Classifier(make_network(), class_names=NAMES, name="tiny")
    other = copy.deepcopy(classifier)
    assert torch.equal(other(images), classifier(images))
    assert (other.spent, classifier.spent) == (Spent(queries=5), Spent(queries=5))


def test_a_network_that_cannot_be_copied_has_no_twin():
    network = make_network()
    network.handle = (one for one in [1])
    with pytest.raises(ModelError, match=r"tiny holds something that cannot be copied .*generator"):
        Classifier(network, class_names=NAMES, name="tiny").twin()
    with pytest.raises(UnsupportedError, match="not a torch module"):
        Classifier(lambda batch: batch.mean((2, 3)), class_names="abc").twin()
