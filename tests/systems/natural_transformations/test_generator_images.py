"""A generator of other images than those that are trained on: a pool without labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations import method as module
from tests.systems.natural_transformations.parts import LATENT, pictures
from tests.systems.natural_transformations.test_method import coloured, recipe


@pytest.fixture
def pool(tmp_path):
    """A folder of 48 images without labels, larger than those of the training."""
    folder = tmp_path / "a pool"
    folder.mkdir()
    for number, image in enumerate(pictures(48, seed=11)):
        large = torch.nn.functional.interpolate(image[None], size=(24, 24))[0]
        Image.fromarray((large * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{number:02}.png")
    return folder


def test_the_generator_learns_from_the_named_images_and_no_label(tmp_path, pool, monkeypatch):
    given, plain = [], module.fit_autoencoder

    def seen(store, settings, **options):
        given.append(store)
        return plain(store, settings, **options)

    monkeypatch.setattr(module, "fit_autoencoder", seen)
    keep = tmp_path / "kept"
    made = recipe(generator_images=str(pool), keep=keep).fit(coloured(), rng=Randomness(0))
    assert tuple(given[0].images.shape) == (48, 3, 16, 16)
    assert bool((given[0].targets == -1).all())
    facts = made.card.lineage.recipe
    assert facts["generator_images"] == str(pool)
    assert facts["generator_data"] == given[0].fingerprint(), "the same folder may hold other images tomorrow"
    assert len(facts["directions"]) == 6
    card = Artifact.load(keep / "generator").card
    assert card.lineage.data == given[0].fingerprint()
    assert card.lineage.recipe["generator_images"] == str(pool)
    assert card.metrics["held_out_images"] == 5
    recipe(generator_images=str(pool), keep=keep).fit(coloured(), rng=Randomness(0))
    assert len(given) == 1, "a kept generator of these images is not trained again"
    with pytest.raises(InputError, match="keeps a generator of other images or settings"):
        recipe(keep=keep).fit(coloured(), rng=Randomness(0))


def test_directions_are_found_in_the_codes_of_the_named_images_for_a_finished_generator_too(
    tmp_path, pool, monkeypatch
):
    keep = tmp_path / "kept"
    recipe(keep=keep).fit(coloured(), rng=Randomness(0))
    given, plain = [], module.prepare_editing

    def seen(*positional, **options):
        given.append(options["domain"])
        return plain(*positional, **options)

    monkeypatch.setattr(module, "prepare_editing", seen)
    recipe(generator=keep, generator_images=str(pool)).fit(coloured(), rng=Randomness(0))
    recipe(generator=keep).fit(coloured(), rng=Randomness(0))
    assert given[0].shape == (48, 3, LATENT)
    assert given[1] is None


def test_left_out_it_is_the_training_images(monkeypatch):
    given = []

    def stopped(store, *_, **__):
        given.append(store)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fit_autoencoder", stopped)
    with pytest.raises(KeyboardInterrupt):
        recipe().fit(coloured(), rng=Randomness(0))
    assert len(given[0].images) == 40
    assert np.array_equal(given[0].targets.numpy(), np.arange(40) % 2)


def test_images_that_are_no_pool_end_in_one_sentence(tmp_path, pool):
    with pytest.raises(InputError, match="nowhere"):
        recipe(generator_images=str(tmp_path / "nowhere")).fit(coloured(), rng=Randomness(0))
    with pytest.raises(InputError, match="test"):
        recipe(generator_images="optotypes:scenes?count=40&shapes=star,ring&size=16#test").fit(
            coloured(), rng=Randomness(0)
        )
