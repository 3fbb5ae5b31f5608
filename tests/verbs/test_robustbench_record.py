"""The record of an evaluation: figures that add up, in JSON."""

import json

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.outcomes import Attacked
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem
from snellen.verbs.robustbench_record import robustbench_record

NAMES = {"model": "small", "dataset": "random", "seed": 0}


def outcome(found_by, status):
    count = len(status)
    found = torch.tensor([name != "" for name in found_by], dtype=torch.bool)
    return Attacked(
        images=torch.zeros(count, 3, 1, 1), success=found, distance=torch.zeros(count), scores=torch.zeros(count, 2),
        queries=torch.full((count,), 10), gradients=torch.full((count,), 4), status=status,
        zero_gradient=torch.zeros(count, dtype=torch.bool), found_by=found_by,
    )  # fmt: skip


def test_figures_by_hand():
    found_by = ("clean", "apgd-ce", "apgd-ce", "square", "", "apgd-t", "", "")
    status = tuple({"clean": "already", "": "not found"}.get(name, "found") for name in found_by)
    record = robustbench_record(
        outcome((*found_by, ""), (*status, "not finite")), StandardEnsemble(epsilon=0.1), **NAMES
    )
    assert (record["n"], record["not_finite"]) == (8, 1)
    assert (record["clean_accuracy"], record["robust_accuracy"]) == (7 / 8, 3 / 8)
    assert record["robust_accuracy_after"] == {"apgd-ce": 5 / 8, "apgd-t": 4 / 8, "fab-t": 4 / 8, "square": 3 / 8}
    assert (record["queries_per_image"], record["gradients_per_image"]) == (10, 4)
    assert (record["threat"], record["epsilon"], record["dataset"], record["seed"]) == ("Linf", 0.1, "random", 0)
    assert record["parameters"]["queries"] == 5000
    assert set(record["versions"]) == {"snellen", "torch", "python"}


def test_agrees_with_the_attack_and_survives_json():
    classifier, images, labels = small_problem(count=24)
    labels[:3] = (labels[:3] + 1) % 5
    ensemble = StandardEnsemble(epsilon=0.01, steps=5, target_classes=2, queries=30)
    attacked = ensemble.attack(classifier, images, labels)
    record = robustbench_record(attacked, ensemble, **NAMES)
    assert json.loads(json.dumps(record)) == record
    assert record["clean_accuracy"] == 21 / 24
    assert record["robust_accuracy"] == float((~attacked.success).double().mean())
    after = list(record["robust_accuracy_after"].values())
    assert after == sorted(after, reverse=True)
    assert after[-1] == record["robust_accuracy"]


def test_without_images_there_are_no_figures():
    record = robustbench_record(outcome((), ()), StandardEnsemble(), **NAMES)
    assert (record["n"], record["clean_accuracy"], record["robust_accuracy"]) == (0, None, None)


def test_the_result_of_another_attack_is_refused():
    classifier, images, labels = small_problem()
    attacked = PGD(steps=1).attack(classifier, images, labels)
    with pytest.raises(InputError, match=r"names the finder of 0 of 12 images; a record is made of what"):
        robustbench_record(attacked, StandardEnsemble(), **NAMES)
