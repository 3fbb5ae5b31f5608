import pytest

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.described import (
    DETAILS,
    FACTORS,
    Described,
    DescribedNuisances,
    DescribedObject,
    DescribedRelation,
    select,
)
from snellen.data.worlds.optotypes.truth import holds
from tests.data.worlds.optotypes.caption_scenes import descriptions


def test_all_factors_keep_all_and_fewer_keep_less():
    for said in descriptions(200):
        assert select(said, "complete") == select(said, FACTORS) == said
        assert select(select(said, "natural"), "full") == select(said, "natural")
        for detail in DETAILS:
            assert holds(select(said, detail), said)
        assert select(said, ()) == Described()


def test_what_goes_without_saying_is_left_out_of_natural_descriptions():
    usual = DescribedObject(shape="star", texture="plain", size="medium", tilt="upright", place="centre")
    relations = tuple(
        DescribedRelation(first=first, relation="above", second=second) for first, second in ((0, 1), (0, 2), (1, 2))
    )
    said = Described(objects=(usual,) * 3, relations=relations, lighting="bright", style="photo", background="grey")
    assert select(said, "natural") == Described(
        objects=(DescribedObject(shape="star", place="centre"),) * 3,
        relations=(relations[0], relations[2]),
        background="grey",
    )


def test_absences_are_distinguished_from_presences():
    said = Described(objects=(), nuisances=DescribedNuisances(fog="absent", rain="slight"), lettering="")
    assert select(said, ["absences"]) == Described(nuisances=DescribedNuisances(fog="absent"), lettering="")
    assert select(said, ["nuisances", "lettering", "shape"]) == Described(
        objects=(), nuisances=DescribedNuisances(rain="slight")
    )


def test_unknown_factors_are_named():
    with pytest.raises(InputError, match="unknown factor of captions 'shapes'"):
        select(Described(), ["shapes"])
