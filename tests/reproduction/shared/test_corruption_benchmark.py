"""Errors under corruption by hand: a classifier that decides by brightness, and corruptions made one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError, UnknownNameError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.metrics.corruption_error import Reference, stored_reference
from snellen.reproduction.shared.corruption_benchmark import CorruptionErrors, corruption_benchmark

#: Grey values of dark images (class 0) and bright ones (class 1).
DARK, BRIGHT = (100, 80, 66, 50), (200, 180)
#: What ``brightness_up`` of breastmnist (factors 1.4, 1.5, 1.6, 1.8, 2) brings above 0.5: 100 at once, 80 from severity
#: 3 on, 66 at 5. Of the four dark images so many are lost, of the bright ones none.
LOST = (1, 1, 2, 2, 3)
BALANCED = tuple(lost / 4 / 2 for lost in LOST)


def plain_images(values: Sequence[int] = (*DARK, *BRIGHT), side: int = 32) -> np.ndarray:
    return np.array(values, dtype=np.uint8)[:, None, None].repeat(side, 1).repeat(side, 2)


def plain_set(
    side: int = 32, names: Sequence[str] = ("dark", "bright"), labels: Sequence[int] | None = None
) -> ImageSet:
    found = [0] * len(DARK) + [1] * len(BRIGHT) if labels is None else labels
    return load_arrays(plain_images(side=side), np.array(found), class_names=names, name="plain")


def by_brightness(names: Sequence[str] = ("dark", "bright"), **options: object) -> Classifier:
    """Probability of the class after the first is the mean brightness; of further ones nothing."""

    def model(images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3)).double().clamp(1e-9, 1 - 1e-9)
        others = torch.full((len(images), len(names) - 2), 1e-30, dtype=torch.float64)
        return torch.cat([1 - bright[:, None], bright[:, None], others], 1).log()

    return Classifier(
        model, class_names=names, preparation=Preprocessing(), output="log-probabilities", name="brightness", **options
    )  # type: ignore[arg-type]


def measured(**options: object) -> CorruptionErrors:
    chosen = {"benchmark_name": "breastmnist", "kinds": ["brightness_up"], **options}
    return corruption_benchmark(by_brightness(), plain_set(), **chosen)  # type: ignore[arg-type]


# -- by hand -----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("37.3")
def test_balanced_error_of_a_binary_task() -> None:
    found = measured()
    assert found.errors == {"brightness_up": pytest.approx(BALANCED)}
    assert (found.clean_error, found.balanced, found.images, found.rejected) == (0.0, True, 6, {})
    assert (found.benchmark, found.model, found.data) == ("breastmnist", "brightness", "plain")
    assert (found.clean_auroc, found.aurocs["brightness_up"]) == (1.0, (1.0, 1.0, 1.0, 1.0, 1.0)), "the order is kept"


@pytest.mark.covers("37.3")
def test_the_threshold_of_a_binary_task() -> None:
    # Above 0.6: 100 from 1.6 on, 80 at 2; the bright ones stay.
    assert measured(threshold=0.6).errors["brightness_up"] == pytest.approx((0, 0, 1 / 8, 1 / 8, 2 / 8))
    assert measured(threshold=0.75).clean_error == pytest.approx(1 / 4), "180 is 0.71"
    with pytest.raises(InputError, match="binary-class has one threshold"):
        measured(threshold=[0.5, 0.5])


def test_error_of_imagenet_c_counts_images_alike() -> None:
    # At 32 pixels brightness adds 0.05, 0.1, 0.15, 0.2, 0.3: 100 is lost from 3 on, 80 from 4 on, 66 at 5.
    found = corruption_benchmark(by_brightness(), plain_set(), kinds=["brightness"])
    assert found.errors["brightness"] == pytest.approx((0, 0, 1 / 6, 2 / 6, 3 / 6))
    assert (found.balanced, found.benchmark, found.published) == (False, "imagenet-c", True)


@pytest.mark.covers("37.3")
def test_several_labels_with_a_threshold_for_each() -> None:
    # chestmnist's factors are 1.1 to 1.5: 100 passes 0.5 from 1.3 on, and never 0.6.
    def model(images: Tensor) -> Tensor:
        return images.mean((1, 2, 3)).double()[:, None].repeat(1, 2).log()

    several = Classifier(
        model,
        class_names=["a", "b"],
        preparation=Preprocessing(),
        output="log-probabilities",
        task="multilabel",
        name="m",
    )
    truth = np.array([[0, 0]] * 4 + [[1, 1]] * 2)
    images = load_arrays(plain_images(), truth, class_names=["a", "b"])
    options = {"benchmark_name": "chestmnist", "kinds": ["brightness_up"]}
    found = corruption_benchmark(several, images, threshold=[0.5, 0.6], **options)  # type: ignore[arg-type]
    one = 1 / 4 / 2 / 2  # an image of four, of two values, of two labels
    assert found.errors["brightness_up"] == pytest.approx((0, 0, one, one, one))
    both = corruption_benchmark(several, images, threshold=0.5, **options)  # type: ignore[arg-type]
    assert both.errors["brightness_up"] == pytest.approx((0, 0, 2 * one, 2 * one, 2 * one))
    assert both.aurocs["brightness_up"] == (1.0,) * 5
    assert corruption_benchmark(several, images, kinds=["brightness"]).balanced, "also where any task is meant"


@pytest.mark.covers("37.3")
def test_ordinal_classes_are_decided_by_the_largest_probability() -> None:
    def model(images: Tensor) -> Tensor:
        step = (images.mean((1, 2, 3)) * 5).clamp(max=4.99).long()
        return nn.functional.one_hot(step, 5).double() * 3

    names = list("01234")
    ordinal = Classifier(model, class_names=names, preparation=Preprocessing(), task="ordinal", name="steps")
    pixels = plain_images((40, 60, 110, 130, 160, 250))
    labels = [0, 1, 2, 2, 3, 4]
    images = load_arrays(pixels, labels, class_names=names)
    found = corruption_benchmark(ordinal, images, benchmark_name="retinamnist", kinds=["brightness_down"])
    expected = []
    for factor in (0.9, 0.8, 0.7, 0.6, 0.5):
        steps = np.floor(np.floor(pixels[:, 0, 0] * factor * 1000) / 1000 / 255 * 5)
        recalls = [np.mean(steps[np.array(labels) == label] == label) for label in range(5)]
        expected.append(1 - np.mean(recalls))
    assert found.clean_error == 0
    assert found.errors["brightness_down"] == pytest.approx(tuple(expected))
    assert 0 < expected[0] < expected[-1]


# -- against corruptions made one by one, and scikit-learn -------------------------------------------------------------


def network(classes: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes), nn.Tanh())


def noise_set(classes: int, count: int = 28, side: int = 24) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    pixels[:, : side // 2] //= 2
    names = [str(number) for number in range(classes)]
    return load_arrays(pixels, np.arange(count) % classes, class_names=names, name="noise")


@pytest.mark.covers("37.3")
@pytest.mark.parametrize(("name", "classes"), [("dermamnist", 7), ("imagenet-c", 7), ("octmnist", 4)])
def test_figures_equal_a_calculation_step_by_step(name: str, classes: int) -> None:
    images, chosen = noise_set(classes), benchmark(name)
    classifier = Classifier(network(classes), class_names=images.class_names, preparation=Preprocessing(), name="net")
    kinds = [
        kind for kind in ("gaussian_noise", "speckle_noise", "motion_blur", "contrast_down") if kind in chosen.kinds
    ]
    found = corruption_benchmark(classifier, images, benchmark_name=name, kinds=kinds, seed=5, batch_size=10)
    batch = torch.stack([classifier.prepare(example.image) for example in images])
    for kind in kinds:
        rng = Randomness(5).for_examples(images.ids).child(kind)
        for severity in (1, 2, 3, 4, 5):
            shifted = corrupt(batch, chosen, kind, severity, rng)
            sure = classifier.probabilities(classifier(shifted)).numpy()
            guess = sure.argmax(1)
            right = (
                np.mean(guess == images.labels)
                if name == "imagenet-c"
                else balanced_accuracy_score(images.labels, guess)
            )
            assert found.errors[kind][severity - 1] == pytest.approx(1 - right)
            area = roc_auc_score(images.labels, sure, multi_class="ovr", average="macro")
            assert found.aurocs[kind][severity - 1] == pytest.approx(area)
    assert set(found.errors) == set(kinds)
    assert 0 < found.clean_error < 1


@pytest.mark.covers("37.3", "37.7")
def test_several_labels_step_by_step_in_any_batch_with_any_number_of_workers() -> None:
    truth = (np.random.default_rng(1).random((20, 14)) < 0.5).astype(np.int8)
    truth[0], truth[1] = 0, 1
    names, chosen = [str(number) for number in range(14)], benchmark("chestmnist")
    pixels = np.random.default_rng(2).integers(0, 256, (20, 16, 16), dtype=np.uint8)
    images = load_arrays(pixels, truth, class_names=names)
    classifier = Classifier(network(14), class_names=names, preparation=Preprocessing(), task="multilabel", name="net")
    limits = np.linspace(0.35, 0.65, 14)
    options = {"benchmark_name": "chestmnist", "kinds": ["shot_noise", "gamma_corr_up"], "threshold": limits.tolist()}
    found = corruption_benchmark(classifier, images, **options)  # type: ignore[arg-type]
    batch = torch.stack([classifier.prepare(example.image) for example in images])
    for kind in ("shot_noise", "gamma_corr_up"):
        rng = Randomness(0).for_examples(images.ids).child(kind)
        sure = classifier(corrupt(batch, chosen, kind, 4, rng)).double().sigmoid().numpy()
        by_label = [balanced_accuracy_score(truth[:, one], sure[:, one] > limits[one]) for one in range(14)]
        assert found.errors[kind][3] == pytest.approx(1 - np.mean(by_label))
        assert found.aurocs[kind][3] == pytest.approx(roc_auc_score(truth, sure, average="macro"))
    assert len(set(found.errors["shot_noise"])) > 1
    for other in ({"batch_size": 1}, {"batch_size": 7, "workers": 2}, {"workers": 1}):
        assert corruption_benchmark(classifier, images, **options, **other) == found  # type: ignore[arg-type]
    assert corruption_benchmark(classifier, images, **options, seed=1) != found  # type: ignore[arg-type]


def test_all_kinds_that_the_benchmark_averages_are_measured_by_default() -> None:
    found = corruption_benchmark(by_brightness(), plain_set(), benchmark_name="octmnist")
    assert tuple(found.errors) == benchmark("octmnist").main
    assert {len(values) for values in (*found.errors.values(), *found.aurocs.values())} == {5}


# -- classifiers, images and tasks -------------------------------------------------------------------------------------


def test_a_model_that_gives_labels_only_has_errors_and_no_areas() -> None:
    def labels(images: Tensor) -> Tensor:
        return nn.functional.one_hot((images.mean((1, 2, 3)) > 0.5).long(), 2).float()

    blind = Classifier(labels, class_names=["dark", "bright"], preparation=Preprocessing(), output="labels", name="l")
    found = corruption_benchmark(blind, plain_set(), benchmark_name="breastmnist", kinds=["brightness_up"])
    assert found.errors["brightness_up"] == pytest.approx(BALANCED)
    assert math.isnan(found.clean_auroc)
    assert all(math.isnan(area) for area in found.aurocs["brightness_up"])


def test_labels_only_of_several_labels() -> None:
    def labels(images: Tensor) -> Tensor:
        return (images.mean((1, 2, 3)) > 0.5).float()[:, None].repeat(1, 2)

    blind = Classifier(
        labels, class_names=["a", "b"], preparation=Preprocessing(), output="labels", task="multilabel", name="l"
    )
    images = load_arrays(plain_images(), np.array([[0, 0]] * 4 + [[1, 1]] * 2), class_names=["a", "b"])
    found = corruption_benchmark(blind, images, benchmark_name="chestmnist", kinds=["brightness_up"])
    assert found.errors["brightness_up"] == pytest.approx((0, 0, 1 / 8, 1 / 8, 1 / 8))
    assert math.isnan(found.clean_auroc)


class Broken:
    """A source whose images at some positions cannot be read."""

    def __init__(self, images: ImageSet, broken: set[int]) -> None:
        self.source, self.broken = images.source, broken

    def read(self, index: int) -> Image.Image:
        if index in self.broken:
            raise RejectedImageError("it is broken")
        return self.source.read(index)

    def content_hash(self, index: int) -> str:
        return self.source.content_hash(index)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_unknown_labels_and_unreadable_images_count_nowhere(batch_size: int) -> None:
    images = plain_set(labels=[0, -1, 0, 0, 1, 1])  # 80 is not known
    images = replace(images, source=Broken(images, {2}))  # 66 cannot be read
    found = corruption_benchmark(
        by_brightness(), images, benchmark_name="breastmnist", kinds=["brightness_up"], batch_size=batch_size
    )
    assert found.images == 4
    assert found.rejected == {"000001": "no label", "000002": "it is broken"}
    assert found.errors["brightness_up"] == pytest.approx((1 / 4,) * 5), "of 100 and 50, the first is lost at once"


def test_images_of_which_none_can_be_used() -> None:
    images = plain_set()
    with pytest.raises(InputError, match=r"none of the 6 images of plain could be used: 000000: it is broken"):
        corruption_benchmark(
            by_brightness(), replace(images, source=Broken(images, set(range(6)))), kinds=["brightness"]
        )
    for unlabelled in (load_arrays(plain_images()), images.unlabelled()):
        with pytest.raises(InputError, match=r"needs labels, and .* has none"):
            corruption_benchmark(by_brightness(), unlabelled, kinds=["brightness"])


def test_labels_of_another_kind_than_the_task() -> None:
    several = load_arrays(plain_images(), np.array([[0, 1]] * 6), class_names=["dark", "bright"], name="several")
    with pytest.raises(InputError, match="none of the 6 images of several could be used: 000000: no label"):
        corruption_benchmark(by_brightness(), several, kinds=["brightness"])
    with pytest.raises(InputError, match="none of the 6 images of plain could be used: 000000: no label"):
        corruption_benchmark(by_brightness(task="multilabel"), plain_set(), kinds=["brightness"])


def test_a_benchmark_of_another_task() -> None:
    with pytest.raises(InputError, match="chestmnist is a multi-label task, and brightness is single"):
        corruption_benchmark(by_brightness(), plain_set(), benchmark_name="chestmnist")
    with pytest.raises(InputError, match="breastmnist is a binary-class task, and brightness is multilabel"):
        corruption_benchmark(by_brightness(task="multilabel"), plain_set(), benchmark_name="breastmnist")
    with pytest.raises(InputError, match="measures classifiers, and brightness is segment"):
        corruption_benchmark(by_brightness(task="segment"), plain_set())


def test_another_number_of_classes_is_decided_by_the_largest_probability() -> None:
    names = ("dark", "bright", "other")
    options = {"benchmark_name": "breastmnist", "kinds": ["brightness_up"]}
    found = corruption_benchmark(by_brightness(names), plain_set(names=names), **options)  # type: ignore[arg-type]
    assert found.errors["brightness_up"] == pytest.approx(BALANCED)
    high = corruption_benchmark(by_brightness(names), plain_set(names=names), threshold=0.9, **options)  # type: ignore[arg-type]
    assert high.errors == found.errors, "no threshold is meant then"


def test_unknown_names_and_scores_that_are_not_finite() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'bloodmnist'"):
        measured(benchmark_name="blodmnist")
    with pytest.raises(UnknownNameError, match="unknown corruption of breastmnist 'bubble'"):
        measured(kinds=["pixelate", "bubble"])
    never = Classifier(
        lambda images: images.mean((2, 3))[:, :2] * math.nan, class_names=["dark", "bright"],
        preparation=Preprocessing(), name="never",
    )  # fmt: skip
    with pytest.raises(InputError, match="never gives scores that are not finite"):
        corruption_benchmark(never, plain_set(), kinds=["brightness"])


def test_classes_are_matched_by_name() -> None:
    turned = plain_set(names=("bright", "dark"), labels=[1, 1, 1, 1, 0, 0])
    found = corruption_benchmark(by_brightness(), turned, benchmark_name="breastmnist", kinds=["brightness_up"])
    assert found.errors["brightness_up"] == pytest.approx(BALANCED)


# -- normalised --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("37.5")
def test_errors_are_divided_by_those_of_a_stored_reference_which_is_named() -> None:
    figures = measured().normalise("alexnet/breastmnist")
    reference = stored_reference("alexnet/breastmnist")
    mean = sum(BALANCED) / 5
    assert figures.reference == "alexnet/breastmnist"
    assert figures.corruption_errors["brightness_up"] == pytest.approx(mean / 0.3198, rel=1e-3)
    assert figures.corruption_errors["brightness_up"] == pytest.approx(mean / reference.mean_errors["brightness_up"])
    relative = mean / (reference.mean_errors["brightness_up"] - reference.clean_error)
    assert figures.relative_mean_corruption_error == pytest.approx(relative)
    assert set(figures.unmeasured) == set(reference.mean_errors) - {"brightness_up"}
    with pytest.raises(UnknownNameError, match="alexnet/breastmnist"):
        measured().normalise("alexnet/brestmnist")
    with pytest.raises(InputError, match="has no errors under brightness_up"):
        measured().normalise("alexnet/octmnist")


@pytest.mark.covers("37.5")
def test_errors_are_divided_by_those_of_a_model_measured_here_which_is_named() -> None:
    found = measured()
    reference = found.reference()
    assert reference.name == "brightness on plain"
    assert reference.errors_by_severity == found.errors
    assert reference.source == "measured here, 6 images"
    itself = found.normalise(reference)
    assert itself.reference == "brightness on plain"
    assert (itself.mean_corruption_error, itself.relative_mean_corruption_error) == (1.0, 1.0)
    better = measured(threshold=0.6).normalise(reference)
    assert better.mean_corruption_error == pytest.approx((4 / 8) / sum(BALANCED))


@pytest.mark.covers("37.6")
def test_a_reference_that_gets_better_gives_no_relative_error() -> None:
    # AlexNet on pneumoniamnist errs less with more contrast than without.
    found = measured(benchmark_name="pneumoniamnist", kinds=["brightness_up", "contrast_up"])
    figures = found.normalise("alexnet/pneumoniamnist")
    assert figures.relative_corruption_errors["contrast_up"] is None
    assert "alexnet/pneumoniamnist is not worse under contrast_up" in figures.relative_undefined["contrast_up"]
    assert figures.relative_corruption_errors["brightness_up"] is not None
    assert (figures.counted, figures.relative_counted) == (2, 1)
    assert figures.corruption_errors["contrast_up"] is not None
    flat = Reference.measured("flat", 0.5, {"brightness_up": [0.5] * 5})
    assert measured().normalise(flat).relative_mean_corruption_error is None


def test_errors_by_family() -> None:
    found = measured(kinds=["pixelate", "brightness_up", "brightness_down"])
    families = found.family_errors()
    assert list(families) == ["digital", "colour"], "families of which nothing was measured are left out"
    means = {kind: sum(values) / 5 for kind, values in found.errors.items()}
    assert families["digital"] == pytest.approx(means["pixelate"])
    assert families["colour"] == pytest.approx((means["brightness_up"] + means["brightness_down"]) / 2)


# -- what is published -------------------------------------------------------------------------------------------------


@pytest.mark.covers("37.11")
@pytest.mark.parametrize(
    ("name", "kinds", "side", "published"),
    [
        ("octmnist", ["contrast_down", "pixelate"], 224, True),
        ("octmnist", ["contrast_down"], 112, False),
        ("octmnist", ["contrast_down"], 32, False),
        ("dermamnist", ["brightness_up", "characters"], 224, False),
        ("bloodmnist", ["brightness_up", "stain_deposit"], 224, False),
        ("imagenet-c", ["brightness"], 224, True),
        ("imagenet-c", ["brightness"], 112, False),
        ("imagenet-c", ["brightness", "frost"], 224, False),
    ],
)
def test_settings_are_published_for_one_size_and_without_overlays_of_our_own(
    name: str, kinds: list[str], side: int, published: bool
) -> None:
    images = plain_set(side).select([0, 4])
    assert corruption_benchmark(by_brightness(), images, benchmark_name=name, kinds=kinds).published is published


def test_textures_of_the_user_are_not_taken_for_the_published_ones(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.uint8([[0, 255]]), (24, 12))).save(tmp_path / "ink.png")
    options = {"benchmark_name": "bloodmnist", "kinds": ["stain_deposit"]}
    found = corruption_benchmark(by_brightness(), plain_set(224).select([0, 4]), textures=str(tmp_path), **options)  # type: ignore[arg-type]
    assert not found.published, "they are known by the hashes of their files"


def test_images_that_are_not_square_have_no_published_setting() -> None:
    images = load_arrays(np.zeros((2, 224, 200), dtype=np.uint8), [0, 1], class_names=["dark", "bright"])
    found = corruption_benchmark(by_brightness(), images, benchmark_name="octmnist", kinds=["contrast_down"])
    assert not found.published


# -- stored images -----------------------------------------------------------------------------------------------------

KINDS = ("brightness_up", "pixelate")


def stored_arrays(images: ImageSet, name: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Severity after severity, as bytes: index = severity · N + i; labels repeated as often."""
    batch = torch.stack([Preprocessing()(example.image) for example in images])
    rng = Randomness(0).for_examples(images.ids).child(kind)
    parts = [corrupt(batch, benchmark(name), kind, severity, rng, parity=True) for severity in (1, 2, 3, 4, 5)]
    pixels = (torch.cat(parts) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels, np.tile(images.labels, 5)[:, None].astype(np.uint8)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    for kind in KINDS:
        pixels, labels = stored_arrays(plain_set(), "breastmnist", kind)
        np.savez(tmp_path / f"{kind}.npz", test_images=pixels[..., 0], test_labels=labels)
    return tmp_path


@pytest.mark.covers("37.4")
@pytest.mark.parametrize("batch_size", [4, 64])
def test_stored_images_are_read_severity_by_severity(stored: Path, batch_size: int) -> None:
    found = measured(stored=stored, kinds=KINDS, batch_size=batch_size)
    made = measured(kinds=KINDS, parity=True)
    assert found.errors == made.errors
    assert found.errors["brightness_up"] == pytest.approx(BALANCED)
    assert found.aurocs == made.aurocs
    assert (found.clean_error, found.clean_auroc, found.images) == (made.clean_error, made.clean_auroc, made.images)
    assert not found.published, "nobody here knows how they were made"


@pytest.mark.covers("37.4")
def test_stored_images_in_another_order_are_refused(stored: Path) -> None:
    pixels, labels = stored_arrays(plain_set(), "breastmnist", "brightness_up")
    image_major = np.arange(30).reshape(5, 6).T.reshape(-1)
    np.savez(stored / "brightness_up.npz", test_images=pixels[image_major], test_labels=labels[image_major])
    with pytest.raises(InputError, match=r"brightness_up\.npz: the labels are not those of the clean images repeated"):
        measured(stored=stored)


def test_stored_labels_are_those_of_the_clean_images_by_name(stored: Path) -> None:
    # The classifier knows the classes in another order than the images and the stored files.
    def model(images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3)).double().clamp(1e-9, 1 - 1e-9)
        return torch.stack([bright, 1 - bright], 1).log()

    turned = Classifier(
        model, class_names=["bright", "dark"], preparation=Preprocessing(), output="log-probabilities", name="turned"
    )
    found = corruption_benchmark(turned, plain_set(), benchmark_name="breastmnist", kinds=KINDS, stored=stored)
    assert found.errors["brightness_up"][0] == pytest.approx(1 / 8)
    assert found.clean_error == 0


