"""Codes on disk: read where generator, encoder, settings and image are the same, else inverted anew."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations import code_file
from snellen.systems.natural_transformations.code_file import code_keys, kept_codes
from snellen.systems.natural_transformations.editing import inverted
from snellen.systems.natural_transformations.inversion import InversionSettings, render
from snellen.training.batches import ImageStore
from tests.systems.natural_transformations.parts import autoencoder, pictures

SETTINGS = InversionSettings(codes=2, steps=1, expansion_steps=1, batch=4)


def store(count=10, seed=2):
    return ImageStore.of_tensors((pictures(count, seed) * 255).byte(), torch.arange(count) % 2)


@pytest.fixture
def counted(monkeypatch):
    """Rows that are inverted, call by call."""
    from snellen.systems.natural_transformations import editing

    plain, found = editing.invert, []

    def watched(generator, images, start, settings, **options):
        found.append(len(images))
        return plain(generator, images, start, settings, **options)

    monkeypatch.setattr(editing, "invert", watched)
    return found


@pytest.mark.covers("26.11")
def test_codes_are_read_again_and_a_changed_part_inverts_anew(tmp_path, counted):
    path, made, images = tmp_path / "codes.safetensors", autoencoder(), store()

    def run(autoencoder=made, store=images, settings=SETTINGS):
        counted.clear()
        _, codes, _ = inverted(autoencoder, store, settings, rng=Randomness(0), path=path)
        return codes, sum(counted)

    first, count = run()
    assert count == 10
    again, count = run()
    assert count == 0
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.weights, again.weights)
    changed = images.images.clone()
    changed[3] = 255 - changed[3]
    assert run(store=ImageStore.of_tensors(changed, images.targets))[1] == 1, "one image changed"
    assert run(settings=SETTINGS.model_copy(update={"rate": 0.5}))[1] == 10, "settings"
    assert run(autoencoder=autoencoder(seed=1))[1] == 10, "both networks"
    mixed = type(made)(made.generator, autoencoder(seed=1).encoder, {}, "-", made.settings)
    assert run(autoencoder=mixed)[1] == 10, "the encoder alone"
    assert run()[1] == 0, "the first ones are still there"


@pytest.mark.covers("26.11")
def test_a_stopped_inversion_goes_on_behind_its_last_writing(tmp_path, monkeypatch, counted):
    monkeypatch.setattr(code_file, "_EVERY", 1)
    path, images = tmp_path / "codes.safetensors", store()
    whole = inverted(autoencoder(), images, SETTINGS, rng=Randomness(0))[1]
    keys = code_keys(images.images, "g", "e", SETTINGS)
    calls = []

    def stopping(rows):
        calls.append(rows.tolist())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole[rows]

    with pytest.raises(KeyboardInterrupt):
        kept_codes(path, keys, stopping, batch=4)
    calls.append([])
    found = kept_codes(path, keys, stopping, batch=4)
    assert calls[3:] == [[4, 5, 6, 7], [8, 9]]
    assert torch.equal(found.values, whole.values)


def test_the_perceptual_distance_of_the_encoder_takes_part_by_its_weight():
    made, images = autoencoder(), store()

    def run(weight):
        settings = SETTINGS.model_copy(update={"steps": 15, "expansion_steps": 0, "codes": 1, "perceptual": weight})
        generator, codes, psnr = inverted(made, images, settings, rng=Randomness(0))
        pixels = images.images.float() / 255
        return float(made.perceptual(pixels, render(generator, codes)).mean()), float(psnr.mean())

    (without, best), (with_it, other) = run(0.0), run(5.0)
    assert with_it < without
    assert other < best


def test_another_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "codes.safetensors"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="holds no latent codes"):
        kept_codes(path, ["a"], lambda rows: None, batch=1)
    assert path.read_bytes() == b"something else"


def test_images_of_another_size_are_refused():
    images = ImageStore.of_tensors(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(2))
    with pytest.raises(InputError, match=r"16 × 16 pixels in 3 channels.*set side=16"):
        inverted(autoencoder(), images, SETTINGS, rng=Randomness(0))
