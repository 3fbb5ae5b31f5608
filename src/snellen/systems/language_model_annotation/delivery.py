"""What a labelling leaves in its folder: classifier, labels as a data set, transcripts, definition, and a page."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.core import package
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.run import write_atomically
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.head_on_encoder import InstanceHead, architecture
from snellen.runs.generated_files import write_manifest
from snellen.runs.record import Figure
from snellen.systems.language_model_annotation.collaboration import Labelled
from snellen.systems.language_model_annotation.definition import Definition
from snellen.systems.language_model_annotation.record import (
    CLASSIFIER,
    DEFINITION,
    LABELS,
    PAGE,
    TRANSCRIPTS,
    LabelledConcept,
)
from snellen.systems.language_model_annotation.student import StudentFit
from snellen.training.environment import record_environment
from snellen.version import __version__

#: Transcripts that the page shows.
SHOWN = 60


def class_names(definition: Definition) -> tuple[str, str]:
    """Absence and presence of the concept, in the order of the scores."""
    return f"not {definition.name}", definition.name


def student_artifact(
    head: InstanceHead,
    encoder: FrozenEncoder,
    definition: Definition,
    *,
    fit: StudentFit,
    recipe: Mapping[str, Any],
    data: str,
    seed: int,
) -> Artifact:
    """The student on its encoder, as a classifier whose larger score decides.

    Args:
        head: trained, with its threshold in its bias.
        encoder: that made its vectors; the artifact names it and does not hold it.
        definition: of the concept.
        fit: numbers of the training.
        recipe: what the labels follow from.
        data: fingerprint of the pool.
        seed: of the student.
    """
    tensors = {f"head.{name}": tensor.clone() for name, tensor in head.state_dict().items()}
    card = Card(
        name=f"labelled concept {definition.name}",
        kind="classifier",
        architecture=architecture(encoder, layer=None, side=None, head="instance", width=fit.width),
        description=f"decides whether an image shows {definition.name}: {definition.description}",
        class_names=class_names(definition),
        preparation=encoder.preparation.model_dump(mode="json"),
        normalization=encoder.normalization._asdict(),
        lineage=Lineage(
            recipe={"method": "language_model_annotation", **recipe, "student": fit.model_dump()},
            data=data,
            seed=seed,
            code_version=__version__,
            environment=record_environment(),
        ),
    )
    return Artifact(tensors, card)


def label_rows(labels: Sequence[Labelled], paths: Mapping[int, str], definition: Definition) -> list[dict[str, str]]:
    """The rows of ``labels.csv``: decided images alone, as a labelled data set with provenance and rationale."""
    names = class_names(definition)
    return [
        {
            "path": paths[one.row],
            "id": one.annotation.image,
            "label": names[one.annotation.label],
            "split": "train",
            "confidence": f"{one.annotation.confidence:.2f}",
            "rationale": one.annotation.rationale,
            "mined": one.provenance,
            "round": str(one.round),
        }
        for one in labels
        if one.annotation.label is not None
    ]


def write_results(
    folder: Path,
    record: LabelledConcept,
    labels: Sequence[Labelled],
    paths: Mapping[int, str],
    classifier: Artifact,
) -> LabelledConcept:
    """Write all files but the record; the record names them."""
    assert record.definition is not None
    write_atomically(folder / DEFINITION, record.definition.to_toml().encode())
    write_manifest(folder / LABELS, label_rows(labels, paths, record.definition))
    lines = [json.dumps(one.model_dump(mode="json"), sort_keys=True) for one in labels]
    write_atomically(folder / TRANSCRIPTS, "".join(f"{line}\n" for line in lines).encode())
    classifier.save(folder / CLASSIFIER)
    files = (DEFINITION, LABELS, TRANSCRIPTS, f"{CLASSIFIER}/weights.safetensors", f"{CLASSIFIER}/card.json", PAGE)
    whole = record.model_copy(update={"files": files})
    write_atomically(folder / PAGE, page(whole, labels).encode())
    return whole


def page(record: LabelledConcept, labels: Sequence[Labelled]) -> str:
    """label.html: one page without scripts that opens offline; every text in it is data and is escaped."""
    style = package.text("runs/templates/explain.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = _figure
    template = environment.from_string(package.text("systems/language_model_annotation/label.html.j2"))
    positive = [one for one in labels if one.annotation.label == 1]
    others = [one for one in labels if one.annotation.label != 1]
    return template.render(
        record=record,
        labels=[*positive[: SHOWN // 2], *others[: SHOWN // 2]],
        of=len(labels),
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def _figure(found: Figure | None) -> str:
    if found is None or found.value is None:
        return "–"
    ends = "" if found.low is None or found.high is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.value:.2f}{ends}"
