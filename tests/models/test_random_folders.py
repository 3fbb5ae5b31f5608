"""Folders of random weights: the same bytes each time, other ones with another seed, and no global randomness."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from snellen.models.random_folders import (
    draw_weights,
    write_random_bert,
    write_random_blip,
    write_random_clip,
    write_random_openclip,
    write_random_siglip,
    write_random_vit_gpt2,
)
from snellen.models.weights.bundled_folders import hashes

WRITERS = [
    write_random_bert,
    write_random_blip,
    write_random_clip,
    write_random_openclip,
    write_random_siglip,
    write_random_vit_gpt2,
]


@pytest.mark.parametrize("write", WRITERS)
def test_a_seed_is_a_model(write: Callable, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = hashes(write(tmp_path / "first"))
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert hashes(write(tmp_path / "second")) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    other = hashes(write(tmp_path / "other", seed=1))
    assert [name for name in first if other[name] != first[name]] == [
        name for name in first if name.endswith(".safetensors")
    ]


def test_weights_keep_the_size_of_signals() -> None:
    layers = nn.Sequential(*[nn.Linear(400, 400) for _ in range(5)])
    draw_weights(layers)
    inputs = torch.randn(50, 400, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert 0.8 < float(layers(inputs).std()) < 1.25
    draw_weights(layers, gain=2.0)
    with torch.no_grad():
        assert 0.8 * 32 < float(layers(inputs).std()) < 1.25 * 32


def test_shared_weights_stay_shared() -> None:
    table, head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    head.weight = table.weight
    draw_weights(nn.ModuleList([table, head]))
    assert head.weight is table.weight
    assert 0.5 < float(table.weight.detach().std()) < 1.5
