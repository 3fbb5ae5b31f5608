"""A model card with the sections of the paper, and the front matter that Hugging Face reads.

Mitchell et al., "Model cards for model reporting", FAT* 2019, arXiv 1810.03993. The card that a training writes is in
:mod:`snellen.verbs.model_card`; this one is of any audited model.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from snellen.auditing.forms import answers as by
from snellen.auditing.forms.form import Form, Item
from snellen.auditing.legal_text import legal_text

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

#: Figures in the front matter: their type on the hub, by name.
_HUB = {"clean.accuracy": "accuracy", "segmentation.miou": "mean_iou", "discrimination.auroc": "roc_auc"}


def front_matter(report: AuditReport) -> str:
    """What the hub reads: task and figures. A licence is the author's to add. Names are data, as quoted strings."""
    task = "image-segmentation" if report.model.get("task") == "segment" else "image-classification"
    lines = ["---", f"pipeline_tag: {task}", "tags: [snellen]"]
    # A figure of the images that it was trained on is none of the model.
    known = any(one.kind == "in_sample" for one in report.findings)
    found = [] if known else [(name, kind) for name, kind in _HUB.items() if name in report.metrics]
    if found:
        lines += [
            "model-index:",
            f"- name: {_quoted(report.model['name'])}",
            "  results:",
            f"  - task: {{type: {task}}}",
            f"    dataset: {{type: custom, name: {_quoted(report.data['name'])}}}",
            "    metrics:",
        ]
        for name, kind in found:
            figure = report.metrics[name]
            words = f"{name}, 95 % interval {figure.low:.4f} to {figure.high:.4f}"
            lines.append(f"    - {{type: {kind}, value: {figure.value:.6f}, name: {_quoted(words)}}}")
    return "\n".join([*lines, "---"])


def _quoted(text: Any) -> str:  # noqa: ANN401 - a name from data
    """A JSON string, which is a quoted string of YAML."""
    plain = legal_text(str(text)).replace("\u2028", " ").replace("\u2029", " ").replace("\ufeff", " ")
    return json.dumps(" ".join(plain.split()), ensure_ascii=False)


FORM = Form(
    name="Model card",
    citation="Mitchell et al., FAT* 2019, arXiv 1810.03993.",
    head=front_matter,
    sections=(
        ("Model details", (
            Item("1.1", "What it is", (by.model, by.output), "who made it, when, and under which licence"),
            Item("1.2", "Training", (), "data, method and parameters; a paper; a contact"),
        )),
        ("Intended use", (
            Item("2.1", "Uses and users"),
            Item("2.2", "Uses that are out of scope"),
        )),
        ("Factors", (
            Item("3.1", "Groups", (by.groups,), "which groups matter here"),
            Item("3.2", "Instruments and surroundings", (by.robustness,), "cameras and places of use"),
        )),
        ("Metrics", (
            Item("4.1", "Measures of performance", (by.performance,)),
            Item("4.2", "Thresholds", (), "the threshold in use"),
            Item("4.3", "Uncertainty", (by.statistics, by.power)),
        )),
        ("Evaluation data", (
            Item("5.1", "Images", (by.data, by.rejected), "why these images"),
            Item("5.2", "Preprocessing", (by.preprocessing,)),
            Item("5.3", "Labels, copies and quality", (by.labels, by.copies, by.quality)),
        )),
        ("Training data", (
            Item("6.1", "Images", (by.leakage, by.drift), "what they are"),
        )),
        ("Quantitative analyses", (
            Item("7.1", "Each class and group", (by.classes, by.groups, by.hidden_groups)),
            Item("7.2", "Confidence", (by.calibration,)),
            Item("7.3", "Damage and attacks", (by.robustness, by.adversarial)),
            Item("7.4", "Where it fails", (by.findings,)),
        )),
        ("Ethical considerations", (
            Item("8.1", "Risks and harms"),
        )),
        ("Caveats and recommendations", (
            Item("9.1", "What was not tested, and what is advised", (by.not_run, by.power), "advice for users"),
            Item("9.2", "Software of the audit", (by.software,)),
        )),
    ),
)  # fmt: skip
