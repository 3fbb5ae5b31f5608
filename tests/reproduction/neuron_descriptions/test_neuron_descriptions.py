"""The experiment of system 17: figures that follow from known sentences and units, and all of its stages."""

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.reproduction.neuron_descriptions import description, editing
from snellen.reproduction.neuron_descriptions.baselines import single_concepts
from snellen.reproduction.neuron_descriptions.description import scored
from snellen.reproduction.neuron_descriptions.experiment import neuron_descriptions
from snellen.reproduction.neuron_descriptions.materials import SHAPES, World, varied_scenes
from snellen.reproduction.neuron_descriptions.measure import zeroed_figures
from snellen.reproduction.neuron_descriptions.networks import PLANTED, detector_network
from snellen.reproduction.sample import mean_of
from snellen.systems.neuron_descriptions.ablation import Unit
from snellen.systems.neuron_descriptions.describing import Sentence
from snellen.systems.neuron_descriptions.exemplars import find_exemplars
from snellen.systems.neuron_descriptions.region_truth import KINDS, VALUES
from snellen.training.acceleration import seeded


def sentence(text):
    return Sentence(text, -1.0, -2.0, -0.6)


def test_figures_of_sentences():
    said = [sentence("red stars"), sentence("red stars"), None, sentence("letters")]
    truth = [frozenset({"red", "star"}), frozenset({"blue"}), frozenset({"red"}), frozenset()]
    found = scored(said, truth)
    assert found["precision"] == pytest.approx(2 / 4)
    assert found["recall"] == pytest.approx(2 / 4)
    assert found["distinct"] == pytest.approx(1 / 2)  # of the two units that show anything and are described
    assert found["attributes"] == 2.0


@pytest.fixture(scope="module")
def world():
    return World.of(varied_scenes(40, "test", seed=1, purpose="test"), name="test")


class Red(nn.Module):
    """One unit that is red where nothing else is, and one that is the opposite of bright."""

    def forward(self, images):
        red, green, blue = images.unbind(1)
        return torch.stack([red - torch.maximum(green, blue), 1 - images.amax(1)], 1)


def test_the_single_concept_is_the_one_with_the_highest_overlap(world):
    network = nn.Sequential(Red(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(32, 32)))
    found, _ = find_exemplars(classifier, world.images, ["0"], count=3)
    names = single_concepts(classifier, world.pixels, world.maps, found)["0"]
    assert names[0] == "red"
    # By hand, over all images at once.
    masks = network[0](world.pixels) >= found["0"].thresholds[:, None, None]
    overlap = []
    for value in VALUES:
        concept = world.maps.of(value) >= 0.5
        both, either = (masks[:, 1] & concept).sum(), (masks[:, 1] | concept).sum()
        overlap.append(float(both / either))
    assert names[1] == VALUES[int(np.argmax(overlap))]


def test_planted_units_fire_where_their_value_is(world):
    classifier = detector_network(world.pixels, world.maps, epochs=1, rng=Randomness(0), progress=Silent())
    maps = classifier.features(world.pixels, PLANTED)
    assert maps.shape == (40, len(VALUES), 16, 16)
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1
    plain = [row for row, scene in enumerate(world.scenes) if scene.lettering is None]
    colours = [VALUES.index(colour) for colour in KINDS["colour"]]
    strongest = maps[plain][:, colours].amax((2, 3)).argmax(1)
    true = torch.tensor([KINDS["colour"].index(world.scenes[row].objects[0].colour) for row in plain])
    assert float((strongest == true).double().mean()) > 0.8


def test_letters_are_those_of_the_class_on_half_of_the_training_images_and_wrong_in_the_test():
    train = editing._lettered(20, "train", 3)
    written = [(scene.objects[0].shape, scene.lettering.text) for scene in train if scene.lettering is not None]
    assert len(written) == 10
    assert all(shape.upper().startswith(text) for shape, text in written)
    plain = editing._scenes(12, "test", 3)
    wrong = editing._written(plain, "conflicting", "test", 3)
    for before, after in zip(plain, wrong, strict=True):
        assert not before.objects[0].shape.upper().startswith(after.lettering.text)
        assert after.model_copy(update={"lettering": None}) == before


def test_a_planted_unit_is_named_right_when_its_own_value_is_said(monkeypatch):
    """A describer that says the values of shapes alone, and a constant that is right for one unit."""
    occurring = [value for value in VALUES if value not in KINDS["shape"] or value in SHAPES]

    class Asked:
        images = pixels = maps = None

        def regions(self, found, describer):
            return self

        def of(self, units):
            assert [VALUES[unit] for unit in units] == occurring
            return self

    class Says:
        def describe(self, regions, *, objective, weight, width):
            known = SHAPES if objective == "rerank" else ()
            return [sentence(f"a {value}" if value in known else "various things") for value in occurring]

    monkeypatch.setattr(description.World, "of", lambda *_, **__: Asked())
    monkeypatch.setattr(description, "detector_network", lambda *_, **__: None)
    monkeypatch.setattr(description, "find_exemplars", lambda *_, **__: ({PLANTED: None}, []))
    monkeypatch.setattr(description, "attributes_of_units", lambda *_: [frozenset({value}) for value in VALUES])
    sizes = {"epochs": 1, "probing": 8, "beams": 1, "seed": 0}
    found = description.planted_units(Says(), [("red things",)], **sizes, rng=Randomness(0), progress=Silent())
    assert found["planted.count"] == len(occurring) == 25
    assert mean_of(found["planted.right"]) == pytest.approx(len(SHAPES) / 25)
    assert mean_of(found["planted.likelihood"]) == 0
    assert mean_of(found["planted.constant"]) == pytest.approx(1 / 25)
    assert mean_of(found["planted.pure"]) == 1
    assert found["planted.precision"] == pytest.approx(len(SHAPES) / 25)


