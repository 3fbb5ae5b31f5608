"""The study: one rate for all sets, retraining without the forget set, run time without judging, what is reported."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import snellen
from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.forgetting import FineTuning, Retraining, SelectiveDampening
from snellen.methods.forgetting import judging
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, fit_network
from snellen.methods.forgetting.judging import ForgettingCase, timed_forgetting
from snellen.runs.settings import named_settings
from snellen.systems.worst_case_forget_set import studying
from snellen.systems.worst_case_forget_set.search import PUBLISHED, ForgetSearch
from snellen.systems.worst_case_forget_set.studying import AS_IT_WAS, EXACT, FACTORS, LOWEST, Study, study_forget_set
from tests.cli.conftest import run
from tests.methods.forgetting.learned import PLAN, dots
from tests.verbs.stopping import Stopping, contents

__all__ = ["run"]

SEARCH = ForgetSearch(upper_steps=2, epochs=1, rate=1e-3, batch_size=32)


def arrays(count, seed):
    store = dots(count, seed)
    return load_arrays(store.images.permute(0, 2, 3, 1).numpy(), store.targets.numpy(), name=f"dots {seed}")


@pytest.fixture(scope="module")
def case():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 2)
        )
    train, test = arrays(96, 0), arrays(60, 1)
    options = {"class_names": train.class_names, "preparation": Preprocessing(size=(8, 8)), "name": "dots"}
    fresh = ForgettingCase.of(snellen.Classifier(network, **options), train, test)
    made = fit_network(fresh.network(), fresh.store, PLAN, Forgetting(Randomness(0)), recipe={})
    return ForgettingCase.of(snellen.Classifier(made.network.eval(), **options), train, test)


def study_of(case, **changed):
    methods = [FineTuning(epochs=1, batch_size=32), SelectiveDampening(selection=1.0)]
    given = {
        "case": case, "count": 10, "level": "image", "search": SEARCH, "exact": Retraining(plan=PLAN),
        "methods": named_settings(methods, "forgetting"), "random_sets": 2, "seed": 0,
    }  # fmt: skip
    return Study(**{**given, **changed})


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "set"
    return study_forget_set(study_of(case), out=folder)


@pytest.mark.covers("24.12")
def test_a_study_reports_sets_classes_and_trivial_baselines(whole, case):
    ids = (whole.folder / "forget-set.txt").read_text().split("\n")[:-1]
    assert len(ids) == whole.count == 10
    assert sum(whole.classes.values()) == 10
    assert set(whole.classes) == set(case.classifier.class_names)
    assert set(whole.shared) == {"lowest loss", "lowest EL2N", "moderate coreset"}
    weights = load_file(whole.folder / "selection.safetensors")["weights"]
    assert weights.dtype == torch.float64
    chosen = {case.store.ids[row] for row in weights[-1].nonzero().flatten().tolist()}
    assert chosen == set(ids)
    assert whole.row(LOWEST, EXACT).figures is not None
    record = json.loads((whole.folder / "forget-set.json").read_text())
    assert record["moved"] == whole.moved > 0.1
    assert record["overlap"] is whole.overlap is None, "a uniform start selects nothing"
    assert "UA %" in [column for part in whole.summary().parts if not isinstance(part, str) for column in part.columns]


@pytest.mark.covers("24.10")
def test_one_rate_for_all_sets_is_chosen_on_a_random_one(whole):
    tried = [one for one in whole.tried if one.method == "fine_tuning"]
    assert [one.rate for one in tried] == pytest.approx([0.01 * factor for factor in FACTORS])
    best = min(tried, key=lambda one: (one.gap, one.rate))
    rows = [row for row in whole.rows if row.method == "fine_tuning"]
    assert {row.forget_set for row in rows} == {"worst-case", "random 1", "random 2"}
    assert {row.rate for row in rows} == {best.rate}
    assert whole.row("random 1", "fine_tuning").gap == best.gap
    assert whole.row("worst-case", "selective_dampening").rate is None


@pytest.mark.covers("24.10")
def test_a_rate_that_diverges_is_not_chosen(case, tmp_path, monkeypatch):
    original = FineTuning.forget

    def forget(self, *given, **options):
        if self.learning_rate > 0.005:
            raise ModelError("the loss is not finite")
        return original(self, *given, **options)

    monkeypatch.setattr(FineTuning, "forget", forget)
    methods = named_settings([FineTuning(epochs=1, batch_size=32)], "forgetting")
    found = study_forget_set(study_of(case, methods=methods, random_sets=1), out=tmp_path / "out")
    assert [one.gap is None for one in found.tried] == [False, False, True, True, True]
    assert found.row("worst-case", "fine_tuning").rate < 0.005


@pytest.mark.covers("24.8")
def test_retraining_is_judged_without_each_set(whole, case, monkeypatch):
    rows = {row.forget_set: row.figures for row in whole.rows if row.method == EXACT}
    assert set(rows) == {"worst-case", "random 1", "random 2", LOWEST}
    assert all(one.remaining.n == 86 for one in rows.values())
    assert whole.row("worst-case", AS_IT_WAS).figures.unlearning.value == 0


@pytest.mark.covers("24.9")
def test_run_time_has_no_judging_in_it(case, whole, monkeypatch):
    class Slow(FineTuning):
        def forget(self, network, split, **options):
            time.sleep(0.2)
            return network

    split = ForgetSplit(case.store, torch.arange(10))
    _, seconds = timed_forgetting(Slow(), case.network(), split, rng=Randomness(0), progress=None)
    assert seconds >= 0.2
    judged = []
    monkeypatch.setattr(ForgettingCase, "judge", lambda *_, **__: judged.append(1))
    timed_forgetting(FineTuning(epochs=1), case.network(), split, rng=Randomness(0), progress=None)
    assert judged == []
    timing = json.loads((whole.folder / "timing.json").read_text())
    assert timing["fine_tuning, random 1, × 0.1"] > 0
    assert "seconds" not in (whole.folder / "forget-set.json").read_text()


@pytest.mark.covers("24.9")
def test_the_attack_of_a_judgement_sees_remaining_and_test_images_alone(case, monkeypatch):
    seen = {}

    def attack(members, non_members, forgotten, **options):
        seen.update(members=members, non_members=non_members, forgotten=forgotten)
        return original(members, non_members, forgotten, **options)

    original = judging.membership_attack
    monkeypatch.setattr(judging, "membership_attack", attack)
    split = ForgetSplit(case.store, torch.arange(10))
    found = case.judge(case.network(), split)
    assert [len(seen[name]) for name in ("members", "non_members", "forgotten")] == [86, 60, 10]
    assert found.attacked_with == 60
    probabilities = case.network().eval()(case.store.images.float() / 255).softmax(1)
    expected = probabilities[torch.arange(96), case.store.targets].detach().numpy()
    assert seen["forgotten"] == pytest.approx(expected[:10], abs=1e-5)
    assert seen["members"] == pytest.approx(expected[10:], abs=1e-5)


@pytest.mark.covers("24.11")
def test_whole_classes_go_the_same_way(case, tmp_path):
    study = study_of(case, level="class", count=1, methods=[], random_sets=1)
    found = study_forget_set(study, out=tmp_path / "out")
    assert sorted(found.classes.values())[0] == 0
    assert any("remains: a network that is retrained never decides for it" in note for note in found.notes)
    assert {row.forget_set for row in found.rows} == {"worst-case", "random 1"}


@pytest.mark.covers("24.6")
def test_a_search_that_did_nothing_is_a_warning_in_the_record(case, tmp_path):
    search = PUBLISHED.model_copy(update={"upper_steps": 1, "epochs": 1})
    found = study_forget_set(study_of(case, search=search, methods=[], random_sets=1), out=tmp_path / "out")
    assert found.overlap == 1
    assert any("the search hardly moved" in note for note in found.notes)
    assert any("the search hardly moved" in part for part in found.summary().parts if isinstance(part, str))


def test_the_easiest_set_has_its_own_name(case, tmp_path):
    search = SEARCH.model_copy(update={"reverse": True})
    found = study_forget_set(study_of(case, search=search, methods=[], random_sets=1), out=tmp_path / "out")
    assert {row.forget_set for row in found.rows} == {"easiest", "random 1"}
    assert found.row("easiest", EXACT).figures.unlearning.value > found.row("random 1", EXACT).figures.unlearning.value


def test_a_stopped_study_resumes_with_the_same_bytes(case, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study_forget_set(study_of(case), out=tmp_path / "out", progress=Stopping(6, studying.TASK))
    study_forget_set(study_of(case), out=tmp_path / "out")
    one, other = contents(tmp_path / "out"), contents(whole.folder)
    assert {**one, "timing.json": b""} == {**other, "timing.json": b""}


def test_bad_counts_and_budgets_are_refused(case, tmp_path):
    for count in (0, 96, 200):
        with pytest.raises(InputError, match="at least 1 and at most 95 of 96 training images"):
            study_forget_set(study_of(case, count=count), out=tmp_path / "out")
    with pytest.raises(InputError, match="at most 1 of 2 classes with training images"):
        study_forget_set(study_of(case, count=2, level="class"), out=tmp_path / "out")
    with pytest.raises(InputError, match="neither a budget nor a part"):
        study_forget_set(study_of(case), out=tmp_path / "out", part="1/2")


def test_the_command_refuses_what_it_cannot_do(run, tmp_path):
    common = ["forget", "worst-case-forget-set", "bundled:fashion-cnn", "bundled:fashion-mnist", "--out"]
    code, _, err = run(*common, str(tmp_path / "a"), "--method", "retraining")
    assert code == 2
    assert "retraining is judged in any case" in err
    code, _, err = run(*common, str(tmp_path / "b"), "--step", "-1")
    assert code == 2
    assert "--step '-1': expected a number above 0" in err
    code, _, err = run(*common, str(tmp_path / "c"))
    assert code == 2
    assert "only 'supervised' can be repeated here" in err
    assert np.all([not (tmp_path / name).exists() for name in "abc"])


def test_a_class_without_training_images_is_neither_searched_nor_drawn(case, tmp_path):
    """Classes 0 and 2 of four have images: the one between has none, and neither has the last."""
    names = ("dark", "between", "bright", "last")
    stretched = nn.Linear(2, 4, bias=False)
    stretched.weight.data = torch.tensor([[1.0, 0], [-50, -50], [0, 1], [-50, -50]])
    network = nn.Sequential(*case.network().network, stretched)
    classifier = snellen.Classifier(network, class_names=names, preparation=Preprocessing(size=(8, 8)), name="four")
    train, test = (
        load_arrays(pixels_of(count, seed), 2 * dots(count, seed).targets.numpy(), class_names=names, name="dots")
        for count, seed in ((96, 0), (60, 1))
    )
    sparse = ForgettingCase.of(classifier, train, test)
    study = study_of(sparse, level="class", count=1, methods=[], random_sets=2)
    found = study_forget_set(study, out=tmp_path / "out")
    assert sum(number > 0 for number in found.classes.values()) == 1
    assert found.classes["between"] == found.classes["last"] == 0
    assert load_file(tmp_path / "out" / "selection.safetensors")["weights"].shape == (3, 2)
    for seed in range(6):
        drawn = study_of(sparse, level="class", count=1, seed=seed)
        assert len(drawn.rows_of("random 1", None)) > 0
    with pytest.raises(InputError, match="at most 1 of 2 classes with training images; got 2"):
        study_forget_set(study_of(sparse, level="class", count=2), out=tmp_path / "no")


def pixels_of(count, seed):
    return dots(count, seed).images.permute(0, 2, 3, 1).numpy()


def test_the_set_on_which_rates_were_chosen_is_marked(whole, case, tmp_path):
    cells = next(part for part in whole.summary().parts if not isinstance(part, str)).rows
    marked = {(row[0], row[1]) for row in cells if "rate chosen here" in row[1]}
    assert marked == {("fine_tuning", "random 1 (rate chosen here)")}
    assert not any("the only random set" in note for note in whole.notes)
    methods = named_settings([FineTuning(epochs=1, batch_size=32)], "forgetting")
    alone = study_forget_set(study_of(case, methods=methods, random_sets=1), out=tmp_path / "out")
    assert any("Rates were chosen on random 1, the only random set" in note for note in alone.notes)


def test_a_method_that_diverges_has_no_time(case, tmp_path, monkeypatch):
    def forget(self, *given, **options):
        raise ModelError("the loss is not finite")

    monkeypatch.setattr(FineTuning, "forget", forget)
    methods = named_settings([FineTuning(epochs=1, batch_size=32)], "forgetting")
    study_forget_set(study_of(case, methods=methods, random_sets=1), out=tmp_path / "out")
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert {name.partition(",")[0] for name in timing} == {"retraining"}


def test_exact_retraining_that_diverges_ends_the_study_at_once(case, tmp_path, monkeypatch):
    calls = []

    def forget(self, *given, **options):
        calls.append(self)
        raise ModelError("the loss is not finite")

    monkeypatch.setattr(Retraining, "forget", forget)
    with pytest.raises(ModelError, match=r"retraining without worst-case diverged.*lower the learning rate of --plan"):
        study_forget_set(study_of(case), out=tmp_path / "out")
    assert len(calls) == 1


def test_a_retraining_worse_than_the_training_is_a_warning(case, whole, tmp_path):
    short = Retraining(plan={**PLAN.model_dump(), "epochs": 1, "learning_rate": 1e-5})
    found = study_forget_set(study_of(case, exact=short, methods=[], random_sets=1), out=tmp_path / "out")
    assert sum("gaps to it say little" in note for note in found.notes) == 3, "of each set"
    assert not any("gaps to it say little" in note for note in whole.notes)


def test_the_command_knows_the_recipe_or_refuses(case, run, tmp_path, monkeypatch):
    """Without a lineage a plan is needed; what is given of it lies over the lineage."""
    seen = []

    def study_alone(study, **_):
        seen.append(study.exact)
        raise InputError("seen")

    recipe = {"method": "supervised", "plan": {**PLAN.model_dump(), "epochs": 7}, "flips": True}
    found = {"model": case.classifier}
    monkeypatch.setattr("snellen.models.classifiers.references.load_classifier", lambda *_, **__: found["model"])
    monkeypatch.setattr("snellen.data.references.load_images", lambda *_, **__: case.images)
    monkeypatch.setattr(ForgettingCase, "of", lambda *_, **__: case)
    monkeypatch.setattr(studying, "study_forget_set", study_alone)
    common = ["forget", "worst-case-forget-set", "a", "b", "--out", str(tmp_path / "out")]
    code, _, err = run(*common)
    assert code == 2
    assert "how dots was trained is not known" in err
    assert "--plan" in err
    assert seen == []
    run(*common, "--plan", '{"learning_rate": 0.1}')
    assert seen.pop().plan == Retraining(plan={"learning_rate": 0.1}).plan
    found["model"] = SimpleNamespace(recipe=recipe, name="dots", class_names=("a", "b"))
    run(*common)
    assert (seen[-1].plan.epochs, seen[-1].plan.learning_rate, seen.pop().flips) == (7, 0.01, True)
    run(*common, "--plan", '{"learning_rate": 0.1}', "--no-flips")
    assert (seen[-1].plan.epochs, seen[-1].plan.learning_rate, seen.pop().flips) == (7, 0.1, False)
