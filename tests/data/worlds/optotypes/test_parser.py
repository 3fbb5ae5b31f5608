import pytest

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.described import Described, DescribedObject
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.vocabulary import BLANK, forms, values


@pytest.mark.parametrize("slot", ["shape", "colour", "texture", "size", "tilt", "place"])
def test_every_form_of_an_objects_factor_is_read(slot):
    for value in values(slot):
        for form in forms(slot, value):
            text = {"shape": f"a {form}", "place": f"an object {form}"}.get(slot, f"a {form} object")
            assert parse(text) == Described(objects=(DescribedObject(**{slot: value}),)), text
    for value in values(f"{slot} after") if slot in ("texture", "tilt") else ():
        for form in forms(f"{slot} after", value):
            assert parse(f"a thing {form}").objects == (DescribedObject(**{slot: value}),)


@pytest.mark.parametrize("slot", ["background", "lighting"])
def test_every_form_of_a_scenes_factor_is_read(slot):
    for value in values(slot):
        for form in forms(slot, value):
            assert parse(f"a star {form}") == parse(f"{form}, there is a star")
            assert getattr(parse(form), slot) == value


def test_every_form_of_styles_nuisances_and_relations_is_read():
    for value in values("style"):
        for form in forms("style", value):
            for frame in (*forms("picture before", "before"), *forms("picture after", "after")):
                assert parse(frame.replace(BLANK, form)).style == (None if value == "picture" else value)
    for value in values("nuisance"):
        for noun in forms("nuisance", value):
            for before in forms("before nuisance", value):
                assert parse(f"{before} {noun}").nuisances.degree(value) == "some"
                for degree in values("degree"):
                    for form in forms("degree", degree):
                        assert parse(f"{before} {form} {noun}").nuisances.degree(value) == degree
            for before in forms("before nuisance", "absent"):
                assert parse(f"{before} {noun}").nuisances.degree(value) == "absent"
    for value in values("relation"):
        for form in forms("relation", value):
            assert parse(f"a star {form} a ring").relations[0].relation == value
        for form in forms("offset", value):
            assert parse(f"a ring with a star {form}").relations == parse(f"a ring. A star {value} the ring.").relations


@pytest.mark.parametrize(
    "text",
    [
        "A SMALL, RED, STRIPED STAR ON GRASS IN THE TOP LEFT CORNER",
        "small red striped star in top-left corner on grass",
        "On a lawn; in the upper left corner: a little scarlet star with stripes!",
        "the picture shows the small striped red star at the top left on grass",
        "There is a small red star with stripes on grass. The red star is at the top left.",
        "At the top left a small red (striped) star, on grass",
    ],
)
def test_case_articles_marks_and_order_do_not_matter(text):
    star = DescribedObject(shape="star", colour="red", texture="striped", size="small", place="top left")
    assert parse(text) == Described(objects=(star,), background="grass")


def test_american_spelling_and_any_quotation_marks_are_read():
    assert parse("a star in the center against gray") == parse("a star in the centre against grey")
    for text in ("with the word “go”", "with the word 'GO'", 'with the text "Go"'):
        assert parse(text).lettering == "GO"


def test_a_place_and_a_relation_that_share_a_word_are_distinguished():
    said = parse("a star at the top left of a ring")
    assert (said.objects[0].place, said.relations[0].relation) == ("top", "left of")
    assert parse("a star at the top, a left-tilted cross").objects[1].tilt == "tilted left"


def test_definite_objects_are_those_described():
    said = parse("A red star and a red ring. The star lies above the ring. A cross is below the red ring.")
    assert [one.shape for one in said.objects] == ["star", "ring", "cross"]
    assert [(one.first, one.relation, one.second) for one in said.relations] == [(0, "above", 1), (1, "above", 2)]
    assert len(parse("a star, another star and one sees the first object").objects) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "says nothing"),
        (" , the", "says nothing"),
        ("a rde star", "the word 'rde' is not known.*did you mean 'red'"),
        ("a star on gras", "'gras' is not known.*did you mean 'grass'"),
        ("a qqqqqq", "'qqqqqq' is not known in captions of scenes. It came in"),
        ("a star in grass", "begins with 'in grass'; did you mean 'in grain'|begins with 'in grass'"),
        ("a red blue star", "colour is given twice and differently: 'red' and 'blue'"),
        ("a star on grass on sand", "background is given twice"),
        ("in slight fog, in heavy fog", "fog is given twice"),
        ("a small red on grass", "after 'small red' comes no object"),
        ("a small red", "after 'small red' comes no object"),
        ("an upright ring", "a ring looks the same however it is turned"),
        ("a ring standing upright", "a ring looks the same however it is turned"),
        ("with stripes, a star", "'with stripes' comes before any object"),
        ("left of a star", "'left of' comes before any object"),
        ("a star left of", "no object comes after 'left of'"),
        ("a ring. On the left.", "no object comes after 'on left'"),
        ("a star to its left", "needs two objects"),
        ("nothing and a star", "says that there is nothing, and describes an object"),
        ("a star and a star. The star is above the star.", "'the star' may be any of 2 objects"),
        ("a star. The star is above the star.", "cannot be above itself"),
        ("a star above a ring. The star is left of the ring.", "both above and left of"),
        ("a star. The third object is above the star", "'third object' was not mentioned before; there are 1"),
        ('with the word "NO!"', "lettering"),
        ('with the word ""', "quoted text is empty"),
        ("a star at the top on the left. a ring", "no object comes after 'on left'"),
        (", ".join(["a star"] * 9), "more than 8 objects"),
    ],
)
def test_what_is_not_understood_is_named(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


def test_long_nonsense_is_refused_without_delay():
    with pytest.raises(InputError, match="no phrase known"):
        parse("at the top " * 20_000 + "left of of")
    with pytest.raises(InputError, match="is not known"):
        parse("x" * 1_000_000)
