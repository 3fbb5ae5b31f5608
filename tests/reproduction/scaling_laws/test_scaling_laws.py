"""The experiment's parts: what the generator never saw, nested sets of the world, and figures of every claim."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, SHAPES
from snellen.reproduction.sample import Sample
from snellen.reproduction.scaling_laws.experiment import scaling_laws
from snellen.reproduction.scaling_laws.materials import UNKNOWN, shapes


@pytest.fixture(scope="module")
def figures():
    return scaling_laws("smoke", 0, Silent())


def test_the_world_has_as_many_of_each_class_and_of_two_that_the_generator_never_saw():
    images = shapes("train", 5)
    assert images.class_names == (*SHAPES, *UNKNOWN)
    assert not set(SHAPES) & set(UNKNOWN)
    assert np.bincount(images.labels).tolist() == [5] * 8
    assert shapes("train", 3).ids == images.ids[:24]
    for name, text in zip(
        (images.class_names[label] for label in images.labels), images.column("caption"), strict=True
    ):
        assert isinstance(text, str)
        assert text
        assert name in images.class_names


def test_the_shifted_test_set_shows_other_backgrounds():
    texts = " ".join(map(str, shapes("tune", 5, shifted=True).column("attributes")))
    assert '"water"' in texts or '"night"' in texts
    assert not any(f'"background":"{name}"' in texts.replace(" ", "") for name in BACKGROUNDS)


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    system = find_system("scaling_laws")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    for name in ("guided.loss", "captioned.loss", "oracle.loss", "few.mixed.loss", "few.augmented.loss"):
        assert isinstance(figures[name], Sample)
        assert len(figures[name].values) == len(figures["real.loss"].values) == 24, "paired, image by image"


def test_the_full_scale_says_what_it_takes():
    with pytest.raises(InputError, match="snellen synthesize plan DATA --generator diffusers:FOLDER"):
        scaling_laws("full", 0, Silent())
