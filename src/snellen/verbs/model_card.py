"""The card of a trained classifier for people: ``README.md`` in its folder, as model hubs show it.

Mitchell et al., "Model cards for model reporting", FAT* 2019, arXiv 1810.03993: what it is, how it was made, how it was
measured, and where it fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from snellen.auditing.markdown import plain, table
from snellen.auditing.report import AuditReport
from snellen.core.artifact import Card
from snellen.core.listed_names import listed_names
from snellen.models.segmenters.pixel_classifiers import lines_that_predict
from snellen.runs.scan_suspects import LeftOut

#: Entry of a lineage's recipe that says which images a scan kept out of the training.
WITHOUT = "without"

#: Findings and classes that are named; all findings are in the report.
_FINDINGS, _CLASSES = 10, 30
#: Figures that are listed, by pattern; all are in the report.
_FIGURES = (
    "clean.accuracy",
    "clean.balanced_accuracy",
    "discrimination.auroc",
    "calibration.ece",
    "selective.aurc",
    "corruption.error",
    "corruption.mce",
    "adversarial.*.accuracy",
)


def model_card(card: Card, report: AuditReport | None = None, *, onnx: str | None = None) -> str:
    """Write the card as Markdown.

    Args:
        card: of the artifact.
        report: an audit of it; None: the card says that there is none.
        onnx: name of the ONNX file beside it.

    Names of classes, images and findings are escaped: they are data.
    """
    if card.kind in _UNAUDITED:
        return _unaudited_card(card)
    parts = [
        _front_matter(card),
        f"# {plain(card.name)}",
        *([plain(card.description)] if card.description else []),
        _what(card),
        _use(onnx),
        _training(card),
        _audit(report) if report is not None else _NO_AUDIT,
    ]
    return "\n\n".join(parts) + "\n"


_NO_AUDIT = (
    "## Where it fails\n\nNot audited: nothing is known of it beyond the figures above. "
    "`snellen audit artifact:FOLDER IMAGES` finds out."
)


#: What is no classifier, decides nothing and is not audited: task for model hubs, command, and where it fails, by kind.
_UNAUDITED = {
    "denoiser": (
        "image-to-image",
        "snellen scan perturbation MODEL IMAGES --denoiser artifact:FOLDER",
        "The figures are those before the classifiers that were attacked. `false_alarms` is the share of images that "
        "nobody attacked whose decision it changes. `carried_over` is the share of pairs that fooled the surrogate, "
        "too. Where that is small, the alignment says little about the victims. Its estimates prove no attack, and "
        "it is no defence: an attack that knows it gets through.",
    ),
    "segmenter": (
        "image-segmentation",
        lines_that_predict("FOLDER", "IMAGES"),
        "The figures are of the images that were held out, clean and under attacks with gradients; against others they "
        "say nothing. It was trained at one size of images, and knows the classes of its masks alone.",
    ),
    "captioner": (
        "image-to-text",
        "snellen explain neuron-descriptions MODEL IMAGES --describer artifact:FOLDER",
        "It knows the words of its training sentences and no others, and was trained on drawn scenes: on photographs "
        "it says what comes nearest. The figures are of units that chose the epoch.",
    ),
}


def _unaudited_card(card: Card) -> str:
    """The card of what decides nothing."""
    task, command, fails = _UNAUDITED[card.kind]
    parts = [
        _front_matter(card, task),
        f"# {plain(card.name)}",
        plain(card.description),
        "\n".join(table(("", ""), _facts(card))),
        f"## Use\n\n```\n{command}\n```",
        _training(card),
        f"## Where it fails\n\n{fails}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(card: Card, task: str = "image-classification") -> str:
    """What model hubs read; no value comes from data."""
    known = card.licence.lower() if re.fullmatch("[A-Za-z0-9.-]+", card.licence) else "other"
    # Who trained it decides on a licence: none is made up.
    licence = [f"license: {known}"] if card.licence else []
    return "\n".join(["---", "library_name: snellen", *licence, f"pipeline_tag: {task}", "---"])


def _what(card: Card) -> str:
    names = [plain(name) for name in card.class_names]
    decides = "several labels an image" if card.task == "multilabel" else "one class an image"
    return "\n".join(
        [
            f"Classifies images: {decides}, of {len(names)}: {listed_names(names, _CLASSES)}.",
            "",
            *table(("", ""), _facts(card)),
        ]
    )


def _facts(card: Card) -> list[tuple[str, str]]:
    size = card.preparation.get("size")
    return [
        ("architecture", ", ".join(f"{key} {value}" for key, value in card.architecture.items())),
        ("input", "RGB in [0, 1]" + (f", {size[0]} × {size[1]} pixels" if size else "")),
        ("resize", f"{card.preparation.get('resize')} ({card.preparation.get('interpolation')})"),
        ("licence", card.licence or "not stated"),
        ("weights (sha256)", card.sha256 or "not saved yet"),
    ]


def _use(onnx: str | None) -> str:
    lines = ["## Use", "", "```", "snellen audit artifact:FOLDER IMAGES", "```", "", "```python", "import snellen", ""]
    lines += ['classifier = snellen.load_classifier("artifact:FOLDER")', "```"]
    if onnx is not None:
        lines += [
            "",
            f"`{onnx}` is the same classifier for any ONNX runtime: float32 (n, 3, height, width) in [0, 1] → scores "
            f"(n, k); its normalisation is inside. `{onnx}.json` holds classes, resize and crop.",
        ]
    return "\n".join(lines)


def with_left_out(card: Card, left_out: LeftOut) -> Card:
    """A card whose lineage says which images a scan kept out of the training."""
    recipe = {**card.lineage.recipe, WITHOUT: left_out.record()}
    return card.model_copy(update={"lineage": card.lineage.model_copy(update={"recipe": recipe})})


def left_out_of(card: Card) -> LeftOut | None:
    """What a scan kept out of the training, as :func:`with_left_out` recorded it; None where nothing was."""
    recorded = card.lineage.recipe.get(WITHOUT)
    return None if recorded is None else LeftOut(**recorded)


def _training(card: Card) -> str:
    lineage, left_out = card.lineage, left_out_of(card)
    recipe = {key: value for key, value in lineage.recipe.items() if key != WITHOUT}
    rows = [(key, _shown(value)) for key, value in recipe.items() if not isinstance(value, Mapping)]
    rows += [
        (f"{key}.{name}", _shown(value))
        for key, inner in recipe.items()
        if isinstance(inner, Mapping)
        for name, value in inner.items()
    ]
    lines = ["## How it was trained", "", *table(("parameter", "value"), rows), ""]
    lines.append(
        f"Seed {lineage.seed}; images {lineage.data[:16]}…; started from "
        + (f"weights {lineage.parent[:16]}…" if lineage.parent else "initial weights")
        + f"; Snellen {lineage.code_version}, "
        + ", ".join(f"{key} {value}" for key, value in lineage.environment.items())
        + "."
    )
    if left_out is not None:
        lines += ["", plain(left_out.words)]
    if card.metrics:
        line = ", ".join(f"{name.removeprefix('val.')} {value:.4f}" for name, value in card.metrics.items())
        lines += ["", f"On the images that chose the epoch (an optimistic figure): {line}."]
    return "\n".join(lines)


def _audit(report: AuditReport) -> str:
    data = report.data
    lines = [
        "## Where it fails",
        "",
        f"An audit on {data['used']} images ({plain(str(data['name']))}) tested {report.tested.hypotheses} hypotheses. "
        + (
            "The worst of what it found; harm is a lower bound of what each costs, as a share of all images:"
            if report.findings
            else "Nothing was found."
        ),
        "",
    ]
    if report.findings:
        found = [(f"{one.harm:.3f}", one.kind, one.title) for one in report.findings[:_FINDINGS]]
        lines += [*table(("harm", "kind", "finding"), found), ""]
        if len(report.findings) > _FINDINGS:
            lines += [f"And {len(report.findings) - _FINDINGS} more.", ""]
    figures = [
        (
            name,
            f"{figure.value:.4f}",
            "" if figure.low is None or figure.high is None else f"{figure.low:.4f} – {figure.high:.4f}",
        )
        for name, figure in report.metrics.items()
        if any(fnmatchcase(name, pattern) for pattern in _FIGURES)
    ]
    lines += [*table(("figure", "value", "95 % interval"), figures), ""]
    skipped = [check.name for check in report.checks if check.status != "done"]
    if skipped:
        lines.append(f"Not checked: {', '.join(skipped)}.\n")
    lines.append("What was not found may be there: see `audit/report.html` for what was tested, and how.")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
