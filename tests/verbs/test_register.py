"""A method or check of one's own, registered in a process and used by name."""

import importlib
from typing import ClassVar

import numpy as np
import pytest

import snellen
from snellen.attacks import FGSM
from snellen.auditing.checks import CHECKS, default_checks
from snellen.checks.check import Check, CheckFigure, CheckResult
from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.method import Method
from snellen.data.files.arrays import load_arrays
from snellen.recipes import Supervised
from snellen.testing import check_attack, check_check, check_method, check_recipe

pytestmark = pytest.mark.usefixtures("registry")


def small():
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    return classifier, snellen.load_images("bundled:fashion-mnist").limit(6)


def own_attack(factor):
    class Scaled(FGSM):
        """FGSM of another size."""

        name: ClassVar[str] = "scaled_fgsm"

        def attack(self, classifier, images, labels, **options):
            return FGSM(epsilon=self.epsilon * factor).attack(classifier, images, labels, **options)

    return Scaled


def test_an_own_attack_is_known_by_its_name_and_conforms():
    own = snellen.register(own_attack(0.5))
    assert index.entry("attacks", "scaled-fgsm").summary == "FGSM of another size."
    assert own.__qualname__ in dir(importlib.import_module("snellen.attacks"))
    classifier, images = small()
    by_name = snellen.attack(classifier, images, {"method": "scaled_fgsm", "epsilon": 0.2})
    half = snellen.attack(classifier, images, FGSM(epsilon=0.1))
    assert by_name.settings["scaled_fgsm"].success_rate == half.settings["fgsm"].success_rate
    check_method(own)
    check_attack(own())


def test_registering_again_replaces_and_a_taken_name_is_refused():
    snellen.register(own_attack(0.5))
    again = snellen.register(own_attack(2.0))
    assert index.entry("attacks", "scaled_fgsm").load() is again

    class Taken(FGSM):
        """Another FGSM."""

        name: ClassVar[str] = "pgd"

    with pytest.raises(InputError, match=r"attacks has a method 'pgd' already; give .*Taken another name"):
        snellen.register(Taken)


class CountImages(Check):
    """How many images there are."""

    name: ClassVar[str] = "count_images"
    summary: ClassVar[str] = "Counts images."

    def cost(self):
        return 0.0

    def conclude(self, reading):
        count = len(reading.images)
        return CheckResult(metrics={"count_images.n": CheckFigure(value=count, low=count, high=count, n=count)})


def test_an_own_check_runs_by_its_name_after_the_others():
    snellen.register(CountImages)
    assert list(CHECKS)[-1] == "count_images"
    assert default_checks()[-1] == "count_images"
    classifier, images = small()
    report = snellen.audit(classifier, images, checks=["count_images"])
    assert report.metrics["count_images.n"].value == 6
    check_check(CountImages())

    class Clean(CountImages):
        """Takes a name."""

        name: ClassVar[str] = "clean"

    with pytest.raises(InputError, match="there is a check 'clean' already"):
        snellen.register(Clean)


def test_an_own_recipe_conforms():
    @snellen.register
    class Sharper(Supervised):
        """Supervised training under another name."""

        name: ClassVar[str] = "sharper"

    check_method(Sharper)
    shown = load_arrays(np.zeros((4, 28, 28), dtype=np.uint8), [0, 1, 0, 1], class_names=["a", "b"])
    check_recipe(Sharper(architecture="fashion_cnn", side=28, plan={"epochs": 1, "batch_size": 2}), shown)


def test_a_class_that_is_not_registered_is_refused():
    with pytest.raises(AssertionError, match="is not in the index: register it"):
        check_method(own_attack(0.5))


@pytest.mark.parametrize("wrong", [object(), int, FGSM()])
def test_something_else_is_refused(wrong):
    with pytest.raises(InputError, match="a subclass of Method or of Check is registered"):
        snellen.register(wrong)


def test_a_method_without_a_verb_is_refused():
    class Idle(Method):
        """Does nothing."""

        name: ClassVar[str] = "idle"

    with pytest.raises(InputError, match="Idle has no verb; give it one of attack, shift"):
        snellen.register(Idle)
