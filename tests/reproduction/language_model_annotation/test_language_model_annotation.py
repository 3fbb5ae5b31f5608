"""The experiment's parts: concepts, stand-ins with a known error, figures of every claim, and real classes at full."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.models.random_folders import write_random_blip
from snellen.reproduction.language_model_annotation import full
from snellen.reproduction.language_model_annotation.experiment import (
    figures_of,
    language_model_annotation,
    paired_precision,
)
from snellen.reproduction.language_model_annotation.materials import (
    COMPOUND,
    FACTORS,
    SINGLE,
    FactorAnswerer,
    FactorCaptioner,
    RuleInterpreter,
    as_question,
    definition,
    factors,
    holds,
)
from snellen.reproduction.seed_file import named_figures
from snellen.systems.language_model_annotation.collaboration import Schedule
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.definition import specify
from snellen.systems.language_model_annotation.ledger import Store
from snellen.systems.language_model_annotation.mining import write_queries
from snellen.systems.language_model_annotation.student import StudentFit
from snellen.systems.language_model_annotation.tools import Pictures

SCENES = WORLD.model_copy(update={"count": 600}).images(split="train")


def test_compound_concepts_are_rare_and_their_clause_excludes_a_good_part():
    assert len(COMPOUND) == 5
    for concept in COMPOUND:
        whole = concept.truth(SCENES)
        prior = type(concept)(concept.name, concept.prior, "").truth(SCENES)
        assert 0.015 < whole.mean() < 0.09, concept.name
        assert (prior >= whole).all()
        assert whole.sum() < 0.8 * prior.sum(), concept.name


def test_answers_are_wrong_at_the_stated_rate_and_always_alike():
    question = as_question("necessary 1", "shape is star or ring")
    truth = [holds("shape is star or ring", values) for values in factors(SCENES)]
    for error in (0.0, 0.15):
        found = FactorAnswerer(3, error).answer(Pictures(SCENES), question)
        wrong = np.mean([one.holds != right for one, right in zip(found, truth, strict=True)])
        assert abs(wrong - error) < 0.05
        assert found == FactorAnswerer(3, error).answer(Pictures(SCENES), question)
    assert FactorAnswerer(4, 0.15).answer(Pictures(SCENES), question) != found


def test_captions_name_a_part_and_never_wrongly():
    found = FactorCaptioner(0).describe(Pictures(SCENES))
    named = [dict(part.split(" is ") for part in one.text.split(", ") if part) for one in found]
    assert 0.4 < np.mean([len(one) / len(FACTORS) for one in named]) < 0.6
    assert all(own.items() >= one.items() for own, one in zip(factors(SCENES), named, strict=True))


def test_the_interpreter_knows_a_concept_by_the_prompts_alone():
    concept = COMPOUND[0]
    whole = specify(definition(concept, clause=True), Conversation(RuleInterpreter(), Store()))
    assert whole.negative == (concept.clause,)
    prior = specify(definition(concept, clause=False), Conversation(RuleInterpreter(), Store()))
    assert prior == whole.model_copy(update={"negative": (), "description": concept.prior})
    queries = write_queries(whole, Conversation(RuleInterpreter(), Store()), each=5)
    assert all("star" in one and "sand" not in one and "grey" not in one for one in queries.positive)
    assert len(queries.near_misses) == 5
    blind = write_queries(whole, Conversation(RuleInterpreter(near_misses=False), Store()), each=5)
    assert all("star" in one and "sand" not in one for one in blind.near_misses)


@pytest.fixture(scope="module")
def figures():
    return language_model_annotation("smoke", 0, Silent())


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    system = find_system("language_model_annotation")
    assert set(named_figures(system, "small")) <= set(figures)
    assert figures["mc_0.teacher.f1"] == figures["corrected.teacher.f1"] == 1.0
    assert figures["missing.teacher.f1"] == figures["prior.f1"] < 1.0
    assert figures["mc_15.teacher.f1"] < 1.0
    assert figures["mc_05.labels"] == 32
    assert SINGLE


def test_what_is_undecided_or_has_no_denominator_is_missing_and_never_a_negative():
    truth = np.array([1, 1, 0, 0])
    assert figures_of("a", truth, [1, None, 0, None]) == {"a.precision": 1.0, "a.recall": 1.0, "a.f1": 1.0}
    assert figures_of("a", truth, [0] * 4) == {"a.precision": None, "a.recall": 0.0, "a.f1": 0.0}
    assert set(figures_of("a", truth, [None] * 4).values()) == {None}


def test_first_batches_are_compared_over_concepts_where_both_have_a_classifier():
    found = {"no_near_misses.first.precision": [0.2, None, 0.4], "mc_05.first.precision": [0.6, 0.9, 0.8]}
    assert paired_precision(found) == {
        "no_near_misses.first.paired_precision": pytest.approx(0.3), "mc_05.first.paired_precision": pytest.approx(0.7),
        "first.pairs": 2.0,
    }  # fmt: skip
    none = paired_precision({"no_near_misses.first.precision": [None], "mc_05.first.precision": [0.6]})
    assert none["mc_05.first.paired_precision"] is None


def test_the_gate_of_the_teacher_closes_where_answers_are_worthless(figures):
    gate = next(one for one in find_system("language_model_annotation").gates if one.id == "teacher")
    assert figures["teacher_gain"] == pytest.approx(figures["mc_05.teacher.f1"] - figures["always.f1"])
    truth = np.array([1] * 5 + [0] * 95)
    always = figures_of("a", truth, [1] * 100)["a.f1"]
    worthless = figures_of("a", truth, np.random.default_rng(0).integers(0, 2, 100).tolist())["a.f1"]
    assert worthless - always < gate.threshold < figures["teacher_gain"]


def test_the_full_experiment_names_what_it_needs(monkeypatch):
    for name in full.NAMES:
        monkeypatch.delenv(f"SNELLEN_LABEL_{name}", raising=False)
    with pytest.raises(InputError, match="SNELLEN_LABEL_CONCEPT, SNELLEN_LABEL_POOL"):
        language_model_annotation("full", 0, Silent())


LISTS = """
definition = {necessary = ["a star"]}
queries = {positive = ["a star"], near_misses = ["a heart"]}
questions.questions = [{condition = "necessary 1", question = "is it a star"}]
"""


def test_the_full_experiment_runs_on_the_exact_classes_of_real_models(tmp_path, monkeypatch):
    """BLIP as captioner and for questions, of random weights: what it answers is neither yes nor no."""
    blip, answerer = write_random_blip(tmp_path / "blip"), write_random_blip(tmp_path / "vqa", answering=True)
    (tmp_path / "star.toml").write_text('name = "star"\ndescription = "a star"\n', encoding="utf-8")
    (tmp_path / "lists.toml").write_text(LISTS, encoding="utf-8")
    pool = "optotypes:scenes?count=24&size=32#train"
    (tmp_path / "labels.csv").write_text("id,label\ntrain/000000,yes\ntrain/000001,no\n", encoding="utf-8")
    given = {
        "CONCEPT": tmp_path / "star.toml", "POOL": pool, "LABELS": tmp_path / "labels.csv",
        "LANGUAGE": f"file:{tmp_path / 'lists.toml'}", "CAPTIONER": f"hf:{blip}", "ANSWERS": f"hf:{answerer}",
        "TOWERS": "bundled:scene-clip", "FOLDER": tmp_path,
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"SNELLEN_LABEL_{name}", str(value))
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    small = {"schedule": Schedule(per_query=4, initial=6, rounds=1, batch=2), "student": StudentFit(epochs=2, width=4)}
    with pytest.raises(InputError, match=r"none of 6 mined images belongs to the concept .* \(6 undecided\)"):
        full.full(0, Silent(), **small)
    monkeypatch.setenv("SNELLEN_LABEL_ANSWERS", "bundled:scene-clip")
    with_phrases = LISTS.replace('a star"}', 'a star", phrases = ["a star"], instead = ["a heart", "a ring"]}')
    (tmp_path / "lists.toml").write_text(with_phrases, encoding="utf-8")
    monkeypatch.setenv("SNELLEN_LABEL_FOLDER", str(tmp_path / "towers"))
    found = full.full(0, Silent(), **small)
    assert found["cost.captions"] == found["labels"] == 8
    assert {"teacher.accuracy", "student.accuracy", "undecided"} <= set(found)
    assert set(named_figures(find_system("18"), "full")) <= set(found)
    assert found["agile_2000.f1"] is None
