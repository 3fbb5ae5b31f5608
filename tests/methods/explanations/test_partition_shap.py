"""Partition SHAP: its definition by recursion, the numbers of shap, and an order that no batch changes."""

import itertools

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.explanations.attributed import NO_EVIDENCE, NOT_FINITE
from snellen.methods.explanations.filling import background_filling, constant_filling
from snellen.methods.explanations.partition_shap import Block, Union, painted, partition_shap
from snellen.methods.explanations.score import TargetScore


def classifier_of(formula):
    """A black box with the scores f and −f."""

    def model(images):
        value = formula(images.double())
        return torch.stack([value, -value], 1)

    return Classifier(model, class_names=["yes", "no"], output="logits", name="formula")


def wavy(images):
    """The formula whose numbers by shap are below; images (n, 3, 12, 10)."""
    i, j, c = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), torch.arange(3.0), indexing="ij")
    i, j, c = i.double(), j.double(), c.double()
    z = images.permute(0, 2, 3, 1)
    a = (z * torch.sin(1.3 * i + 0.7 * j * j + 2.1 * c)).sum((1, 2, 3))
    b = (z * torch.cos(0.9 * i * j + 0.4 * c + 1)).sum((1, 2, 3))
    return torch.tanh(a * b / 60) + torch.cos(3 * a) + 0.02 * a * a - 0.2 * b


def wavy_image():
    i, j, c = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), torch.arange(3.0), indexing="ij")
    i, j, c = i.double(), j.double(), c.double()
    return (0.5 + 0.5 * torch.sin(1 + 1.7 * i + 2.9 * j + 0.8 * c * i)).float().permute(2, 0, 1)[None]


def uneven(images):
    """A formula with interactions of all orders, for images of any size."""
    flat = images.mean(1).flatten(1)
    weights = torch.sin(torch.arange(flat.shape[1]).double() * 1.7 + 0.3)
    return torch.tanh((flat * weights).sum(1)) * (flat * weights.flip(0)).sum(1).exp()


def owen(value_of, block, context):
    """The definition: the share of each half is the mean over both contexts, down to single pixels."""
    halves = block.split()
    if halves is None:
        return {block: value_of((*context, block)) - value_of(context)}
    shares = {}
    for half, other in (halves, halves[::-1]):
        for around in (context, (*context, other)):
            for part, share in owen(value_of, half, around).items():
                shares[part] = shares.get(part, 0.0) + share / 2
    return shares


def test_with_budget_enough_it_is_the_owen_value():
    image = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    score = TargetScore(classifier_of(uneven), torch.tensor([0]), of="score")
    filled = constant_filling(image, 0.25)

    def value_of(blocks):
        kept = torch.zeros(1, 3, 4, dtype=torch.bool)
        for block in blocks:
            kept[:, block.top : block.bottom, block.left : block.right] = True
        return float(score.values(filled(torch.tensor([0]), kept), torch.tensor([0])))

    expected = torch.zeros(3, 4, dtype=torch.float64)
    for block, share in owen(value_of, Block(0, 3, 0, 4), ()).items():
        expected[block.top, block.left] = share
    found = partition_shap(score, image, filled, budget=10_000)
    assert torch.allclose(found.maps[0].double(), expected, atol=1e-7)
    assert found.status == ("ok",)
    assert float(found.value) == value_of((Block(0, 3, 0, 4),))
    assert float(found.base) == value_of(())


#: Of shap 0.51.0, PartitionExplainer with an Image masker of 0.5: budget, blocks at a time (half of its batch), the map
#: at (row, column, channel) (0, 0, 0), (1, 3, 2), (2, 2, 1) and (5, 4, 0), and Σ φ cos(row + 2 column + 3 channel).
GOLDEN = [
    (40, 1, (-0.002187683, -0.002187683, -0.002187683, 0.009909724, -0.03457922)),
    (200, 1, (-0.001309344, -0.004745569, -0.005474111, 0.08600416, 0.07117537)),
    (200, 5, (0.0001097108, -0.004745569, -0.00831222, 0.08813021, 0.07351711)),
    (200, 25, (-0.005682478, -0.005313958, -0.01239334, 0.09757703, 0.07712878)),
]


@pytest.mark.parametrize(("budget", "together", "expected"), GOLDEN)
def test_the_numbers_of_shap(budget, together, expected):
    image = wavy_image()
    score = TargetScore(classifier_of(wavy), torch.tensor([0]), of="score")
    found = partition_shap(score, image, constant_filling(image), budget=budget, channels=True, together=together)
    phi = found.maps[0].double().permute(1, 2, 0)
    i, j, c = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), torch.arange(3.0), indexing="ij")
    told = (phi[0, 0, 0], phi[1, 3, 2], phi[2, 2, 1], phi[5, 4, 0], (phi * (i + 2 * j + 3 * c).double().cos()).sum())
    assert torch.stack(told).tolist() == pytest.approx(expected, abs=3e-8, rel=1e-6)


