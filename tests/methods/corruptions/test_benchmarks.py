"""The thirteen benchmarks: their kinds, and what every kind promises at every severity, size and batch."""

from functools import cache

import pytest
import torch

from snellen.core.errors import UnknownNameError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import BENCHMARKS, MEDMNIST_C, benchmark

#: Kinds whose operators blend by a matrix product or a Fourier transform, which round by the shape of the batch.
TOLERANCE = 2e-6

MEDICAL_KINDS = {
    "pixelate",
    "jpeg_compression",
    "gaussian_noise",
    "speckle_noise",
    "impulse_noise",
    "shot_noise",
    "defocus_blur",
    "motion_blur",
    "zoom_blur",
    "gaussian_blur",
    "brightness_up",
    "brightness_down",
    "contrast_up",
    "contrast_down",
    "saturate",
    "stain_deposit",
    "bubble",
    "black_corner",
    "characters",
    "gamma_corr_up",
    "gamma_corr_down",
}
RGB_SETS = {"pathmnist", "bloodmnist", "dermamnist", "retinamnist"}


def distinct():
    """A benchmark and kind for every operator with every table, on coloured and on grey images."""
    seen = {}
    for name in BENCHMARKS:
        for kind, operator in benchmark(name).operators.items():
            seen.setdefault(
                (operator.function.__name__, str(benchmark(name).table(kind, 224)), benchmark(name).rgb), (name, kind)
            )
    return list(seen.values())


def one_of_each_operator():
    seen = {}
    for name in ("imagenet-c", *MEDMNIST_C):
        for kind, operator in benchmark(name).operators.items():
            seen.setdefault(operator.function.__name__, (name, kind))
    return list(seen.values())


