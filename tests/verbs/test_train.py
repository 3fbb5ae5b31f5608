"""The verb ``train``: what lies in the folder, what is told, and how it goes on after a stop."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import snellen
import snellen.verbs.train as delivery
from snellen.auditing.audit import audit
from snellen.auditing.report import AuditReport
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, RunConflictError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.data.files.arrays import load_arrays
from snellen.methods.recipes.mixup import Mixup
from snellen.models.remote.sent_log import SENT, SentRequest, tell
from snellen.verbs.model_card import model_card, plain
from snellen.verbs.train import CHECKPOINT, Delivered, train

PLAN = {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "schedule": "constant"}
RECIPE = {"method": "mixup", "architecture": "fashion_cnn", "side": 28, "plan": PLAN}


def images(count: int = 48, seed: int = 0, names: tuple[str, ...] = ("left", "right")) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 60, (count, 28, 28, 3))
    labels = np.arange(count) % 2
    pixels[:, :, 14:] += 120 * labels[:, None, None, None]
    return load_arrays(pixels.astype(np.uint8), labels, class_names=list(names), name=f"squares {seed}")


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    out = tmp_path_factory.mktemp("delivered") / "made"
    return train(RECIPE, images(), out=out, val=images(16, 1), test=images(40, 2))


def test_the_folder_holds_all_that_is_shipped(delivered: Delivered) -> None:
    found = {entry.name for entry in delivered.folder.iterdir()}
    assert found == {"weights.safetensors", "card.json", "README.md", "model.onnx", "model.onnx.json", "audit"}
    assert delivered.notes == ()
    assert Artifact.load(delivered.folder).card == delivered.artifact.card


def test_the_onnx_file_is_the_same_classifier(delivered: Delivered) -> None:
    module = snellen.load_classifier(f"artifact:{delivered.folder}")
    exported = snellen.load_classifier(f"onnx:{delivered.onnx}")
    batch = torch.rand(5, 3, 28, 28)
    assert torch.allclose(exported(batch), module(batch), atol=1e-5)
    assert (exported.class_names, exported.preparation, exported.task, exported.output) == (
        module.class_names, module.preparation, module.task, module.output,
    )  # fmt: skip
    assert exported.differentiable
    assert not any("assumed" in note for note in exported.notes), exported.notes


def test_the_audit_is_of_the_result_and_shows_how_it_learnt(delivered: Delivered) -> None:
    assert delivered.report is not None
    report = json.loads((delivered.folder / "audit" / "report.json").read_text())
    assert report["data"]["name"] == "squares 2"
    (loss, figures) = [panel for panel in report["panels"] if panel["title"].endswith("during training")]
    history = delivered.artifact.card.history
    assert [line["name"] for line in loss["lines"]] == ["train.loss", "val.loss"]
    drawn = next(line for line in loss["lines"] if line["name"] == "train.loss")
    assert [point["y"] for point in drawn["points"]] == [row["train.loss"] for row in history]
    assert "val.accuracy" in [line["name"] for line in figures["lines"]]
    assert (delivered.folder / "audit" / "train").is_dir(), "training images are compared with those of the audit"


def test_the_card_tells_what_it_is_and_where_it_fails(delivered: Delivered) -> None:
    card = (delivered.folder / "README.md").read_text()
    assert delivered.report is not None
    for part in (
        "| licence | not stated |", "left, right", "28 × 28 pixels", "| alpha | 0.2 |", "| plan.epochs | 4 |",
        delivered.artifact.card.sha256, "model.onnx", "found", "clean.accuracy",
    ):  # fmt: skip
        assert part in card.replace("&#95;", "_"), part
    for finding in delivered.report.findings[:10]:
        assert plain(finding.title) in card


def test_names_are_no_markup(tmp_path: Path) -> None:
    data = images(names=("<script>alert(1)</script>", "a|b\n# heading"))
    plan = {**PLAN, "epochs": 1}
    card = model_card(train({**RECIPE, "plan": plan}, data, out=tmp_path / "made", onnx=False).artifact.card)
    assert "<script>" not in card
    assert "\n# heading" not in card
    assert "a|b" not in card


def test_without_test_images_there_is_no_audit_and_the_card_says_so(tmp_path: Path) -> None:
    made = train({**RECIPE, "plan": {**PLAN, "epochs": 1}}, images(), out=tmp_path / "made", onnx=False)
    assert (made.report, made.onnx) == (None, None)
    assert {entry.name for entry in made.folder.iterdir()} == {"weights.safetensors", "card.json", "README.md"}
    assert "Not audited" in (made.folder / "README.md").read_text()


class Stopping(Silent):
    """Ctrl-C after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, task: str, amount: int, note: str = "") -> None:
        if task == "train" and amount:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["mixup", "defensive_distillation"])
