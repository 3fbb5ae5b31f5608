"""The training transform: how often, how strong, anew at each call, and nothing of what is held out."""

from dataclasses import replace

import pytest
import torch

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt_at_random, draw_parameters, is_grey, targeted_augmentation
from snellen.methods.corruptions.benchmarks import BENCHMARKS, MEDMNIST_C, benchmark

stats = pytest.importorskip("scipy.stats")

BLOOD, DERMA, CHEST = benchmark("bloodmnist"), benchmark("dermamnist"), benchmark("chestmnist")
#: Ranges that do not end at severities 1 and 5: the authors' zoom starts at 1 and ends at the last factor of its list;
#: two tables have a sixth entry.
OTHER_RANGES = {
    ("dermamnist", "zoom_blur", "end"): (1, 1.3),
    ("retinamnist", "defocus_blur", "radius"): (4, 9),
    ("retinamnist", "defocus_blur", "alias"): (0.1, 0.6),
    ("chestmnist", "gaussian_blur", "kernel"): (3, 13),
    ("pneumoniamnist", "gaussian_blur", "kernel"): (3, 13),
}


def random_images(count=6, height=32, width=24):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def empty_images(count, side=224):
    return torch.empty(1, 3, 1, 1).expand(count, 3, side, side)


def marking(chosen):
    """The benchmark with operators that paint an image in the number of their kind: (k + 1) / 64."""
    return replace(
        chosen,
        operators={
            kind: replace(
                operator,
                function=lambda images, rng, mark=(number + 1) / 64, **values: torch.full_like(images, mark),
                batched=True,
            )
            for number, (kind, operator) in enumerate(chosen.operators.items())
        },
    )


def marks(chosen, kinds=None, count=3000, seed=0):
    """How often each kind was drawn, and the identity (named None)."""
    images = torch.zeros(count, 3, 2, 2)
    images[:, 0] = 1  # coloured
    changed, _ = targeted_augmentation(marking(chosen), kinds)(images, torch.zeros(count), Randomness(seed).bind(count))
    names = {(number + 1) / 64: kind for number, kind in enumerate(chosen.kinds)} | {0.0: None}
    found = [names[mark] for mark in changed[:, 1, 0, 0].tolist()]
    return {kind: found.count(kind) for kind in set(found)}


@pytest.mark.covers("37.9")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_kind_and_the_identity_are_equally_likely(name):
    chosen = benchmark(name)
    counts = marks(chosen)
    assert set(counts) == {*chosen.main, None}
    assert stats.binomtest(counts[None], 3000, 1 / (len(chosen.main) + 1)).pvalue > 1e-3
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_chosen_kinds_share_the_chances():
    counts = marks(BLOOD, ["bubble", "pixelate"])
    assert set(counts) == {"bubble", "pixelate", None}
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def tables():
    """A set and kind for every table."""
    seen = {}
    for name in MEDMNIST_C:
        for kind in benchmark(name).kinds:
            seen.setdefault((kind, str(benchmark(name).table(kind, 224))), (name, kind))
    return list(seen.values())


@pytest.mark.covers("37.9")
@pytest.mark.parametrize(("name", "kind"), tables())
def test_parameters_are_uniform_between_the_first_and_the_last(name, kind):
    chosen, count = benchmark(name), 600
    drawn = draw_parameters(empty_images(count), chosen, kind, Randomness(1).bind(count).child(kind))
    assert tuple(drawn) == tuple(chosen.operator(kind).parameters)
    for parameter, values in drawn.items():
        first, last = (chosen.strength(kind, severity, 224, 224).values[parameter] for severity in (1, 5))
        first, last = OTHER_RANGES.get((name, kind, parameter), (first, last))
        low, high = min(first, last), max(first, last)
        assert (values.shape, values.dtype) == ((count,), torch.float64)
        assert bool(((values >= low - 1e-9) & (values <= high + 1e-9)).all())
        about = chosen.operator(kind).parameters[parameter]
        if about.whole or about.odd:
            continue  # see below
        if low == high:
            assert bool((values == low).all())
        else:
            assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
    if len(drawn) > 1:
        with_spread = torch.stack([values for values in drawn.values() if values.std() > 0])
        between = torch.corrcoef(with_spread)[~torch.eye(len(with_spread), dtype=torch.bool)]
        assert float(between.abs().amax()) < 5 / count**0.5, "parameters of a kind are independent"


