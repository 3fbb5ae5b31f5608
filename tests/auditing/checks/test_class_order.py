"""Classes in another order than the labels, and classifiers that always give one answer."""

import numpy as np
import pytest

import snellen
from snellen.auditing.checks.clean import Clean
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding, rank
from tests.auditing.readings import by_kind

NAMES = [f"class {number}" for number in range(10)]


def reported(labels, predictions, names=NAMES):
    ids = [f"{number:05d}" for number in range(len(labels))]
    rows = Evidence.of(
        ids, setting="clean", model="m", label=labels.tolist(), prediction=predictions.tolist(), value=[0.9] * len(ids)
    )
    return by_kind(Clean(), rows, rows, names)


def answers(accuracy, images=400, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    return labels, np.where(rng.random(images) < accuracy, labels, rng.integers(0, classes, images))


def test_a_permutation_of_all_classes_is_found_and_written_out():
    labels, predictions = answers(0.9)
    turned = np.array([1, 2, 0, 4, 3, 6, 7, 8, 9, 5])
    found = reported(labels, turned[predictions])
    assert found.keys() == {"class_order"}
    finding = found["class_order"]
    assert "class 3 ↔ class 4" in finding.title
    assert "class 0 → class 1 → class 2 → class 0" in finding.title
    assert finding.facts["moved_classes"] == 10
    assert finding.facts["labelled_class 0"] == "class 1"
    assert finding.facts["accuracy"] < 0.1 < 0.85 < finding.facts["accuracy_in_the_other_order"]
    assert 0.8 < finding.harm < 0.93


def test_two_classes_that_changed_places_are_found_among_ten():
    labels, predictions = answers(0.9, images=600)
    swapped = np.arange(10)
    swapped[[2, 7]] = [7, 2]
    finding = reported(labels, swapped[predictions])["class_order"]
    assert finding.title.startswith("Classes look permuted: class 2 ↔ class 7;")
    assert 0.1 < finding.harm < 0.2


def test_a_class_without_images_may_be_the_end_of_the_chain():
    labels, predictions = answers(0.95, classes=3)
    found = reported(labels, predictions + 1, NAMES[:4])
    assert found["class_order"].title.startswith("Classes look permuted: class 0 → class 1 → class 2 → class 3;")


def test_one_class_that_is_taken_for_another_is_confusion_and_no_order():
    labels, predictions = answers(0.9)
    found = reported(labels, np.where(labels == 3, 5, predictions))
    assert "class_order" not in found
    assert found["worst_class"].facts["class"] == "class 3"


@pytest.mark.parametrize(("accuracy", "images", "classes"), [(0.1, 200, 10), (0.3, 60, 10), (0.5, 40, 2), (0.0, 30, 2)])
def test_models_that_guess_are_hardly_ever_said_to_be_permuted(accuracy, images, classes):
    accused = sum(
        "class_order" in reported(*answers(accuracy, images, classes, seed), NAMES[:classes]) for seed in range(100)
    )
    assert accused == 0


def test_few_images_are_enough_where_the_order_is_plain():
    labels, predictions = answers(1.0, images=60, classes=3)
    assert "class_order" in reported(labels, np.array([1, 2, 0])[predictions], NAMES[:3])


def test_a_classifier_that_always_gives_one_answer_is_recognised():
    labels, predictions = answers(0.9, images=100, classes=3)
    finding = reported(labels, np.full_like(predictions, 1), NAMES[:3])["accuracy"]
    assert finding.title == "The classifier answers class 1 for every image; check its preprocessing and its weights"


def test_it_comes_first_whatever_its_harm():
    small = Finding(kind="class_order", harm=0.01, title="order")
    assert rank([Finding(kind="corruption", harm=0.5, title="fog"), small])[0] is small


def test_names_of_the_model_in_another_order_than_its_outputs_are_the_first_finding():
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    images = snellen.load_images("bundled:fashion-mnist").limit(400)
    names = list(classifier.class_names)
    names[2], names[7] = names[7], names[2]
    mistaken = snellen.load_classifier("bundled:fashion-cnn", names)
    first = snellen.audit(mistaken, images, checks=["clean", "selective"]).findings[0]
    assert first.kind == "class_order"
    assert f"{names[2]} ↔ {names[7]}" in first.title
    assert "class_order" not in {found.kind for found in snellen.audit(classifier, images, checks=["clean"]).findings}