def test_stored_images_of_several_labels(tmp_path: Path) -> None:
    truth = np.array([[0, 0]] * 4 + [[1, 0]] * 2)
    images = load_arrays(plain_images(), truth, class_names=["a", "b"])
    pixels, _ = stored_arrays(images, "chestmnist", "brightness_up")
    several = by_brightness(("a", "b"), task="multilabel")
    options = {"benchmark_name": "chestmnist", "kinds": ["brightness_up"]}
    for labels, fits in ((np.tile(truth, (5, 1)), True), (np.tile(1 - truth, (5, 1)), False)):
        np.savez(tmp_path / "brightness_up.npz", test_images=pixels[..., 0], test_labels=labels.astype(np.uint8))
        if fits:
            found = corruption_benchmark(several, images, stored=tmp_path, **options)  # type: ignore[arg-type]
            made = corruption_benchmark(several, images, parity=True, **options)  # type: ignore[arg-type]
            assert found.errors == made.errors
        else:
            with pytest.raises(InputError, match="the labels are not those"):
                corruption_benchmark(several, images, stored=tmp_path, **options)  # type: ignore[arg-type]


def test_stored_images_that_do_not_fit(stored: Path) -> None:
    pixels, labels = stored_arrays(plain_set(), "breastmnist", "brightness_up")
    path = stored / "brightness_up.npz"
    np.savez(path, test_images=pixels[:24], test_labels=labels[:24])
    with pytest.raises(
        InputError, match=r"brightness_up\.npz holds 24 images; expected 5 severities of 6 clean images"
    ):
        measured(stored=stored)
    np.savez(path, test_images=pixels, test_labels=1 - labels)
    with pytest.raises(InputError, match="the labels are not those of the clean images"):
        measured(stored=stored)
    np.savez(path, test_images=pixels)
    with pytest.raises(InputError, match=r"brightness_up\.npz: the labels are not those of the clean images"):
        measured(stored=stored)
    np.savez(path, test_images=pixels, test_labels=np.where(np.arange(30) == 7, -1, labels[:, 0].astype(int)))
    with pytest.raises(InputError, match=r"brightness_up\.npz: the labels are not those of the clean images"):
        measured(stored=stored)
    np.savez(path, test_images=pixels, test_labels=np.tile(labels, 2))
    with pytest.raises(InputError, match=r"brightness_up\.npz: the labels are not those of the clean images"):
        measured(stored=stored)
    path.unlink()
    with pytest.raises(InputError, match=r"brightness_up\.npz cannot be read: No such file"):
        measured(stored=stored)


def test_stored_images_need_every_clean_one(stored: Path) -> None:
    images = replace(plain_set(), source=Broken(plain_set(), {3}))
    with pytest.raises(InputError, match="need every clean image; unusable is 000003: it is broken"):
        corruption_benchmark(by_brightness(), images, benchmark_name="breastmnist", kinds=KINDS, stored=stored)
