"""``snellen.label`` on scenes: what it writes, what it never does, and that it resumes to the same bytes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import snellen
from snellen.core.budget import Spent
from snellen.core.errors import InputError, ModelError, RunConflictError, UnreachableError
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.reproduction.language_model_annotation.materials import (
    COMPOUND,
    FactorAnswerer,
    FactorCaptioner,
    RuleInterpreter,
    definition,
)
from snellen.systems.language_model_annotation.baselines import direct_question
from snellen.systems.language_model_annotation.collaboration import Schedule
from snellen.systems.language_model_annotation.ledger import Cost, Limits, Store
from snellen.systems.language_model_annotation.student import StudentFit
from tests.verbs.stopping import Stopping, contents

CONCEPT = COMPOUND[1]
SCHEDULE = Schedule(queries=6, per_query=8, initial=30, rounds=2, batch=12)
FAST = StudentFit(width=16, epochs=20)
POOL = WORLD.model_copy(update={"count": 320}).images(split="train")
TRUTH = dict(zip(POOL.ids, CONCEPT.truth(POOL).tolist(), strict=True))
OWNED = {one: TRUTH[one] for one in [*POOL.ids[:40], *[one for one in POOL.ids if TRUTH[one]][::2]]}


def labelled(out, **options):
    given = {
        "concept": definition(CONCEPT, clause=True), "pool": POOL, "language": RuleInterpreter(),
        "captioner": FactorCaptioner(0), "answers": FactorAnswerer(0, 0.05), "towers": "bundled:scene-clip",
        "labels": OWNED, "schedule": SCHEDULE, "student": FAST, "store": Path(out).parent / "store.sqlite",
    }  # fmt: skip
    given |= options
    return snellen.label(given.pop("concept"), given.pop("pool"), out=out, **given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label") / "out"
    return labelled(folder), folder


def transcripts(folder):
    return [json.loads(line) for line in (folder / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()]


def table(folder):
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.covers("18.1")
def test_no_image_of_the_owner_is_mined_chosen_or_trained_on(whole):
    record, folder = whole
    trained = {row["id"] for row in table(folder)}
    seen = {one["annotation"]["image"] for one in transcripts(folder)}
    assert len(OWNED) >= 45
    assert not (trained | seen) & set(OWNED)
    assert trained <= seen
    assert record.effort == {"labels": len(OWNED), "corrections": 0}


@pytest.mark.covers("18.1")
def test_the_owners_labels_move_thresholds_and_nothing_that_is_trained(whole, tmp_path):
    _, folder = whole
    flipped = {one: 1 - value for one, value in OWNED.items()}
    labelled(tmp_path / "out", labels=flipped)
    for file in ("labels.csv", "transcripts.jsonl", "definition.toml"):
        assert (tmp_path / "out" / file).read_bytes() == (folder / file).read_bytes()
    own, other = (snellen.Artifact.load(place / "classifier").tensors for place in (folder, tmp_path / "out"))
    moved = [name for name in own if not np.array_equal(own[name].numpy(), other[name].numpy())]
    assert moved in ([], ["head.scores.bias"])


@pytest.mark.covers("18.4")
def test_each_label_says_where_its_image_came_from(whole):
    record, folder = whole
    first = [one for one in transcripts(folder) if one["round"] == 0]
    queries = {*record.queries.positive, *record.queries.near_misses}
    assert all(one["hits"] and one["hits"][0]["query"] in queries for one in first)
    assert {one["hits"][0]["side"] for one in first} == {"positive", "near miss"}
    later = [one for one in transcripts(folder) if one["round"] > 0]
    assert all(one["margin"] is not None and not one["hits"] for one in later)
    rows = table(folder)
    assert {row["mined"].split(":")[0].split(",")[0] for row in rows} == {"positive", "near miss", "round 1", "round 2"}
    assert all(row["rationale"] and 0 < float(row["confidence"]) <= 1 for row in rows)


@pytest.mark.covers("18.5")
def test_no_image_is_labelled_twice(whole):
    _, folder = whole
    images = [one["annotation"]["image"] for one in transcripts(folder)]
    assert len(images) == len(set(images)) == 30 + 2 * 12


@pytest.mark.covers("18.6")
def test_the_classifier_decides_without_a_language_model_or_a_tool(whole, monkeypatch):
    record, folder = whole

    def called(*_, **__):
        raise AssertionError("a tool was called")

    for kind, name in ((RuleInterpreter, "complete"), (FactorAnswerer, "answer"), (FactorCaptioner, "describe")):
        monkeypatch.setattr(kind, name, called)
    classifier = snellen.load_classifier(f"artifact:{folder / 'classifier'}")
    assert classifier.class_names == ("not garden ornament", "garden ornament")
    report = snellen.audit(classifier, snellen.load_images(folder / "labels.csv"), checks=["clean"])
    assert report.metrics["clean.accuracy"].value > 0.6
    assert record.path_of("card.json") == folder / "classifier" / "card.json"


@pytest.mark.covers("18.7")
def test_teacher_and_student_stand_beside_each_other(whole):
    record, folder = whole
    found = {one.who: one for one in record.agreement}
    assert list(found)[:2] == ["teacher", "student"]
    assert found["teacher"].figures["f1"].value > 0.7
    assert found["student"].figures["average_precision"].value > 0.3
    page = (folder / "label.html").read_text(encoding="utf-8")
    for who in found:
        assert who.replace("'", "&#39;") in page
    assert "teacher F1" in str(record)


@pytest.mark.covers("18.11")
def test_baselines_stand_beside_them_with_the_human_labels_that_they_use(whole):
    record, _ = whole
    tuned = sum(one in record.plan["owner"]["val"] for one in OWNED)
    assert {one.who: one.human_labels for one in record.agreement} == {
        "teacher": 0,
        "student": tuned,
        "name alone (zero-shot)": tuned,
        "descriptions (CuPL)": tuned,
        "one direct question": 0,
        f"trained on {tuned} of the owner's labels": tuned,
    }


@pytest.mark.covers("18.12")
def test_agreement_is_with_the_owner_on_labels_that_chose_nothing(whole):
    record, _ = whole
    plan = record.plan["owner"]
    assert not set(plan["val"]) & set(plan["report"])
    assert {one.labels for one in record.agreement} == {len(plan["report"])}
    assert {one.positives for one in record.agreement} == {sum(plan["report"].values())}
    assert {one.image for one in record.disagreements} <= set(plan["val"])


@pytest.mark.covers("18.2")
def test_the_direct_question_is_a_baseline_and_labels_nothing(whole):
    record, folder = whole
    answers = [answer for one in transcripts(folder) for answer in one["annotation"]["answers"]]
    assert answers
    assert not any("garden ornament" in answer["question"] for answer in answers)
    assert {answer["condition"] for answer in answers} == {one.condition for one in record.questions}


@pytest.mark.covers("18.9")
def test_the_record_counts_calls_tokens_and_human_effort(whole):
    record, folder = whole
    costs = [Cost.model_validate(one["annotation"]["cost"]) for one in transcripts(folder)]
    assert record.cost["labels"] == Cost.sum(costs)
    assert record.cost["labels"].captions == 54
    answers = sum(len(one["annotation"]["answers"]) for one in transcripts(folder))
    assert record.cost["labels"].questions == answers
    assert record.cost["labels"].tokens > 0
    assert record.cost["concept"].texts == 3
    report = len(record.plan["owner"]["report"])
    assert record.cost["of_owner"].captions == len(OWNED)
    assert record.cost["of_owner"].questions > report
    assert "54 captions" not in str(record.summary()), "the owner's images cost something too"


@pytest.mark.covers("18.9")
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_killed_call_resumes_and_ends_with_the_same_bytes(whole, tmp_path, after):
    _, folder = whole
    with pytest.raises(KeyboardInterrupt):
        labelled(tmp_path / "out", progress=Stopping(after, "labelling images"))
    assert not (tmp_path / "out" / "label.json").exists()
    tool = FactorAnswerer(0, 0.05)
    labelled(tmp_path / "out", answers=tool)
    assert contents(tmp_path / "out") == contents(folder)
    left = sum(len(one["annotation"]["answers"]) for one in transcripts(folder) if one["round"] >= after - 1)
    assert tool.questions <= left, "what was labelled before is not paid for again"


@pytest.mark.covers("18.9")
def test_a_call_that_is_killed_between_two_images_pays_for_none_of_them_twice(whole, tmp_path):
    _, folder = whole

    class Dying(FactorAnswerer):
        left = 90

        def answer(self, pictures, question):
            self.left -= len(pictures)
            if self.left < 0:
                raise UnreachableError("the server does not answer")
            return super().answer(pictures, question)

    first = Dying(0, 0.05)
    with pytest.raises(UnreachableError):
        labelled(tmp_path / "out", answers=first)
    second = FactorAnswerer(0, 0.05)
    labelled(tmp_path / "out", answers=second)
    assert contents(tmp_path / "out") == contents(folder)
    assert second.questions > 0


def test_a_finished_call_is_read_and_another_plan_is_refused(whole, tmp_path):
    record, folder = whole

    class Silent(RuleInterpreter):
        def complete(self, *_, **__):
            raise AssertionError("what is kept is not requested again")

    before = contents(folder)
    assert labelled(folder, language=Silent()).agreement == record.agreement
    assert contents(folder) == before
    with pytest.raises(RunConflictError, match=r"holds another labelled concept .*schedule"):
        labelled(folder, schedule=SCHEDULE.model_copy(update={"batch": 13}))


@pytest.mark.covers("18.10")
def test_a_correction_brings_what_the_description_lacks(whole, tmp_path):
    found = [
        labelled(
            tmp_path / name, concept=definition(CONCEPT, clause=False), answers=FactorAnswerer(0, 0.0),
            corrections=corrections,
        )
        for name, corrections in (("prior", ()), ("corrected", (f"never: {CONCEPT.clause}",)))
    ]  # fmt: skip
    prior, corrected = (one.agreement[0].figures for one in found)
    assert prior["recall"].value == corrected["recall"].value == corrected["precision"].value == 1.0
    assert prior["precision"].value < 0.9
    assert found[1].definition.negative == (CONCEPT.clause,)
    assert found[1].effort["corrections"] == 1
    assert any(one.machine == 1 and one.owner == 0 for one in found[0].disagreements), "matter for the correction"


def test_limits_end_the_rounds_and_are_named(tmp_path):
    found = labelled(tmp_path / "out", limits=Limits(calls=600))
    total = Cost.sum(found.cost.values())
    assert 590 < total.calls <= 600
    assert found.stopped.startswith(f"{sum(found.counts.values())} images were labelled instead of 54: the limits")
    with pytest.raises(InputError, match="allow not a single label"):
        labelled(tmp_path / "none", limits=Limits(calls=4))


def test_the_classifier_decides_like_the_student_that_is_reported(whole):
    record, folder = whole
    report = record.plan["owner"]["report"]
    places = [POOL.ids.index(one) for one in report]
    classifier = snellen.load_classifier(f"artifact:{folder / 'classifier'}")
    pixels = torch.stack([classifier.preparation(POOL.read(place)) for place in places])
    decided = classifier(pixels).argmax(1).tolist()
    right = np.mean([found == own for found, own in zip(decided, report.values(), strict=True)])
    student = next(one for one in record.agreement if one.who == "student")
    assert student.figures["accuracy"].value == pytest.approx(float(right), abs=1e-6)
    assert record.threshold == pytest.approx(1 / (1 + np.exp(-record.logit)))
    assert record.logit != 0.0


def test_a_pool_that_gives_no_more_is_not_called_a_limit(tmp_path):
    few = Schedule(queries=6, per_query=8, initial=30, rounds=1, batch=500)
    found = labelled(tmp_path / "out", schedule=few, limits=Limits(calls=10**6), labels=None)
    assert found.stopped.endswith("instead of 530: the pool or the queries gave no more")


@pytest.mark.covers("18.11")
def test_direct_questions_are_kept_limited_and_lose_one_image_alone(tmp_path):
    concept = definition(CONCEPT, clause=True)
    images = POOL.limit(12, seed=0)

    class Failing(FactorAnswerer):
        def answer(self, pictures, question):
            if images.ids[3] in pictures.images.ids:
                raise ModelError("out of ideas")
            return super().answer(pictures, question)

    store, tool = Store(tmp_path / "s"), Failing(0, 0.0)
    found = direct_question(tool, concept, store).annotate(images)
    assert [one.image for one in found if one.label is None] == [images.ids[3]]
    assert {one.cost.captions for one in found} == {0}
    again = FactorAnswerer(0, 0.0)
    direct_question(again, concept, store).annotate(images)
    assert again.questions == 1, "what was answered is kept"
    spent = Cost(questions=95)
    assert len(direct_question(FactorAnswerer(1, 0.0), concept, store).annotate(
        images, spent=spent, limits=Limits(calls=100)
    )) == 5  # fmt: skip


def test_without_labels_of_the_owner_nothing_says_how_good_the_labels_are(tmp_path):
    found = labelled(tmp_path / "out", labels=None)
    assert found.agreement == ()
    assert found.threshold == 0.5
    assert "label some with --review" in str(found.summary())


def test_a_pool_without_a_positive_stops_and_says_what_to_change(tmp_path):
    world = WORLD.model_copy(update={"count": 60, "shapes": ("square", "triangle")})
    with pytest.raises(InputError, match="give other queries or captions"):
        labelled(tmp_path / "out", pool=world.images(split="train"), labels=None, answers=FactorAnswerer(0, 0.0))


def test_test_images_and_a_budget_of_time_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds test images"):
        labelled(tmp_path / "out", pool=WORLD.model_copy(update={"count": 20}).images(split="test"), labels=None)
    with pytest.raises(InputError, match="limit calls or tokens"):
        labelled(tmp_path / "out", budget="5m")
    with pytest.raises(InputError, match="usable image of"):
        labelled(tmp_path / "out", labels={"nobody": 1})


def test_a_plan_names_calls_and_tokens_and_requests_nothing(tmp_path):
    class Silent:
        name, sees_images, spent = "silent", False, Spent()

        def complete(self, *_, **__):
            raise AssertionError("a plan requests nothing")

    estimate = snellen.plan(
        snellen.label, definition(CONCEPT, clause=True), POOL, language=Silent(), captioner=FactorCaptioner(0),
        answers=FactorAnswerer(0, 0.0), towers="bundled:scene-clip", out=tmp_path / "out", schedule=SCHEDULE,
    )  # fmt: skip
    assert "calls: 759: 54 captions, 648 questions (12 an image), 57 requests" in str(estimate)
    assert "tokens of the language model: about" in str(estimate)
    assert not list(tmp_path.iterdir())


def test_images_that_cannot_be_read_are_named_and_count_nowhere(tmp_path):
    snellen.write_images(POOL.limit(120, seed=1), tmp_path / "pool")
    broken = sorted((tmp_path / "pool" / "images").rglob("*.png"))[::50]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    language = "file:" + str(tmp_path / "lists.toml")
    (tmp_path / "lists.toml").write_text(LISTS, encoding="utf-8")
    found = labelled(
        tmp_path / "out", pool=tmp_path / "pool" / "manifest.csv", language=language, labels=None,
        captioner="bundled:scene-captioner", answers="bundled:scene-clip", concept="star: a star",
    )  # fmt: skip
    assert len(found.rejected) == len(broken) == 3
    assert not {one.id for one in found.rejected} & {
        one["annotation"]["image"] for one in transcripts(tmp_path / "out")
    }
    assert sum(found.counts.values()) > 40


LISTS = """
definition = {necessary = ["a star"]}
queries = {positive = ["a star", "a red star"], near_misses = ["a heart", "a ring", "a cross"]}
questions.questions = [{condition = "necessary 1", question = "A star?", phrases = ["a star"], instead = ["a heart"]}]
"""


def test_names_that_are_hostile_are_escaped_on_the_page(tmp_path):
    evil = definition(CONCEPT, clause=True).model_copy(update={"name": "<script>alert(1)</script>"})
    labelled(tmp_path / "out", concept=evil)
    page = (tmp_path / "out" / "label.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_labels_train_a_classifier_and_a_pool_of_files_keeps_its_labels_to_itself(whole, tmp_path):
    _, folder = whole
    images = snellen.load_images(folder / "labels.csv")
    assert images.class_names == ("garden ornament", "not garden ornament")
    assert images.split == "train"
    made = snellen.train(
        {"method": "supervised", "architecture": "fashion_cnn", "side": 28, "plan": {"epochs": 1, "batch_size": 16}},
        images, out=tmp_path / "trained", onnx=False,
    )  # fmt: skip
    assert made.artifact.card.class_names == images.class_names
