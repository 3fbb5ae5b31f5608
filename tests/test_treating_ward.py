"""The ward of treatments: its cases, what is planted in them, and the table that is written of them."""

import importlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from snellen.checks import treatments
from snellen.core.finding import Finding
from snellen.models.classifiers.trainable import trainable
from snellen.testing.treating import small_patient
from snellen.verbs.treatment_plan import prescribed

WORSE = treatments.BesidePlain(3, 0.2, 0.1, 0.3)

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    for folder in (SCRIPTS, SCRIPTS / "ward"):
        monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module


def test_half_of_the_cases_come_as_onnx_files_and_every_kind_in_more_than_one_form(script):
    cases = script("ill").ward()
    assert len({one.name for one in cases}) == len(cases)
    forms = Counter(one.form for one in cases)
    assert abs(forms["onnx"] - len(cases) / 2) <= 2
    assert min(forms["artifact"], forms["module"]) >= len(cases) // 5
    of_defect = {one.defect.name: {each.form for each in cases if each.defect == one.defect} for one in cases}
    assert all("onnx" in found and len(found) > 1 for found in of_defect.values())
    assert sum(len({one.network for one in cases if one.defect.name == name}) == 2 for name in of_defect) == 4


def test_the_owner_has_a_few_images_in_a_style_that_the_classifier_never_saw(script):
    ill = script("ill")
    for name in ("group", "hidden_subgroup"):
        one = next(case for case in ill.ward() if case.defect.name == name)
        sets = one.sets(ill.Sizes(600, 120, 600))
        made, train, val, audited = (
            float(ill.rows_where(part, [{"style": "line"}]).mean())
            for part in (sets.made, sets.train, sets.val, sets.audited)
        )
        assert made == 0
        assert 0.1 < train < 0.25
        assert min(val, audited) > 0.4
        assert ("group" in sets.audited.table.column_names) is (name == "group")


@pytest.mark.parametrize("name", ["rare_class", "background"])
def test_defects_are_in_the_training_images_and_not_in_the_audited_ones(script, name):
    ill = script("ill")
    one = next(case for case in ill.ward() if case.defect.name == name)
    sets = one.sets(ill.Sizes(600, 120, 600))
    assert sets.made is sets.train
    assert not {*sets.train.ids} & {*sets.val.ids}
    shares = {"train": _share(one, sets.train, ill), "audited": _share(one, sets.audited, ill)}
    if name == "background":
        assert shares["train"] > 0.9
        assert shares["audited"] < 0.3
        assert "group" not in sets.train.table.column_names, "nobody tells the owner"
    else:
        assert shares["train"] < 0.05
        assert shares["audited"] > 0.1


def _share(one, images, ill):
    """Of the class that is rare, or of images before their class's own background."""
    if one.defect.name == "rare_class":
        return float((images.labels == ill.class_of(one.seed, len(images.class_names))).mean())
    own = ill.BackgroundShortcut().values_by_class(images.class_names)
    grounds = np.stack([ill.rows_where(images, [{"background": ground}]) for ground in own], 1)
    return float(grounds[np.arange(len(images)), images.labels].mean())


def test_the_table_tells_what_became_of_the_defects(script):
    def case(seed, outcome, difference, high):
        finding = {
            "key": "calibration",
            "outcome": outcome,
            "difference": difference,
            "treatment": "temperature_scaling",
        }
        plain = {"outcomes": [{**finding, "difference": 0.01}], "cost": {"difference": 0.02}}
        return {
            "defect": "dead_class",
            "network": "plain",
            "seed": seed,
            "found": ["calibration"],
            "outcomes": [finding],
            "delivered": True,
            "cost": {"difference": -0.001},
            "plain": {**plain, "treated_beside_it": {"calibration": {"difference": -0.1, "low": -0.2, "high": high}}},
            "seconds": {"treat": 4.0},
            "code": 2 if seed else 1,
        }

    missed = {"defect": "dead_class", "network": "plain", "seed": 2, "found": [], "seconds": {}}
    cases = [case(0, "mended", -0.2, -0.05), case(1, "unchanged", -0.1, 0.05), missed]
    row = script("treating_tables").treated_table({"cases": cases}).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:5] == ["dead class", "plain", "2 of 3", "1 mended, 1 unchanged", "temperature_scaling"]
    assert cells[5] == "-0.150 (-0.200 to -0.100)"
    assert cells[6] == "+0.010 (+0.010 to +0.010)"
    assert cells[8] == "1 of 2"
    assert cells[-2:] == ["4", "1, 2"]


