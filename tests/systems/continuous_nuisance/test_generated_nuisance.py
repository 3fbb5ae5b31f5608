"""The check ``nuisance`` with a generator: trajectories of the model's classes, and what counts in no figure."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks import build_check
from snellen.auditing.concluding import illustrate_findings
from snellen.auditing.figure_picture import evidence_of, finding_evidence
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding, FindingExample
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.methods.generation.made_images import generator_of
from snellen.systems.continuous_nuisance import check as check_module
from snellen.systems.continuous_nuisance import objects as nuisance_objects
from snellen.systems.continuous_nuisance import presets as nuisance_presets
from snellen.systems.continuous_nuisance.check import NuisanceCheck
from snellen.systems.continuous_nuisance.generated_conclusion import concluded
from snellen.systems.continuous_nuisance.generated_trajectories import (
    GeneratedTrajectories,
    TrajectoryPlan,
    failures_of,
)
from snellen.systems.continuous_nuisance.slider import SliderFit
from snellen.systems.continuous_nuisance.slider_folder import sliders_in

SHAPES = ("ring", "star")
FIT_SLIDERS = SliderFit(iterations=1, batch_size=1, steps=2)


class Bright(nn.Module):
    """Calls bright images rings; gives nothing finite for very dark ones where it is told to."""

    def __init__(self, blind=-1.0):
        super().__init__()
        self.blind = blind

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        scores = torch.stack([mean - 0.45, 0.45 - mean], 1) * 10
        return torch.where(mean[:, None] < self.blind, torch.nan, scores)


def shape_reader(blind=-1.0):
    return Classifier(Bright(blind), class_names=list(SHAPES), preparation=Preprocessing(size=(32, 32)), name="bright")


def requested(folder, **fields):
    return {
        "check": "nuisance", "generator": "bundled:scene-diffusion", "concept": ["fog"], "sliders": str(folder),
        "seeds": 2, "grid": [0, 1, 2], **fields,
    }  # fmt: skip


def shapes(count=6):
    """Scenes without their records: nothing can be drawn again."""
    images = Scenes(count=count, shapes=SHAPES).images(split="test")
    return replace(images, table=images.table.drop_columns("attributes"))


@pytest.fixture(scope="module")
def sliders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sliders")
    sliders_in(folder, generator_of("bundled:scene-diffusion"), {"fog": "in fog"}, ["a ring"], fit=FIT_SLIDERS)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    """A sampler of two steps without guidance, thresholds from few things."""
    cheap = {**nuisance_presets.PRESETS["scenes"], "steps": 2, "guidance_scale": 1.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nuisance_presets, "PRESETS", {**nuisance_presets.PRESETS, "scenes": cheap})
        patch.setattr(nuisance_objects, "CALIBRATING", 1)
        yield


def test_classes_are_generated_and_judged_at_the_end_of_an_audit(sliders, tmp_path):
    report = audit(shape_reader(), shapes(), checks=["clean", requested(sliders)], out=tmp_path / "run")
    (status,) = [one for one in report.checks if one.name == "nuisance"]
    assert (status.status, status.reason) == ("done", None)
    lines = json.loads((tmp_path / "run" / "lists" / "nuisance_generated.json").read_text())
    assert {line["id"] for line in lines} == {f"fog/{name}/{number:04d}" for name in SHAPES for number in (1, 2)}
    kept = [line for line in lines if line["rejected"] is None]
    assert kept, "nothing is tested here where the filter keeps nothing"
    for at, strength in ((1, "1"), (2, "2")):
        right = [line["decisions"][at]["label"] == line["decisions"][at]["prediction"] for line in kept]
        assert [line["decisions"][at]["setting"] for line in kept] == [f"fog.{strength}"] * len(kept)
        figure = report.metrics[f"nuisance.generated_fog.{strength}.accuracy"]
        assert (figure.value, figure.n) == (pytest.approx(np.mean(right)), len(kept))
    assert any("not of the audited ones" in note for note in report.notes)
    assert not any("scene" in note for note in report.notes if "generated" not in note), "nobody asked for scenes"
    (panel,) = [one for one in report.panels if one.check == "nuisance"]
    assert [point.x for point in panel.lines[0].points] == [0.0, 1.0, 2.0]
    assert evidence_of("nuisance.generated_fog.1.accuracy")[0] == "lists/nuisance_generated.json"
    assert report.eye_chart is None, "no scale of severities"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"sliders": ""}, "needs a folder for the sliders"),
        ({"concept": []}, "needs a shift to generate"),
        ({"concept": ["in snwo"]}, "snwo"),
        ({"grid": [0, 2, 1]}, "1 comes after 2"),
        ({"text_image": "bundled:scene-clip"}, "give both of them or none"),
        ({"generator": "diffusers:nowhere"}, "--set nuisance.text_image=hf:FOLDER"),
    ],
)
def test_what_cannot_be_generated_is_skipped_with_the_reason(sliders, fields, reason):
    parameters = requested(sliders, **fields)
    check = build_check(parameters.pop("check"), parameters)
    report = audit(shape_reader(), shapes(2), checks=[check])
    (status,) = [one for one in report.checks if one.name == "nuisance"]
    assert status.status == "skipped"
    assert reason in status.reason


def test_rejected_and_undecided_trajectories_count_in_no_figure():
    def rows(strength, predictions, status):
        return Evidence.of(
            ["fog/a/1", "fog/a/2", "fog/a/3", "fog/a/4"], setting=f"fog.{strength}", model="m", label=[0] * 4,
            prediction=predictions, value=[0.5] * 4, status=status, reason=[None if s == "ok" else s for s in status],
        )  # fmt: skip

    invalid, failed = "invalid", "failed"
    evidence = Evidence.merge(
        [
            rows(0, [0, 0, None, None], ["ok", "ok", invalid, failed]),
            rows(1, [1, 0, None, 1], ["ok", "ok", invalid, "ok"]),
            rows(2, [0, None, None, 1], ["ok", failed, invalid, "ok"]),
        ]
    )
    made = GeneratedTrajectories(evidence, ("fog", "rain"), (0.0, 1.0, 2.0), (("fog/a/3", "invalid"),))
    loss = made.loss("fog")
    assert int(loss.lost.paired.sum()) == 1
    assert (loss.failure_point.value, loss.lost.before) == (1.0, 1.0)
    assert made.loss("rain") is None
    found = concluded(made, "nuisance", "diffusers:sd", shape_reader(), pictured=True)
    assert "Nuisance: no generated trajectory under rain was left to measure." in found.notes
    assert any("1 of 4 generated trajectories under fog" in note for note in found.notes)
    told = {line["id"]: line["rejected"] for line in found.lists["nuisance_generated"]}
    assert told == {"fog/a/1": None, "fog/a/2": None, "fog/a/3": "invalid", "fog/a/4": None}
    (hypothesis,) = found.hypotheses
    assert hypothesis.finding(0.1).subject == "generated_fog"
    assert hypothesis.finding(0.1).examples == ()
    assert finding_evidence(hypothesis.finding(0.1), [])[0] == "lists/nuisance_generated.json"


def failing_rows(predictions_by_strength):
    """Four trajectories of class 0, and what is decided at each strength; None: the filter rejected it."""
    return Evidence.merge(
        [
            Evidence.of(
                [f"fog/ring/{number}" for number in range(1, 5)],
                setting=f"fog.{strength}",
                model="bright",
                label=[0] * 4,
                prediction=predictions,
                value=[0.5] * 4,
                status=["ok" if one is not None else "invalid" for one in predictions],
                reason=[None if one is not None else "no ring" for one in predictions],
            )
            for strength, predictions in predictions_by_strength.items()
        ]
    )


def test_a_finding_shows_where_generated_trajectories_first_fail():
    # The first fails at 1 and is right again, the second never does, the third was rejected, the fourth fails at 2.
    evidence = failing_rows({0: [0, 0, None, 0], 1: [1, 0, None, 0], 2: [0, 0, None, 1]})
    pixels = torch.arange(4 * 3, dtype=torch.uint8).reshape(4, 3, 1, 1, 1).mul(10).expand(4, 3, 3, 32, 32)
    ids = [f"fog/ring/{number}" for number in range(1, 5)]
    found = failures_of(evidence, "fog", (0.0, 1.0, 2.0), ids, pixels)
    assert [(one.id, one.strength, one.prediction) for one in found] == [("fog/ring/1", 1.0, 1), ("fog/ring/4", 2.0, 1)]
    assert [(int(one.before[0, 0, 0]), int(one.after[0, 0, 0])) for one in found] == [(0, 10), (90, 110)]
    wrong = failing_rows({0: [1, 1, None, 1], 1: [1, 1, None, 1]})
    assert failures_of(wrong, "fog", (0.0, 1.0), ids, pixels[:, :2]) == [], "what is wrong from the start shows nothing"
    made = GeneratedTrajectories(evidence, ("fog",), (0.0, 1.0, 2.0), (("fog/ring/3", "no ring"),), {"fog": found})
    for pictured in (True, False):
        told = concluded(made, "nuisance", "diffusers:sd", shape_reader(), pictured=pictured)
        shown = told.hypotheses[0].finding(0.1).examples
        assert [one.caption for one in shown] == [
            "generated ring at strength 1: star",
            "generated ring at strength 2: star",
        ]
        assert len(told.pictures) == (4 if pictured else 0)
        assert {name for one in shown for name in (one.image, one.after)} == (set(told.pictures) or {None})


def test_generated_images_are_made_where_the_model_runs_and_by_preset(sliders, monkeypatch):
    seen = []
    monkeypatch.setattr(check_module.TrajectoryPlan, "of", lambda method, *_, **options: seen.append((method, options)))
    check = NuisanceCheck(generator="diffusers:sd", sliders=str(sliders), seeds=7, preset="imagenet")
    model = shape_reader()
    model.device = torch.device("cuda:1")  # no machine needs one here
    check._trajectory_plan(model)
    ((method, options),) = seen
    assert method.device == "cuda:1"
    assert "concept" not in method.model_fields_set, "the preset's shifts"
    assert (options["seeds"], options["preset"]) == (7, "imagenet")


def test_pictures_of_generated_images_stay_what_the_check_drew():
    drawn = FindingExample(example_id="fog/ring/1", image="a" * 64, after="b" * 64)
    finding = Finding(kind="nuisance", subject="generated_fog", harm=0.1, title="-", examples=(drawn,))
    found, blobs = illustrate_findings([finding], {}, shape_reader(), shapes(2), Randomness(0))
    assert (found, blobs) == ([finding], {})


def test_an_audit_keeps_the_pictures_of_generated_failures_and_none_where_none_may_be_kept(
    sliders, tmp_path, monkeypatch
):
    ids = [f"fog/ring/{number:04d}" for number in range(1, 31)]
    evidence = Evidence.merge(
        [
            Evidence.of(
                ids, setting=f"fog.{at}", model="bright", label=[0] * 30, prediction=[at] * 30, value=[0.5] * 30
            )
            for at in (0, 1)
        ]
    )
    pixels = torch.zeros(30, 2, 3, 32, 32, dtype=torch.uint8)
    pixels[:, 1] = 200
    failures = {"fog": failures_of(evidence, "fog", (0.0, 1.0), ids, pixels)[:3]}
    made = GeneratedTrajectories(evidence, ("fog",), (0.0, 1.0), (), failures)
    monkeypatch.setattr(TrajectoryPlan, "generate", lambda *_: made)
    for kept in (True, False):
        folder = tmp_path / str(kept)
        report = audit(shape_reader(), shapes(), checks=[requested(sliders)], out=folder, save_images=kept)
        (finding,) = [one for one in report.findings if one.subject == "generated_fog"]
        assert [one.example_id for one in finding.examples] == ids[:3]
        names = {name for one in finding.examples for name in (one.image, one.after)}
        if not kept:
            assert names == {None}
            continue
        assert len(names) == 2
        shown = {name: Image.open(folder / "blobs" / name).getpixel((0, 0))[0] for name in names}
        assert (shown[finding.examples[0].image], shown[finding.examples[0].after]) == (0, 200)
        assert "generated ring at strength 1: star" in (folder / "report.html").read_text(encoding="utf-8")