@pytest.mark.parametrize("budget", [2, 3, 4, 17, 64, 65, 400])
@pytest.mark.parametrize("channels", [False, True])
def test_contributions_add_up_at_any_budget(budget, channels):
    images = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    score = TargetScore(classifier_of(uneven), torch.tensor([0, 1]), of="score", chunk=8)
    found = partition_shap(score, images, constant_filling(images, 0.1), budget=budget, channels=channels)
    assert found.maps.shape == ((2, 3, 7, 9) if channels else (2, 7, 9))
    assert found.gap.abs().max() < 1e-12
    total = found.maps.double().flatten(1).sum(1)
    assert torch.allclose(total, found.value - found.base, atol=1e-6)
    if budget < 4:
        assert found.maps[0].unique().numel() == 1  # nothing was divided


def test_neither_batch_nor_neighbours_change_a_map():
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    targets = torch.tensor([0, 1, 0])
    classifier = classifier_of(uneven)
    backgrounds = torch.rand(images.shape, generator=torch.Generator().manual_seed(3))

    def maps(rows, chunk, together=1):
        score = TargetScore(classifier, targets[rows], of="score", chunk=chunk)
        filled = background_filling(images[rows], backgrounds[rows])
        return partition_shap(score, images[rows], filled, budget=60, together=together).maps

    reference = maps([0, 1, 2], 1)
    for chunk in (2, 7, 64, 1000):
        assert torch.equal(maps([0, 1, 2], chunk), reference)
        assert torch.equal(maps([2], chunk), reference[2:])
    several = maps([0, 1, 2], 1, together=4)
    assert torch.equal(maps([0, 1, 2], 50, together=4), several)
    assert not torch.equal(several, reference)


def test_what_is_queried_in_advance_is_counted_and_bounded():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    queries = {}
    for chunk in (2, 32):
        score = TargetScore(classifier_of(uneven), torch.tensor([0]), of="score", chunk=chunk)
        queries[chunk] = partition_shap(score, image, constant_filling(image), budget=100).spent.queries
    assert queries[2] == 100  # one after the other: nothing in advance
    assert 100 <= queries[32] < 100 + 100


def test_blocks_are_not_divided_below_the_smallest():
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    score = TargetScore(classifier_of(uneven), torch.tensor([0]), of="score")
    phi = partition_shap(score, image, constant_filling(image), budget=5000, smallest=4).maps[0]
    blocks = [phi[top : top + 4, left : left + 4] for top, left in itertools.product((0, 4), (0, 4))]
    assert all(block.unique().numel() == 1 for block in blocks)
    assert phi.unique().numel() == 4


def test_images_without_evidence_and_with_broken_scores_are_distinguished():
    def formula(images):
        value = uneven(images)
        return torch.where(images[:, 0, 0, 0] == 0.125, torch.nan, value)

    images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(6))
    images[1] = 0.5  # nothing changes when parts of it are filled with 0.5
    images[2, 0, 0, 0] = 0.125  # its score breaks, but not that of all candidates
    score = TargetScore(classifier_of(formula), torch.tensor([0, 0, 0]), of="score")
    found = partition_shap(score, images, constant_filling(images), budget=30)
    assert found.status == ("ok", NO_EVIDENCE, NOT_FINITE)
    assert found.maps[0].isfinite().all()
    assert not found.maps[1].any()
    assert found.maps[2].isnan().all()
    assert found.gap[2].isnan()
    assert found.gap[:2].abs().max() < 1e-12
    alone = partition_shap(
        TargetScore(classifier_of(formula), torch.tensor([0]), of="score"), images[:1], constant_filling(images[:1]),
        budget=30,
    )  # fmt: skip
    assert torch.equal(alone.maps, found.maps[:1])


def test_differences_by_rounding_are_no_evidence():
    images = torch.full((2, 3, 4, 4), 0.2)
    images[1, :, 0, 0] = 0.9
    filled = background_filling(images, torch.full_like(images, 0.2) + 3e-8 * torch.arange(4.0))
    assert not torch.equal(filled(torch.tensor([0]), torch.zeros(1, 4, 4, dtype=torch.bool))[0], images[0])
    score = TargetScore(classifier_of(lambda shown: 1 + shown.mean((1, 2, 3))), torch.tensor([0, 0]), of="score")
    found = partition_shap(score, images, filled, budget=40)
    assert found.status == (NO_EVIDENCE, "ok")
    assert not found.maps[0].any()
    assert found.gap.abs().max() < 1e-6


def test_no_images_give_no_maps():
    images = torch.rand(0, 3, 4, 4)
    score = TargetScore(classifier_of(uneven), torch.zeros(0, dtype=torch.int64), of="score")
    assert partition_shap(score, images, constant_filling(images)).maps.shape == (0, 4, 4)


@pytest.mark.parametrize("wrong", [{"budget": 1}, {"smallest": 0}, {"together": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong):
    images = torch.rand(1, 3, 4, 4)
    score = TargetScore(classifier_of(uneven), torch.tensor([0]), of="score")
    with pytest.raises(InputError, match="at least"):
        partition_shap(score, images, constant_filling(images), **wrong)


def test_a_union_paints_its_blocks_and_shares_its_end():
    end = Union(Block(0, 1, 0, 3))
    masks = painted([None, end, Union(Block(1, 2, 2, 3), end)], 2, 3, 1)
    assert masks.tolist() == [
        [[False] * 3, [False] * 3],
        [[True] * 3, [False] * 3],
        [[True] * 3, [False, False, True]],
    ]
