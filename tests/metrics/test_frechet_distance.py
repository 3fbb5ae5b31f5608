import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from snellen.core.errors import InputError
from snellen.metrics.generated_images import frechet_distance


def drawn(count: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator)
    return torch.randn(count, width, generator=generator) @ mixing + torch.randn(width, generator=generator)


@pytest.mark.parametrize("count", [200, 6], ids=["more images than features", "fewer"])
def test_equals_the_formula_with_a_root_of_the_product(count):
    first, second = drawn(count, 8, 0), drawn(count + 3, 8, 1)
    a, b = first.double().numpy(), second.double().numpy()
    root = sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_of_a_shift_is_its_squared_length_and_of_a_scaling_the_change_of_the_deviation():
    images = drawn(500, 4, 2)
    assert frechet_distance(images, images + 3.0) == pytest.approx(4 * 9.0, rel=1e-5)
    total = float((images - images.mean(0)).square().sum() / (len(images) - 1))
    centred = images - images.mean(0)
    assert frechet_distance(centred, 2 * centred) == pytest.approx(total, rel=1e-4)


def test_is_symmetric_and_does_not_depend_on_the_order_of_images():
    first, second = drawn(50, 5, 3), drawn(60, 5, 4)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second.flip(0), first), rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (torch.zeros(1, 3), torch.zeros(4, 3), "at least two"),
        (torch.zeros(4, 3), torch.zeros(4, 2), r"\(4, 3\) and \(4, 2\)"),
        (torch.full((4, 3), torch.nan), torch.zeros(4, 3), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, said):
    with pytest.raises(InputError, match=said):
        frechet_distance(first, second)
