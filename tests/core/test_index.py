"""The index knows which methods exist, imports none of them, and refuses two of one name."""

import subprocess
import sys

import pytest

from snellen.core import index
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.index import AREAS, MethodEntry, checks, entry, methods, normalise
from snellen.core.method import VERBS
from snellen.core.system import list_systems


class Point:
    """What an installed plugin looks like to importlib.metadata."""

    def __init__(self, name, value):
        self.name, self.value = name, value


@pytest.fixture
def plugins(monkeypatch):
    """Set the entry points of groups; the index is read afresh."""

    def install(**groups):
        monkeypatch.setattr(index, "entry_points", lambda group: groups.get(group.removeprefix("snellen."), ()))
        methods.cache_clear()

    yield install
    monkeypatch.undo()
    methods.cache_clear()


def test_every_area_has_a_verb():
    assert set(AREAS.values()) == set(VERBS)


def test_an_unknown_area_is_refused_with_near_names():
    with pytest.raises(UnknownNameError, match="unknown area 'attack'; did you mean 'attacks'"):
        methods("attack")


@pytest.mark.parametrize("area", AREAS)
def test_targets_load_and_names_are_index_spelling(area):
    for name, row in methods(area).items():
        assert row.name == name == normalise(name)
        assert (row.area, row.load().__name__) == (area, row.target.partition(":")[2])
        for spelling in (name, *row.aliases):
            assert entry(area, spelling) == row


@pytest.mark.parametrize(
    "spelling", ["pgd", "PGD", " pgd ", "projected-gradient-descent", "Projected Gradient_Descent"]
)
def test_found_by_name_and_alias_in_any_spelling(spelling):
    assert entry("attacks", spelling).name == "pgd"


def test_an_unknown_name_says_what_is_known():
    with pytest.raises(UnknownNameError, match=r"unknown attack 'pdg'; did you mean 'pgd'.*\? Known: .*fgsm"):
        entry("attacks", "pdg")
    with pytest.raises(UnknownNameError, match="unknown shift 'pgd'"):
        entry("shifts", "pgd")


def test_listing_imports_no_method():
    code = (
        "import sys; from snellen.core.index import AREAS, methods\n"
        "assert [methods(area) for area in AREAS] and 'pgd' in methods('attacks')\n"
        "assert not {'torch', 'numpy', 'snellen.methods.attacks.pgd', 'snellen.methods.attacks'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plugin_is_found_and_loaded_when_used(plugins):
    plugins(attacks=[Point("square-attack", "collections:OrderedDict")])
    assert entry("attacks", "Square Attack").load().__name__ == "OrderedDict"
    assert {"pgd", "square-attack"} <= set(methods("attacks"))
    assert "square-attack" not in methods("shifts")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([Point("pgd", "a:B")], r"two methods are named 'pgd' in attacks: snellen\.methods\.attacks\.pgd:PGD, a:B"),
        ([Point("new", "a:B"), Point("new", "c:D")], "two methods are named 'new' in attacks: a:B, c:D"),
        ([Point("Fast-Gradient-Sign", "a:B")], "'Fast-Gradient-Sign' names both fgsm and Fast-Gradient-Sign"),
        ([Point("PGD", "a:B")], "'PGD' names both pgd and PGD"),
    ],
)
def test_a_name_or_alias_that_occurs_twice_is_an_error(plugins, points, message):
    plugins(attacks=points)
    with pytest.raises(InputError, match=message):
        methods("attacks")
    assert methods("shifts"), "other areas are not concerned"


def test_an_alias_may_repeat_its_own_name(monkeypatch):
    row = {"target": "a:B", "aliases": ["dual-smoothing"]}
    tables = {"some_system": {"methods": {"scans": {"dual_smoothing": row}}}}
    monkeypatch.setattr(index, "system_tables", lambda: tables)
    methods.cache_clear()
    try:
        assert entry("scans", "dual-smoothing") == MethodEntry(
            name="dual_smoothing", area="scans", target="a:B", aliases=("dual-smoothing",)
        )
    finally:
        methods.cache_clear()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FGSM/CW/DD", "fgsm_cw_dd"),
        (" Dual-Smoothing ", "dual_smoothing"),
        ("CFG for captioning", "cfg_for_captioning"),
    ],
)
def test_normalised_spelling(name, expected):
    assert normalise(name) == expected == normalise(expected)


