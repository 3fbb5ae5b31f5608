"""Masks of blends: the published attention by hand, sums and sizes, and exchange of parts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.adversarial_mixup.mask_generator import MaskGenerator, cross_attention

SEED = torch.Generator().manual_seed(0)
MAPS = torch.randn(6, 8, 5, 4, generator=SEED)


def generator(**options: object) -> MaskGenerator:
    """A generator with large weights, so that masks are far from even."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = MaskGenerator(8, **options)  # type: ignore[arg-type]
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    return made.requires_grad_(False)


def drawn(parts: int) -> tuple[Tensor, Tensor]:
    rows = torch.stack([torch.randperm(6, generator=torch.Generator().manual_seed(seed)) for seed in range(parts)])
    shares = torch.rand(6, parts, generator=torch.Generator().manual_seed(9))
    return rows, shares / shares.sum(1, keepdim=True)


def by_the_formula(made: MaskGenerator, rows: Tensor, shares: Tensor, size: tuple[int, int]) -> Tensor:
    """One blend after the other, one pair after the other, with the convolutions run on each part."""
    masks = []
    for blend in range(rows.shape[1]):
        queries, keys, values = [], [], []
        for part in range(len(rows)):
            entering = MAPS[rows[part, blend]][None]
            if made.knows_shares:
                plane = shares[blend, part].expand(1, 1, *entering.shape[2:])
                entering = torch.cat([entering, plane], 1)
            queries.append(F.relu(made.query(entering))[0].flatten(1))
            keys.append(F.relu(made.key(entering))[0].flatten(1))
            values.append(made.value(entering)[0].flatten(1))
        answers = []
        for i, query in enumerate(queries):
            products = sum(query.T @ key for j, key in enumerate(keys) if j != i)
            attention = (products / math.sqrt(len(query))).softmax(1)
            answers.append((attention @ values[i].T).view(*MAPS.shape[2:]))
        masks.append(torch.stack(answers))
    corners = False if made.upsampling == "bilinear" else None
    upsampled = F.interpolate(torch.stack(masks), size=size, mode=made.upsampling, align_corners=corners)
    return upsampled.softmax(1)


@pytest.mark.covers("31.5")
@pytest.mark.covers("31.6")
@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"knows_shares": True}, {"upsampling": "nearest"}], ids=str)
def test_masks_are_those_of_the_formula(parts: int, options: dict[str, object]) -> None:
    """Projections once and permuted, and the sum of keys, give what every pair by itself gives."""
    made, (rows, shares), size = generator(**options), drawn(parts), (13, 9)
    masks = made(MAPS, rows, shares, size)
    assert masks.shape == (6, parts, *size)
    assert torch.allclose(masks, by_the_formula(made, rows, shares, size), atol=1e-5)
    assert float(masks.min()) >= 0
    assert torch.allclose(masks.sum(1), torch.ones(6, *size), atol=1e-6)
    assert float(masks.std()) > 0.02, "not even masks"


@pytest.mark.covers("31.6")
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_exchanging_two_parts_exchanges_their_masks(parts: int) -> None:
    made, (rows, shares) = generator(), drawn(parts)
    order = [1, 0, *range(2, parts)]
    before, after = (made(MAPS, which, shares, (10, 8)) for which in (rows, rows[order]))
    assert torch.allclose(after, before[:, order], atol=1e-6)
    knowing = generator(knows_shares=True)
    told, exchanged = knowing(MAPS, rows, shares, (10, 8)), knowing(MAPS, rows[order], shares, (10, 8))
    assert not torch.allclose(exchanged, told[:, order], atol=1e-3), "it was told other shares"
    assert torch.allclose(knowing(MAPS, rows[order], shares[:, order], (10, 8)), told[:, order], atol=1e-6)


def test_first_masks_are_nearly_even() -> None:
    rows, shares = drawn(3)
    masks = MaskGenerator(8).requires_grad_(False)(MAPS, rows, shares, (10, 8))
    assert torch.allclose(masks, torch.full_like(masks, 1 / 3), atol=0.05)


def test_normalised_queries_and_keys_make_masks_vary_within_an_image() -> None:
    """On few channels the published start looks everywhere alike, whatever the values are."""
    maps, (rows, shares) = torch.randn(6, 32, 8, 8, generator=SEED).relu(), drawn(2)

    def made(gain: float | None) -> MaskGenerator:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            one = MaskGenerator(32, attention_gain=gain).requires_grad_(False)
            one.value.weight.normal_(std=1.0)
        return one

    def spread(gain: float | None) -> float:
        return float(made(gain)(maps, rows, shares, (32, 32)).flatten(2).std(2).mean())

    assert spread(None) < 0.002
    assert spread(2.0) > 0.03
    projected = made(2.0).project(maps)
    for part in (projected.queries, projected.keys):
        assert torch.allclose(part.mean((0, 2, 3)), torch.zeros(16), atol=1e-4)
        assert torch.allclose(part.std((0, 2, 3)), torch.full((16,), 2.0), atol=0.3)


@pytest.mark.covers("31.11")
def test_attention_is_float32_under_autocast() -> None:
    made, (rows, shares) = generator(), drawn(2)
    made_of = made.project(MAPS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        masks = made.masks(made_of, rows, shares, (10, 8))
        assert made(MAPS, rows, shares, (10, 8)).dtype == torch.float32
    assert masks.dtype == torch.float32
    assert torch.equal(masks, made.masks(made_of, rows, shares, (10, 8)))


def test_attention_of_equal_keys_is_the_mean() -> None:
    values = torch.arange(8.0).view(1, 2, 2, 2)
    answers = cross_attention(torch.rand(1, 2, 3, 2, 2), torch.ones(1, 2, 3, 2, 2), values)
    assert torch.allclose(answers, values.mean((2, 3), keepdim=True).expand_as(values))


def test_refusals() -> None:
    rows, _ = drawn(2)
    with pytest.raises(InputError, match="at least 2 channels, got 1"):
        MaskGenerator(1)
    with pytest.raises(InputError, match=r"at least 2 cells a side, got \(6, 8, 1, 1\); choose an earlier"):
        MaskGenerator(8)(MAPS[:, :, :1, :1], rows, None, (8, 8))
    with pytest.raises(InputError, match="pass them"):
        MaskGenerator(8, knows_shares=True)(MAPS, rows, None, (8, 8))
