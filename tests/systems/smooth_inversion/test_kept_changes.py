"""Recovered changes are kept, and a later audit tries them on its own model."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import snellen
from snellen.auditing.audit import audit
from snellen.core.errors import InputError
from snellen.systems.smooth_inversion.check import BackdoorCheck
from snellen.systems.smooth_inversion.kept_changes import KeptChange, own_first, read_changes
from snellen.systems.smooth_inversion.transfer import transfer
from tests.systems.smooth_inversion.toy_models import NAMES, classifier, image_set, pixels

CHECK = BackdoorCheck(epsilon=0.9, steps=10, refined_steps=25, sources=2, images=60, copies=0)


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Run directory of the model with a backdoor."""
    folder = tmp_path_factory.mktemp("backdoor") / "before"
    audit(classifier(), image_set(80), checks=["clean", CHECK], out=folder)
    return folder


def run(folder, model, **changes):
    audit(model, image_set(80), checks=["clean", CHECK.model_copy(update=changes)], out=folder)
    return folder


def backdoor(comparison):
    return {one.key: one for one in comparison.findings}["backdoor:one"]


def test_what_is_kept_is_what_the_finding_says(before):
    (told,) = [
        one for one in json.loads((before / "report.json").read_bytes())["findings"] if one["kind"] == "backdoor"
    ]
    rows = json.loads((before / "lists" / "backdoor.json").read_bytes())
    own = [row for row in rows if row["class"] == "one"]
    assert len(own) == told["facts"]["images"]
    assert sum(row["with"] == "one" for row in own) == told["facts"]["sent"]
    assert sum(row["with"] == row["without"] == "one" for row in own) == told["facts"]["sent_without_the_change"]
    kept = {one.target: one for one in read_changes(before)}
    assert load_file(before / "arrays" / "backdoor.safetensors").keys() == {one.key for one in kept.values()}
    change = kept["one"].change
    assert float(change.norm()) == pytest.approx(told["facts"]["length_l2"])
    images, labels = pixels(80)
    places = [int(key) for key in kept["one"].ids]
    shown = (images[places] * 255).round() / 255
    effect = transfer(classifier(), change, shown, labels[places], NAMES.index("one"))
    assert (effect.sent, effect.counted) == (told["facts"]["sent"], told["facts"]["images"])


def test_the_same_change_tells_a_mended_model_from_one_that_only_hides_from_the_search(before, tmp_path):
    mended = snellen.compare(before, run(tmp_path / "mended", classifier(0.0), earlier=str(before)))
    found = backdoor(mended)
    assert (found.verdict, found.paired) == ("mended", True)
    assert found.difference < -0.8
    kept = snellen.compare(before, run(tmp_path / "kept", classifier(), earlier=str(before)))
    assert (backdoor(kept).verdict, backdoor(kept).difference) == ("same", 0.0)
    blind = run(tmp_path / "blind", classifier(), earlier=str(before), contrast=1000.0)
    hidden = backdoor(snellen.compare(before, blind))
    assert (hidden.verdict, hidden.second_harm, hidden.difference) == ("unclear", None, 0.0)
    alone = backdoor(snellen.compare(before, run(tmp_path / "alone", classifier(0.0))))
    assert (alone.paired, "backdoor.earlier" in alone.reason) == (False, True)


def test_an_audit_that_keeps_no_changes_is_refused_in_words(before, tmp_path):
    audit(classifier(), image_set(80), checks=[CHECK], out=tmp_path / "bare", save_images=False)
    assert not (tmp_path / "bare" / "arrays").exists(), "a change shows the image that it was found on"
    for folder in (tmp_path / "bare", tmp_path / "none"):
        with pytest.raises(InputError, match="keeps no recovered changes"):
            audit(classifier(), image_set(80), checks=[CHECK.model_copy(update={"earlier": str(folder)})])
    (before / "arrays" / "backdoor.safetensors").rename(tmp_path / "kept")
    (before / "arrays" / "backdoor.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read"):
        read_changes(before)
    (tmp_path / "kept").replace(before / "arrays" / "backdoor.safetensors")


def test_a_change_of_another_size_is_not_tried_and_said_so(before, tmp_path):
    small = classifier()
    small = type(small)(
        small.module,
        class_names=NAMES,
        name="larger",
        preparation=small.preparation.model_copy(update={"size": (12, 12)}),
    )
    report = audit(small, image_set(80), checks=[CHECK.model_copy(update={"earlier": str(before)})])
    assert any("was not tried: it is of 8x8 pixels, and this model sees 12x12" in note for note in report.notes)
    assert torch.isfinite(read_changes(before)[0].change).all()


def test_a_change_that_is_found_again_is_the_audits_own_and_counted_once():
    first, second = (KeptChange(name, torch.full((3, 2, 2), at), (name,)) for name, at in (("one", 0.1), ("two", 0.2)))
    earlier = [replace(first, earlier=True, ids=("other",)), replace(second, earlier=True)]
    found = own_first([first], earlier)
    assert [(one.target, one.earlier, one.ids) for one in found] == [
        ("one", False, ("one",)),
        ("two", True, ("two",)),
    ]
