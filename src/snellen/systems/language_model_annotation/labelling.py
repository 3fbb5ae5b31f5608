"""The verb ``snellen.label``: a concept in words and unlabelled images in, a classifier and its machine labels out.

Shards are the images of the owner, the first batch, and each round of active learning. A round depends on those before
it, so one process makes them in turn; a killed call loses at most what the store of labels does not hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.cache_folder import writable_cache
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.encoders.feature_store import FrozenFeatures, frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import LanguageModel
from snellen.models.language.references import load_language_model
from snellen.models.references import load_two_tower
from snellen.models.remote.permission import AllowRemote
from snellen.runs.given import Images, given_images
from snellen.runs.measuring import Put
from snellen.runs.record import RejectedImage
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.safe_names import file_names
from snellen.runs.shard import Shard
from snellen.runs.thumbnails import png
from snellen.runs.unfinished import check_free
from snellen.systems.language_model_annotation.agreement import Agreement, Opinion, agreement, best_threshold
from snellen.systems.language_model_annotation.annotation import Annotation, Annotator
from snellen.systems.language_model_annotation.baselines import direct_question, text_similarity, zero_shot
from snellen.systems.language_model_annotation.collaboration import (
    Collaboration,
    Labelled,
    Schedule,
    label_counts,
)
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.deciding import MOST_TOKENS
from snellen.systems.language_model_annotation.definition import (
    MOST_CONDITIONS,
    Definition,
    correct,
    read_concept,
    specify,
)
from snellen.systems.language_model_annotation.delivery import student_artifact, write_results
from snellen.systems.language_model_annotation.ledger import Cost, Limits, Store
from snellen.systems.language_model_annotation.mining import Queries, mine, write_queries
from snellen.systems.language_model_annotation.owner import Owner, by_row, halves, read_labels
from snellen.systems.language_model_annotation.questions import Question, write_questions
from snellen.systems.language_model_annotation.record import RECORD, WHAT, Disagreement, LabelledConcept
from snellen.systems.language_model_annotation.student import (
    StudentFit,
    fit_student,
    logits,
    probabilities,
    with_threshold,
)
from snellen.systems.language_model_annotation.tools import Answerer, Describer, load_answerer, load_describer

#: What progress calls it.
TASK = "labelling images"


@dataclass(frozen=True, eq=False)
class Collaborators:
    """The models that take part.

    Attributes:
        language: writes definition, questions and queries.
        decides: whether it also decides about each image; else the rules do.
        describer: writes captions.
        answerer: answers questions.
        towers: text and image towers, for queries and for the student.
        encoder: the image tower by itself.
    """

    language: LanguageModel
    decides: bool
    describer: Describer
    answerer: Answerer
    towers: TwoTower
    encoder: FrozenEncoder

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts → vectors (n, d) on the CPU."""
        with torch.no_grad():
            return self.towers.encode_texts(list(texts), truncate=True).cpu()


