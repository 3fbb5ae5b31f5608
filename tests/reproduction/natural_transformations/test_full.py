"""The full size by reference, at a tiny size; and that its generator has the published side."""

import csv

import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.models.latent_generators.style_network import StyleNetwork
from snellen.reproduction.natural_transformations import full
from snellen.reproduction.natural_transformations.experiment import SMOKE, natural_transformations
from snellen.reproduction.natural_transformations.materials import draw_factors, draw_images
from snellen.reproduction.seed_file import named_figures
from snellen.systems.natural_transformations.autoencoder import encoder_of

CLASSES = ("disc", "triangle", "square", "star", "cross", "drop")


def written(folder, count, seed, *, correlation, grouped=True):
    """Drawn images in a folder with a table: file, label and the side that light comes from."""
    folder.mkdir()
    factors = draw_factors(count, seed, correlation=correlation)
    with (folder / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", *(["group"] if grouped else [])])
        for row, image in enumerate(draw_images(factors)):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{row}.png")
            side = "left" if float(factors.light[row]) < 0.5 else "right"
            table.writerow([f"{row}.png", CLASSES[int(factors.shape[row])], *([side] if grouped else [])])
    return str(folder / "images.csv")


TINY = full.FullSize(
    side=32,
    architecture="fashion_cnn",
    plan=SMOKE.plan.model_copy(update={"drop_last": True}),
    autoencoder=SMOKE.autoencoder,
    inversion=SMOKE.inversion,
    edits=SMOKE.edits,
)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Images to train on and to measure on, and a judge of the same classes."""
    place = tmp_path_factory.mktemp("full")
    train = written(place / "train", 48, 1, correlation=0.9, grouped=False)
    recipe = {"method": "supervised", "architecture": "fashion_cnn", "side": 32, "plan": {"epochs": 1}}
    snellen.train(recipe, snellen.load_images(train), out=place / "judge", onnx=False)
    test = written(place / "test", 12, 2, correlation=0.0)
    return {full.TRAIN: train, full.TEST: test, full.JUDGE: f"artifact:{place / 'judge'}"}


def test_full_names_what_it_lacks(monkeypatch):
    for name in (full.TRAIN, full.TEST, full.JUDGE, full.FOLDER):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_NATRA_TRAIN, SNELLEN_NATRA_TEST, SNELLEN_NATRA_JUDGE"):
        natural_transformations("full", 0, Silent())


def test_full_measures_every_arm_by_group_and_goes_on_where_it_was(monkeypatch, tmp_path, references):
    for name, value in {**references, full.FOLDER: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    found = full.full(0, Silent(), size=TINY)
    arms = ("standard", "jitter", "pgd", "reconstructions", "noise", "mixing", "random", "worst")
    assert set(found) == {
        *(f"{arm}.{figure}" for arm in arms for figure in ("accuracy", "worst_group", "corrupted")),
        *(f"edits.{name}" for name in ("directions", "epsilon", "labels_changed")),
    }
    assert set(named_figures(find_system("26"), "full")) <= set(found)
    for arm in arms:
        right = torch.tensor(found[f"{arm}.accuracy"].values)
        assert len(right) == 12
        assert found[f"{arm}.worst_group"] <= float(right.mean())
    written_first = (tmp_path / "seed-0" / "codes.safetensors").read_bytes()
    assert full.full(0, Silent(), size=TINY) == found
    assert (tmp_path / "seed-0" / "codes.safetensors").read_bytes() == written_first


def test_full_needs_groups_and_the_same_classes(monkeypatch, tmp_path, references):
    for name, value in {**references, full.FOLDER: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(full.TEST, references[full.TRAIN])
    with pytest.raises(InputError, match="images without a group"):
        full.full(0, Silent(), size=TINY)
    monkeypatch.setenv(full.TEST, references[full.TEST])
    monkeypatch.setenv(full.JUDGE, "bundled:fashion-cnn")
    with pytest.raises(InputError, match="expected a network of torch of the classes cross, disc"):
        full.full(0, Silent(), size=TINY)


def test_the_published_size_makes_images_of_128_pixels_from_six_codes():
    size = full.FULL
    shape = size.autoencoder.shape(size.side)
    generator, encoder = StyleNetwork(shape), encoder_of(shape)
    with torch.no_grad():
        made = generator.synthesis(torch.zeros(1, 6, 64))
        assert made.shape == (1, 3, 128, 128)
        assert encoder(made).shape == (1, 2 * 6 * 64)
