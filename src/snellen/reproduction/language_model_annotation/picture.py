"""A picture of the experiment: machine labels of one concept, with the reason for each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.reproduction.language_model_annotation.materials import (
    COMPOUND,
    FactorAnswerer,
    FactorCaptioner,
    RuleInterpreter,
    definition,
)
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.image_sheet import image_sheet
from snellen.systems.language_model_annotation.annotation import Annotation, Annotator
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.definition import specify
from snellen.systems.language_model_annotation.ledger import Store
from snellen.systems.language_model_annotation.questions import write_questions

#: Images of each row: in scope, excluded by the clause, and without a necessary condition or a positive cue.
EACH = 6


def draw(root: Path, target: Path) -> None:
    """Draw three rows of "warm star": ratings of 5, 2 and 1 by the rules, from answers without an error."""
    images = WORLD.model_copy(update={"count": 400, "size": 64}).images(split="val")
    talk = Conversation(RuleInterpreter(), Store())
    concept = specify(definition(COMPOUND[0], clause=True), talk)
    annotator = Annotator(
        concept, write_questions(concept, talk), FactorCaptioner(0), FactorAnswerer(0, 0.0), None, Store()
    )
    found = annotator.annotate(images)
    chosen = [
        row for rating in (5, 2, 1) for row in [at for at, one in enumerate(found) if one.rating == rating][:EACH]
    ]
    texts = pa.array([_shown(one) for one in found])
    table = images.table.append_column("caption", texts)
    name = f"{concept.name}: {COMPOUND[0].described}"
    image_sheet(replace(images, table=table, name=name), chosen, columns=EACH, captions=True).save(
        target, "WEBP", quality=90
    )


def _shown(one: Annotation) -> str:
    return f"{one.rating} of 5. {one.rationale}"


PICTURES: Pictures = {"labelled-concept": draw}