@cache
def random_images(count, height, width, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def apply(name, kind, images, severity, ids=None, **options):
    rng = Randomness(0).bind(len(images)) if ids is None else Randomness(0).for_examples(ids)
    return corrupt(images, benchmark(name), kind, severity, rng, **options)


def sound(changed, images):
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    low, high = torch.aminmax(changed)
    assert bool(low >= 0), "below 0, or not a number"
    assert bool(high <= 1), "above 1, or not a number"


def test_names_and_sizes():
    assert len(BENCHMARKS) == len(set(BENCHMARKS)) == 13
    assert BENCHMARKS[0] == "imagenet-c"
    assert BENCHMARKS[1:] == MEDMNIST_C
    chosen = benchmark("imagenet-c")
    assert (len(chosen.kinds), len(chosen.main)) == (19, 15)
    assert set(chosen.kinds) - set(chosen.main) == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    assert {len(chosen.families[name]) for name in ("weather", "blur", "digital")} == {4}
    assert {kind for name in MEDMNIST_C for kind in benchmark(name).kinds} == MEDICAL_KINDS
    assert len(MEDICAL_KINDS) == 21
    with pytest.raises(UnknownNameError, match="did you mean 'bloodmnist'"):
        benchmark("bloodmnst")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_families_cover_all_kinds_once(name):
    chosen = benchmark(name)
    listed = [kind for kinds in chosen.families.values() for kind in kinds]
    assert sorted(listed) == sorted(chosen.kinds)
    assert len(set(listed)) == len(listed)
    assert all(chosen.families.values()), "no family is empty"
    assert set(chosen.main) <= set(chosen.kinds)
    assert set(chosen.large) == set(chosen.kinds)
    assert set(chosen.small) in (set(), set(chosen.kinds))
    for family, kinds in chosen.families.items():
        assert {chosen.family(kind) for kind in kinds} == {family}
        assert set(chosen.without_family(family)) == set(chosen.kinds) - set(kinds)
    with pytest.raises(UnknownNameError, match="family of"):
        chosen.without_family("weathr")
    for call in (chosen.operator, lambda kind: chosen.table(kind, 224), lambda kind: chosen.strength(kind, 1, 8, 8)):
        with pytest.raises(UnknownNameError, match=f"corruption of {name} 'pixelat'; did you mean 'pixelate'"):
            call("pixelat")


@pytest.mark.covers("37.1")
def test_kinds_and_strengths_of_the_medical_sets():
    assert {name for name in MEDMNIST_C if benchmark(name).rgb} == RGB_SETS
    assert [len(benchmark(name).kinds) for name in MEDMNIST_C] == [11, 11, 15, 8, 8, 6, 7, 13, 13, 13, 13, 13]
    told = {
        ("pathmnist", "stain_deposit"): {"marks": [1, 2, 3, 4, 5], "side": [24, 24, 24, 24, 32]},
        ("bloodmnist", "bubble"): {"radius": [5, 7, 10, 12, 15], "count": [10, 10, 10, 12, 12]},
        ("dermamnist", "black_corner"): {"radius": [1.1, 1.05, 1, 0.9, 0.95]},
        ("dermamnist", "characters"): {
            "words": [1, 2, 3, 4, 6],
            "letters": [6, 7, 8, 9, 10],
            "scale": [0.14, 0.15, 0.16, 0.17, 0.18],
        },
        ("retinamnist", "motion_blur"): {"radius": [8, 15, 15, 15, 20], "deviation": [5, 5, 8, 12, 15]},
        ("tissuemnist", "gaussian_blur"): {"kernel": [13, 15, 17, 21, 25]},
        ("octmnist", "defocus_blur"): {"radius": [0.5, 1, 1.5, 2, 2.5], "alias": [0.6, 0.5, 0.1, 0.5, 0.1]},
        ("breastmnist", "brightness_up"): {"factor": [1.4, 1.5, 1.6, 1.8, 2]},
        ("chestmnist", "shot_noise"): {"photons": [60, 25, 18, 10, 5]},
        ("pneumoniamnist", "impulse_noise"): {"share": [0.005, 0.01, 0.013, 0.017, 0.02]},
        ("organamnist", "gamma_corr_up"): {"exponent": [1.3, 1.4, 1.6, 1.8, 2]},
        ("organsmnist", "contrast_down"): {"factor": [0.8, 0.7, 0.6, 0.55, 0.5]},
    }
    for (name, kind), columns in told.items():
        for severity in range(1, 6):
            found = benchmark(name).strength(kind, severity, 224, 224)
            assert found.values == {parameter: values[severity - 1] for parameter, values in columns.items()}


@pytest.mark.parametrize(("name", "kind"), distinct())
def test_every_severity_runs(name, kind):
    images, changed = random_images(2, 64, 64), {}
    kept = images.clone()
    for severity in (0.5, 1, 2, 3, 4, 5):
        changed[severity] = apply(name, kind, images, severity)
        sound(changed[severity], images)
        assert torch.equal(images, kept), "the input was changed in place"
        assert changed[severity].data_ptr() != images.data_ptr()
    assert torch.equal(apply(name, kind, images, 3), changed[3]), "the same seed gives other pixels"
    assert apply(name, kind, images, 0) is images


def test_all_published_settings_run_at_their_size():
    image, settings = random_images(1, 224, 224), 0
    rng = Randomness(0).bind(1).remembering()
    for name, kind in distinct():
        for severity in (1, 2, 3, 4, 5):
            changed = corrupt(image, benchmark(name), kind, severity, rng)
            sound(changed, image)
            assert not torch.equal(changed, image), f"{kind} of {name} does nothing at severity {severity}"
            settings += 1
    assert settings == 5 * len(distinct())
    assert 5 * len(benchmark("imagenet-c").main) == 75
    assert 5 * len(MEDICAL_KINDS) == 105


@pytest.mark.covers("37.7")
@pytest.mark.parametrize(("name", "kind"), one_of_each_operator())
@pytest.mark.parametrize("side", [(32, 32), (100, 130)])
def test_no_image_depends_on_its_batch_or_place(name, kind, side):
    images, ids = random_images(5, *side), ["a", "b", "c", "d", "e"]
    for severity in (0.6, 2.5, 5):
        whole = apply(name, kind, images, severity, ids)
        for rows in ([3], [4, 0, 3]):
            part = apply(name, kind, images[rows], severity, [ids[row] for row in rows])
            assert (part - whole[rows]).abs().max() <= TOLERANCE
        beside = apply(
            name, kind, torch.cat([images[2:3], 1 - images]), severity, ["c", *(f"other {n}" for n in range(5))]
        )
        assert (beside[0] - whole[2]).abs().max() <= TOLERANCE
        remembered = Randomness(0).for_examples(ids).remembering()
        for _ in range(2):
            again = corrupt(images, benchmark(name), kind, severity, remembered)
            assert torch.equal(again, whole)


@pytest.mark.covers("37.7")
def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers():
    images, ids = random_images(8, 224, 224), [str(number) for number in range(8)]

    def stored(parts, name, kind):
        changed = [apply(name, kind, images[part], 3, [ids[row] for row in part], parity=True) for part in parts]
        return torch.cat(changed).mul(255).round().byte()

    for name, kind in (("bloodmnist", "stain_deposit"), ("dermamnist", "impulse_noise"), ("pathmnist", "bubble")):
        one = stored([range(8)], name, kind)
        assert torch.equal(stored([range(3), range(3, 8)], name, kind), one)
        assert torch.equal(stored([range(n, n + 1) for n in range(8)], name, kind), one)


@pytest.mark.parametrize(("name", "kind"), one_of_each_operator())
@pytest.mark.parametrize("side", [(1, 1), (1, 7), (7, 1), (5, 3), (40, 28), (260, 300)])
def test_any_size(name, kind, side):
    images = random_images(2, *side)
    for severity in (0.5, 3, 5):
        sound(apply(name, kind, images, severity), images)
    assert apply(name, kind, images[:0], 3).shape == (0, 3, *side)


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n, k in distinct() if benchmark(n).rgb is not False])
def test_grey_images_stay_grey_beside_coloured_ones(name, kind):
    images = random_images(2, 64, 64).clone()
    images[0] = images[0, :1]
    for severity in (0.5, 4):
        changed = apply(name, kind, images, severity)
        assert torch.equal(changed[0], changed[0, :1].expand(3, -1, -1))
        assert not torch.equal(changed[1], changed[1, :1].expand(3, -1, -1))


