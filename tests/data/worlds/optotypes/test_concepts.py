import pytest

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.concepts import concepts, concepts_of, distractors, is_true
from snellen.data.worlds.optotypes.described import Described, DescribedObject
from snellen.data.worlds.optotypes.ontology import VALUES
from snellen.data.worlds.optotypes.vocabulary import bare_words, forms

FACTORS = ("shape", "colour", "texture", "size", "background", "style")


@pytest.mark.parametrize("factor", FACTORS)
def test_concepts_tell_every_two_classes_apart_and_name_none(factor):
    known = concepts(factor)
    patterns = {value: tuple(value in concept.values for concept in known) for value in VALUES[factor]}
    assert len(set(patterns.values())) == len(VALUES[factor])
    names = {word for value in VALUES[factor] for form in forms(factor, value) for word in bare_words(form)}
    for concept in (*known, *distractors()):
        assert concept.values <= set(VALUES[factor])
        leaked = set(bare_words(concept.phrase)) & (names - {"in", "on", "at", "of", "front"})
        assert not leaked, concept.phrase


def test_phrases_are_unique_and_distractors_are_true_of_nothing():
    phrases = [concept.phrase for factor in FACTORS for concept in concepts(factor)]
    phrases += [concept.phrase for concept in distractors()]
    assert len(set(phrases)) == len(phrases)
    assert len(distractors()) >= 20
    scene = Described(objects=(DescribedObject(shape="star"),), background="water")
    assert [is_true(concept, scene) for concept in distractors()] == [False] * len(distractors())


def test_a_concept_is_true_of_any_object_or_of_the_scene():
    hole = next(concept for concept in concepts("shape") if concept.phrase == "a hole in the middle")
    waves = next(concept for concept in concepts("background") if concept.phrase == "waves")
    star, ring = DescribedObject(shape="star"), DescribedObject(shape="ring")
    assert is_true(hole, Described(objects=(star, ring))) is True
    assert is_true(hole, Described(objects=(star,))) is False
    assert is_true(hole, Described(objects=(star, DescribedObject()))) is None
    assert is_true(hole, Described(objects=())) is False
    assert is_true(hole, Described()) is None
    assert is_true(waves, Described(background="water")) is True
    assert is_true(waves, Described(background="sand")) is False
    assert is_true(waves, Described()) is None


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown factor with concepts 'tilt'"):
        concepts("tilt")
    with pytest.raises(InputError, match="unknown shape 'sta'; did you mean 'star'"):
        concepts_of("shape", "sta")
