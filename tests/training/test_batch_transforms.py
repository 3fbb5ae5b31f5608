from __future__ import annotations

import torch

from snellen.randomness import Randomness
from snellen.training.transforms import in_sequence, random_flips, random_shifts

IDS = [f"image-{i}" for i in range(40)]


def make_images() -> torch.Tensor:
    return torch.rand(40, 3, 6, 5, generator=torch.Generator().manual_seed(0))


def test_flips_mirror_about_half_of_the_images() -> None:
    images = make_images()
    flipped, _ = random_flips(images, torch.zeros(40), Randomness(0).for_examples(IDS))
    mirrored = [bool(torch.equal(a, b.flip(2))) for a, b in zip(flipped, images, strict=True)]
    same = [bool(torch.equal(a, b)) for a, b in zip(flipped, images, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 10 < sum(mirrored) < 30


def test_shifts_are_moves_with_black_borders_and_all_occur() -> None:
    images = make_images()[:1].expand(400, -1, -1, -1)
    moved, _ = random_shifts(1)(images, torch.zeros(400), Randomness(0).for_examples([str(i) for i in range(400)]))
    padded = torch.nn.functional.pad(images[0], (1, 1, 1, 1))
    allowed = {(r, c): padded[:, r : r + 6, c : c + 5] for r in range(3) for c in range(3)}
    seen = {place for one in moved for place, cut in allowed.items() if torch.equal(one, cut)}
    assert all(any(torch.equal(one, cut) for cut in allowed.values()) for one in moved)
    assert len(seen) == 9


def test_an_image_is_changed_alike_alone_and_in_a_batch() -> None:
    images, rng = make_images(), Randomness(5).for_examples(IDS)
    transform = in_sequence(random_flips, random_shifts(2), random_shifts(1))
    whole, targets = transform(images, torch.arange(40), rng)
    alone, _ = transform(images[7:8], torch.arange(1), rng[[7]])
    assert torch.equal(whole[7:8], alone)
    assert targets.tolist() == list(range(40))


def test_parts_of_a_sequence_draw_apart() -> None:
    # Two shifts that drew alike would never move an image by an odd sum of offsets.
    images, rng = make_images(), Randomness(5).for_examples(IDS)
    twice, _ = in_sequence(random_flips, random_flips)(images, torch.zeros(40), rng)
    assert not torch.equal(twice, images)