def test_cases_are_pooled_and_what_is_worse_or_undecided_and_as_dear_is_set_aside(script, monkeypatch):
    def case(key, treatment, difference, width, delivered=True):
        beside = {"difference": difference, "low": difference - width, "high": difference + width}
        return {
            "outcomes": [{"key": key, "treatment": treatment}],
            "delivered": delivered,
            "plain": {"treated_beside_it": {key: beside}},
        }

    cases = [
        case("worst_class:a", "balanced_tuning", -0.1, 0.196),
        case("worst_class:b", "balanced_tuning", -0.3, 0.196),
        case("worst_class:b", "balanced_tuning", 9.0, 0.1, delivered=False),
        case("worst_class:a", "group_dro", 0.05, 0.1),
        case("worst_class:a", "logit_adjustment", 0.05, 0.1),
        case("worst_class:a", "last_layer_retraining", 0.2, 0.1),
        case("slice:a", "balanced_tuning", 0.0, 0.1),
        {"found": []},
    ]
    rows = script("pooled").pooled(cases)
    first = next(row for row in rows if (row["kind"], row["treatment"]) == ("worst_class", "balanced_tuning"))
    assert (first["cases"], first["difference"]) == (2, -0.2)
    assert (first["low"], first["high"]) == pytest.approx((-0.2 - 0.196 / 2**0.5, -0.2 + 0.196 / 2**0.5), abs=1e-4)
    shown = script("treating_tables").pooled_table({"pooled": rows})
    assert "| worst class | `balanced_tuning` | 2 | -0.200 | -0.339 to -0.061 | better | 1 |" in shown
    assert "| worst class | `last_layer_retraining` | 1 | +0.200 | +0.100 to +0.300 | worse | 1 |" in shown
    measured = {(row["kind"], row["treatment"]): treatments.BesidePlain(3, row["difference"], row["low"], row["high"])
                for row in rows}  # fmt: skip
    monkeypatch.setattr(treatments, "beside_plain", lambda: measured)
    assert treatments.set_aside("worst_class") == {"last_layer_retraining", "group_dro"}
    assert treatments.set_aside("slice") == {"balanced_tuning"}
    few = {key: one._replace(cases=2) for key, one in measured.items()}
    monkeypatch.setattr(treatments, "beside_plain", lambda: few)
    assert not treatments.set_aside("slice"), "two cases are too few"
    monkeypatch.setattr(treatments, "beside_plain", lambda: measured)
    names = [rung.name for rung in treatments.ladder("worst_class")]
    assert {"logit_adjustment", "plain_tuning", "balanced_tuning"} <= set(names)
    assert not {"last_layer_retraining", "group_dro"} & set(names)
    assert "plain_tuning" in [rung.name for rung in treatments.ladder("slice")]


def test_a_case_that_was_measured_alone_gets_what_is_missing_beside_it_and_nothing_else(script, monkeypatch, tmp_path):
    treated = script("treated")
    one = script("ill").ward(["direction-plain-0"])[0]
    alone = {"found": ["attribute:direction"], "delivered": True, "seconds": {"treat": 4.0}, "outcomes": ["kept"]}
    made = [{"method": "object_tuning", "plan": {"epochs": 30}}]
    place = tmp_path / f"{one.name}-runs" / "treated"
    place.mkdir(parents=True)
    (place / "treatment.json").write_text(json.dumps({"treatments": made}), encoding="utf-8")
    asked = []

    def others(one, case, treatments, place, seconds, beside):
        asked.append((list(treatments), list(beside)))
        seconds["plain"] = 2.0
        return {name: {"outcomes": []} for name in beside}

    class Nothing:
        val = train = audited = class_names = ()

    monkeypatch.setattr(treated, "_others", others)
    monkeypatch.setattr(type(one), "sets", lambda self, sizes: Nothing)
    monkeypatch.setattr(type(one), "trained", lambda self, folder, sets: folder)
    monkeypatch.setattr(type(one), "brought", lambda self, artifact: Nothing)
    monkeypatch.setattr(treated.snellen, "audit", lambda *given, **named: None)
    monkeypatch.setattr(treated.Case, "of", lambda *given, **named: None)
    found = treated.completed(one, tmp_path, None, {**alone, "scratch": "there"}, ("plain", "scratch"))
    assert asked == [(made, ["plain"])]
    assert found["seconds"] == {"treat": 4.0, "plain": 2.0}
    assert (found["scratch"], found["outcomes"], found["plain"]) == ("there", ["kept"], {"outcomes": []})
    assert treated.completed(one, tmp_path, None, found, ("plain", "scratch")) == found
    assert treated.completed(one, tmp_path, None, {**alone, "delivered": False}, ("plain",)) == {
        **alone,
        "delivered": False,
    }
    assert len(asked) == 1


def test_a_plan_names_what_is_set_aside_and_tries_it_where_it_is_named(monkeypatch):
    monkeypatch.setattr(treatments, "beside_plain", lambda: {("calibration", "temperature_scaling"): WORSE})
    patient = small_patient()
    finding = Finding(kind="calibration", harm=0.1, title="planted")
    network = trainable(patient.classifier)
    (one,) = prescribed([finding], network, patient, None)
    assert "temperature_scaling" not in [step.name for step in one.ladder]
    assert one.refused["temperature_scaling"].startswith("was no better than plain fine-tuning where it was measured")
    (one,) = prescribed([finding], network, patient, ["temperature_scaling"])
    assert [step.name for step in one.ladder] == ["temperature_scaling"]