@pytest.mark.covers("37.2")
@pytest.mark.parametrize(("name", "kind"), [(n, k) for n, k in distinct() if benchmark(n).rgb is False])
def test_grey_sets_give_grey_images_of_the_same_type_and_shape(name, kind):
    grey = random_images(2, 40, 48)[:, :1].expand(-1, 3, -1, -1)
    for images in (grey, random_images(2, 40, 48)):
        for parity in (False, True):
            changed = apply(name, kind, images, 3, parity=parity)
            sound(changed, images)
            assert torch.equal(changed, changed[:, :1].expand_as(changed))


@pytest.mark.parametrize(("name", "kind"), one_of_each_operator())
def test_with_parity_values_are_bytes(name, kind):
    images = (random_images(2, 48, 48) * 255).round() / 255
    changed = apply(name, kind, images, 3, parity=True) * 255
    assert torch.equal(apply(name, kind, images, 3, parity=True), changed.round() / 255)


@pytest.mark.covers("37.11")
@pytest.mark.parametrize("name", MEDMNIST_C)
def test_other_sizes_scale_lengths_and_are_marked(name):
    chosen = benchmark(name)
    for kind, operator in chosen.operators.items():
        at_home = chosen.strength(kind, 4, 224, 224)
        assert at_home.published == (not operator.own and not operator.textures)
        assert chosen.strength(kind, 4, 224, 224, parity=True).published == at_home.published
        for height, width in ((28, 28), (64, 64), (128, 200), (448, 448)):
            scaled = chosen.strength(kind, 4, height, width)
            assert not scaled.published
            for parameter, value in at_home.values.items():
                scale = min(height, width) / 224 if operator.parameters[parameter].pixels else 1
                assert scaled.values[parameter] == pytest.approx(value * scale)


def test_which_parameters_are_lengths():
    lengths = {
        f"{kind}.{name}"
        for benchmark_name in BENCHMARKS
        for kind, operator in benchmark(benchmark_name).operators.items()
        for name, parameter in operator.parameters.items()
        if parameter.pixels
    }
    assert lengths == {
        "gaussian_blur.deviation",
        "gaussian_blur.kernel",
        "defocus_blur.radius",
        "defocus_blur.alias",
        "glass_blur.deviation",
        "glass_blur.displacement",
        "motion_blur.radius",
        "motion_blur.deviation",
        "snow.radius",
        "snow.deviation",
        "spatter.deviation",
        "elastic_transform.amplitude",
        "elastic_transform.deviation",
        "elastic_transform.affine",
        "stain_deposit.side",
        "bubble.radius",
        "characters.scale",
    }
