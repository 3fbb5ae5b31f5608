"""Every method and check of the index keeps the promises of its verb, at the settings of its row."""

from pathlib import Path

import pytest

from snellen.core import index
from snellen.core.errors import UnsupportedError
from snellen.core.index import AREAS, MethodEntry, methods
from snellen.core.method import Attack, Editing, Explainer, build
from snellen.testing import (
    check_attack,
    check_certificate,
    check_check,
    check_defect,
    check_description,
    check_edit,
    check_explanation,
    check_forgetter,
    check_generator,
    check_method,
    check_recipe,
    check_scan,
    check_shift,
    check_treatment,
    check_view_attack,
    check_world,
)
from snellen.testing.conformance import small_problem
from tests.method_settings import ATTACKS, CHECKS, METHODS, Row, resolved


def check_refusal_of_classifiers(attack: Attack) -> None:
    """What an attack on models that decide each pixel promises here: it refuses others before it spends anything."""
    classifier, images, labels = small_problem()
    assert attack.missing(classifier) is not None  # type: ignore[attr-defined]
    with classifier.counting() as spent, pytest.raises(UnsupportedError, match="use pgd"):
        attack.attack(classifier, images, labels)
    assert not any(spent().counts().values())


#: The conformance check of each area, beside those of attacks and of explanations, which have two.
CONFORMANCE = {
    "attacks": lambda method: (
        check_view_attack
        if not isinstance(method, Attack)
        else check_attack
        if getattr(method, "takes_classifiers", True)
        else check_refusal_of_classifiers
    ),
    "shifts": lambda method: check_edit if isinstance(method, Editing) else check_shift,
    "certificates": lambda _: check_certificate,
    "explanations": lambda method: check_explanation if isinstance(method, Explainer) else check_description,
    "scans": lambda _: check_scan,
    "recipes": lambda _: check_recipe,
    "treatments": lambda _: check_treatment,
    "forgetting": lambda _: check_forgetter,
    "generation": lambda _: check_generator,
    "synthesis": lambda _: check_generator,
    "worlds": lambda _: check_world,
    "defects": lambda _: check_defect,
}

#: Sizes at which the small problem has both broken and unbroken images.
EPSILONS = {"linf": (0.01, 0.05), "l2": (0.1, 0.5)}

#: Attacks that stay within a size of a norm.
IN_BALLS = [
    attack
    for name, entry in methods("attacks").items()
    if name in ATTACKS
    and {"norm", "epsilon"} <= set((attack := entry.load()).model_fields)
    and attack.takes_classifiers
]

EVERY = [entry for area in AREAS for entry in methods(area).values()]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods")


def row_of(area: str, name: str) -> Row:
    assert name in METHODS[area], f"{area} has a method {name!r} without a row in tests/method_settings.py"
    return METHODS[area][name]


def check_verb(entry: MethodEntry, row: Row, folder: Path) -> None:
    """Run a method at the settings of its row through the conformance of its verb."""
    method = build(entry.area, {"method": entry.name, **resolved(row.parameters, folder)})
    CONFORMANCE[entry.area](method)(method, **resolved(row.given, folder))


def test_every_row_is_of_a_method_or_a_check():
    assert set(METHODS) == set(AREAS)
    for area, rows in METHODS.items():
        assert set(rows) <= set(methods(area)), f"a row of no method of {area}"
    assert set(CHECKS) == set(index.checks())


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: f"{entry.area}.{entry.name}")
def test_method(entry):
    check_method(entry)


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: f"{entry.area}.{entry.name}")
@pytest.mark.filterwarnings("ignore:as many phrases of random words", "ignore:.*classes are the likeliest of fewer")
@pytest.mark.filterwarnings("ignore:the teacher labels no image as")
def test_method_keeps_the_promises_of_its_verb(entry, folder):
    check_verb(entry, row_of(entry.area, entry.name), folder)


@pytest.mark.parametrize(
    ("norm", "epsilon"), [pytest.param(norm, size, id=f"{norm}-{size}") for norm in EPSILONS for size in EPSILONS[norm]]
)
@pytest.mark.parametrize("attack", IN_BALLS, ids=lambda attack: attack.name)
def test_attack_in_a_ball(attack, norm, epsilon):
    check_attack(attack(norm=norm, epsilon=epsilon, **ATTACKS[attack.name].parameters), epsilon=epsilon)


@pytest.mark.parametrize("name", index.checks())
def test_check(name, folder):
    assert name in CHECKS, f"the check {name!r} has no row in tests/method_settings.py"
    row = CHECKS[name]
    check_check(index.checks()[name].load()(**resolved(row.parameters, folder)), **resolved(row.given, folder))
