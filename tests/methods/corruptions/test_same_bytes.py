"""The bytes that are written are the same in any batch and order, and with any number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark

IDS = ("a", "b", "c", "d", "e", "f", "g")
ORDER = [4, 0, 6, 2, 1, 5, 3]


def distinct_kinds() -> list[tuple[str, str]]:
    """Every kind of three benchmarks, but for what two of them have with the same operator and settings."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for name in ("imagenet-c", "dermamnist", "bloodmnist"):
        chosen = benchmark(name)
        for kind in chosen.kinds:
            found = str(chosen.strength(kind, 3, 224, 224).values)
            seen.setdefault((chosen.operator(kind).function.__name__, found), (name, kind))
    return list(seen.values())


@pytest.fixture(scope="module")
def photos() -> dict[int, Tensor]:
    """Seven photos, the last two of them grey, at each of three sizes: (7, 3, side, side)."""
    sources = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.immunohistochemistry()]
    sources += [sources[0][::-1, 100:400], sources[1][:, ::-1]]

    def at(side: int) -> Tensor:
        resized = [np.asarray(Image.fromarray(np.ascontiguousarray(source)).resize((side, side))) for source in sources]
        images = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous().float() / 255
        images[5:] = images[5:, :1]
        return images

    return {side: at(side) for side in (224, 150, 28)}


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def written(images: Tensor, rows: Sequence[int], name: str, kind: str) -> Tensor:
    """Bytes of some of the images under severity 3, as they are written."""
    rng = Randomness(0).for_examples([IDS[row] for row in rows])
    changed = corrupt(images[list(rows)], benchmark(name), kind, 3, rng)
    return (changed * 255).round().byte()


@pytest.mark.covers("37.7")
@pytest.mark.parametrize(("name", "kind"), distinct_kinds())
def test_bytes_do_not_depend_on_batch_order_or_threads(
    photos: dict[int, Tensor], name: str, kind: str, two_threads: None
) -> None:
    # One size for each kind by turns, both sizes for those that go through a matrix product or a Fourier transform.
    turn = 224 if len(kind) % 2 else 150
    # Small images take other ways.
    for side in (224, 150, 28) if "blur" in kind or kind in {"elastic_transform", "snow", "spatter"} else (turn, 28):
        images = photos[side]
        together = written(images, range(7), name, kind)
        torch.set_num_threads(1)
        assert torch.equal(written(images, range(7), name, kind), together), "threads"
        assert torch.equal(written(images, ORDER, name, kind), together[ORDER]), "order"
        for row in range(7):
            assert torch.equal(written(images, [row], name, kind)[0], together[row]), "batch"
        torch.set_num_threads(2)
        assert torch.equal(written(images, [3], name, kind)[0], together[3]), "batch and threads"
