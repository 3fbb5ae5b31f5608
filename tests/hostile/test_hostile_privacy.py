"""An audit of the hostile folder that may be shown to others: no name of any file, and no picture, is in the run."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from snellen.auditing.audit import audit
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.testing.conformance import small_problem
from tests.auditing.kept_files import mentions, pictures
from tests.data.files.shard_making import archive
from tests.hostile.folders import CLASSES, build_folder, picture


def test_no_name_and_no_picture_of_hostile_files_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "the code")
    corpus = build_folder(tmp_path)
    classifier = load_classifier("bundled:fashion-cnn", [*CLASSES, *(f"class {number}" for number in range(8))])
    images = load_images(corpus.root, name="folder of Dr. Doe")
    checks = ["clean", "label_noise", "duplicates", "slices", "data_quality"]
    run, file = tmp_path / "run", tmp_path / "names.json"
    report = audit(classifier, images, checks=checks, out=run, save_images=False, pseudonyms=file, allow_rejected=True)
    assert report.data["used"] == len(corpus.good)
    assert report.data["rejected"] == len(corpus.bad)
    known = json.loads(file.read_text())["names"]
    rejected = json.loads((run / "rejected.json").read_text())
    assert {known[row["id"]] for row in rejected} == set(corpus.bad), "the owner can look each of them up"
    assert all(row["reason"] for row in rejected)
    files = {name for path in images.ids for name in (path, PurePosixPath(path).name) if len(name) > 3}
    assert len(files) > 300
    assert mentions(run, sorted(files)) == {}
    assert mentions(run, ["Dr. Doe", str(tmp_path), *(f"{root.name}/" for root in (corpus.root, corpus.outside))]) == {}
    assert pictures(run) == []


def test_no_value_beside_an_image_of_an_archive_is_reported(tmp_path: Path) -> None:
    said = [{"split": "Jane Doe"}, {"unit_id": ["Jane Doe"]}, {"provenance": {"Jane Doe": 1}}, {"boxes": "Jane Doe"}]
    members = [(f"{n}.png", picture(n)) for n in range(8)] + [
        (f"{n}.json", json.dumps(one).encode()) for n, one in enumerate(said)
    ]
    classifier, _, _ = small_problem(count=1, size=12)
    images = load_images(archive(tmp_path / "data" / "a.tar", *members))
    run = tmp_path / "run"
    report = audit(
        classifier, images, checks=["data_quality"], out=run, pseudonyms=tmp_path / "names.json", allow_rejected=True
    )
    assert report.data["rejected"] == len(said)
    assert mentions(run, ["Jane"]) == {}
