"""The shift on top of the operators: its parameters, which benchmark, what is published, the promises of its verb."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import BENCHMARKS, OWN, benchmark
from snellen.methods.corruptions.corruption import BenchmarkName, Corruption
from snellen.methods.corruptions.textures import texture_hashes
from snellen.testing import check_method, check_shift

#: Kinds that do not grow from severity 1 to 2.5 and 5 on the conformance suite's noise of 16 × 12 pixels, even in
#: strict order: lengths scaled to 12 pixels are below one pixel, whole pixels are few, noise is no photograph.
NOT_ON_SMALL_NOISE = {
    ("imagenet-c", "defocus_blur"),
    ("imagenet-c", "glass_blur"),
    ("imagenet-c", "elastic_transform"),
    ("imagenet-c", "spatter"),
    ("dermamnist", "black_corner"),
    *((name, "defocus_blur") for name in ("pathmnist", "bloodmnist", "dermamnist", "retinamnist", "octmnist")),
    *((name, "gaussian_blur") for name in BENCHMARKS if name != "imagenet-c"),
    *((name, "pixelate") for name in ("organamnist", "organcmnist", "organsmnist")),
}


def random_images(count=2, height=64, width=48):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def textures(tmp_path):
    for name, value in (("a.png", 30), ("b.png", 220)):
        Image.new("RGB", (100, 100), (value, value, value)).save(tmp_path / name)
    return str(tmp_path)


def test_the_method_keeps_the_promises_of_every_method():
    entry = index.entry("shifts", "corruption")
    assert entry.load() is Corruption
    check_method(entry)


def chosen_kinds():
    """All kinds; every operator, not every table, which are tested beside them."""
    return [
        (name, kind)
        for name in ("imagenet-c", "pathmnist", "dermamnist", "chestmnist")
        for kind in benchmark(name).kinds
    ]


@pytest.mark.parametrize(("name", "kind"), [pair for pair in chosen_kinds() if pair not in NOT_ON_SMALL_NOISE])
def test_every_kind_keeps_the_promises_of_its_verb(name, kind):
    check_shift(Corruption(benchmark=name, kind=kind, strict=True))


@pytest.mark.parametrize(("name", "kind"), [pair for pair in chosen_kinds() if pair in NOT_ON_SMALL_NOISE])
def test_exceptions_are_about_growth_alone(name, kind):
    with pytest.raises(AssertionError, match="changes the images no more than a lower one"):
        check_shift(Corruption(benchmark=name, kind=kind, strict=True))


def test_fields_and_defaults():
    default = Corruption()
    assert default.finds == ("corruption",)
    assert default.record() == {**default.record(), "benchmark": "imagenet-c", "kind": "gaussian_noise"}
    assert (default.strict, default.parity, default.textures) == (False, False, None)
    assert BenchmarkName.__args__ == (*BENCHMARKS, *OWN)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "gausian_noise"}, r"unknown corruption of imagenet-c 'gausian_noise'; did you mean 'gaussian_noise'"),
        ({"kind": "bubble"}, "unknown corruption of imagenet-c 'bubble'"),
        ({"kind": "low_resolution"}, "low_resolution is one of our own kinds, which audits measure: benchmark='sized'"),
        ({"benchmark": "octmnist", "kind": "fog"}, "unknown corruption of octmnist 'fog'.*Known: .*speckle_noise"),
        ({"benchmark": "octmnist"}, "unknown corruption of octmnist 'gaussian_noise'"),
        ({"benchmark": "bloodmnst", "kind": "bubble"}, "expected 'imagenet-c'"),
        ({"severity": 3}, "is not known"),
    ],
)
def test_unknown_names(parameters, message):
    with pytest.raises(InputError, match=message):
        Corruption(**parameters)


@pytest.mark.parametrize(
    ("name", "kind"), [("imagenet-c", "snow"), ("bloodmnist", "bubble"), ("chestmnist", "shot_noise")]
)
@pytest.mark.parametrize("severity", [0.5, 3, 4.5])
def test_it_applies_its_kind(name, kind, severity):
    images, rng = random_images(), Randomness(5).for_examples("ab")
    shifted = Corruption(benchmark=name, kind=kind).shift(images, severity, rng=rng)
    assert torch.equal(shifted, corrupt(images, benchmark(name), kind, severity, rng))


def test_without_randomness_it_takes_the_seed_zero_by_position():
    images = random_images()
    expected = Corruption().shift(images, 2, rng=Randomness(0).for_examples("01"))
    assert torch.equal(Corruption().shift(images, 2), expected)
    assert torch.equal(Corruption().shift(images[:1], 2), expected[:1])
    assert not torch.equal(Corruption().shift(images, 2, rng=Randomness(1)), expected)


def test_severity_zero_and_out_of_range():
    images = random_images()
    assert Corruption(kind="fog").shift(images, 0) is images
    for severity in (-1, 5.5, float("nan")):
        with pytest.raises(InputError, match=r"must lie in \[0, 5\]"):
            Corruption(kind="fog").shift(images, severity)
        with pytest.raises(InputError, match=r"must lie in \[0, 5\]"):
            Corruption(kind="fog").strength(severity, images)


def test_parity_is_passed_on():
    images = torch.full((1, 3, 32, 32), 128 / 255)
    published = Corruption(parity=True).shift(images, 3) * 255
    assert (published - published[:, :1]).abs().max() > 10
    assert torch.allclose(published, published.round(), atol=1e-3)
    free = Corruption().shift(images, 3)
    assert torch.equal(free, free[:, :1].expand_as(free))


def test_strict_is_passed_on():
    images = random_images(1, 224, 224)
    derma = {"benchmark": "dermamnist", "kind": "black_corner"}
    strict, published = (Corruption(**derma, strict=value) for value in (True, False))
    assert torch.equal(strict.shift(images, 4), published.shift(images, 5))
    assert not torch.equal(strict.shift(images, 4), published.shift(images, 4))
    assert strict.strength(4, images).values == published.strength(5, images).values == {"radius": 0.95}
    assert published.strength(4, images).published
    assert not strict.strength(4, images).published


def test_strength_goes_by_the_size_of_the_images():
    blur = Corruption(kind="gaussian_blur")
    assert blur.strength(2, torch.zeros(1, 3, 224, 224)).values == {"deviation": 2}
    assert blur.strength(2, torch.zeros(1, 3, 448, 600)).values == {"deviation": 4}
    assert blur.strength(2, torch.zeros(1, 3, 32, 32)).published
    assert not blur.strength(2, torch.zeros(1, 3, 32, 33)).published
    assert Corruption(kind="snow").strength(0.5, torch.zeros(1, 3, 32, 32)).mixture == 0.5


@pytest.mark.parametrize(("name", "kind"), [("imagenet-c", "frost"), ("bloodmnist", "stain_deposit")])
def test_textures_of_our_own_are_not_the_published_ones(name, kind, textures):
    images = random_images(2, 224, 224)
    own, given = (Corruption(benchmark=name, kind=kind, textures=folder) for folder in (None, textures))
    assert not own.strength(3, images).published
    assert not given.strength(3, images).published
    assert own.strength(3, images).values == given.strength(3, images).values
    assert not torch.equal(own.shift(images, 3), given.shift(images, 3))


@pytest.mark.parametrize(("name", "kind"), [("imagenet-c", "frost"), ("bloodmnist", "stain_deposit")])
def test_textures_with_the_published_files_are(name, kind, textures, monkeypatch):
    operator = replace(benchmark(name).operator(kind), textures=texture_hashes(textures))
    monkeypatch.setitem(benchmark(name).operators, kind, operator)
    images, given = random_images(2, 224, 224), {"benchmark": name, "kind": kind, "textures": textures, "parity": True}
    assert Corruption(**given).strength(3, images).published
    assert not Corruption(**given).strength(2.5, images).published
    assert Corruption(**{**given, "parity": False}).strength(3, images).published == (kind != "frost")


def test_what_a_command_without_a_kind_stands_for():
    for name in BENCHMARKS:
        assert Corruption.when_left_out({"benchmark": name}) == {"kind": benchmark(name).main}
    assert Corruption.when_left_out({}) == {"kind": benchmark("imagenet-c").main}
    assert Corruption.when_left_out({"benchmark": "octmnist", "kind": "pixelate"}) == {}


def test_textures_that_cannot_be_read_are_reported_before_anything_runs(tmp_path):
    frost = Corruption(kind="frost", textures=str(tmp_path / "nowhere"))
    assert "cannot use its textures: " in frost.missing()
    assert Corruption(kind="frost").missing() is None


def test_textures_that_cannot_be_read(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="textures: "):
            Corruption(kind="frost", textures=str(folder)).shift(random_images(), 1)


def test_letters_of_our_own_are_not_the_published_ones():
    words = Corruption(benchmark="dermamnist", kind="characters")
    assert not words.strength(3, torch.zeros(1, 3, 224, 224)).published
