"""The hostile pictures through tar, Parquet and .npz: the audit ends, and names the same ones for the same reasons."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from snellen.auditing.audit import audit
from snellen.core.errors import InputError
from snellen.data.references import load_images
from snellen.testing.conformance import small_problem
from tests.hostile.containers import build_parquet, build_tar, npz_cases

CHECKS = ["clean", "duplicates", "data_quality"]

CONTAINERS: dict[str, tuple[Callable[[Path], dict[str, str | None]], str]] = {
    "tar": (build_tar, "tar:"),
    "parquet": (build_parquet, ""),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_an_audit_ends_and_names_each_bad_picture(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build, scheme = CONTAINERS[kind]
    expected = build(tmp_path / "data")
    written = sorted(path for path in tmp_path.rglob("*"))
    images = load_images(f"{scheme}{tmp_path / 'data'}")
    assert set(images.ids) == set(expected)
    classifier, _, _ = small_problem(count=1, size=12)
    report = audit(classifier, images, checks=CHECKS, out=tmp_path / "run", workers=2, allow_rejected=True)
    bad = {name: reason for name, reason in expected.items() if reason is not None}
    rejected = {row["id"]: row["reason"] for row in json.loads((tmp_path / "run" / "rejected.json").read_text())}
    assert rejected.keys() == bad.keys()
    assert len(bad) >= 60
    for name, pattern in bad.items():
        assert re.search(pattern, rejected[name]), (name, rejected[name])
    assert report.data["used"] == len(expected) - len(bad)
    assert "<script>alert(1)<" not in (tmp_path / "run" / "report.html").read_text()
    assert sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "run")) == written


@pytest.mark.parametrize("case", npz_cases())
def test_archives_of_arrays_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npz").write_bytes(npz_cases()[case])
    with pytest.raises(InputError) as caught:
        load_images(tmp_path / "x.npz")
    assert "x.npz" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
