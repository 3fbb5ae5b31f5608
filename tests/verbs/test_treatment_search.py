"""Which candidates are tried: together, then kind by kind, and as long as there is time."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
import torch

import snellen
from snellen.core.errors import RunConflictError
from snellen.core.finding import Finding
from snellen.methods.treatments.batchnorm_reestimation import BatchNormReestimation
from snellen.methods.treatments.class_balance import BalancedTuning, LastLayerRetraining
from snellen.methods.treatments.corruption_tuning import AugMixTuning, CorruptionTuning
from snellen.methods.treatments.plain_tuning import PlainTuning
from snellen.methods.treatments.score_scaling import TemperatureScaling, VectorScaling
from snellen.methods.treatments.treatment import Stage, Treatment
from snellen.systems.natural_transformations.treating import NaturalTuning
from snellen.testing.treating import small_patient
from snellen.training.fine_tuning import TuningPlan
from snellen.verbs.treatment_plan import Prescription
from snellen.verbs.treatment_search import Pace, limited, proposals
from snellen.verbs.treatment_trials import Trial
from tests.verbs.ill_classifiers import classifier_of, garments, overconfident

SCORES = Prescription(
    "calibration", (Finding(kind="calibration", harm=0.1, title="unsure"),), (TemperatureScaling(), VectorScaling()), {}
)
FOG = Prescription(
    "corruption", (Finding(kind="corruption", subject="fog", harm=0.2, title="fog"),), (CorruptionTuning(),), {}
)


def tried(search, wanted, outcomes):
    """Names of all candidates; an outcome is (cost, what is left of calibration, of fog), or None."""
    names, treatments = [], next(search)
    for outcome in outcomes:
        names.append([one.name for one in treatments])
        trial = None
        if outcome is not None:
            cost, unsure, fog = outcome
            left = {"calibration": unsure, "corruption:fog": fog}
            quantities = {key: (1.0, share) for key, share in left.items() if key in wanted}
            mended = frozenset(key for key, (_, share) in quantities.items() if share < 0.5)
            trial = Trial(tuple(treatments), None, quantities, mended, cost, 1.0)
        try:
            treatments = search.send(trial)
        except StopIteration:
            return names
    return [*names, [one.name for one in treatments]]


BOTH = ("calibration", "corruption:fog")


def test_kinds_are_treated_together_and_nothing_follows_what_mends_all():
    names = tried(proposals([SCORES, FOG], 0.01), BOTH, [(0.0, 0.1, 0.1)])
    assert names == [["temperature_scaling", "corruption_tuning"]]


def test_what_costs_nothing_is_not_lost_with_what_costs_too_much():
    # Together: 4 points. The temperature alone costs none, and stays; beside it the fine-tuning still costs too much.
    names = tried(proposals([SCORES, FOG], 0.01), BOTH, [(0.04, 0.1, 0.1), (0.04, 0.1, 0.1), (0.0, 0.1, 1.0)])
    assert names == [
        ["temperature_scaling", "corruption_tuning"],
        ["vector_scaling", "corruption_tuning"],
        ["temperature_scaling"],
    ]


def test_a_kind_that_is_refused_alone_leaves_the_next_one_by_itself():
    third = Prescription("group_gap", (Finding(kind="group_gap", harm=0.1, title="g"),), (LastLayerRetraining(),), {})
    search = proposals([SCORES, third, FOG], 0.01)
    failed = [(0.04, 0.1, 0.1)] * 2
    names = tried(search, BOTH, [*failed, (0.0, 0.1, 1.0), (0.03, 0.1, 1.0)])
    # The last layer beside the temperature lost too much: the fine-tuning is tried beside the temperature alone.
    assert names[2:] == [
        ["temperature_scaling"],
        ["temperature_scaling", "last_layer_retraining"],
        ["temperature_scaling", "corruption_tuning"],
    ]


def test_one_kind_by_one_is_tried_where_no_time_was_left_for_all():
    assert tried(proposals([SCORES, FOG], 0.01), BOTH, [None, None]) == [
        ["temperature_scaling", "corruption_tuning"],
        ["temperature_scaling"],
        ["corruption_tuning"],
    ]


@pytest.mark.parametrize("outcome", [(0.04, 0.1, 0.1), None])
def test_one_kind_alone_has_nothing_to_be_parted(outcome):
    assert tried(proposals([FOG], 0.01), BOTH, [outcome]) == [["corruption_tuning"]]


@pytest.mark.parametrize(
    ("kind", "ladder"),
    [("group_gap", (BalancedTuning(), NaturalTuning())), ("corruption", (CorruptionTuning(), AugMixTuning()))],
)
def test_what_costs_much_more_is_tried_only_where_much_is_left(kind, ladder):
    one = Prescription(kind, (Finding(kind=kind, harm=0.1, title="planted"),), ladder, {})

    def names(left: float, cost: float = 0.0) -> list[str]:
        search = proposals([one], 0.01)
        found = next(search)
        trial = Trial(tuple(found), None, {kind: (1.0, left)}, frozenset(), cost, 1.0)
        try:
            return [step.name for step in search.send(trial)]
        except StopIteration:
            return []

    assert names(0.2) == []
    assert names(0.4) == [ladder[1].name]
    assert names(0.2, cost=0.04) == [ladder[1].name], "what loses too much took nothing away"


PACE = Pace(judging=10.0, proving=20.0, training=0.01, images=1000)  # a pass: 10 s


def test_a_plan_takes_as_long_as_its_passes_and_the_checks():
    plan = TuningPlan(epochs=6)
    assert PACE.seconds([TemperatureScaling()]) == 10
    assert PACE.seconds([BatchNormReestimation()]) == pytest.approx(10 + 0.3 * 10)
    assert PACE.seconds([BalancedTuning(plan=plan)]) == pytest.approx(10 + 6 * 10)
    # Three views of an image count twice as much as one, and what two need is one training.
    assert PACE.seconds([AugMixTuning(plan=plan)]) == pytest.approx(10 + 12 * 10)
    assert PACE.seconds([AugMixTuning(plan=plan), BalancedTuning(plan=plan)]) == pytest.approx(10 + 12 * 10)


@pytest.mark.parametrize(
    ("left", "first", "passes"),
    [
        (1e6, False, 0),
        (230.0, False, 9),  # half of 210 s, less 10 s of judging
        (45.0, False, None),
        (45.0, True, 1),
        (-5.0, True, 1),
    ],
)
def test_a_training_gets_as_many_passes_as_there_is_time_for(left, first, passes):
    plan = [PlainTuning(plan=TuningPlan(epochs=20)), TemperatureScaling()]
    assert PACE.passes(plan, left, first=first) == passes


def test_a_training_leaves_time_to_judge_each_kind_by_itself():
    plan = [PlainTuning(plan=TuningPlan(epochs=20))]
    assert PACE.passes(plan, 230.0, first=False, kinds=4) == 7  # half of 170 s, less 10 s
    assert PACE.passes(plan, 100.0, first=False, kinds=6) is None
    assert PACE.passes([TemperatureScaling()], 30.0, first=False, kinds=6) == 0


def test_what_trains_nothing_is_begun_until_its_end_would_be_too_late():
    assert PACE.passes([TemperatureScaling()], 30.0, first=False) == 0
    assert PACE.passes([TemperatureScaling()], 29.0, first=False) is None
    assert PACE.passes([TemperatureScaling()], 1.0, first=True) == 0


def test_a_limit_never_lengthens_a_training():
    short, long = PlainTuning(plan=TuningPlan(epochs=2)), PlainTuning(plan=TuningPlan(epochs=9))
    assert limited([short, long], 4, 100) == (short, PlainTuning(plan=TuningPlan(epochs=4)))
    assert limited([short, long], 0, 100) == (short, long)


def test_a_step_is_timed_on_a_copy():
    patient = small_patient()
    before = {name: one.clone() for name, one in patient.classifier.module.state_dict().items()}
    pace = Pace.measured(patient, 1.0, 2.0)
    assert 0 < pace.training < 1
    assert pace.images == len(patient.training)
    after = patient.classifier.module.state_dict()
    assert all(torch.equal(before[name], one) for name, one in after.items())
    assert all(one.grad is None for one in patient.classifier.module.parameters())


class Costly(Treatment):
    """Mends nothing, and takes a class away."""

    name: ClassVar[str] = "costly"
    treats: ClassVar[tuple[str, ...]] = ("worst_class",)
    stage: ClassVar[Stage] = Stage.LAST_LAYER
    trains: ClassVar[bool] = False

    def treated(self, network, patient, call):
        layers = [one for one in network.modules() if isinstance(one, torch.nn.Linear)]
        with torch.no_grad():
            layers[-1].bias[3] -= 100
        return network


def test_a_temperature_is_delivered_where_another_treatment_takes_too_much():
    report = snellen.audit(classifier_of(overconfident()), garments()["audited"], checks=["clean", "calibration"])
    made = snellen.treat(
        report,
        garments()["train"],
        val=garments()["val"],
        findings=["calibration", "worst_class:Pullover"],
        treatments=["temperature_scaling", Costly()],
    )
    assert [one["method"] for one in made.treatments] == ["temperature_scaling"]
    outcomes = {one.key: one for one in made.findings}
    assert outcomes["calibration"].outcome == "mended"
    assert outcomes["worst_class:Pullover"].treatment == ""
    assert made.cost.difference == 0


def test_a_budget_is_kept_and_a_resumed_call_repeats_what_there_was_time_for(tmp_path):
    report = snellen.audit(classifier_of(overconfident()), garments()["audited"], checks=["clean", "calibration"])
    asked = {"train": garments()["train"], "val": garments()["val"], "findings": ["worst_class"]}

    class Stopping:
        audits = 0

        def begin(self, task, total):
            self.audits += task == "audit"
            if self.audits == 2:  # of the first candidate
                raise KeyboardInterrupt

        def advance(self, task, amount, note=""):
            pass

        def finish(self, task):
            pass

    tuning = BalancedTuning(plan=TuningPlan(epochs=500))
    short = snellen.treat(report, **asked, treatments=[tuning], budget=6, out=tmp_path / "short")
    passes = re.match(r"balanced_tuning of (\d+) pass", short.tried[0])
    assert passes is not None
    assert int(passes[1]) < 500
    with pytest.raises(KeyboardInterrupt):
        snellen.treat(report, **asked, treatments=[tuning], budget=0.001, out=tmp_path / "cut", progress=Stopping())
    cut = snellen.treat(report, **asked, treatments=[tuning], budget="10m", out=tmp_path / "cut")
    assert cut.tried[0].startswith("balanced_tuning of 1 pass:"), "as it was begun"


def test_an_unfinished_treatment_of_another_version_is_refused_in_words(tmp_path):
    report = snellen.audit(classifier_of(overconfident()), garments()["audited"], checks=["clean", "calibration"])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "treating.json").write_text('{"asked": {}, "trials": 2}', encoding="utf-8")
    with pytest.raises(RunConflictError, match="another version of Snellen"):
        snellen.treat(report, val=garments()["val"], findings="calibration", out=tmp_path / "old")