def test_a_system_may_not_take_the_name_of_another_method_or_check(monkeypatch):
    tables = {"other": {"methods": {"attacks": {"pgd": {"target": "a:B"}}}, "checks": {"clean": {"target": "a:B"}}}}
    monkeypatch.setattr(index, "system_tables", lambda: tables)
    for cached, call in ((methods, lambda: methods("attacks")), (checks, checks)):
        cached.cache_clear()
        try:
            with pytest.raises(InputError, match=r"two .* are named '(pgd|clean)'.*of the system other"):
                call()
        finally:
            cached.cache_clear()


def test_a_damaged_description_of_a_system_is_named(monkeypatch, tmp_path):
    (tmp_path / "systems" / "broken").mkdir(parents=True)
    (tmp_path / "systems" / "broken" / "system.toml").write_text("number = ")
    monkeypatch.setattr(index.package, "root", lambda: tmp_path)
    index.system_tables.cache_clear()
    try:
        with pytest.raises(InputError, match=r"broken/system\.toml: not a system description"):
            index.system_tables()
    finally:
        index.system_tables.cache_clear()


def test_checks_run_in_one_order_cheap_ones_first():
    order = [entry.order for entry in checks().values()]
    assert order == sorted(order)
    assert len(set(order)) == len(order)
    assert next(iter(checks())) == "clean"
    assert all(entry.load().name == name for name, entry in checks().items())


def test_an_unknown_form_of_data_is_refused():
    with pytest.raises(UnknownNameError, match="unknown form of attack 'sounds'"):
        index.form("attack", "sounds")


#: Systems that are a form or subcommand of a verb and no method of an area: the verb, that name and the function.
VERBS_OF_SYSTEMS = {
    "functional_hashing": ("search", "cells", "search"),
    "language_model_annotation": ("label", "concept", "label"),
    "generator_failure": ("scan", "generator", "generator"),
    "worst_case_forget_set": ("forget", "worst-case-forget-set", "worst_case_forget_set"),
}

BUILT = [one for one in list_systems() if one.experiment and one.name not in VERBS_OF_SYSTEMS]


@pytest.mark.parametrize(("system", "reached"), VERBS_OF_SYSTEMS.items())
def test_a_system_with_a_verb_to_itself_is_reached_through_its_description(system, reached):
    verb, form, function = reached
    described = next(one for one in list_systems() if one.name == system)
    assert described.command.startswith(f"snellen {verb} ")
    spellings = {normalise(s) for area in AREAS for e in methods(area).values() for s in (e.name, *e.aliases)}
    assert system not in spellings, "no method is taken for it in silence"
    found = index.commands(verb)[form] if form in index.commands(verb) else index.form(verb, form)
    assert found.target.startswith(f"snellen.systems.{system}.")
    assert found.load().__name__ == function


def test_a_search_of_forget_sets_is_no_unlearning_method():
    with pytest.raises(UnknownNameError, match="unknown unlearning method 'worst-case-forget-set'"):
        entry("forgetting", "worst-case-forget-set")


@pytest.mark.parametrize("system", BUILT, ids=lambda one: one.name)
def test_the_name_of_a_system_finds_a_method_of_it(system):
    found = [
        entry(area, system.name)
        for area in AREAS
        if any(name.startswith(f"{area}.") for name in system.methods)
        and system.name in {normalise(s) for e in methods(area).values() for s in (e.name, *e.aliases)}
    ]
    assert any(f"{one.area}.{one.name}" in system.methods for one in found)


def test_a_kind_that_is_written_in_place_of_its_method_says_how_to_write_it():
    with pytest.raises(UnknownNameError, match=r"'fog' is a kind of corruption.*corruption --kind fog,"):
        index.entry("shifts", "fog")
    with pytest.raises(UnknownNameError, match="--kind bubble --benchmark"):
        index.entry("shifts", "bubble")
