"""Training on images with masks: labels of pixels, the last epoch, figures at several strengths, attacked batches."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.criterion import VOID
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.models.segmenters.pixel_classifiers import load_pixel_classifier, pixel_classifier
from snellen.recipes import ContextUpsampling
from snellen.systems.context_upsampling.examining import examine, levels, standard_attacks
from snellen.systems.context_upsampling.method import HalfAttacked, pixel_cross_entropy
from snellen.systems.context_upsampling.pixel_labels import pixel_store
from snellen.training.batches import Batch, ImageStore

SHORT = {"widths": (4, 8), "side": 32, "attack_steps": 2, "plan": {"epochs": 8, "batch_size": 4, "learning_rate": 1e-2}}


def scenes(split, count=12):
    world = Scenes(count=count, size=32, shapes=("star", "ring"), sizes=("large",), captions=False)
    return as_split(world.images(split=split), split)


@pytest.fixture(scope="module")
def data():
    return join([scenes("train", 16), scenes("tune", 6)])


@pytest.fixture(scope="module")
def made(data):
    return ContextUpsampling(**SHORT).fit(data, rng=Randomness(0))


@pytest.mark.covers("19.11")
def test_the_card_has_clean_and_attacked_figures_at_two_strengths(made):
    metrics = made.card.metrics
    for name in ("clean", *(f"{kind}_{size}" for kind in ("fgsm", "pgd", "segpgd", "cospgd") for size in (2, 8))):
        for figure in ("miou", "mean_accuracy", "pixel_accuracy"):
            assert 0 <= metrics[f"tune.{name}.{figure}"] <= 1
    assert metrics["tune.artifacts.upsampling.0"] > 0
    assert metrics["tune.pgd_8.pixel_accuracy"] < metrics["tune.clean.pixel_accuracy"]
    assert made.card.kind == "segmenter"
    assert made.card.class_names == ("background", *scenes("train").class_names)


@pytest.mark.covers("19.4")
def test_the_last_epoch_is_kept_whatever_the_tune_images_say(data, made):
    """The same training without tune images gives the same weights."""
    train = data.of_split("train")
    again = ContextUpsampling(**SHORT).fit(train, rng=Randomness(0))
    assert all(torch.equal(value, again.tensors[name]) for name, value in made.tensors.items())
    assert len(made.card.history) == 8
    assert not any(name.startswith("tune") for row in made.card.history for name in row)
    assert not again.card.metrics


@pytest.mark.covers("19.4")
def test_every_way_is_trained_with_one_plan_and_one_seed(data, made):
    other = ContextUpsampling(**SHORT, kind="pixel_shuffle").fit(data, rng=Randomness(0))
    assert other.card.architecture["seed"] == made.card.architecture["seed"]
    assert other.card.lineage.recipe["plan"] == made.card.lineage.recipe["plan"]
    assert other.card.lineage.data == made.card.lineage.data


def test_an_artifact_is_loaded_as_a_model_that_decides_pixels(made, tmp_path):
    made.save(tmp_path / "a folder")
    segmenter = load_pixel_classifier(tmp_path / "a folder")
    image = torch.rand(2, 3, 32, 32)
    assert segmenter(image).shape == (2, 3, 32, 32)
    assert torch.equal(segmenter(image), pixel_classifier(made)(image))
    assert segmenter.task == "segment"
    with pytest.raises(InputError, match="holds a segmenter, not a classifier"):
        snellen.load_classifier(f"artifact:{tmp_path / 'a folder'}")
    with pytest.raises(InputError, match="is a classifier, and a segmenter is needed"):
        pixel_classifier(type(made)(made.tensors, made.card.model_copy(update={"kind": "classifier"})))


def test_masks_of_objects_give_the_class_of_their_image():
    images = scenes("train")
    store = pixel_store(images, snellen_preparation(), masks="object", class_count=3)
    for row in range(len(images)):
        mask = np.array(images.read_mask(row)) > 127
        assert set(store.targets[row][torch.from_numpy(mask)].tolist()) == {int(images.labels[row]) + 1}
        assert not store.targets[row][torch.from_numpy(~mask)].any()


def snellen_preparation():
    from snellen.core.preparation import Preparation

    return Preparation(size=(32, 32), resize="shorter", resize_to=(32, 32))


@pytest.fixture
def files(tmp_path):
    """Images in a folder, and grey masks of classes beside them; one of each kind of mistake."""
    (tmp_path / "my images" / "all").mkdir(parents=True)
    (tmp_path / "masks" / "all").mkdir(parents=True)
    generator = np.random.default_rng(0)
    masks = {
        "good": generator.integers(0, 2, (32, 32)),
        "void": np.full((32, 32), 255),
        "third": np.full((32, 32), 7),
        "small": np.zeros((16, 16)),
        "also": generator.integers(0, 2, (32, 32)),
    }
    for name, mask in masks.items():
        pixels = generator.integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "my images" / "all" / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / "all" / f"{name}.png")
    return load_images(tmp_path / "my images", masks=tmp_path / "masks")


def test_masks_of_classes_are_read_and_bad_ones_are_named(files):
    store = pixel_store(files, snellen_preparation(), masks="class", class_count=2)
    names = [one.rpartition("/")[2] for one in store.ids]
    assert sorted(names) == ["also.png", "good.png", "void.png"]
    assert (store.targets[names.index("void.png")] == VOID).all()
    assert set(store.targets[names.index("good.png")].unique().tolist()) == {0, 1}
    reasons = {key.rpartition("/")[2]: reason for key, reason in store.rejected.items()}
    assert "holds the value 7, and there are 2 classes" in reasons["third.png"]
    assert "16×16 pixels, and the image 32×32" in reasons["small.png"]
    recipe = ContextUpsampling(mask_values="class", classes=("no", "yes"), **{**SHORT, "plan": {"epochs": 1}})
    made = recipe.fit(files, rng=Randomness(0))
    assert made.card.class_names == ("no", "yes")
    assert made.card.lineage.recipe["rejected"] == 2


def test_images_without_masks_and_test_images_are_refused():
    bare = load_arrays(np.zeros((4, 32, 32, 3), dtype=np.uint8), [0, 1, 0, 1], class_names=["a", "b"])
    with pytest.raises(InputError, match="needs masks"):
        ContextUpsampling(**SHORT).fit(bare, rng=Randomness(0))
    with pytest.raises(InputError, match="test"):
        ContextUpsampling(**SHORT).fit(scenes("test"), rng=Randomness(0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernels": (8,)}, "got 8"),
        ({"kernels": (7, 7, 7)}, "3 kernels for 2 steps"),
        ({"mask_values": "class"}, "needs the names of two classes"),
        ({"classes": ("a", "b")}, "belong to mask_values=class"),
        ({"decoder_kernel": 4}, "odd side"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ContextUpsampling(**given)


def test_half_of_a_batch_is_attacked_and_the_model_is_as_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).train()
    images, labels = torch.rand(5, 3, 8, 8), torch.randint(0, 2, (5, 8, 8))
    rng = Randomness(0).for_examples("abcde")
    batch = Batch(images, labels, torch.ones(5), torch.arange(5), rng)
    seen = []
    model.register_forward_pre_hook(lambda module, given: seen.append((module.training, given[0].detach().clone())))
    losses = HalfAttacked(2, steps=3, epsilon=0.1)(model, batch)
    assert losses.shape == (5,)
    assert model.training
    assert model[1].training
    assert all(weight.requires_grad for weight in model.parameters())
    training, shown = seen[-1]
    assert training
    assert not any(training for training, _ in seen[:-1])
    changed = (shown != images).flatten(1).any(1)
    assert changed.tolist() == [True, False, True, False, True]
    assert (shown - images).abs().max() <= 0.1 + 1e-6
    losses.sum().backward()
    assert model[0].weight.grad is not None
    assert torch.equal(batch.images, images)


def test_losses_are_means_over_the_pixels_that_are_known():
    model = nn.Conv2d(3, 2, 1)
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    labels[0, :2] = VOID
    labels[1] = VOID
    batch = Batch(torch.rand(2, 3, 4, 4), labels, torch.ones(2), torch.arange(2), Randomness(0).bind(2))
    losses = pixel_cross_entropy(model, batch)
    expected = nn.functional.cross_entropy(model(batch.images)[:1], labels[:1], ignore_index=VOID)
    assert losses[0].item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses[1] == 0


@pytest.mark.covers("19.11")
def test_adversarial_training_and_several_strengths(data):
    recipe = ContextUpsampling(**SHORT, adversarial_steps=1, epsilon=4 / 255)
    assert recipe.fit(data.of_split("train"), rng=Randomness(0)).tensors
    attacks = standard_attacks(3, (0.5 / 255, 2 / 255, 8 / 255))
    assert len(attacks) == 12
    assert levels(0.5 / 255) == "0p5"
    assert {attack.epsilon for attack in attacks.values()} == {0.5 / 255, 2 / 255, 8 / 255}


def test_counts_do_not_depend_on_the_batch(made):
    segmenter = pixel_classifier(made)
    store: ImageStore = pixel_store(scenes("tune", 5), snellen_preparation(), masks="object", class_count=3)
    images = store.images / 255.0
    attacks = standard_attacks(2, (8 / 255,))
    one = examine(segmenter, images, store.targets, attacks, together=2)
    other = examine(segmenter, images, store.targets, attacks, together=5)
    for name in ("clean", "fgsm_8", "pgd_8", "segpgd_8", "cospgd_8"):
        assert one[name].shape == (5, 3, 3)
        assert (abs(one[name] - other[name]).sum((1, 2)) <= 8).all()
    assert (one["clean"].sum((1, 2)) == 32 * 32).all()
