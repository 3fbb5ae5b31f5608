"""The 39 published systems, their descriptions and their claims."""

import pytest
from pydantic import ValidationError

from snellen.core import system as system_module
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.index import AREAS, methods, normalise
from snellen.core.system import (
    MINIMUM_SEEDS,
    Claim,
    System,
    find_system,
    list_systems,
    load_system,
)

ALL = list_systems()


def make_claim(**changes):
    return Claim(
        **{
            "id": "c1",
            "statement": "s",
            "source": "table 1",
            "metric": "m",
            "direction": ">",
            "threshold": 0.0,
            **changes,
        }
    )


def make_system(**changes):
    return System(
        **{
            "name": "seventh",
            "number": 7,
            "title": "t",
            "acronym": "A",
            "source": "s",
            "area": "attacks",
            "command": "c",
            "summary": "s.",
            "claims": (make_claim(), make_claim(id="c2")),
            **changes,
        }
    )


# -- the descriptions -------------------------------------------------------------------------------------------------


def test_all_are_present():
    assert [system.number for system in ALL] == list(range(1, 40))
    for name in ("title", "acronym", "source"):
        assert len({getattr(system, name) for system in ALL}) == 39


@pytest.mark.parametrize("system", ALL, ids=lambda system: f"{system.number:02d}")
def test_each_is_well_formed(system):
    assert system.area in AREAS
    assert system.command.startswith("snellen ")
    assert system.summary.endswith(".")
    assert system.summary[0].isupper()
    assert "arXiv" in system.source or "doi" in system.source.lower() or "20" in system.source
    for name in system.methods:
        area, _, method = name.partition(".")
        assert method in methods(area)
    assert all(point.isdecimal() and text for point, text in system.acceptance.items())
    assert len({claim.id for claim in system.claims}) == len(system.claims)
    assert bool(system.claims) or system.experiment is None, "an experiment without a claim"


def test_spellings_lead_to_one_system_each():
    spellings = [normalise(system.acronym) for system in ALL]
    assert len(set(spellings)) == 39
    assert not any(spelling.isdecimal() for spelling in spellings)


@pytest.mark.parametrize("system", ALL, ids=lambda system: f"{system.number:02d}")
def test_found_by_number_and_by_acronym(system, monkeypatch):
    monkeypatch.setattr(system_module, "list_systems", lambda: ALL)  # not read from 39 files for each spelling
    acronym = system.acronym
    for name in (
        str(system.number),
        f"{system.number:02d}",
        f" {system.number} ",
        acronym,
        acronym.lower(),
        system.name,
    ):
        assert find_system(name).number == system.number
    for separator in "-_ ":
        messy = acronym.upper().replace("/", separator).replace(" ", separator).replace("-", separator)
        assert find_system(messy).number == system.number


def test_messy_acronyms_are_typed_as_one_word():
    assert find_system("fgsm-cw-dd").number == 10
    assert find_system("worst-case-forget-set").number == 24
    assert find_system("cfg-for-captioning").number == 39
    assert find_system("cns_bench").number == 2


@pytest.mark.parametrize("name", ["0", "40", "", "1.0", "-1"])
def test_an_unknown_number_is_refused(name):
    with pytest.raises(UnknownNameError, match="unknown system"):
        find_system(name)


def test_an_unknown_acronym_suggests_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'medmnist_c'"):
        find_system("medmnist-d")


SYSTEM = """
number = 7
title = "t"
acronym = "A"
source = "s"
area = "attacks"
command = "c"
summary = "s."
uses = ["attacks.pgd"]
[methods.scans.own]
target = "a:B"
[checks.own]
target = "a:C"
order = 5
[acceptance]
1 = "first"
"""

CLAIMS = """
experiment = "a:run"
[budget]
seeds = 6
first_seed = 2000
[[claims]]
id = "c1"
statement = "s"
source = "table 1"
metric = "m"
direction = ">"
threshold = 0.5
"""


@pytest.fixture
def written(tmp_path):
    """Write the two files of a system; gives its folder and the file of its claims."""

    def write(system=SYSTEM, claims=CLAIMS):
        folder = tmp_path / "systems" / "seventh"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "system.toml").write_text(system, encoding="utf-8")
        (tmp_path / "claims.toml").write_text(claims, encoding="utf-8")
        return folder, tmp_path / "claims.toml"

    return write


