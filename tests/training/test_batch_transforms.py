from __future__ import annotations

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.training.transforms import in_sequence, rand_augment, random_flips, random_shifts

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


# -- RandAugment -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def larger() -> torch.Tensor:
    """Twelve images of bytes, large enough for every operation to show."""
    pixels = torch.randint(0, 256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    return pixels / 255


def test_rand_augment_draws_for_each_image_whatever_its_batch(larger: torch.Tensor) -> None:
    augment, rng = rand_augment(), Randomness(5).for_examples(IDS[:12])
    whole, targets = augment(larger, torch.arange(12), rng)
    assert targets.tolist() == list(range(12))
    assert (whole.shape, whole.dtype) == (larger.shape, larger.dtype)
    for chosen in ([7], [3, 11, 0]):
        part, _ = augment(larger[chosen], torch.tensor(chosen), rng[chosen])
        assert torch.equal(part, whole[chosen])
    assert torch.equal(augment(larger, targets, rng)[0], whole), "the same seed gives the same images"
    assert not torch.equal(augment(larger, targets, Randomness(6).for_examples(IDS[:12]))[0], whole)
    alike, _ = augment(larger[:1].expand(12, -1, -1, -1), targets, rng)
    assert len({one.numpy().tobytes() for one in alike}) > 6, "one image is not changed alike under twelve names"


def test_rand_augment_is_what_torchvision_does_from_the_seed_of_the_image(larger: torch.Tensor) -> None:
    transforms = pytest.importorskip("torchvision.transforms.v2")
    rng = Randomness(5).for_examples(IDS[:12])
    changed, _ = rand_augment(operations=3, magnitude=15)(larger, torch.zeros(12), rng)
    seed = int(rng.integers("rand augment", (), 0, 2**62)[4])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = transforms.RandAugment(num_ops=3, magnitude=15)((larger[4] * 255).round().byte())
    assert torch.equal(changed[4], expected / 255)


def test_rand_augment_leaves_the_global_generator_and_its_input_alone(larger: torch.Tensor) -> None:
    kept, state = larger.clone(), torch.random.get_rng_state()
    changed, _ = rand_augment()(larger, torch.zeros(12), Randomness(5).for_examples(IDS[:12]))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(larger, kept)
    assert float((changed != larger).flatten(1).any(1).float().mean()) > 0.5
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
