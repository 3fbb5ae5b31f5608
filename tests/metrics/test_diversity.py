import pytest
import torch
from scipy.spatial.distance import pdist

from snellen.core.errors import InputError
from snellen.metrics.generated_images import within_class_distance


def drawn(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_mean_of_the_distances_of_all_pairs():
    first, second = drawn(12, 0), 3 * drawn(7, 1)
    features, classes = torch.cat([first, second]), torch.tensor([0] * 12 + [4] * 7)
    expected = (pdist(first.double()).mean() + pdist(second.double()).mean()) / 2
    assert within_class_distance(features, classes) == pytest.approx(expected)


def test_the_order_does_not_matter_and_classes_apart_add_nothing():
    features, classes = drawn(20, 2), torch.arange(20) % 2
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    value = within_class_distance(features, classes)
    assert within_class_distance(features[order], classes[order]) == pytest.approx(value)
    apart = features + 100 * classes[:, None]
    assert within_class_distance(apart.double(), classes) == pytest.approx(value, rel=1e-5)


def test_it_does_not_depend_on_the_number_of_images():
    """Of ten images it is on average what it is of 1,500."""
    few = [within_class_distance(drawn(10, seed), torch.zeros(10, dtype=torch.int64)) for seed in range(200)]
    many = within_class_distance(drawn(1500, 300), torch.zeros(1500, dtype=torch.int64))
    assert sum(few) / len(few) == pytest.approx(many, rel=0.03)


def test_repeated_images_have_no_diversity():
    assert within_class_distance(drawn(1, 0).expand(5, -1), torch.zeros(5, dtype=torch.int64)) == 0.0


@pytest.mark.parametrize(
    ("features", "classes", "said"),
    [
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), r"\(3, 2\) and \(2,\)"),
        (torch.zeros(3, 2), torch.arange(3), "no class has two images"),
        (torch.full((2, 2), float("inf")), torch.zeros(2, dtype=torch.int64), "finite features"),
    ],
)
def test_what_has_no_pairs_is_refused(features, classes, said):
    with pytest.raises(InputError, match=said):
        within_class_distance(features, classes)
