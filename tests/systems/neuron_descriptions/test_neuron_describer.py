"""The recipe of a describer: what it learns from, and what it refuses."""

import pytest
import torch

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError
from snellen.core.method import Recipe
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.neuron_descriptions.describer import describer_of
from snellen.systems.neuron_descriptions.recipe import NeuronDescriber
from snellen.systems.neuron_descriptions.region_sentences import said_attributes
from snellen.training.fitting.frame import Fitting
from snellen.training.plan import TrainingPlan
from snellen.verbs.model_card import model_card

PLAN = TrainingPlan(epochs=1, batch_size=64, learning_rate=3e-3)
SMALL = NeuronDescriber(units=16, exemplars=4, levels=("body.2",), plan=PLAN, language_plan=PLAN)


@pytest.fixture(scope="module")
def scenes():
    return Scenes(count=60, size=32, lettering_share=0.4, captions=False).images(split="train")


@pytest.fixture(scope="module")
def units(scenes):
    return SMALL.described_units(scenes, Randomness(0))


def test_units_are_described_by_what_their_regions_show(units):
    assert len(units.sentences) > 30  # the drawn ones, and most of the 32 of the encoder's level
    for told in units.sentences:
        assert len(told) == 3
        assert len({said_attributes(sentence) for sentence in told}) == 1
    assert units.regions.vectors.shape[1:] == (4, 32)


@pytest.mark.covers("17.9")
def test_an_artifact_is_trained_that_names_its_encoder_and_can_be_made_again(scenes, units, tmp_path):
    assert isinstance(SMALL, Recipe)
    made = SMALL.fit(scenes, rng=Randomness(0), checkpoint=tmp_path / "training.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "training-language.safetensors",
        "training.safetensors",
    ]
    assert not any("encoder" in name for name in made.tensors)
    assert made.card.kind == "captioner"
    assert made.card.architecture["encoder"] == "bundled:scene-cnn"
    assert made.card.lineage.recipe["units used"] == len(units.sentences)
    again = SMALL.fit_units(units, Fitting(scenes, Randomness(0)))
    assert all(torch.equal(value, again.tensors[name]) for name, value in made.tensors.items())
    describer = describer_of(made, source="made")
    assert describer.encoder.classifier.identity == made.card.lineage.parent
    assert not describer.encoder.classifier.module.training
    card = model_card(made.card)
    assert "pipeline_tag: image-to-text" in card
    assert "snellen explain neuron-descriptions MODEL IMAGES --describer artifact:FOLDER" in card
    assert "Classifies" not in card
    assert "snellen audit" not in card


def test_what_it_cannot_learn_from_is_reported(scenes):
    with pytest.raises(InputError, match="test images"):
        SMALL.fit(Scenes(count=60, size=32, captions=False).images(split="test"), rng=Randomness(0))
    photos = load_arrays(torch.zeros(60, 32, 32, dtype=torch.uint8).numpy())
    with pytest.raises(InputError, match="no set of scenes"):
        SMALL.fit(photos, rng=Randomness(0))
    with pytest.raises(InputError, match="a unit alone takes 4"):
        SMALL.fit(scenes.select([0, 1, 2]), rng=Randomness(0))
    lineage = Lineage(recipe={}, data="-", seed=0, code_version="0")
    base = Artifact({}, Card(name="base", kind="captioner", architecture={"name": "neuron_describer"}, lineage=lineage))
    with pytest.raises(InputError, match="starts from initial weights and takes no base"):
        SMALL.fit(scenes, base=base, rng=Randomness(0))
