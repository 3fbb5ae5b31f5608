import pytest
import torch
from torch import nn

from snellen.core.errors import ModelError
from snellen.models.classifiers.output_kind import log_of_probabilities, log_probabilities, one_hot, one_hot_of_labels


def test_logarithms_give_the_probabilities_back() -> None:
    probabilities = torch.tensor([[0.25, 0.75], [1e-20, 1.0]])
    assert torch.allclose(log_of_probabilities(probabilities).exp(), probabilities, rtol=1e-5, atol=0)


def test_zero_becomes_the_smallest_normal_float_and_stays_finite() -> None:
    logs = log_of_probabilities(torch.tensor([[0.0, 1.0]]).half())
    assert logs.dtype == torch.float32
    assert logs.tolist()[0] == [pytest.approx(-87.33654, abs=1e-4), 0.0]


def test_a_module_stays_a_differentiable_module() -> None:
    wrapped = log_probabilities(nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Softmax(1)))
    assert isinstance(wrapped, nn.Module)
    images = torch.rand(1, 3, 1, 1, requires_grad=True)
    wrapped(images)[0, 0].backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0


def test_a_callable_stays_a_callable() -> None:
    wrapped = log_probabilities(lambda images: torch.full((len(images), 2), 0.5))
    assert torch.equal(wrapped(torch.zeros(3, 3, 1, 1)), torch.full((3, 2), 0.5).log())


def test_labels_become_one_hot_and_scores_pass() -> None:
    assert one_hot(lambda _: torch.tensor([2, 0]), 3)(torch.zeros(2, 3, 1, 1)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot(lambda _: torch.tensor([[1]]), 2)(torch.zeros(1, 3, 1, 1)).tolist() == [[0, 1]]
    scores = torch.tensor([[0.1, 0.9]])
    assert torch.equal(one_hot(lambda _: scores, 2)(torch.zeros(1, 3, 1, 1)), scores)


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_without_a_name_is_refused(label: int) -> None:
    with pytest.raises(ModelError, match=f"label {label}, but 3 class names.*--classes"):
        one_hot_of_labels(torch.tensor([0, label]), 3)
