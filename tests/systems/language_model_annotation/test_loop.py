"""Mining with provenance, the student, margins, thresholds, figures, and baselines."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError
from snellen.metrics.discrimination import ScoreCounts
from snellen.systems.language_model_annotation.agreement import (
    Opinion,
    agreement,
    best_threshold,
    precision_recall_f1,
)
from snellen.systems.language_model_annotation.annotation import Annotation
from snellen.systems.language_model_annotation.baselines import human_labels, text_similarity
from snellen.systems.language_model_annotation.collaboration import Collaboration, Labelled, Schedule
from snellen.systems.language_model_annotation.mining import (
    Mined,
    Queries,
    check_queries,
    initial_batch,
    mine,
    topk,
)
from snellen.systems.language_model_annotation.owner import by_row, read_labels, split_labels
from snellen.systems.language_model_annotation.student import (
    StudentFit,
    balanced_cross_entropy,
    balanced_weights,
    fit_student,
    logits,
    probabilities,
    smallest_margins,
    with_threshold,
)

FAST = StudentFit(width=8, epochs=20, learning_rate=1e-2)


def cloud(count=60, seed=0):
    """Vectors whose first number decides."""
    rows = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return rows, (rows[:, 0] > 0).long().tolist()


# -- mining --------------------------------------------------------------------------------------------------------


def test_top_k_is_that_of_all_cosines_whatever_pieces_are_read(monkeypatch):
    rows, _ = cloud(200)
    queries = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    cosines = F.normalize(queries, dim=1) @ F.normalize(rows, dim=1).T
    expected = cosines.topk(7, dim=1)
    monkeypatch.setattr("snellen.systems.language_model_annotation.mining._ROWS", 16)
    found, values = topk(queries, rows, 7)
    assert torch.equal(found, expected.indices)
    assert torch.allclose(values, expected.values)
    assert topk(queries, rows, 500)[0].shape == (5, 200)
    with pytest.raises(InputError, match="top-k takes"):
        topk(queries, rows[:, :3], 2)


@pytest.mark.covers("18.4")
def test_each_mined_image_keeps_every_query_that_brought_it():
    rows = torch.eye(4)
    queries = Queries(positive=("first", "both"), near_misses=("third",))
    vectors = torch.tensor([[1.0, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1.0, 0.1]])
    found = mine(queries, vectors, rows, k=2)
    assert [(hit.query, hit.side, hit.rank) for hit in found.hits[0]] == [
        ("first", "positive", 1),
        ("both", "positive", 2),
    ]
    assert found.hits[2][0].model_dump() == {
        "side": "near miss", "query": "third", "rank": 1, "cosine": pytest.approx(0.995, abs=1e-3)
    }  # fmt: skip
    assert found.side(3) == "near miss"
    barred = mine(queries, vectors, rows, k=2, without=[0])
    assert 0 not in barred.hits
    assert barred.hits[1][0].rank == 1, "the next one takes its place"


@pytest.mark.covers("18.4")
def test_the_first_batch_takes_positives_and_near_misses_in_turn():
    rows, _ = cloud(80)
    queries = Queries(positive=("a", "b"), near_misses=("c", "d"))
    found = mine(queries, torch.randn(4, 6, generator=torch.Generator().manual_seed(3)), rows, k=10)
    sides = [found.side(row) for row in initial_batch(found, 12)]
    assert sides == ["positive", "near miss"] * 6
    assert len(set(initial_batch(found, 500))) == len(found.hits)


@pytest.mark.covers("18.4")
def test_queries_of_one_side_alone_are_refused():
    with pytest.raises(ValueError, match="near_misses"):
        Queries(positive=("a",), near_misses=())
    with pytest.raises(InputError, match="has one side"):
        check_queries(Queries(positive=("A star",), near_misses=("a star",)))
    with pytest.raises(InputError, match="is empty"):
        check_queries(Queries(positive=(" ",), near_misses=("a star",)))


# -- student -------------------------------------------------------------------------------------------------------


def test_both_classes_weigh_the_same():
    logits = torch.tensor([0.3, -1.0, 2.0, 0.5])
    targets = torch.tensor([1.0, 0.0, 0.0, 0.0])
    expected = 0.5 * F.softplus(-logits[0]) + 0.5 * F.softplus(logits[1:]).mean()
    assert float(balanced_cross_entropy(logits, targets, balanced_weights(targets))) == pytest.approx(float(expected))


@pytest.mark.covers("18.1")
def test_a_label_of_the_owner_cannot_enter_the_training():
    rows, truth = cloud()
    labels = {row: truth[row] for row in range(30)}
    fit_student(rows, labels, owner=range(30, 60), fit=FAST, seed=0)
    with pytest.raises(InputError, match="1 images that the owner labelled are among those to train on"):
        fit_student(rows, labels, owner=[29, 40], fit=FAST, seed=0)


@pytest.mark.parametrize(("labels", "fault"), [({}, "there is no label"), ({0: 1, 1: 1}, "2 labels of one class")])
def test_labels_of_one_class_fit_nothing(labels, fault):
    with pytest.raises(InputError, match=fault):
        fit_student(cloud()[0], labels, owner=(), fit=FAST, seed=0)


def test_the_student_learns_and_the_seed_decides_it():
    rows, truth = cloud(300)
    labels = {row: truth[row] for row in range(200)}
    scores = probabilities(fit_student(rows, labels, owner=(), fit=FAST, seed=1), rows)
    assert ((scores[200:] > 0.5) == (np.array(truth[200:]) == 1)).mean() > 0.85
    again = probabilities(fit_student(rows, dict(reversed(labels.items())), owner=(), fit=FAST, seed=1), rows)
    assert np.array_equal(scores, again)
    other = probabilities(fit_student(rows, labels, owner=(), fit=FAST, seed=2), rows)
    assert not np.array_equal(scores, other)


@pytest.mark.covers("18.5")
def test_the_images_that_the_student_is_least_sure_of_come_next():
    rows, truth = cloud(200)
    mined = Mined({})
    loop = Collaboration(rows, mined, frozenset(range(100, 150)), Schedule(batch=10), FAST, 0)
    labels = [
        Labelled(row=row, round=0, annotation=Annotation(image=str(row), label=truth[row], rating=5, rationale=""))
        for row in range(40)
    ]
    undecided = Labelled(
        row=40, round=0, annotation=Annotation(image="40", label=None, rating=None, rationale="", problem="unclear")
    )
    chosen = loop.batch(1, [*labels, undecided])
    free = {*range(41, 100), *range(150, 200)}
    assert set(chosen.rows) <= free, "neither labelled, undecided, nor the owner's"
    margins = np.abs(probabilities(loop.student(labels), rows) - 0.5)
    assert max(margins[chosen.rows]) <= min(margins[row] for row in free - set(chosen.rows))
    assert chosen.margins[chosen.rows[0]] == pytest.approx(float(margins[chosen.rows[0]]), abs=1e-6)


def test_margins_of_equals_take_the_earlier_row():
    assert smallest_margins(np.array([0.5, 0.5, 0.5]), 2, without=[0]) == [1, 2]


def test_a_pool_without_a_positive_stops_with_what_to_change():
    rows, _ = cloud()
    loop = Collaboration(rows, Mined({}), frozenset(), Schedule(), FAST, 0)
    labels = [
        Labelled(row=row, round=0, annotation=Annotation(image=str(row), label=0, rating=1, rationale=""))
        for row in range(4)
    ]
    with pytest.raises(InputError, match=r"none of 4 mined images belongs to the concept .* give other queries"):
        loop.student(labels)


# -- the owner -----------------------------------------------------------------------------------------------------


@pytest.mark.covers("18.12")
def test_a_half_chooses_and_the_other_measures():
    ids = [f"image {row}" for row in range(200)]
    labels = {row: int(row % 5 == 0) for row in range(100)}
    owner = split_labels(labels, ids, seed=3)
    assert not set(owner.val) & set(owner.report)
    assert {**owner.val, **owner.report} == labels
    assert 35 < len(owner.val) < 65
    assert 4 < sum(owner.val.values()) < 16
    assert split_labels(labels, ids, seed=3) == owner
    assert split_labels(labels, ids, seed=4).val != owner.val
    more = split_labels({row: int(row % 5 == 0) for row in range(200)}, ids, seed=3)
    assert more.val.items() > owner.val.items(), "labels that are added move no other image"
    assert more.report.items() > owner.report.items()
    shuffled = split_labels({99 - row: own for row, own in labels.items()}, ids[:100][::-1], seed=3)
    assert {ids[99 - row] for row in shuffled.val} == {ids[row] for row in owner.val}, "by id and not by place"


@pytest.mark.covers("18.12")
@pytest.mark.parametrize("seed", range(12))
def test_both_parts_get_two_labels_of_a_class(seed):
    owner = split_labels({0: 1, 1: 1, 2: 0, 3: 0}, ["a", "b", "c", "d"], seed)
    assert sorted(owner.val.values()) == sorted(owner.report.values()) == [0, 1]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("id,label\na,perhaps\n", "line 2: 'perhaps' is no label"),
        ("id,label\na,yes\na,no\n", "line 3: 'a' occurs twice"),
        ("image,label\na,yes\n", "columns id and label; got image, label"),
        ("id,label\na,\n", "holds no label"),
        ('id,label\n"a,yes\n', "not readable as CSV"),
    ],
)
def test_tables_of_labels_that_cannot_be_used(tmp_path, text, fault):
    path = tmp_path / "labels.csv"
    with pytest.raises(InputError, match="no table"):
        read_labels(path, "star")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=fault):
        read_labels(path, "star")


def test_labels_are_words_or_the_name_of_the_concept(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,label,why\na,Star,x\nb,not star,y\nc,1,\nd,No,\ne,,skipped\n", encoding="utf-8")
    found = read_labels(path, "star")
    assert found == {"a": 1, "b": 0, "c": 1, "d": 0}
    assert by_row(found, ["d", "c", "b", "a"], "pool") == {3: 1, 2: 0, 1: 1, 0: 0}
    path.write_text("id,label\na,out\nb,in\nc,not out\n", encoding="utf-8")
    assert read_labels(path, "out") == {"a": 0, "b": 1, "c": 0}, "fixed words stay what they are"
    with pytest.raises(InputError, match="usable image of pool"):
        by_row(found, ["a"], "pool")


# -- figures -------------------------------------------------------------------------------------------------------


@pytest.mark.covers("18.12")
def test_figures_are_of_the_reporting_half_with_intervals_and_missing_ones_have_a_reason():
    truth = {row: int(row < 4) for row in range(20)}
    decided = {row: int(row < 3 or row == 10) for row in truth}
    found = agreement("student", Opinion(decided), truth, human_labels=5, seed=0)
    assert found.figures["precision"].value == 0.75
    assert found.figures["recall"].value == 0.75
    assert found.figures["accuracy"].value == 0.9
    f1 = found.figures["f1"]
    assert f1.low < f1.value == 0.75 < f1.high
    assert f1.n == 20
    nothing = agreement("teacher", Opinion(dict.fromkeys(truth, 0)), truth, human_labels=0, seed=0)
    assert nothing.figures["precision"].value is None
    assert nothing.missing == {"precision": "its denominator is empty"}
    assert nothing.figures["recall"].value == 0.0


@pytest.mark.covers("18.8")
def test_undecided_images_count_in_no_figure_but_are_counted():
    truth = {0: 1, 1: 1, 2: 0, 3: 0}
    found = agreement("teacher", Opinion({0: 1, 1: None, 2: 0, 3: None}), truth, human_labels=0, seed=0)
    assert (found.labels, found.undecided, found.figures["f1"].value, found.figures["f1"].n) == (4, 2, 1.0, 2)
    none = agreement("teacher", Opinion({}), truth, human_labels=0, seed=0)
    assert none.missing["f1"] == "no image was decided"


def test_precision_recall_and_f1_by_hand():
    truth, decided = np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool)
    assert precision_recall_f1(truth, decided, np.ones(5)) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert precision_recall_f1(truth, decided, np.array([1, 0, 0, 2, 0.0])) == pytest.approx((1 / 3, 1, 0.5))
    assert all(map(math.isnan, precision_recall_f1(truth[3:], decided[4:].repeat(2), np.ones(2))))


def test_average_precision_is_that_of_the_scores():
    truth = {row: int(row % 3 == 0) for row in range(30)}
    scores = np.random.default_rng(0).random(30)
    found = agreement("student", Opinion.of_scores(scores, list(truth), 0.5), truth, human_labels=0, seed=0)
    expected = ScoreCounts.of(list(truth.values()), scores).average_precision
    assert found.figures["average_precision"].value == pytest.approx(expected, abs=1e-6)


def test_the_threshold_of_the_largest_f1():
    scores = {0: 0.9, 1: 0.7, 2: 0.65, 3: 0.1}
    assert best_threshold(scores, {0: 1, 1: 1, 2: 0, 3: 0}) == pytest.approx(0.675)
    assert best_threshold(scores, {0: 0, 1: 0, 2: 0}) == 0.5
    assert best_threshold(scores, {0: 1, 1: 1, 2: 1, 3: 0}) == pytest.approx(0.375)
    assert best_threshold({0: -3.0, 1: 4.0}, {0: 1, 1: 1}, middle=0.0) == 0.0
    below = best_threshold({0: 4.0, 1: 7.0}, {0: 1, 1: 0}, middle=0.0)
    assert 3.99 < below < 4.0, "the least score is in scope"


@pytest.mark.parametrize("offset", [0.0, 40.0, -40.0])
def test_the_delivered_classifier_decides_like_the_threshold_where_scores_are_saturated(offset):
    rows, truth = cloud(200)
    head = fit_student(rows, {row: truth[row] for row in range(100)}, owner=(), fit=FAST, seed=0)
    saturated = with_threshold(head, -offset)
    val = {row: truth[row] for row in range(100, 150)}
    raw = logits(saturated, rows)
    chosen = best_threshold({row: float(raw[row]) for row in val}, val, middle=0.0)
    opinion = Opinion.of_logits(logits(with_threshold(saturated, chosen), rows), range(200))
    assert [opinion.decided[row] for row in range(200)] == (raw >= chosen).astype(int).tolist()
    assert np.mean([opinion.decided[row] == own for row, own in val.items()]) > 0.85


# -- baselines -----------------------------------------------------------------------------------------------------


@pytest.mark.covers("18.11")
def test_similarity_is_with_the_mean_direction_of_the_texts():
    rows, _ = cloud(10)
    vectors = torch.tensor([[2.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0]])
    found = text_similarity(lambda texts: vectors[: len(texts)], ["a", "b"], rows)
    direction = F.normalize(torch.tensor([1.0, 1, 0, 0, 0, 0]), dim=0)
    expected = (F.normalize(rows, dim=1) @ direction + 1) / 2
    assert np.allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.covers("18.11")
def test_a_simulated_person_labels_so_many_images_by_margin_and_no_other():
    rows, truth = cloud(200)
    shown = []

    def label(row):
        shown.append(row)
        return truth[row]

    free = range(20, 200)
    head = human_labels(label, rows, free, start=[3, *range(20, 40)], count=50, each=10, fit=FAST, seed=0)
    assert len(shown) == len(set(shown)) == 50
    assert set(shown) <= set(free)
    assert shown[:20] == list(range(20, 40))
    first = fit_student(rows, {row: truth[row] for row in range(20, 40)}, owner=(), fit=FAST, seed=0)
    margins = probabilities(first, rows)
    assert shown[20:30] == smallest_margins(margins, 10, without={*range(20), *shown[:20]})
    assert head is not None
    assert human_labels(lambda _: 0, rows, free, start=[20], count=5, each=2, fit=FAST, seed=0) is None