def test_what_was_stopped_goes_on_to_the_same_weights(method: str, tmp_path: Path) -> None:
    recipe = {**RECIPE, "method": method}
    whole = train(recipe, images(), out=tmp_path / "whole", onnx=False)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, images(), out=tmp_path / "stopped", onnx=False, progress=Stopping(8))
    assert any(entry.name.startswith("training") for entry in (tmp_path / "stopped").iterdir())
    resumed = train(recipe, images(), out=tmp_path / "stopped", onnx=False)
    assert resumed.artifact.card == whole.artifact.card
    assert not any(entry.name.startswith("training") for entry in resumed.folder.iterdir())


def short_audit(*given: object, **options: object) -> AuditReport:
    """An audit of one check: what all of them say of a result is looked at above."""
    return audit(*given, checks=["clean"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["audit", "export_onnx"])
def test_what_was_stopped_after_the_training_is_not_trained_again(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = {**RECIPE, "plan": {**PLAN, "epochs": 1}}
    out, audited = tmp_path / "made", images(40, 2)

    def stop(*given: object, **options: object) -> object:
        if where == "export_onnx":
            (out / "model.onnx").write_bytes(b"a part")
        raise KeyboardInterrupt

    monkeypatch.setattr(delivery, where, stop)
    with pytest.raises(KeyboardInterrupt):
        train(once, images(), out=out, test=audited)
    monkeypatch.undo()
    weights = (out / "weights.safetensors").read_bytes()
    assert not (out / "README.md").exists()
    for changes, differing in (
        ({"seed": 1}, "seed"), ({"test": None}, "test"), ({"images": images(seed=3)}, "images"),
        ({"recipe": {**once, "alpha": 0.5}}, r"recipe\.alpha"),
    ):  # fmt: skip
        call = {"recipe": once, "images": images(), "test": audited, **changes}
        with pytest.raises(RunConflictError, match=rf"differs from this call in: {differing};"):
            train(**call, out=out)  # type: ignore[arg-type]
    monkeypatch.setattr(Mixup, "fit", None)
    monkeypatch.setattr(delivery, "audit", short_audit)
    made = train(once, images(), out=out, test=audited)
    assert {entry.name for entry in out.iterdir()} == {
        "weights.safetensors", "card.json", "README.md", "model.onnx", "model.onnx.json", "audit",
    }  # fmt: skip
    assert (out / "weights.safetensors").read_bytes() == weights
    assert made.report is not None
    with pytest.raises(InputError, match="not an empty folder"):
        train(once, images(), out=out, test=audited)


def test_what_a_kill_leaves_of_a_file_is_no_hindrance(tmp_path: Path) -> None:
    out = tmp_path / "made"
    out.mkdir()
    for name in (CHECKPOINT, "training-teacher.safetensors", "README.md"):
        (out / f".{name}.0123456789ab").write_bytes(b"a part")
    train({**RECIPE, "plan": {**PLAN, "epochs": 1}}, images(), out=out, onnx=False)
    assert {entry.name for entry in out.iterdir()} == {"weights.safetensors", "card.json", "README.md"}


def test_what_a_recipe_sends_is_in_the_folder_also_when_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, out = Mixup.fit, tmp_path / "made"

    def asking(recipe: Mixup, *given: object, **options: object) -> Artifact:
        tell(SentRequest("http://127.0.0.1/v1/chat/completions", [], 9, 1, 200))
        return fit(recipe, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Mixup, "fit", asking)
    once = {**RECIPE, "plan": {**PLAN, "epochs": 2}}
    with pytest.raises(KeyboardInterrupt):
        train(once, images(), out=out, onnx=False, progress=Stopping(2))
    assert len((out / SENT).read_text().splitlines()) == 1
    train(once, images(), out=out, onnx=False)
    assert len((out / SENT).read_text().splitlines()) == 2
    assert {entry.name for entry in out.iterdir()} == {"weights.safetensors", "card.json", "README.md", SENT}
    tell(SentRequest("http://127.0.0.1/v1/chat/completions", [], 9, 1, 200))
    assert len((out / SENT).read_text().splitlines()) == 2


def test_weights_that_were_cut_off_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(RECIPE, images(), out=tmp_path / "whole", onnx=False)
    out = tmp_path / "stopped"

    def cut_off(artifact: Artifact, folder: Path) -> Artifact:
        (folder / "weights.safetensors").write_bytes(b"a part")
        raise KeyboardInterrupt

    monkeypatch.setattr(Artifact, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, images(), out=out, onnx=False)
    monkeypatch.undo()
    assert train(RECIPE, images(), out=out, onnx=False).artifact.card == whole.artifact.card


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, images(), out=tmp_path / "stopped", onnx=False, progress=Stopping(8))
    assert (tmp_path / "stopped" / CHECKPOINT).is_file()
    with pytest.raises(RunConflictError, match=r"plan\.seed"):
        train(RECIPE, images(), out=tmp_path / "stopped", onnx=False, seed=1)


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    with pytest.raises(InputError, match="not an empty folder; name a new one"):
        train(RECIPE, images(), out=tmp_path / "taken")
    with pytest.raises(InputError, match="cannot train"):
        train({**RECIPE, "architecture": "nothing"}, images(), out=tmp_path / "new")
    assert not (tmp_path / "new").exists(), "nothing is left of what was refused"


def test_what_cannot_be_exported_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    made = train({**RECIPE, "plan": {**PLAN, "epochs": 1}}, images(), out=tmp_path / "made")
    assert made.onnx is None
    (note,) = made.notes
    assert "snellen[onnx]" in note


def test_card_and_lineage_name_the_scan_whose_suspects_were_left_out(tmp_path: Path) -> None:
    data, plan = images(), {**PLAN, "epochs": 1}
    (tmp_path / "scanned").mkdir()
    reasons = ["suspect", "suspect", "suspect", *[None] * 45]
    Evidence.of(data.ids, setting="training_set", model="m", reason=reasons).write(
        tmp_path / "scanned" / "evidence.parquet"
    )
    made = train({**RECIPE, "plan": plan}, data, out=tmp_path / "made", without=tmp_path / "scanned", onnx=False)
    recorded = json.loads((tmp_path / "made" / "card.json").read_bytes())["lineage"]
    assert recorded["recipe"]["without"] == {
        "scan": "scanned",
        "evidence": hashlib.sha256((tmp_path / "scanned" / "evidence.parquet").read_bytes()).hexdigest(),
        "images": 3,
    }
    assert Artifact.load(tmp_path / "made").card == made.artifact.card
    readme = (tmp_path / "made" / "README.md").read_text()
    assert "Left out of the training images: 3 that the scan scanned named as suspects" in readme
    alone = train({**RECIPE, "plan": plan}, data.select(range(3, 48)), out=tmp_path / "alone", onnx=False)
    assert alone.artifact.card.sha256 == made.artifact.card.sha256, "the three were not trained on"
    assert "Left out" not in (tmp_path / "alone" / "README.md").read_text()