@pytest.mark.covers("17.12")
def test_what_is_zeroed_is_chosen_on_validation_images_and_stands_beside_its_controls(monkeypatch):
    with seeded(1, torch.device("cpu")):  # weights with which every unit has some mass
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, len(SHAPES)))
    classifier = Classifier(network, class_names=SHAPES, preparation=Preprocessing(size=(32, 32)))
    gains, asked = (0.05, 0.1, 0.4, 0.3, 0.2, 0.0), []

    class Says:
        def describe(self, regions, *, width):
            return [sentence("white letters") if unit in (1, 3) else sentence("red stars") for unit in range(6)]

    def accuracy(edited, pixels, labels):
        hidden = edited.features(torch.full((1, 3, 32, 32), 0.7), "0")
        silent = tuple(unit for unit in range(6) if not bool(hidden[:, unit].any()))
        asked.append((len(pixels), silent))
        return sum(gains[unit] for unit in silent)

    monkeypatch.setattr(editing, "shape_network", lambda *_, **__: classifier)
    monkeypatch.setattr(editing, "LAYERS", ("0",))
    monkeypatch.setattr(editing, "_accuracy", accuracy)
    monkeypatch.setattr(editing.World, "regions", lambda *_: None)
    sizes = {"scenes": 8, "epochs": 1, "validation": 24, "tests": 18, "beams": 1, "seed": 0}
    found = editing.edited_network(Says(), **sizes, rng=Randomness(0), progress=Silent())
    # Candidates, then all units, each alone on validation images; everything after that on test images.
    assert asked[:8] == [(24, (unit,)) for unit in (1, 3, *range(6))]
    tested = [silent for count, silent in asked[8:] if count == 18]
    assert len(tested) == len(asked) - 8
    assert tested[:9] == [()] * 3 + [(1, 3)] * 3 + [(2, 3)] * 3
    drawn = tested[9:24]
    assert all(silent and not set(silent) & {1, 3} for silent in drawn)
    assert len(set(drawn)) > 1
    assert found["edit.units"] == 2
    assert found["edit.described.worst"] == pytest.approx(0.4)
    assert found["edit.sort_all.worst"] == pytest.approx(0.7)
    assert found["edit.random.worst"] == pytest.approx(np.mean([sum(gains[unit] for unit in one) for one in drawn]))
    assert [found[f"edit.curve.described.{count}"] for count in (0, 1, 2, 32)] == pytest.approx([0, 0.3, 0.4, 0.4])
    assert [found[f"edit.curve.sort_all.{count}"] for count in (0, 1, 2)] == pytest.approx([0, 0.4, 0.7])


@pytest.mark.covers("17.12")
def test_all_stages_run_and_every_figure_that_a_claim_needs_is_there():
    found = neuron_descriptions("smoke", 0, Silent())
    assert all(np.isfinite(mean_of(value)) for value in found.values())
    for claim in find_system("17").claims:
        if "small" not in claim.scales:
            continue
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or f"smoke.{name}" in found, name
    # The edit stands beside its two controls, at as many units.
    for way in ("before", "described", "random", "sort_all"):
        groups = [found[f"smoke.edit.{way}.{group}"] for group in ("none", "own", "wrong")]
        assert found[f"smoke.edit.{way}.worst"] <= min(groups) + 1e-9
    for count in editing.COUNTS:
        assert f"smoke.edit.curve.described.{count}" in found
        assert f"smoke.edit.curve.sort_all.{count}" in found
    assert set(SHAPES) < set(VALUES)


def test_how_many_units_are_zeroed_is_chosen_on_other_images():
    class Sides(nn.Module):
        """Class 1 where the sum of two units is above one half: unit 0 sees the right half, unit 1 the left one."""

        def __init__(self) -> None:
            super().__init__()
            self.units = nn.Identity()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            halves = images.mean((1, 2)).unflatten(1, (2, -1)).mean(2).flip(1)
            sums = self.units(halves[:, :, None, None]).flatten(1).sum(1)
            return torch.stack([0.5 - sums, sums - 0.5], 1)

    def side(left: float, right: float) -> torch.Tensor:
        return torch.cat([torch.full((4, 3, 8, 4), left), torch.full((4, 3, 8, 4), right)], 3)

    classifier = Classifier(Sides(), class_names=("none", "left"), preparation=Preprocessing(size=(8, 8)))
    order = [Unit("units", 0), Unit("units", 1)]
    labels = torch.ones(4, dtype=torch.int64)
    # Where the left half is bright, zeroing the first unit changes nothing, and zeroing both loses everything.
    bright = editing.Tests({"none": side(1.0, 0.0), "own": side(1.0, 0.0)}, labels)
    # Where the right half misleads, the first unit is to be zeroed.
    misled = editing.Tests({"none": side(0.0, 1.0), "own": side(0.0, 1.0)}, torch.zeros(4, dtype=torch.int64))
    kept = zeroed_figures(classifier, order, choosing=bright, test=misled)
    assert (kept["count"], kept["before"], kept["chosen"], kept["all"]) == (0, 0, 0, 1)
    freed = zeroed_figures(classifier, order, choosing=misled, test=bright)
    assert (freed["count"], freed["before"], freed["chosen"], freed["all"]) == (1, 1, 1, 0)
    assert (freed["none_before"], freed["none"]) == (1, 1)
