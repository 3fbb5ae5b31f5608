"""Options that make an audit what an earlier one was."""

import json

import pytest

from snellen.cli.audit import _parameters
from snellen.core.formats import INPUTS, MANIFEST
from snellen.core.run import canonical_json
from snellen.desk.again import CannotSayError, audit_options


@pytest.fixture
def change(first):
    """Change what the run says of itself."""

    def changed(classifier=(), plan=(), companions=()):
        inputs = json.loads((first.path / INPUTS.file).read_bytes())
        inputs["classifier"] |= dict(classifier)
        inputs["companions"] |= dict(companions)
        (first.path / INPUTS.file).write_bytes(canonical_json(inputs))
        manifest = json.loads((first.path / MANIFEST.file).read_bytes()) | dict(plan)
        (first.path / MANIFEST.file).write_bytes(canonical_json(manifest))
        for name in ("plan", "inputs"):
            first.__dict__.pop(name, None)
        return first

    return changed


def test_the_model_is_read_as_it_was(change, tmp_path):
    given = {
        "task": "multilabel", "output": "logits", "size": [96, 64], "normalization": [[0.5] * 3, [0.25] * 3],
        "model_args": {"num_classes": 7}, "class_names": ["a cat", "-b"], "device": "cuda",
        "allow_remote": ["evil.com"],
    }  # fmt: skip
    words = audit_options(change(given), tmp_path / "names.txt")
    assert words == [
        "--task", "multi_label", "--output", "logits", "--device", "cuda", "--size", "96x64", "--mean=0.5,0.5,0.5",
        "--std=0.25,0.25,0.25", "--model-args", '{"num_classes": 7}', "--classes", str(tmp_path / "names.txt"),
    ]  # fmt: skip
    assert (tmp_path / "names.txt").read_text() == "a cat\n-b\n"
    assert "evil.com" not in " ".join(words), "other machines are allowed anew, by a person"


def test_checks_settings_and_companions_come_back(change, tmp_path):
    checks = [{"check": "clean"}, {"check": "duplicates", "examples": 5, "mirrored": True}]
    train = {"reference": {"ref": "bundled:fashion-mnist#train", "folder": str(tmp_path)}}
    plan = {"checks": checks, "companions": {"train": {}}, "seed": 4, "batch_size": 16, "save_images": False}
    run = change(plan=plan, companions={"train": train})
    words = audit_options(run, tmp_path / "n")
    assert words[:4] == ["--train", "bundled:fashion-mnist#train", "--checks", "clean,duplicates"]
    assert _parameters([words[words.index("--set") + 1]]) == {"duplicates": {"examples": 5}}
    assert words[-5:] == ["--seed", "4", "--batch-size", "16", "--no-images"]


def test_checks_that_lacked_a_setting_are_not_requested(change, tmp_path, monkeypatch):
    plan = [{"check": "clean"}, {"check": "edits", "threshold": 0.1}, {"check": "label_noise"}]
    run = change(plan={"checks": plan})
    lacking, few = "needs a detector: --set edits.detector=FOLDER", "12 images have labels, of 50 that it needs"
    checks = [
        {"name": "clean", "status": "done"},
        {"name": "edits", "status": "skipped", "reason": lacking, "setting": "detector"},
        {"name": "label_noise", "status": "skipped", "reason": few},
    ]
    report = {**run.report, "checks": checks}
    monkeypatch.setitem(run.__dict__, "report", report)
    words = audit_options(run, tmp_path / "n")
    assert words[:2] == ["--checks", "clean,label_noise"]
    assert "--set" not in words


@pytest.mark.parametrize(
    "given",
    [
        {"classifier": {"preparation": {"size": [8, 8]}}}, {"classifier": {"task": "--out=x"}},
        {"classifier": {"class_names": ["a\nb"]}}, {"classifier": {"output": "a\x1b[2J"}},
        {"plan": {"checks": [{"check": "x-of-a-plugin"}]}}, {"plan": {"companions": {"train": {}}}},
        {"plan": {"seed": "--out"}}, {"classifier": {"size": 5}}, {"classifier": {"normalization": [1]}},
        {"classifier": {"class_names": 5}}, {"classifier": {"task": ["x"]}}, {"plan": {"checks": [{"check": ["x"]}]}},
        {"plan": {"companions": {"train": {}}}, "companions": {"train": 5}},
        {"plan": {"companions": {"train": {}}}, "companions": {"train": {"reference": {}}}},
    ],
)  # fmt: skip
def test_what_no_line_says_is_named(change, tmp_path, given):
    with pytest.raises(CannotSayError):
        audit_options(change(**given), tmp_path / "names")
