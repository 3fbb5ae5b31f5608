"""What there is before the first label: definition, questions, queries, embeddings of the pool, and what was mined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snellen.core.cache_folder import writable_cache
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.models.encoders.feature_store import FrozenFeatures, frozen_features
from snellen.systems.language_model_annotation.annotation import Annotator
from snellen.systems.language_model_annotation.collaboration import (
    Collaboration,
    Schedule,
)
from snellen.systems.language_model_annotation.collaborators import Collaborators
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.definition import (
    Definition,
    correct,
    specify,
)
from snellen.systems.language_model_annotation.ledger import Cost, Store
from snellen.systems.language_model_annotation.mining import Queries, mine, write_queries
from snellen.systems.language_model_annotation.owner import Owner, by_row, split_labels
from snellen.systems.language_model_annotation.questions import Question, write_questions
from snellen.systems.language_model_annotation.student import (
    StudentFit,
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What there is before the first label."""

    definition: Definition
    questions: tuple[Question, ...]
    queries: Queries
    spent: Cost
    features: FrozenFeatures
    images: ImageSet
    owner: Owner
    annotator: Annotator
    collaboration: Collaboration


def default_store(path: Path | None) -> Store:
    """The store at a path, or that of the cache folder."""
    return Store(path or writable_cache("labelling") / "labels.sqlite")


def defined(
    concept: Definition, models: Collaborators, store: Store, corrections: Sequence[str]
) -> tuple[Definition, Conversation]:
    """The definition with its corrections; labels are kept under its hash, so that none of a former one is used."""
    talk = Conversation(models.language, store)
    definition = specify(concept, talk)
    for correction in corrections:
        definition = correct(definition, correction, talk)
    return definition, talk


def prepare(
    concept: Definition,
    images: ImageSet,
    models: Collaborators,
    owned: Mapping[str, int],
    corrections: Sequence[str],
    schedule: Schedule,
    fit: StudentFit,
    early_exit: bool,
    embeddings: Path,
    store: Store,
    seed: int,
    progress: Progress,
) -> Prepared:
    """Embed the pool, write definition, questions and queries, and mine."""
    definition, talk = defined(concept, models, store, corrections)
    questions = write_questions(definition, talk)
    queries = write_queries(definition, talk, each=schedule.queries)
    features = frozen_features(images, models.encoder, folder=embeddings, progress=progress)
    usable = images.select(features.positions)
    owner = split_labels(by_row(owned, features.ids, images.name), features.ids, seed)
    vectors = models.encode([text for _, text in queries.all])
    mined = mine(queries, vectors, features.features, k=schedule.per_query, without=owner.rows)
    annotator = Annotator(
        definition,
        questions,
        models.describer,
        models.answerer,
        models.language if models.decides else None,
        store,
        early_exit,
    )
    loop = Collaboration(features.features, mined, frozenset(owner.rows), schedule, fit, seed)
    return Prepared(definition, questions, queries, talk.spent, features, usable, owner, annotator, loop)
