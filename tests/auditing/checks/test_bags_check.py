"""The check of bags: figures with patients as units, findings, what the model names, and bags that say nothing."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from snellen.auditing.checks.bags import BagDecisions
from snellen.auditing.concluding import judge
from snellen.checks.check import CheckInput
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.evidence import Evidence
from snellen.core.finding import FIGURES_OF_BAGS
from tests.auditing.hand_made_bags import NAMES, Bag, by_brightness, image_set, known


def conclude(bags, classifier=None, images=None, audited=None, **parameters):
    given = classifier or by_brightness()
    return BagDecisions(**parameters).conclude(
        CheckInput(
            evidence=Evidence.merge([]),
            images=known(bags) if images is None else images,
            classifier=given,
            audited=audited,
        )
    )


def reported(bags, **parameters):
    check = BagDecisions(**parameters)
    found = judge([check], {check.name: conclude(bags, **parameters)})[0]
    return {finding.key: finding for finding in found}


def slides(count, *, error=0.0, units=1, seed=0, images=12, positive_images=3, group=None):
    """Bags of which every second is positive; a share is turned to the wrong side of one half of their maximum."""
    rng = np.random.default_rng(seed)
    bags = []
    for number in range(count):
        label, wrong = number % 2, rng.random() < error
        values = rng.uniform(0.02, 0.3, images)
        truth = np.zeros(images, dtype=int)
        if label:
            truth[:positive_images] = 1
        if label != wrong:
            values[:positive_images] = rng.uniform(0.7, 0.95, positive_images)
        name = None if units == 1 else f"patient {number // units}"
        bags.append(Bag(f"slide {number:03d}", label, values.tolist(), truth.tolist(), name, group))
    return bags


SIX = [
    Bag("a", 1, [0.9, 0.1, 0.1]),
    Bag("b", 1, [0.4, 0.2, 0.0]),
    Bag("c", 1, [0.7, 0.7, 0.7]),
    Bag("d", 0, [0.3, 0.3, 0.3]),
    Bag("e", 0, [0.8, 0.0, 0.1]),
    Bag("f", 0, [0.0, 0.0, 0.1]),
]


def test_a_bag_at_the_threshold_is_positive():
    # The threshold that a model names may be the score of one of the bags that it was chosen on.
    bags = [Bag("a", 1, [0.5, 0.5]), Bag("b", 0, [0.25, 0.25])]
    assert conclude(bags, threshold=0.5).metrics["bags.sensitivity"].value == 1
    assert conclude(bags, threshold=0.25).metrics["bags.specificity"].value == 0


def test_figures_of_six_bags_by_hand():
    # Maxima: positive 0.9, 0.4, 0.7; negative 0.3, 0.8, 0.1. Pairs won: 3 + 2 + 2 of 9.
    found = conclude(SIX, pooling="max").metrics
    assert found["bags.auroc"].value == pytest.approx(7 / 9)
    assert found["bags.accuracy"].value == pytest.approx(4 / 6)
    assert found["bags.sensitivity"].value == pytest.approx(2 / 3)
    assert found["bags.specificity"].value == pytest.approx(2 / 3)
    assert [found[f"bags.{name}"].n for name in ("auroc", "accuracy", "sensitivity", "specificity")] == [6, 6, 3, 3]
    # Means: positive 0.367, 0.2, 0.7; negative 0.3, 0.3, 0.033. Pairs won: 3 + 1 + 3.
    assert conclude(SIX, pooling="mean").metrics["bags.auroc"].value == pytest.approx(7 / 9)
    assert conclude(SIX, pooling="mean", threshold=0.25).metrics["bags.accuracy"].value == pytest.approx(3 / 6)


def test_what_is_said_to_count_bags_does():
    counts = {name: figure.n for name, figure in conclude(slides(12), pooling="max").metrics.items()}
    assert {name for name, n in counts.items() if n <= 12} == FIGURES_OF_BAGS
    assert counts["bags.instance_auroc"] == 12 * 12


def test_the_area_is_that_of_the_independent_library():
    rng = np.random.default_rng(3)
    bags = [Bag(str(n), n % 2, rng.beta(1 + n % 2, 3, 20).tolist()) for n in range(60)]
    area = conclude(bags, pooling="mean").metrics["bags.auroc"]
    assert area.value == pytest.approx(roc_auc_score([b.label for b in bags], [np.mean(b.probabilities) for b in bags]))
    assert area.low < area.value < area.high


def test_several_slides_of_one_patient_widen_every_interval():
    rng = np.random.default_rng(0)
    bags = [bag for patient in range(20) for bag in _alike(patient, rng)]
    alone = [Bag(bag.id, bag.label, bag.probabilities, bag.truth) for bag in bags]
    together, apart = (conclude(one, pooling="max").metrics for one in (bags, alone))
    for name in ("bags.auroc", "bags.accuracy", "bags.sensitivity"):
        assert together[name].value == apart[name].value
        assert together[name].high - together[name].low > 1.2 * (apart[name].high - apart[name].low)


def _alike(patient, rng):
    """Four slides of a patient, right or wrong together."""
    value = rng.uniform(0.3, 0.9) if patient % 2 else rng.uniform(0.1, 0.6)
    return [Bag(f"{patient}.{n}", patient % 2, [value, 0.1], [patient % 2, 0], f"patient {patient}") for n in range(4)]


def test_images_of_a_bag_never_count_as_independent():
    found = conclude(slides(20, images=50, positive_images=10), pooling="max").metrics["bags.positives_found"]
    assert found.n == 100
    assert found.low < 0.8, "ten bags of which everything is found prove no more than ten bags can"


def test_figures_of_images():
    found = conclude(SIX, pooling="max").metrics
    assert set(found) == {"bags.auroc", "bags.accuracy", "bags.sensitivity", "bags.specificity",
                          "bags.false_in_negative_bags"}  # fmt: skip
    assert found["bags.false_in_negative_bags"].value == pytest.approx(1 / 9)
    bags = [
        Bag("a", 1, [0.9, 0.4, 0.1], [1, 1, 0]),
        Bag("b", 0, [0.3, 0.6, 0.2], [0, 0, 0]),
    ]
    found = conclude(bags).metrics
    assert found["bags.positives_found"].value == 0.5
    assert found["bags.instance_auroc"].value == pytest.approx(roc_auc_score([1, 1, 0, 0, 0, 0], [9, 4, 1, 3, 6, 2]))


def test_the_model_names_pooling_and_threshold_unless_stated_otherwise():
    named = by_brightness(bag_decision={"pooling": "max", "threshold": 0.75})
    assert BagDecisions().resolved(named) == BagDecisions(pooling="max", threshold=0.75, positive="tumour")
    assert BagDecisions(pooling="mean").resolved(named).threshold == 0.5, "a threshold is one of its own pooling"
    assert BagDecisions(threshold=0.1).resolved(named).pooling == "max"
    assert not any("does not say how it decides" in note for note in conclude(SIX, classifier=named).notes)
    assert any("does not say how it decides" in note for note in conclude(SIX).notes)
    plain = BagDecisions().resolved(by_brightness())
    assert (plain.pooling, plain.threshold, plain.positive) == ("mean", 0.5, "tumour")
    assert "score of a bag is the max" in conclude(SIX, classifier=named).notes[0]
    with pytest.raises(InputError, match="brightness decides about bags in a way"):
        BagDecisions().resolved(by_brightness(bag_decision={"pooling": "median"}))


def test_several_classes_are_one_against_the_rest_once_it_is_named():
    three = ("healthy", "tumour", "scar")
    classifier = by_brightness(class_names=three)
    images = image_set(SIX)
    reason = BagDecisions().missing(classifier, images, frozenset())
    assert reason == "needs to know which of 3 classes is the positive one: --set bags.positive=NAME"
    assert BagDecisions(positive="scar").missing(classifier, images, frozenset()) is None
    with pytest.raises(UnknownNameError, match="carcinoma"):
        BagDecisions(positive="carcinoma").missing(classifier, images, frozenset())
    rng = np.random.default_rng(1)
    data = known([Bag(f"s{n}", n % 3, [0.5] * 4) for n in range(30)])
    scores = rng.normal(size=(120, 3)) + 2 * np.eye(3)[data.bag_labels]
    object.__setattr__(data, "scores", scores)
    area = conclude((), classifier, data, positive="scar").metrics["bags.auroc"].value
    sure = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    means = sure[:, 2].reshape(30, 4).mean(1)
    assert area == pytest.approx(roc_auc_score(np.arange(30) % 3 == 2, means))


def test_requirements_know_every_figure_that_may_come():
    bags = [Bag("a", 1, [0.9, 0.4], [1, 0]), Bag("b", 0, [0.3, 0.6], [0, 0])]
    assert BagDecisions().figure_names() == set(conclude(bags).metrics)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(InputError, match="label 2, and there are 2 classes"):
        conclude([Bag("a", 2, [0.9]), Bag("b", 0, [0.3])])


def test_it_does_not_run_without_bags_or_without_their_labels():
    images = image_set([Bag("a", None, [0.5]), Bag("b", None, [0.5])])
    assert "column bag_label" in BagDecisions().missing(by_brightness(), images, frozenset())
    table = images.table.drop_columns(["bag_id", "bag_label"])
    bare = type(images)(images.source, table, class_names=NAMES)
    assert BagDecisions().missing(by_brightness(), bare, frozenset()).startswith("needs bags (column bag_id)")


def test_bags_of_one_class_have_no_area_and_it_is_reported():
    found = conclude([bag for bag in SIX if bag.label], pooling="max")
    assert set(found.metrics) == {"bags.accuracy", "bags.sensitivity"}
    assert any("all 3 labelled bags are tumour" in note for note in found.notes)
    assert not [one for one in found.hypotheses if one.p_value < 0.9]


def test_bags_without_label_count_nowhere_and_are_named():
    found = conclude([*SIX, Bag("nobody knows", None, [0.99])], pooling="max")
    assert found.metrics["bags.accuracy"].n == 6
    assert any("1 bag (nobody knows) has no label" in note for note in found.notes)
    (row,) = [row for row in found.lists["bags"] if row["id"] == "nobody knows"]
    assert (row["label"], row["score"], row["called_positive"], row["right"]) == (None, 0.99, True, None)


def test_the_list_has_every_bag_worst_first():
    rows = conclude(SIX, pooling="max").lists["bags"]
    assert [row["id"] for row in rows[:4]] == ["e", "b", "a", "f"]
    assert len(rows) == 6
    assert rows[0] | {"images": 3} == rows[0]
    assert rows[0]["strongest_image"] == "e/000"


def test_a_bag_of_two_labels_or_of_two_patients_is_refused():
    data = known(SIX)
    two = data.bag_labels.copy()
    two[0] = 0
    object.__setattr__(data, "bag_labels", two)
    with pytest.raises(InputError, match="bag 'a' has two values of bag_label: 0 and 1"):
        conclude((), images=data)
    data = known([Bag("a", 1, [0.5], unit="p"), Bag("a", 1, [0.5], unit="q")])
    with pytest.raises(InputError, match="bag 'a' has two values of unit_id: p and q"):
        conclude((), images=data)


def test_healthy_decisions_give_no_finding():
    assert reported(slides(80, error=0.02), pooling="max") == {}


def test_missed_bags_are_reported_with_the_threshold_as_treatment_where_scores_order_them():
    bags = [Bag(f"n{n}", 0, [0.05, 0.1 + n / 1000]) for n in range(30)]
    bags += [Bag(f"p{n}", 1, [0.3 + n / 1000, 0.05], [1, 0]) for n in range(30)]
    found = reported(bags, pooling="max")
    missed = found["missed_bags:tumour"]
    assert missed.title == "30 of 30 tumour bags are missed (100%); of bags that are not tumour 0% are called wrongly"
    assert missed.harm > 0.3
    assert "bags.threshold" in missed.treatments[0]
    assert missed.facts["auroc"] == 1.0
    assert missed.examples[0].example_id == "p0/000"
    assert "bag_false_alarms:tumour" not in found
    assert "bag_accuracy" in found


def test_false_alarms_are_reported():
    bags = [Bag(f"n{n}", 0, [0.9, 0.05]) for n in range(20)] + [Bag(f"p{n}", 1, [0.95, 0.05]) for n in range(20)]
    found = reported(bags, pooling="max")
    assert found["bag_false_alarms:tumour"].title.startswith("20 of 20 bags that are not tumour are taken for tumour")
    assert "missed_bags:tumour" not in found


def test_a_site_that_is_served_worse_is_reported_and_its_patients_count():
    good, bad = slides(120, error=0.02, group="north"), slides(40, error=0.45, seed=4, group="south")
    bad = [Bag(f"south {b.id}", b.label, b.probabilities, b.truth, b.unit, b.group) for b in bad]
    found = reported([*good, *bad], pooling="max")
    assert found["bag_group_gap:south"].facts["patients"] == 40
    assert "bag_group_gap:north" not in found
    few = [Bag(b.id, b.label, b.probabilities, b.truth, f"p{n // 20}", b.group) for n, b in enumerate(bad)]
    assert "bag_group_gap:south" not in reported([*good, *few], pooling="max"), "two patients prove little"


def test_bags_that_are_right_for_the_wrong_images_are_reported():
    right = [Bag(f"p{n}", 1, [0.9, 0.2, 0.1], [1, 0, 0]) for n in range(20)]
    wrong = [Bag(f"p{n}", 1, [0.9, 0.2, 0.1], [0, 1, 0]) for n in range(20)]
    negative = [Bag(f"n{n}", 0, [0.1, 0.1, 0.1], [0, 0, 0]) for n in range(20)]
    assert reported([*right, *negative], pooling="max") == {}
    (evidence,) = reported([*wrong, *negative], pooling="max").values()
    assert evidence.key == "bag_evidence:tumour"
    # Clopper and Pearson's bound for 20 of 20, of half of the bags; one of four hypotheses was chosen.
    assert evidence.harm == pytest.approx(0.5 * (0.05 / 4) ** (1 / 20))
    assert evidence.examples[0].caption == "healthy, strongest of bag p0: 0.900"
    tied = [Bag(f"p{n}", 1, [0.9, 0.9, 0.1], [0, 1, 0]) for n in range(20)]
    assert reported([*tied, *negative], pooling="max") == {}, "the positive image is as strong as the negative one"
    unknown = [Bag(bag.id, bag.label, bag.probabilities) for bag in wrong]
    assert reported([*unknown, *negative], pooling="max") == {}, "without labels of images nothing is said of them"


def test_labels_of_bags_and_of_images_that_contradict_each_other_are_counted():
    bags = [
        Bag("fine", 1, [0.9, 0.1], [1, 0]),
        Bag("none in it", 1, [0.9, 0.1], [0, 0]),
        Bag("partly unknown", 1, [0.9, 0.1], [0, -1]),
        Bag("one in it", 0, [0.1, 0.2], [0, 1]),
        Bag("fine too", 0, [0.1, 0.1], [0, 0]),
    ]
    (finding,) = conclude(bags, pooling="max").findings
    assert (finding.kind, finding.p_value, finding.harm) == ("bag_contradiction", None, 0.4)
    assert finding.facts == {"bags": 5, "not_tumour_but_with_such_images": 1, "tumour_without": 1}
    assert [example.example_id for example in finding.examples] == ["none in it/000", "one in it/001"]


def test_each_of_several_groups_is_judged():
    good, bad = slides(120, error=0.02, group="GE"), slides(40, error=0.45, seed=4, group="Siemens")
    bags = [*good, *(Bag(f"more {b.id}", b.label, b.probabilities, b.truth, b.unit, b.group) for b in bad)]
    held = known(bags)
    site = tuple("north" if int(bag[-3:]) % 3 else "south" for bag in held.bags)
    images = replace(held, groups=site, factors={"site": site, "scanner": held.groups})
    check = BagDecisions(pooling="max")
    found = conclude(bags, images=images, pooling="max")
    (finding,) = (one for one in judge([check], {check.name: found})[0] if one.kind == "bag_group_gap")
    assert finding.subject == "scanner=Siemens"
    table = next(panel for panel in found.panels if panel.title == "Bags by group")
    assert [row[0] for row in table.rows] == ["site=north", "site=south", "scanner=GE", "scanner=Siemens"]
