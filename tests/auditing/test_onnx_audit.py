"""An ONNX export of a classifier is audited as the classifier itself, gradients included."""

from pathlib import Path

import pytest

import snellen
from snellen.core.finding import Finding


def found(findings: tuple[Finding, ...]) -> list[tuple[object, ...]]:
    return [(one.kind, one.subject, one.level, one.harm and round(one.harm, 6)) for one in findings]


def test_the_default_audit_has_the_same_findings(tmp_path: Path) -> None:
    own = snellen.load_classifier("bundled:fashion-cnn")
    exported = snellen.load_classifier(snellen.export_onnx(own, tmp_path / "fashion.onnx"))
    images = snellen.load_images("bundled:fashion-mnist")
    ours, theirs = (
        snellen.audit(one, images, out=tmp_path / str(number), limit=24, save_images=False)
        for number, one in enumerate((own, exported))
    )
    assert found(tuple(theirs.findings)) == found(tuple(ours.findings))
    assert any(one.kind == "adversarial" for one in ours.findings)
    assert set(theirs.metrics) == set(ours.metrics)
    assert any(name.startswith("masking.") for name in ours.metrics)
    for name, metric in ours.metrics.items():
        assert theirs.metrics[name].value == pytest.approx(metric.value, abs=1e-4), name
