"""Every method of the index keeps the promises of its verb."""

import pytest

from snellen.core.index import AREAS, methods
from snellen.core.method import Attack, Editing, Explainer
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.testing import (
    check_attack,
    check_defect,
    check_edit,
    check_explanation,
    check_method,
    check_shift,
    check_world,
)
from snellen.testing.conformance import small_problem

#: Sizes at which the small problem has both broken and unbroken images.
EPSILONS = {"linf": (0.01, 0.05), "l2": (0.1, 0.5)}

EVERY = [entry for area in AREAS for entry in methods(area).values()]


#: Smaller budgets of the dear attacks: what they promise does not depend on how long they search.
BUDGETS = {"steps": 20, "searches": 4, "queries": 150, "budget": 300, "target_classes": 3}


def affordable(attack):
    """The fields of an attack that say how long it searches, in the small."""
    cheap = {"fgsm", "pgd"}
    return {} if attack.name in cheap else {k: v for k, v in BUDGETS.items() if k in attack.model_fields}


def of_area(area):
    return [pytest.param(entry.load(), id=name) for name, entry in methods(area).items()]


#: Those on images; attacks on the camera have tests of their own.
ATTACKS = [attack for attack in of_area("attacks") if isinstance(attack.values[0](), Attack)]


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: f"{entry.area}.{entry.name}")
def test_method(entry):
    check_method(entry)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_with_its_defaults(attack):
    check_attack(attack(**affordable(attack)))


@pytest.mark.parametrize(
    ("norm", "epsilon"), [pytest.param(norm, size, id=f"{norm}-{size}") for norm in EPSILONS for size in EPSILONS[norm]]
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_in_a_ball(attack, norm, epsilon):
    parameters = {"norm": norm, "epsilon": epsilon}
    if not set(parameters) <= set(attack.model_fields):
        pytest.skip("not an attack in a norm ball")
    check_attack(attack(**parameters, **affordable(attack)), epsilon=epsilon)


@pytest.mark.parametrize("shift", of_area("shifts"))
def test_shift_with_its_defaults(shift):
    method = shift()
    check_edit(method) if isinstance(method, Editing) else check_shift(method)


#: Small budgets; what a stage loads is left out, and grey takes the place of inpainting on noise.
EXPLAINED = {
    "partition_shap": {"budget": 30},
    "rise": {"masks": 40},
    "visual_language": {
        "attribution": {"method": "partition_shap", "budget": 30, "fill": "grey"},
        "segmenter": "grabcut", "captioner": None, "fill": "grey",
    },
}  # fmt: skip


@pytest.mark.parametrize("explanation", of_area("explanations"))
def test_explanation(explanation):
    method = explanation(**EXPLAINED.get(explanation.name, {}))
    lacking = method.missing(small_problem()[0])
    if lacking is not None or not isinstance(method, Explainer):
        pytest.skip(lacking or "describes a model")
    check_explanation(method)


#: Few images, so that a world is made in a moment.
SMALL = {
    "scenes": {"count": 12, "individuals": 2},
    "slides": {"count": 4, "tiles_across": 6, "tile_size": 32},
    "solids": {"size": 24, "objects": 1, "views": 1},
    "textures": {"count": 6, "size": 32},
}


@pytest.mark.parametrize("world", of_area("worlds"))
def test_world(world):
    check_world(world(**SMALL[world.name]))


@pytest.mark.parametrize("defect", of_area("defects"))
def test_defect(defect):
    check_defect(defect(), Scenes(count=300).images(split="train"))
