"""The verb ``snellen.label``: a concept in words and unlabelled images in, a classifier and its machine labels out.

Shards are the images of the owner, the first batch, and each round of active learning. A round depends on those before
it, so one process makes them in turn; a killed call loses at most what the store of labels does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Unpack

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine
from snellen.models.language.protocol import LanguageModel
from snellen.models.remote.permission import AllowRemote
from snellen.runs.given import Images, given_images
from snellen.runs.measuring import Put
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.safe_names import file_names
from snellen.runs.shard import Shard
from snellen.runs.thumbnails import png
from snellen.runs.unfinished import check_free
from snellen.systems.language_model_annotation.baselines import direct_question
from snellen.systems.language_model_annotation.collaboration import (
    Schedule,
)
from snellen.systems.language_model_annotation.collaborators import load_collaborators
from snellen.systems.language_model_annotation.concluding import conclude, owner_costs, read_rounds
from snellen.systems.language_model_annotation.deciding import MOST_TOKENS
from snellen.systems.language_model_annotation.definition import (
    MOST_CONDITIONS,
    Definition,
    read_concept,
)
from snellen.systems.language_model_annotation.ledger import Cost, Limits
from snellen.systems.language_model_annotation.owner import read_labels
from snellen.systems.language_model_annotation.preparing import Prepared, default_store, prepare
from snellen.systems.language_model_annotation.record import RECORD, WHAT, LabelledConcept
from snellen.systems.language_model_annotation.student import (
    StudentFit,
)
from snellen.systems.language_model_annotation.tools import Answerer, Describer

#: What progress calls it.
TASK = "labelling images"


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
        return prepare(
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
                "val": {ready.images.ids[row]: value for row, value in ready.owner.val.items()},
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
            conclude=lambda run, where: conclude(run, where, prepared(), models, schedule, student, limits, seed),
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
    """What a labelling costs, in calls and tokens, before anything is requested, and what is not counted."""
    images, questions = schedule.most_labels + owned, len(concept.conditions) or MOST_CONDITIONS
    texts = 2 + (not concept.conditions)
    judgements = images if decides else 0
    # Four letters are about a token: of a request with its form about 700 tokens, and of a reply at most the limit.
    tokens = texts * 2_000 + judgements * (700 + 60 * questions + MOST_TOKENS // 4)
    calls = images * (1 + questions) + judgements + texts
    return (
        f"calls: {calls:,}: {images:,} captions, {images * questions:,} questions ({questions} an image), "
        f"{judgements + texts:,} requests to the language model{'' if decides else '; early exits save a part'}",
        f"tokens of the language model: about {tokens:,}",
        "not counted: corrections, a direct question about each label that measures, requests that must be repeated",
    )
