"""Training on images with masks: labels of pixels, the last epoch, figures at several strengths, attacked batches."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import snellen
from snellen.cli.app import app
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
from snellen.systems.context_upsampling import method
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
    return join([scenes("train", 16), scenes("val", 6)])


@pytest.fixture(scope="module")
def made(data):
    return ContextUpsampling(**SHORT).fit(data, rng=Randomness(0))


@pytest.mark.covers("19.11")
def test_the_card_has_clean_and_attacked_figures_at_two_strengths(made):
    metrics = made.card.metrics
    for name in ("clean", *(f"{kind}_{size}" for kind in ("fgsm", "pgd", "segpgd", "cospgd") for size in (2, 8))):
        for figure in ("miou", "mean_accuracy", "pixel_accuracy"):
            assert 0 <= metrics[f"val.{name}.{figure}"] <= 1
    assert metrics["val.artifacts.upsampling.0"] > 0
    assert metrics["val.pgd_8.pixel_accuracy"] < metrics["val.clean.pixel_accuracy"]
    assert made.card.kind == "segmenter"
    assert made.card.class_names == ("background", *scenes("train").class_names)


@pytest.mark.covers("19.4")
def test_the_last_epoch_is_kept_whatever_the_val_images_say(data, made):
    """The same training without validation images gives the same weights."""
    train = data.of_split("train")
    again = ContextUpsampling(**SHORT).fit(train, rng=Randomness(0))
    assert all(torch.equal(value, again.tensors[name]) for name, value in made.tensors.items())
    assert len(made.card.history) == 8
    assert not any(name.startswith("val") for row in made.card.history for name in row)
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
    with pytest.raises(InputError, match=r"decides the class of each pixel .* --task segment"):
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
    from snellen.core.preprocessing import Preprocessing

    return Preprocessing(size=(32, 32), resize="shorter", resize_to=(32, 32))


@pytest.fixture
def files(tmp_path):
    """Images in a folder, and grey masks of classes beside them; one of each kind of mistake."""
    (tmp_path / "my images" / "all").mkdir(parents=True)
    (tmp_path / "masks" / "all").mkdir(parents=True)
    generator = np.random.default_rng(0)
    masks = {
        "good": generator.integers(0, 2, (32, 32)),
        "void": np.full((32, 32), 255),
        "third": np.pad(np.full((1, 1), 7), ((0, 31), (0, 31))),
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
    first, reason = next(iter(store.rejected.items()))
    with pytest.warns(UserWarning, match=re.escape(f"2 images are left out; the first is {first}: {reason}")):
        made = recipe.fit(files, rng=Randomness(0))
    assert made.card.class_names == ("no", "yes")
    assert made.card.lineage.recipe["rejected"] == 2


def test_a_value_that_scaling_loses_is_found_all_the_same(files):
    small = snellen_preparation().model_copy(update={"size": (16, 16), "resize_to": (16, 16)})
    store = pixel_store(files, small, masks="class", class_count=2)
    assert any("holds the value 7" in reason for reason in store.rejected.values())


def test_an_object_whose_class_is_none_of_those_is_named():
    with pytest.raises(InputError, match=r"its class 'star' is none of 0|its class 'ring' is none of 0"):
        pixel_store(scenes("train", 4), snellen_preparation(), masks="object", class_count=1)


def test_clean_figures_are_of_all_images_and_attacked_ones_of_a_drawn_sample(monkeypatch):
    """Images come sorted by class: the first ones would be of one class alone."""
    monkeypatch.setattr(method, "_ATTACKED", 4)
    seen = []

    def watched(classifier, images, labels, attacks, **options):
        seen.append((len(images), bool(attacks), images))
        return examine(classifier, images, labels, attacks, **options)

    monkeypatch.setattr(method, "examine", watched)
    short = {**SHORT, "attack_steps": 1, "plan": {"epochs": 1, "batch_size": 4}}
    both = join([scenes("train", 4), scenes("val", 12)])
    for seed in (0, 0, 1):
        made = ContextUpsampling(**short).fit(both, rng=Randomness(seed))
    whole, drawn = ([one for one in seen if one[1] is attacked] for attacked in (False, True))
    assert [count for count, _, _ in whole] == [12] * 3
    assert [count for count, _, _ in drawn] == [4] * 3
    assert torch.equal(drawn[0][2], drawn[1][2])
    assert not torch.equal(drawn[0][2], drawn[2][2])
    assert not torch.equal(drawn[0][2], whole[0][2][:4])
    assert (made.card.metrics["val.images"], made.card.metrics["val.attacked_images"]) == (12, 4)
    assert "clean_of_attacked" in " ".join(made.card.metrics)
    assert "Clean figures are of 12 held-out images, attacked ones of 4 of them" in made.card.description


def test_val_images_without_any_known_pixel_are_refused_before_the_training(files):
    void = files.select([place for place, key in enumerate(files.ids) if key.endswith("void.png")])
    good = files.select([place for place, key in enumerate(files.ids) if key.endswith(("good.png", "also.png"))])
    recipe = ContextUpsampling(mask_values="class", classes=("no", "yes"), **SHORT)
    with pytest.raises(InputError, match="no pixel of the val images has a known class"):
        recipe.fit(join([as_split(good, "train"), as_split(void, "val")]), rng=Randomness(0))


def test_the_printed_lines_predict(tmp_path, capsys, monkeypatch):
    """As they stand, with spaces in names."""
    monkeypatch.chdir(tmp_path)
    data = "optotypes:scenes?count=4&size=16&shapes=star,ring#train"
    short = ["--side", "16", "--widths", "4", "--widths", "8", "--plan", '{"epochs": 1}', "--out", "a folder"]
    ran = CliRunner().invoke(app, ["train", "context-upsampling", data, *short])
    assert ran.exit_code == 0, ran.output
    assert "decides nothing" not in ran.output
    assert "use it as artifact" not in ran.output
    lines = ran.output[ran.output.index("import snellen") :]
    exec(compile(lines, "printed", "exec"), {})
    assert "('background', " in capsys.readouterr().out
    card = (tmp_path / "a folder" / "README.md").read_text(encoding="utf-8")
    assert "segmenter = load_pixel_classifier('FOLDER')" in card


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
        ({"kernels": (2,)}, "small_kernel 3 is larger .*; use larger kernels, or no small path"),
        ({"kernels": (2,), "small_kernel": None, "initial": "sinc"}, "a kernel of side 2 cannot; use 3 or more"),
        ({"small_kernel": 4}, "got 4"),
        ({"widths": (8, 12)}, r"widths \[8, 12\] do not double .*; give two or more"),
        ({"widths": (8,)}, "give two or more"),
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
    store: ImageStore = pixel_store(scenes("val", 5), snellen_preparation(), masks="object", class_count=3)
    images = store.images / 255.0
    attacks = standard_attacks(2, (8 / 255,))
    one = examine(segmenter, images, store.targets, attacks, together=2)
    other = examine(segmenter, images, store.targets, attacks, together=5)
    for name in ("clean", "fgsm_8", "pgd_8", "segpgd_8", "cospgd_8"):
        assert one[name].shape == (5, 3, 3)
        assert (abs(one[name] - other[name]).sum((1, 2)) <= 8).all()
    assert (one["clean"].sum((1, 2)) == 32 * 32).all()