def test_a_description_is_read_from_two_files(written):
    system = load_system(*written())
    assert (system.name, system.number, system.acceptance) == ("seventh", 7, {"1": "first"})
    assert system.claims == (make_claim(threshold=0.5),)
    assert system.budget.range == range(2000, 2006)
    assert system.methods == ("scans.own", "attacks.pgd")


def test_a_system_without_claims_is_not_built(written):
    folder, claims = written()
    claims.unlink()
    system = load_system(folder, claims)
    assert (system.claims, system.experiment) == ((), None)
    assert system.budget.seeds == MINIMUM_SEEDS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"system": "number = "}, "not a system description"),
        ({"system": SYSTEM.replace('title = "t"', "")}, "title\n  Field required"),
        ({"system": "color = 3" + SYSTEM}, "color\n  Extra inputs are not permitted"),
        ({"system": SYSTEM.replace("number = 7", "number = -7")}, "greater than or equal to 0"),
        ({"claims": CLAIMS.replace('">"', '"≥"')}, "direction"),
        ({"claims": CLAIMS.replace("seeds = 6", "seeds = 2")}, "greater than or equal to 5"),
        ({"claims": CLAIMS.replace("first_seed = 2000", "first_seed = 0")}, "greater than or equal to 1000"),
    ],
)
def test_a_malformed_description_is_refused_with_its_path(written, changes, reason):
    folder, claims = written(**changes)
    with pytest.raises(InputError, match=reason) as raised:
        load_system(folder, claims)
    assert str(raised.value).startswith(f"{claims if 'claims' in changes else folder / 'system.toml'}: ")


def test_a_description_that_is_no_text_is_refused_with_its_path(written):
    folder, claims = written()
    (folder / "system.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"system\.toml: not a system description"):
        load_system(folder, claims)


# -- claims -----------------------------------------------------------------------------------------------------------


def test_the_hash_of_a_claim_changes_with_everything_but_the_reason_of_an_amendment():
    changes = {
        "id": "c3",
        "statement": "other",
        "source": "table 2",
        "metric": "n",
        "baseline": "b",
        "direction": "<",
        "threshold": 0.1,
        "controls": ("k",),
        "scales": ("full",),
        "range": (0.0, 1.0),
        "gates": ("g",),
    }
    assert {*changes, "amended"} == set(Claim.model_fields)
    hashes = {make_claim().hash, *(make_claim(**{name: value}).hash for name, value in changes.items())}
    assert len(hashes) == len(changes) + 1
    assert make_claim(amended="typing error").hash == make_claim().hash


def test_the_hash_of_all_claims_knows_their_number_and_order():
    one, two = make_claim(), make_claim(id="c2")
    variants = [(), (one,), (two,), (one, two), (two, one)]
    assert len({make_system(claims=claims).claims_hash for claims in variants}) == len(variants)
    with pytest.raises(ValidationError):
        one.threshold = -1.0


def headline(*claims, untested=""):
    return {"statement": "It works.", "claims": claims, "untested": untested}


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (headline("c1", untested="Needs people."), "either the claims that test it, or why none does"),
        (headline(), "either the claims that test it, or why none does"),
        (headline("c3"), "names the claim c3, which is not there"),
    ],
)
def test_a_headline_is_tested_by_claims_that_are_there_or_says_why_not(one, reason):
    with pytest.raises(ValidationError, match=reason):
        make_system(headlines=(one,))


def test_headlines_stand_beside_the_claims(written):
    folder, claims = written()
    beside = claims.with_name("headlines.toml")
    beside.write_text('[[headlines]]\nstatement = "It works."\nclaims = ["c1"]\n', encoding="utf-8")
    assert [one.claims for one in load_system(folder, claims).headlines] == [("c1",)]
    beside.write_text("headlines = 3", encoding="utf-8")
    with pytest.raises(InputError, match="not a system description") as raised:
        load_system(folder, claims)
    assert str(raised.value).startswith(f"{beside}: ")


def test_every_system_has_headlines_and_says_which_it_tests():
    for system in ALL:
        assert len(system.headlines) >= 4, system.name
        assert any(one.claims for one in system.headlines), system.name


def test_a_budget_is_bounded(written):
    folder, claims = written(claims=CLAIMS.replace("seeds = 6", "seeds = 6\nminutes = 100"))
    with pytest.raises(InputError, match="a seed takes at most 15 minutes and a record 120; got 6 seeds of 100"):
        load_system(folder, claims)