@pytest.mark.covers("37.9")
@pytest.mark.parametrize(
    ("name", "kind", "parameter", "values"),
    [
        ("bloodmnist", "jpeg_compression", "quality", range(7, 50)),
        ("bloodmnist", "stain_deposit", "marks", (1, 2)),
        ("bloodmnist", "bubble", "radius", range(5, 15)),
        ("bloodmnist", "bubble", "count", (10, 11)),
        ("dermamnist", "characters", "words", range(1, 6)),
        ("dermamnist", "characters", "letters", range(6, 10)),
        ("chestmnist", "gaussian_blur", "kernel", range(3, 12, 2)),
        ("tissuemnist", "gaussian_blur", "kernel", range(13, 24, 2)),
    ],
)
def test_integers_are_cut_and_kernels_odd(name, kind, parameter, values):
    count = 2000
    drawn = draw_parameters(empty_images(count), benchmark(name), kind, Randomness(0).bind(count))[parameter]
    counts = [int((drawn == value).sum()) for value in values]
    assert sum(counts) == count, "nothing else is drawn"
    assert stats.chisquare(counts).pvalue > 1e-3


def test_lengths_are_scaled_after_they_are_cut():
    rng = Randomness(0).bind(50)
    for kind, lengths in (
        ("bubble", {"radius"}),
        ("stain_deposit", {"side"}),
        ("motion_blur", {"radius", "deviation"}),
    ):
        large, small = (draw_parameters(empty_images(50, side), BLOOD, kind, rng) for side in (224, 28))
        for parameter, values in large.items():
            assert torch.allclose(small[parameter], values / 8 if parameter in lengths else values)


@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "brightness_up", "defocus_blur", "motion_blur"])
def test_each_image_is_corrupted_at_its_own_strength(kind):
    images, rng = random_images(), Randomness(0).for_examples("abcdef")
    drawn = draw_parameters(images, DERMA, kind, rng)
    changed = corrupt_at_random(images, DERMA, kind, rng)
    for row in range(len(images)):
        values = {name: float(column[row]) for name, column in drawn.items()}
        alone = DERMA.operator(kind).function(images[row : row + 1], rng[[row]], **values)
        assert torch.allclose(changed[row], alone[0], atol=2e-6)
    assert all(len(column.unique()) == len(images) for column in drawn.values())


@pytest.mark.covers("37.9")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_call_draws_anew_and_the_type_stays(name):
    chosen = benchmark(name)
    images, targets, rng = random_images(24), torch.arange(24), Randomness(0).bind(24)
    if chosen.rgb is False:
        images = images[:, :1].expand(-1, 3, -1, -1)
    kept, augment = images.clone(), targeted_augmentation(chosen)
    first, same = augment(images, targets, rng.child("epoch", 0))
    assert same is targets
    assert (first.shape, first.dtype, first.device) == (images.shape, images.dtype, images.device)
    assert bool(((first >= 0) & (first <= 1)).all())
    assert torch.equal(images, kept)
    assert torch.equal(augment(images, targets, rng.child("epoch", 0))[0], first)
    assert not torch.equal(augment(images, targets, rng.child("epoch", 1))[0], first)
    assert bool(is_grey(first).all()) == (chosen.rgb is False)
    assert augment(images[:0], targets[:0], rng[[]])[0].shape == (0, 3, 32, 24)


@pytest.mark.covers("37.9")
def test_salt_and_pepper_fall_elsewhere_at_each_call():
    images = torch.full((4, 3, 32, 32), 0.5)
    images[:, 0] = 0.6
    hit = [
        corrupt_at_random(images, DERMA, "impulse_noise", Randomness(0).bind(4).child("epoch", epoch)) != images
        for epoch in range(2)
    ]
    assert all(bool(places.any()) for places in hit)
    assert not torch.equal(hit[0], hit[1])
    assert not torch.equal(hit[0][0], hit[0][1])


def test_no_image_depends_on_its_batch():
    images, targets, rng = random_images(20), torch.zeros(20), Randomness(2).bind(20)
    for chosen in (BLOOD, CHEST):
        augment = targeted_augmentation(chosen)
        whole = augment(images, targets, rng)[0]
        rows = [13, 2, 7, 19]
        assert torch.allclose(augment(images[rows], targets[rows], rng[rows])[0], whole[rows], atol=2e-6)


@pytest.mark.covers("37.10")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_family_that_is_held_out_is_never_drawn(name):
    chosen = benchmark(name)
    for family, kinds in chosen.families.items():
        rest = chosen.without_family(family)
        drawn = set(marks(chosen, rest, count=800))
        assert drawn == {*rest, None}
        assert not drawn & set(kinds)


def test_kinds_that_are_not_there():
    with pytest.raises(UnknownNameError, match="corruption of bloodmnist 'buble'; did you mean 'bubble'"):
        targeted_augmentation(BLOOD, ["pixelate", "buble"])
    with pytest.raises(UnknownNameError, match="'fog'"):
        targeted_augmentation(BLOOD, ["fog"])
    for none in ((), []):
        with pytest.raises(InputError, match="at least one kind"):
            targeted_augmentation(BLOOD, none)
