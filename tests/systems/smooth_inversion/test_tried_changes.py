"""An audit that searches for nothing, and only tries what an earlier one found."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest
import torch

import snellen
from snellen.auditing.audit import audit
from snellen.auditing.checks import build_check
from snellen.core.errors import InputError
from snellen.core.images import COLUMNS
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.systems.smooth_inversion.check import BackdoorCheck
from snellen.systems.smooth_inversion.kept_changes import KeptChange, read_changes
from snellen.systems.smooth_inversion.method import Backdoor
from snellen.systems.smooth_inversion.tried_changes import strongest_changes
from tests.systems.smooth_inversion.toy_models import classifier, image_set

CHECK = BackdoorCheck(epsilon=0.9, steps=10, refined_steps=25, sources=2, images=60, copies=0)


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Run directory of the model with a backdoor."""
    folder = tmp_path_factory.mktemp("backdoor") / "before"
    audit(classifier(), image_set(80), checks=["clean", CHECK], out=folder)
    return folder


def tried(before, model=None, images=None, **more):
    """An audit in which no search may be made."""
    check = CHECK.model_copy(update={"earlier": str(before), "search": False, **more.pop("fields", {})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backdoor, "search", lambda *_, **__: pytest.fail("a search was made"))
        return audit(model or classifier(), images or image_set(80), checks=["clean", check], **more)


def shown(report):
    return [finding for finding in report.findings if finding.kind == "backdoor"]


def test_what_the_search_found_is_found_again_by_the_same_test(before):
    first = json.loads((before / "report.json").read_bytes())
    (searched,) = [one for one in first["findings"] if one["kind"] == "backdoor"]
    report = tried(before)
    (finding,) = shown(report)
    assert finding.key == "backdoor:one"
    for name in ("images", "sent", "sent_without_the_change", "length_l2"):
        assert finding.facts[name] == pytest.approx(searched["facts"][name])
    assert finding.p_value == pytest.approx(searched["p_value"])
    assert finding.treatments[0].startswith("snellen treat . --finding backdoor:one")
    assert any("another trigger would not be seen" in note for note in report.notes)


def test_a_model_without_the_trigger_shows_nothing(before):
    assert shown(tried(before, classifier(0.0))) == []


def test_a_model_that_takes_everything_for_the_class_loses_nothing_by_the_change(before):
    model = classifier()
    collapsed = snellen.Classifier(
        lambda images: model(images) + 100 * torch.eye(4)[0],
        class_names=model.class_names,
        preparation=model.preparation,
    )
    (finding,) = shown(tried(before, collapsed))
    assert finding.facts["sent"] == finding.facts["sent_without_the_change"] == finding.facts["images"]
    assert (finding.harm, finding.examples) == (0.0, ())


def test_other_images_measure_where_none_of_those_that_did_is_there(before):
    images = image_set(60, seed=5)
    others = replace(
        images,
        table=images.table.set_column(
            images.table.schema.get_field_index("id"), "id", pa.array([f"other {row}" for row in range(60)])
        ),
    )
    (finding,) = shown(tried(before, images=others))
    assert finding.facts["images"] == 45, "every image of another class"
    sent = finding.facts["sent"]
    assert finding.p_value == pytest.approx(regularised_incomplete_beta(0.3, sent, 45 - sent + 1))
    assert 0.5 < finding.harm <= 0.75
    units = pa.array([f"unit {row // 4}" for row in range(60)], COLUMNS["unit_id"])
    grouped = replace(others, table=others.table.append_column("unit_id", units))
    (finding,) = shown(tried(before, images=grouped))
    assert finding.facts["images"] <= 15, "one image of each unit"


def test_what_did_not_stand_out_is_not_reported_although_it_is_tried(before, tmp_path):
    kept = {one.target: one for one in read_changes(before)}
    assert kept.pop("one").stands_out
    assert not any(one.stands_out for one in kept.values())
    assert kept, "a second class was searched again"
    tried(before, out=tmp_path / "again", fields={"tolerated": 1e-6})
    rows = json.loads((tmp_path / "again" / "lists" / "backdoor.json").read_bytes())
    assert {row["class"] for row in rows} == {"one", *kept}
    assert {one.stands_out for one in read_changes(tmp_path / "again")} == {True, False}


def test_a_run_without_a_search_is_compared_with_one_that_searched(before, tmp_path):
    tried(before, out=tmp_path / "first")
    check = CHECK.model_copy(update={"earlier": str(before)})
    audit(classifier(0.0), image_set(80), checks=["clean", check], out=tmp_path / "second")
    found = {one.key: one for one in snellen.compare(tmp_path / "first", tmp_path / "second").findings}["backdoor:one"]
    assert (found.verdict, found.paired) == ("mended", True)
    assert found.difference < -0.8


def test_nothing_to_try_is_refused_and_a_server_can_be_tried(before):
    with pytest.raises(InputError, match=r"without a search .*name its run directory with backdoor\.earlier"):
        audit(classifier(), image_set(80), checks=[CHECK.model_copy(update={"search": False})])
    model = classifier()
    scores = snellen.Classifier(
        lambda images: model(images), class_names=model.class_names, preparation=model.preparation, name="served"
    )
    (finding,) = shown(tried(before, scores))
    assert finding.facts["sent"] == finding.facts["images"]
    check = build_check("backdoor", {"search": False, "earlier": str(before)})
    assert check.cost() < 0.05 * CHECK.cost()


def test_the_strongest_of_several_changes_is_reported_and_pays_for_the_choice():
    changes = [KeptChange("one", torch.full((3, 2, 2), value), ("a",)) for value in (0.1, 0.2)]
    rows = [
        {"change": one.key, "class": "one", "id": str(row), "without": "two", "with": "one" if row < sent else "two"}
        for one, sent in zip(changes, (4, 8), strict=True)
        for row in range(10)
    ]
    (found,) = strongest_changes(changes, rows)
    assert (found.effect.sent, found.effect.counted, found.towards) == (8, 10, 2)
    assert found.p_value(0.3) == pytest.approx(2 * found.effect.p_value(0.3))
    assert found.harm(0.95, 1.0) < found.effect.harm(0.95)
    # A class that was reported is judged by its reported changes, although another one sends more.
    (reported,) = strongest_changes([changes[0], replace(changes[1], stands_out=False)], rows)
    assert (reported.effect.sent, reported.towards) == (4, 1)
    hidden = [replace(one, stands_out=False) for one in changes]
    assert strongest_changes(hidden, rows)[0].p_value(0.3) == 1.0