def load_collaborators(
    language: str | LanguageModel,
    captioner: str | Describer,
    answers: str | Answerer,
    towers: str,
    *,
    decides: bool | None = None,
    allow_remote: AllowRemote = False,
    device: str = "cpu",
) -> Collaborators:
    """Models by reference, or as they are.

    Args:
        language, captioner, answers, towers: see :func:`label`.
        decides: see :attr:`Collaborators.decides`; None: where the language model is not a list in a file.
        allow_remote: other machines that prompts and images may be sent to.
        device: of models on this machine.
    """

    def load(reference: str) -> LanguageModel:
        return load_language_model(reference, allow_remote=allow_remote, cache=False)

    model = load(language) if isinstance(language, str) else language
    listed = isinstance(model, ListedAnswers)
    if listed and decides:
        raise InputError(f"{model.name} is a list and decides about no image; leave the decision to the rules")
    return Collaborators(
        language=model,
        decides=not listed if decides is None else decides,
        describer=load_describer(captioner, load, device=device) if isinstance(captioner, str) else captioner,
        answerer=load_answerer(answers, load, device=device) if isinstance(answers, str) else answers,
        towers=load_two_tower(towers, device=device),
        encoder=load_encoder(towers, device=device),
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


@dataclass(frozen=True, eq=False)
class Labelling:
    """The work: item 0 are the owner's images, item 1 the first batch, the others rounds of active learning."""

    prepared: Prepared
    limits: Limits
    run: Run

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Annotate the images of some items; see :class:`~snellen.runs.measuring.Work`."""
        extra: dict[str, Any] = {}
        for item in items:
            extra |= self.of_owner() if item == 0 else self.round(item - 1, put)
            progress.advance(TASK, 1)
        return Shard(extra=extra)

    def of_owner(self) -> dict[str, Any]:
        """The teacher's labels of the owner's images, and the direct question about those that measure."""
        ready = self.prepared
        rows, report = list(ready.owner.rows), list(ready.owner.report)
        if not rows:
            return {"owner": [], "direct": []}
        found = ready.annotator.annotate(ready.images.select(rows), spent=ready.spent, limits=self.limits)
        whole = direct_question(ready.annotator.answerer, ready.definition, ready.annotator.store)
        spent = Cost.sum([ready.spent, *(one.cost for one in found)])
        direct = whole.annotate(ready.images.select(report), spent=spent, limits=self.limits)
        return {
            "owner": [one.model_dump(mode="json") for one in found],
            "direct": [one.model_dump(mode="json") for one in direct],
        }

    def round(self, number: int, put: Put) -> dict[str, Any]:
        """Choose and annotate a batch, and write its images; nothing where limits are reached."""
        ready = self.prepared
        before = read_rounds(self.run, number)
        spent = Cost.sum([ready.spent, *owner_costs(self.run), *(one.annotation.cost for one in before)])
        if not self.limits.allow(spent, ready.annotator.most):
            return {"labels": []}
        chosen = ready.collaboration.batch(number, before)
        part = ready.images.select(chosen.rows)
        found = ready.annotator.annotate(part, spent=spent, limits=self.limits)
        labels = ready.collaboration.labelled(number, chosen, found)
        for place, name in enumerate(file_names(part.ids[: len(labels)], ".png")):
            put(f"images/{name}", png(part.read(place)))
        return {"labels": [one.model_dump(mode="json") for one in labels]}


def owner_costs(run: Run) -> list[Cost]:
    """What the teacher's labels of the owner's images and the direct questions cost."""
    extra = run.shard_extra(0)
    return [Annotation.model_validate(one).cost for one in [*extra["owner"], *extra["direct"]]]


def read_rounds(run: Run, count: int) -> list[Labelled]:
    """Labels of the first rounds that are on the disk."""
    return [Labelled.model_validate(one) for item in range(count) for one in run.shard_extra(item + 1)["labels"]]


def label(
    concept: str | Path | Mapping[str, Any] | Definition,
    pool: Images,
    *,
    language: str | LanguageModel,
    captioner: str | Describer,
    answers: str | Answerer,
    towers: str,
    out: Path | str,
    labels: Mapping[str, int] | Path | str | None = None,
    corrections: Sequence[str] = (),
    decides: bool | None = None,
    early_exit: bool = True,
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
    student: StudentFit = StudentFit(),  # noqa: B008 - frozen
    limits: Limits = Limits(),  # noqa: B008 - frozen
    embeddings: Path | None = None,
    store: Path | None = None,
    allow_remote: AllowRemote = False,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> LabelledConcept:
    """Turn a concept in words into a classifier, labelled by language and vision models.

    ``out`` then holds ``classifier``, which :func:`snellen.audit` opens; ``labels.csv``, a labelled data set for
    :func:`snellen.train`; ``transcripts.jsonl``, ``definition.toml``, the page ``label.html`` and, last, the record
    ``label.json``. A call that was interrupted resumes where it stopped and ends with the same bytes.

    Args:
        concept: "NAME: DESCRIPTION", a TOML or JSON file with name and description, or such a mapping; it may hold the
            conditions too, where the owner wrote, confirmed or edited them.
        pool: images without labels, by reference; labels that they have are not read.
        language: language model by reference, ``http://HOST/v1#MODEL`` or ``file:FILE.toml`` with the tables
            ``definition``, ``questions`` and ``queries``; or itself.
        captioner: ``hf:FOLDER``, ``bundled:NAME``, or a language model that sees images; or a describer itself.
        answers: what answers questions: ``hf:FOLDER`` of BLIP, a language model that sees images, or two towers; or an
            answerer itself.
        towers: text–image model by reference, for queries and for the student's embeddings.
        out: a new or empty folder, or one in which the same call was interrupted.
        labels: the owner's labels, by id, or a table with the columns id and label: about 100. They choose and
            validate; nothing is trained on these images.
        corrections: of the definition, in words; each changes its text.
        decides: whether the language model decides about each image from caption and answers, or the rules from the
            answers alone; None: the model, unless it is a list in a file.
        early_exit: where rules decide, no further question about an image once a verdict excludes it. A language model
            that decides gets the answers to all questions, because it may correct one of them.
        schedule: numbers of images, queries and rounds.
        student: numbers of its training.
        limits: most calls and tokens; reached, the rounds end, and the record says so.
        embeddings: folder of the pool's embeddings, which other concepts may share; None: ``OUT-embeddings``.
        store: file of labels that were made before; None: in the cache folder.
        allow_remote: other machines that prompts and images may be sent to.
        device: of models on this machine.
        seed: of everything random.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; neither a budget nor a part.

    Raises:
        InputError: an empty or contradictory concept, no image of the concept, labels of one class, test images in the
            pool, or a reference that cannot be used.
        UnusableReplyError: the language model writes no usable definition, questions or queries.
        UnwritableError, RunConflictError: see :func:`snellen.synthesize`.
    """
    folder, listener = Path(out), progress or Silent()
    check_free(folder, RECORD, WHAT)
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError(
            f"a {WHAT} takes neither a budget of time nor a part: rounds depend on each other; limit calls or tokens"
        )
    wanted = read_concept(concept)
    images = given_images(pool).for_fitting().unlabelled()
    owned = read_labels(Path(labels), wanted.name) if isinstance(labels, str | Path) else dict(labels or {})
    models = load_collaborators(
        language, captioner, answers, towers, decides=decides, allow_remote=allow_remote, device=device
    )
    shards = schedule.rounds + 2

    @cache
    def prepared() -> Prepared:
        return _prepare(
            wanted, images, models, owned, corrections, schedule, student, early_exit,
            embeddings or folder.with_name(f"{folder.name}-embeddings"),
            default_store(store), seed, listener,
        )  # fmt: skip

    def plan() -> dict[str, Any]:
        ready = prepared()
        return {
            "kind": WHAT,
            "data": describe_data(images, listener),
            "definition": ready.definition.model_dump(mode="json"),
            "queries": ready.queries.model_dump(mode="json"),
            "annotator": ready.annotator.record(),
            "towers": [models.towers.name, models.towers.identity()],
            "owner": {
                "tune": {ready.images.ids[row]: value for row, value in ready.owner.tune.items()},
                "report": {ready.images.ids[row]: value for row, value in ready.owner.report.items()},
            },
            "schedule": schedule.model_dump(mode="json"),
            "student": student.model_dump(mode="json"),
            "limits": limits.model_dump(mode="json"),
            "seed": seed,
            **describe_machine(None),
        }

    def call(_: int) -> Call[LabelledConcept]:
        return Call(
            what=WHAT,
            result=LabelledConcept,
            plan=plan,
            work=lambda run: Labelling(prepared(), limits, run),
            shards=[range(item, item + 1) for item in range(shards)],
            task=TASK,
            conclude=lambda run, where: _conclude(run, where, prepared(), models, schedule, student, limits, seed),
            images=None,
            seen=lambda _: range(0),
            fits=True,
            costs=partial(cost_lines, wanted, schedule, len(owned), models.decides),
            rejected=lambda _: (),
            name=images.name,
        )

    listener.begin(WHAT, 1)
    with carried_out(call, shards, folder, listener, running) as carried:
        carried.measure()
    listener.finish(WHAT)
    return carried.result


def cost_lines(concept: Definition, schedule: Schedule, owned: int, decides: bool) -> tuple[str, ...]:
    """What a labelling costs at most, in calls and tokens, before anything is requested."""
    images, questions = schedule.most_labels + owned, len(concept.conditions) or MOST_CONDITIONS
    texts = 2 + (not concept.conditions)
    judgements = images if decides else 0
    # Four letters are about a token: of a request with its form about 700 tokens, and of a reply at most the limit.
    tokens = texts * 2_000 + judgements * (700 + 60 * questions + MOST_TOKENS // 4)
    calls = images * (1 + questions) + judgements + texts
    return (
        f"calls: at most {calls:,}: {images:,} captions, {images * questions:,} questions ({questions} an image), "
        f"{judgements + texts:,} requests to the language model{'' if decides else '; early exits save a part'}",
        f"tokens of the language model: about {tokens:,}",
    )


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


def _prepare(
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
    owner = halves(by_row(owned, features.ids, images.name), features.ids, seed)
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


def _conclude(
    run: Run,
    folder: Path,
    ready: Prepared,
    models: Collaborators,
    schedule: Schedule,
    fit: StudentFit,
    limits: Limits,
    seed: int,
) -> LabelledConcept:
    """Train the last student, measure it beside the teacher, and write everything."""
    labels = read_rounds(run, schedule.rounds + 1)
    if not labels:
        raise InputError("the limits allow not a single label; raise --most-calls or --most-tokens")
    teacher = [Annotation.model_validate(one) for one in run.shard_extra(0)["owner"]]
    head = ready.collaboration.student(labels)
    raw = logits(head, ready.collaboration.embeddings)
    threshold = best_threshold({row: float(raw[row]) for row in ready.owner.tune}, ready.owner.tune, middle=0.0)
    # What is measured is what is delivered, rounding of the moved bias included.
    head = with_threshold(head, threshold)
    scores = logits(head, ready.collaboration.embeddings)
    by_id = {one.image: one for one in teacher}
    ids = ready.images.ids
    machine = {row: by_id[ids[row]] for row in ready.owner.rows if ids[row] in by_id}
    part = ready.images.select([one.row for one in labels])
    names = dict(zip((one.row for one in labels), file_names(part.ids, ".png"), strict=True))
    planned = schedule.most_labels
    counts = label_counts(labels)
    # Behind a colon stands what is different for each image.
    problems = Counter(one.annotation.problem.partition(":")[0] for one in labels if one.annotation.label is None)
    stopped = ""
    if len(labels) < planned:
        spent = Cost.sum([ready.spent, *owner_costs(run), *(one.annotation.cost for one in labels)])
        reached = not limits.allow(spent, ready.annotator.most)
        why = "the limits are reached" if reached else "the pool or the queries gave no more"
        stopped = f"{len(labels)} images were labelled instead of {planned}: {why}"
    record = LabelledConcept(
        plan=run.plan,
        definition=ready.definition,
        questions=ready.questions,
        queries=ready.queries,
        counts=dict(counts),
        problems=dict(sorted(problems.items())),
        agreement=_agreements(run, ready, models, machine, scores, fit, seed),
        disagreements=tuple(
            Disagreement(image=ids[row], owner=value, machine=machine[row].label, rationale=machine[row].rationale)
            for row, value in ready.owner.tune.items()
            if row in machine and machine[row].label != value
        ),
        threshold=1 / (1 + math.exp(-threshold)),
        logit=threshold,
        effort={"labels": len(ready.owner.rows), "corrections": len(ready.definition.corrections)},
        cost={
            "concept": ready.spent,
            "of_owner": Cost.sum(owner_costs(run)),
            "labels": Cost.sum(one.annotation.cost for one in labels),
        },
        stopped=stopped,
        rejected=tuple(RejectedImage(id=one, reason=why) for one, why in sorted(ready.features.rejected.items())),
    )
    classifier = student_artifact(
        head, models.encoder, ready.definition, fit=fit,
        recipe={"annotator": ready.annotator.record(), "counts": dict(counts), "logit": threshold},
        data=run.plan["data"]["fingerprint"], seed=seed,
    )  # fmt: skip
    return write_results(folder, record, labels, {row: f"images/{name}" for row, name in names.items()}, classifier)


def _agreements(
    run: Run,
    ready: Prepared,
    models: Collaborators,
    machine: Mapping[int, Annotation],
    scores: NDArray[np.float64],
    fit: StudentFit,
    seed: int,
) -> tuple[Agreement, ...]:
    """Teacher, student, and the baselines that need no further label."""
    owner, rows = ready.owner, list(ready.owner.report)
    if not rows:
        return ()
    measured = partial(agreement, truth=owner.report, seed=seed)
    tuned = len(owner.tune)
    embeddings = ready.collaboration.embeddings
    confident = {row: one.confidence for row, one in machine.items() if one.confidence is not None}
    teacher = Opinion({row: machine[row].label if row in machine else None for row in rows}, confident)
    found = [
        measured("teacher", teacher, human_labels=0),
        measured("student", Opinion.of_logits(scores, rows), human_labels=tuned),
    ]
    similar = {
        "name alone (zero-shot)": zero_shot(models.encode, ready.definition, embeddings),
        "descriptions (CuPL)": text_similarity(models.encode, ready.queries.positive, embeddings),
    }
    for who, values in similar.items():
        chosen = best_threshold({row: float(values[row]) for row in owner.tune}, owner.tune)
        found.append(measured(who, Opinion.of_scores(values, rows, chosen), human_labels=tuned))
    # Where limits are reached, the last images have no answer, and are undecided.
    direct = {row: one["label"] for row, one in zip(rows, run.shard_extra(0)["direct"], strict=False)}
    found.append(measured("one direct question", Opinion(direct), human_labels=0))
    if len(set(owner.tune.values())) == 2:
        supervised = probabilities(fit_student(embeddings, owner.tune, owner=(), fit=fit, seed=seed), embeddings)
        opinion = Opinion.of_scores(supervised, rows, 0.5)
        found.append(measured(f"trained on {tuned} of the owner's labels", opinion, human_labels=tuned))
    return tuple(found)
