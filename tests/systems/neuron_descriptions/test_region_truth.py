"""What regions of scenes show, and the same in sentences and back."""

import numpy as np
import pytest
import torch

from snellen.data.worlds.optotypes.scene import Lettering, Scene, SceneObject
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.neuron_descriptions.drawn_units import drawn_units
from snellen.systems.neuron_descriptions.region_sentences import region_sentences, said_attributes
from snellen.systems.neuron_descriptions.region_truth import (
    KINDS,
    VALUES,
    FactorMaps,
    attributes_of_units,
    region_attributes,
    region_shares,
)
from snellen.systems.neuron_descriptions.varied_letters import varied_letters

SIZE = 32


def scene(**changes):
    star = SceneObject(shape="star", colour="red", texture="striped", radius=0.6)
    return Scene(objects=(star,), background="grass", **changes)


def test_maps_say_what_is_where():
    text = Lettering(text="AB", y=0.8, height=0.25)
    maps = FactorMaps.of_scenes([scene(), scene(lettering=text)], SIZE)
    plain, written = (maps.shares[row].float() / 255 for row in range(2))
    for value in ("star", "red", "striped"):
        assert float(maps.of(value)[0, 16, 16]) == 1.0
        assert float(maps.of(value)[0, 0, 0]) == 0.0
    assert float(maps.of("grass")[0, 0, 0]) == 1.0
    assert not bool(plain[VALUES.index("letters")].any())
    letters = written[VALUES.index("letters")]
    assert bool(letters[26:31].any())
    assert not bool(letters[:22].any())
    # Each place is one object, ground or letters, and nothing twice.
    kinds = [KINDS["colour"], KINDS["ground"], KINDS["letters"]]
    sums = torch.stack([written[[VALUES.index(value) for value in values]].sum(0) for values in kinds]).sum(0)
    assert float((sums - 1).abs().max()) < 0.01
    assert maps.occurring()["shape"] == ("star",)
    assert maps.occurring()["letters"] == ("letters",)


def test_regions_are_reported_by_what_most_of_them_show():
    maps = FactorMaps.of_scenes([scene(), scene(lettering=Lettering(text="AB", y=0.8, height=0.25))], SIZE)
    masks = torch.zeros(2, SIZE, SIZE)
    masks[:, 12:20, 12:20] = 1
    both = torch.tensor([0, 1])
    assert region_attributes(region_shares(maps, both, masks)) == {"star", "red", "striped"}
    masks = torch.zeros(2, SIZE, SIZE)
    masks[:, :4, :4] = 1
    assert region_attributes(region_shares(maps, both, masks)) == {"grass"}
    masks = (maps.shares[[1, 1], VALUES.index("letters")] > 200).float()
    assert region_attributes(region_shares(maps, torch.tensor([1, 1]), masks)) == {"letters"}
    empty = region_shares(maps, both, torch.zeros(2, SIZE, SIZE))
    assert bool(empty.isnan().all())
    assert region_attributes(empty) == frozenset()
    one_empty = torch.stack([torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)])
    assert region_attributes(region_shares(maps, both, one_empty)) == {"grass"}


def test_a_value_that_regions_do_not_share_is_not_reported():
    shares = torch.zeros(2, len(VALUES))
    shares[:, VALUES.index("star")] = 1.0
    shares[0, VALUES.index("red")] = shares[1, VALUES.index("blue")] = 1.0
    shares[:, VALUES.index("plain")] = 0.55
    shares[:, VALUES.index("dotted")] = 0.45
    assert region_attributes(shares) == {"star"}
    shares[:, VALUES.index("star")] = 0.0
    assert region_attributes(shares) == {"object"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"red", "star", "striped"},
        {"cross", "plain"},
        {"blue"},
        {"dotted"},
        {"letters"},
        {"grass"},
        {"object"},
        {"ground"},
    ],
)
def test_sentences_say_what_they_are_made_of_and_nothing_else(attributes):
    said = region_sentences(attributes, count=40, rng=np.random.default_rng(0))
    assert len(set(said)) > 1
    assert {said_attributes(sentence) for sentence in said} == {frozenset(attributes)}


def test_there_are_about_sixty_words():
    words = set()
    rng = np.random.default_rng(1)
    for value in VALUES:
        for sentence in region_sentences({value}, count=60, rng=rng):
            words.update(sentence.split())
    assert 45 < len(words) < 75


def test_drawn_units_find_what_they_follow():
    scenes = Scenes(count=150, size=SIZE, lettering_share=0.4, shapes=("star", "ring"), captions=False)
    maps = FactorMaps.of_scenes(scenes.scenes("train"), SIZE)
    parts = drawn_units(maps, 70, exemplars=5, share=0.99, seed=0)
    assert [part.units for part in parts] == [64, 6]
    assert {part.maps.shape[-1] for part in parts} == {16, 8}
    told = [one for part in parts for one in attributes_of_units(part, maps)]
    said = {value for one in told for value in one}
    assert not said & {"circle", "heart", "arrow"}
    assert {"letters", "star", "ring"} <= said
    assert len(said & set(KINDS["colour"])) > 4
    again = drawn_units(maps, 70, exemplars=5, share=0.99, seed=0)
    assert all(torch.equal(one.maps, other.maps) for one, other in zip(parts, again, strict=True))


def test_text_is_moved_and_stays_inside():
    scenes = Scenes(count=60, size=SIZE, lettering_share=0.5, captions=False).scenes("train")
    varied = varied_letters(scenes, np.random.default_rng(0))
    assert [one.lettering is None for one in varied] == [one.lettering is None for one in scenes]
    written = [one.lettering for one in varied if one.lettering is not None]
    assert len({one.height for one in written}) == len(written)
    assert len({one.colour for one in written}) > 2
    for one in written:
        half = one.height / 7 * (6 * len(one.text) - 1) / 2
        assert abs(one.y) + one.height / 2 <= 1 + 1e-6
        assert abs(one.x) + half <= 1 + 1e-6
