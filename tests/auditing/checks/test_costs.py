"""What errors cost: the order of findings and their harm follow it, and a table that cannot be is refused."""

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import snellen
from snellen.auditing.checks.damage_findings import DamageFindings
from snellen.checks.strengths import outcomes_by_kind
from snellen.checks.usual_losses import UsualLoss
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.data.files.costs import load_costs, regrets
from snellen.methods.corruptions.domains import domain
from tests.auditing.readings import reading

NAMES = ["benign", "cyst", "cancer"]
EVEN = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
DEAR = [[0, 1, 1], [1, 0, 1], [20, 20, 0]]


def world(n=1500, seed=0):
    """Benign images are often taken for cysts, cancers sometimes for benign."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    wrong = rng.random(n) < np.array([0.3, 0.05, 0.14])[labels]
    decided = np.where(wrong, np.array([1, 0, 0])[labels], labels)
    sure = rng.uniform(0.5, 0.95, n)
    scores = np.tile((1 - sure)[:, None] / 2, (1, 3))
    scores[np.arange(n), decided] = sure
    return scores, labels


def audited(costs=None, checks=("clean",), **more):
    scores, labels = world()
    given = {"labels": [NAMES[label] for label in labels], "class_names": NAMES}
    return snellen.audit(predictions=scores, costs=costs, checks=list(checks), **given, **more)


def by_key(report):
    return {finding.key: finding for finding in report.findings}


def test_costs_change_the_order_and_the_harm():
    plain, dear = by_key(audited()), by_key(audited(DEAR))
    assert next(iter(plain)) == "worst_class:benign"
    assert "worst_class:cancer" not in plain
    first = next(key for key in dear if key.startswith("worst_class"))
    assert first == "worst_class:cancer"
    assert "worst_class:benign" not in dear
    labels = world()[1]
    # A twentieth of the cost of a lost cancer is all that a benign image costs.
    assert 0.01 < dear["worst_class:cancer"].harm < 0.14 * (labels == 2).mean()


def test_even_costs_change_nothing_but_the_test():
    plain, even = audited(), audited(EVEN)
    assert [f.key for f in even.findings if f.kind == "worst_class"] == [
        f.key for f in plain.findings if f.kind == "worst_class"
    ]
    one, other = (by_key(report)["worst_class:benign"].harm for report in (plain, even))
    assert other == pytest.approx(one, abs=0.01)
    error = 1 - plain.metrics["clean.accuracy"].value
    assert even.metrics["clean.cost"].value == pytest.approx(error)


def test_the_mean_cost_is_that_of_the_table_and_decisions_by_cost_are_the_least_expected():
    report = audited(DEAR)
    scores, labels = world()
    table, decided = np.array(DEAR, dtype=float), scores.argmax(1)
    assert report.metrics["clean.cost"].value == pytest.approx(table[labels, decided].mean())
    cheapest = (scores @ table).argmin(1)
    saved = (table[labels, decided] - table[labels, cheapest]).mean()
    assert report.metrics["clean.cost_saved"].value == pytest.approx(saved)
    found = by_key(report)["costly_decisions"]
    assert found.facts["mean_cost_by_cost"] == pytest.approx(table[labels, cheapest].mean())
    assert found.harm <= saved / 20
    assert "(probabilities @ costs).argmin(1)" in found.treatments[0]


def test_intervals_of_the_mean_cost_cover():
    covered, truth = 0, (0.3 + 0.05 + 0.14 * 20) / 3
    for seed in range(150):
        scores, labels = world(400, seed)
        given = {"labels": [NAMES[label] for label in labels], "class_names": NAMES, "checks": ["clean"]}
        if seed < 3:  # through the whole audit, and as it computes them
            figure = snellen.audit(predictions=scores, costs=DEAR, **given).metrics["clean.cost"]
            low, high = figure.low, figure.high
        else:
            from snellen.metrics.loss_interval import loss_interval

            low, high = loss_interval(np.array(DEAR, dtype=float)[labels, scores.argmax(1)], large=20.0, most=20.0)
        covered += low <= truth <= high
    assert covered / 150 >= 0.93


def test_groups_and_their_pairs_are_weighed_too():
    _, labels = world()
    # Cancers are more often missed in site B: told by costs, and not by the number of errors.
    rng = np.random.default_rng(1)
    site = np.where(labels == 2, "B", rng.choice(["A", "B"], len(labels)))
    plain = by_key(audited(groups={"site": site}, checks=["clean", "group_gap"]))
    dear = by_key(audited(DEAR, groups={"site": site}, checks=["clean", "group_gap"]))
    assert "group_gap:B" not in plain
    assert dear["group_gap:B"].harm > 0.005
    facts = dear["group_gap:B"].facts
    scores, _ = world()
    lost = regrets(DEAR)[labels, scores.argmax(1)]
    assert facts["mean_loss"] > facts["mean_loss_elsewhere"]
    for subject, member in (("group_gap:B", site == "B"), ("worst_class:cancer", labels == 2)):
        assert dear[subject].facts["mean_loss"] == pytest.approx(lost[member].mean())
    assert not any("mean_loss" in finding.facts for finding in plain.values())


def file_of(tmp_path, rows, header=("true", *NAMES)):
    path = tmp_path / "costs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_a_file_a_mapping_a_table_and_an_array_say_the_same(tmp_path):
    rows = [[name, *map(str, row)] for name, row in zip(NAMES, DEAR, strict=True)]
    frame = pd.DataFrame(DEAR, index=NAMES, columns=NAMES)
    expected = load_costs(np.array(DEAR), NAMES)
    path = file_of(tmp_path, rows[::-1])
    for costs in (path, str(path), frame, frame.T.to_dict(), DEAR, frame[NAMES[::-1]]):
        assert load_costs(costs, NAMES) == expected
    assert load_costs(frame, NAMES[::-1])[0] == (0.0, 20.0, 20.0)
    assert regrets(DEAR).max() == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["benign", 0, 1, 1], ["cyst", 1, 0, 1]], "no row for 'cancer'; the table has a row and a column for each"),
        ([["benign", 0, 1], ["cyst", 1, 0], ["cancer", 1, 1]], "2 costs for 3 decisions; the table is square"),
        ([["benign", 0, 1, 1], ["cyst", -1, 0, 1], ["cancer", 1, 1, 0]], "cyst taken for benign is negative"),
        ([["benign", 0, 1, 1], ["cyst", "x", 0, 1], ["cancer", 1, 1, 0]], "cyst taken for benign is no number"),
        ([["benign", 0, 1, 1], ["cyst", "", 0, 1], ["cancer", 1, 1, 0]], "cyst taken for benign is no number"),
        ([["benign", 0, 1, 1], ["cyst", "inf", 0, 1], ["cancer", 1, 1, 0]], "cyst taken for benign is no number"),
        ([["benign", 0, 1, 1], ["cysts", 1, 0, 1], ["cancer", 1, 1, 0]], "'cysts'; did you mean 'cyst'"),
        ([["benign", 2, 1, 1], ["cyst", 1, 0, 1], ["cancer", 1, 1, 0]], "less than the right decision"),
        ([["benign", 0, 0, 0], ["cyst", 0, 0, 0], ["cancer", 0, 0, 0]], "no error costs anything"),
        ([["benign", 0, 1, 1]] * 2, "a second row of 'benign'"),
        ([], "holds no costs; expected a header"),
        ([["benign", 0, 1, 1], [], [], ["cyst", 1]], "row 5: 1 costs for 3 decisions"),
        ([["benign", "0" * 200_000, 1, 1]], "is not readable as CSV"),
    ],
)
def test_a_wrong_table_is_refused_with_what_to_do(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        load_costs(file_of(tmp_path, rows), NAMES)


def test_a_missing_column_or_file_and_a_wrong_shape(tmp_path):
    path = file_of(tmp_path, [[name, 0, 1] for name in NAMES], ("true", "benign", "cyst"))
    with pytest.raises(InputError, match="no column for 'cancer'"):
        load_costs(path, NAMES)
    with pytest.raises(InputError, match=r"cannot be read.*expected a CSV file with a row for each true class"):
        load_costs(tmp_path / "none.csv", NAMES)
    with pytest.raises(InputError, match=r"shape \(2, 2\); expected \(3, 3\)"):
        load_costs([[0, 1], [1, 0]], NAMES)
    with pytest.raises(InputError, match="two columns 'cyst'"):
        load_costs(file_of(tmp_path, [["benign", 0, 1, 1]], ("true", "benign", "cyst", "cyst")), NAMES)


def test_costs_that_come_twice_and_a_prevalence_without_its_check():
    scores, labels = world()
    given = {"predictions": scores, "labels": labels}
    with pytest.raises(InputError, match=r"comes twice: by itself, and as clean\.costs"):
        snellen.audit(**given, costs=DEAR, checks=[{"check": "clean", "costs": EVEN}])
    with pytest.raises(InputError, match=r"which does not run; add it: checks=\+discrimination"):
        snellen.audit(**given, prevalence=0.1, checks=["clean"])
    with pytest.raises(InputError, match="costs are of 2 classes, and predictions has 3"):
        snellen.audit(**given, checks=[{"check": "clean", "costs": [[0, 1], [1, 0]]}])


def test_costs_that_differ_leave_accuracy_compared_and_costs_not(tmp_path):
    cheap = [[0, 1, 1], [1, 0, 1], [5, 5, 0]]
    for name, costs in (("none", None), ("dear", DEAR), ("again", DEAR), ("cheap", cheap)):
        audited(costs, out=tmp_path / name)
    for first, second in (("none", "dear"), ("cheap", "dear")):
        found = {one.name: one for one in snellen.compare(tmp_path / first, tmp_path / second).figures}
        assert found["clean.accuracy"].difference == 0
        assert found["clean.cost"].difference is None
    assert found["clean.cost"].reason == "errors cost otherwise in the second run"
    words = {one.key: one.verdict for one in snellen.compare(tmp_path / "cheap", tmp_path / "dear").findings}
    assert words["costly_decisions"] not in ("better", "worse", "mended", "new")
    same = {one.name: one for one in snellen.compare(tmp_path / "again", tmp_path / "dear").figures}
    assert same["clean.cost"].difference == 0


def test_costs_are_compared_by_the_names_of_classes_in_any_order(tmp_path):
    scores, labels = world()
    order = [2, 0, 1]
    given = {"labels": [NAMES[label] for label in labels], "checks": ["clean"]}
    table = pd.DataFrame(DEAR, index=NAMES, columns=NAMES)
    snellen.audit(predictions=scores, class_names=NAMES, costs=table, out=tmp_path / "a", **given)
    names = [NAMES[place] for place in order]
    snellen.audit(predictions=scores[:, order], class_names=names, costs=table, out=tmp_path / "b", **given)
    found = {one.name: one for one in snellen.compare(tmp_path / "a", tmp_path / "b").figures}["clean.cost"]
    assert found.difference is not None
    assert found.difference == pytest.approx(0, abs=1e-12)
    assert found.first == found.second


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"benign": [0, 1, 1]}, "the costs of benign are list; expected decision → cost"),
        ({"benign": 5}, "the costs of benign are int; expected decision → cost"),
        ([[0, 1e300, 1], [1, 0, 1], [1, 1, 0]], "benign taken for cyst is too large"),
    ],
)
def test_rows_that_are_no_rows_and_costs_without_bound(costs, message):
    with pytest.raises(InputError, match=message):
        load_costs(costs, NAMES)


@pytest.mark.parametrize("families", [True, False])
@pytest.mark.parametrize(("decided", "share"), [(1, 1 / 20), (2, 1.0)])
def test_damage_costs_what_its_errors_cost(families, decided, share):
    """Fog makes cysts or cancers of a third of the benign images: the one error costs a twentieth of the other."""
    labels = np.tile([0, 1, 2], 400)
    after = np.where(np.arange(1200) % 9 == 0, decided, labels)
    rows = {"label": labels.tolist(), "model": "m", "value": [0.9] * 1200}
    ids = [f"{row:04d}" for row in range(1200)]
    clean = Evidence.of(ids, setting="clean", prediction=labels.tolist(), **rows)
    changed = Evidence.of(ids, setting="fog.3", prediction=after.tolist(), **rows)
    found = []
    for costs in (None, regrets([[0, 1, 20], [1, 0, 20], [20, 20, 0]])):
        seen = reading(changed, clean, NAMES)
        seen = replace(seen, images=replace(seen.images, costs=costs))
        outcomes = outcomes_by_kind(changed, seen.images, ["fog"], [3])
        damage = DamageFindings(seen, outcomes, [3], {"fog": UsualLoss(0.0, 0.02, 9, 28)}, examples=0)
        (one,) = damage.of_families({"weather": ["fog"]}, domain("photos"), {}) if families else damage.of_kinds()
        found.append(one.found(0.95))
    plain, dear = found
    assert 0.09 < plain.harm < 1 / 9
    assert dear.harm == pytest.approx(share * plain.harm, abs=0.003)
    assert plain.harm - plain.usual == pytest.approx(plain.harm - 0.02)
    assert dear.usual == pytest.approx(share * 0.02, abs=1e-4)
    assert dear.p_value < 0.01
    for name in ("mean_drop", "mean_drop_low"):
        assert dear.facts[name] == plain.facts[name], "in points of accuracy"
