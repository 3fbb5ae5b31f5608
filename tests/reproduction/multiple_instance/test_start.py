"""The start of every way: the small network comes closer to the encoder's vectors, and follows from its seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.reproduction.multiple_instance import start
from snellen.reproduction.multiple_instance.tile_network import TileNetwork
from snellen.reproduction.multiple_instance.view_bank import ViewBank

SIDE = 16


class Alike(nn.Module):
    """Whether both halves are bright, or both dark: by neither half alone."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → (n, 1)."""
        left, right = (half.mean((1, 2, 3)) for half in images.chunk(2, 3))
        return (8 * (left - 0.5) * (right - 0.5)).tanh()[:, None]


def unexplained(network: TileNetwork, images: Tensor, vectors: Tensor) -> float:
    """Share of the variance of the vectors that no linear layer on the network's explains."""
    with torch.no_grad():
        seen = torch.cat([network(images), torch.ones(len(images), 1)], 1)
    known = seen @ torch.linalg.lstsq(seen, vectors, driver="gelsd").solution
    return float(((vectors - known) ** 2).sum() / ((vectors - vectors.mean(0)) ** 2).sum())


def test_the_network_learns_what_the_encoder_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = FrozenEncoder(name="alike", network=Alike(), preparation=Preprocessing(size=(32, 32)))
    asked: list[object] = []

    def encoder_at(*given: object, **further: object) -> FrozenEncoder:
        asked.extend((*given, *further.values()))
        return teacher

    monkeypatch.setattr(start, "encoder_at", encoder_at)
    generator = torch.Generator().manual_seed(0)
    bright = torch.randint(0, 192, (400, 1, 1, 2), generator=generator)
    noise = torch.randint(0, 64, (400, 3, SIDE, SIDE), generator=generator)
    pixels = (bright.repeat_interleave(SIDE // 2, 3) + noise).to(torch.uint8).flatten(1)
    bank = ViewBank.of(pixels, 300, lambda rows, rng, name: rows.flip(1), {"weak": 1}, Randomness(0))
    taught = start.taught_network(bank, 300, SIDE, 3, Silent())
    assert asked == [start.ENCODER, start.LAYER, start.SIDE_OF_ENCODER]
    again = start.taught_network(bank, 300, SIDE, 3, Silent())
    assert all(torch.equal(one, other) for one, other in zip(taught.parameters(), again.parameters(), strict=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        untaught = TileNetwork()
    images = pixels[300:].reshape(-1, 3, SIDE, SIDE) / 255
    vectors = Alike()(images)
    assert unexplained(taught, images, vectors) < 0.8 * unexplained(untaught, images, vectors)
