import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import ModelError
from snellen.models.classifiers.output_kind import output_kind


@given(seed=st.integers(0, 1000), classes=st.integers(2, 50), scale=st.floats(0.1, 20.0))
def test_softmax_and_its_logarithm_are_distinguished_from_logits(seed: int, classes: int, scale: float) -> None:
    logits = torch.randn(4, classes, generator=torch.Generator().manual_seed(seed)) * scale
    assert output_kind(logits.softmax(1)) == "probabilities"
    assert output_kind(logits.log_softmax(1)) == "log-probabilities"
    # Shifted so that neither the values nor their exponentials sum to 1.
    assert output_kind(logits - logits.logsumexp(1, keepdim=True) + 3.0) == "logits"


def test_one_row_that_does_not_sum_to_one_makes_all_logits() -> None:
    rows = torch.tensor([[0.5, 0.5], [0.5, 0.6]])
    assert output_kind(rows) == "logits"
    assert output_kind(rows[:1]) == "probabilities"


def test_negative_values_that_sum_to_one_are_logits() -> None:
    assert output_kind(torch.tensor([[1.5, -0.5], [2.0, -1.0]])) == "logits"


def test_tolerance_follows_the_precision() -> None:
    rows = torch.tensor([[0.5, 0.5008]])
    assert output_kind(rows) == "logits"
    assert output_kind(rows.half()) == "probabilities"
    assert output_kind(torch.tensor([[0.5, 0.50009]])) == "probabilities"


def test_half_precision_softmax_over_many_classes() -> None:
    logits = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    assert output_kind(logits.softmax(1).half()) == "probabilities"


def test_a_single_column_is_never_a_distribution() -> None:
    assert output_kind(torch.ones(4, 1)) == "logits"


@pytest.mark.parametrize(
    "labels", [torch.tensor([1, 0, 2]), torch.tensor([[1], [0]]), torch.tensor([1], dtype=torch.int32)]
)
def test_integers_in_one_column_are_labels(labels: torch.Tensor) -> None:
    assert output_kind(labels) == "labels"


def test_integer_scores_are_logits() -> None:
    assert output_kind(torch.tensor([[3, -1], [0, 7]])) == "logits"


def test_segmentation_scores_are_judged_per_pixel() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert output_kind(logits.softmax(1)) == "probabilities"
    assert output_kind(logits) == "logits"


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_outputs_that_are_not_finite_are_refused(value: float, word: str) -> None:
    with pytest.raises(ModelError, match=f"net gives {word} outputs"):
        output_kind(torch.tensor([[0.0, 1.0], [value, 1.0]]), name="net")


@pytest.mark.parametrize("outputs", [torch.rand(3), torch.tensor(1.0), torch.zeros(2, 2, dtype=torch.complex64)])
def test_other_shapes_and_types_are_refused(outputs: torch.Tensor) -> None:
    with pytest.raises(ModelError, match=r"expected scores \(n, k\)"):
        output_kind(outputs)
