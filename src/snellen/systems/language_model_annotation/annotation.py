"""The annotator: caption, atomic questions, decision, for many images at a time (stage C).

All images that are still open get one question together. Where rules decide, ``early_exit`` ends the questions about an
image once a necessary condition fails or a negative cue is there: the others cannot change the label. Where a language
model decides, it may correct a wrong answer by caption and other answers, so all of them are collected first. A label
is made once for each definition, image and set of tools; afterwards it is read from the store, with what it cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict

from snellen.core.errors import ModelError, UnreachableError
from snellen.core.images import ImageSet
from snellen.models.language.protocol import LanguageModel, UnusableReplyError
from snellen.systems.language_model_annotation.deciding import Decision, by_rules, excludes, judged
from snellen.systems.language_model_annotation.definition import Condition, Definition
from snellen.systems.language_model_annotation.ledger import Cost, Limits, PaidError, Store, key_of
from snellen.systems.language_model_annotation.questions import Question, in_order
from snellen.systems.language_model_annotation.tools import Answer, Answerer, Describer, Pictures

#: Counted up when kept labels of older versions must not be used any more.
FORMAT = 2

#: Images that get a question together.
BATCH = 32


class Answered(BaseModel):
    """One line of a transcript."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition: str
    question: str
    answer: str
    p_yes: float | None = None


class Annotation(BaseModel):
    """The machine's label of one image, with everything that led to it.

    Attributes:
        image: its id.
        label: 1 in scope, 0 not, None undecided.
        rating: 1 to 5, from 3 on in scope; None where undecided.
        rationale: one sentence.
        problem: why it is undecided; else empty.
        caption: of the captioner.
        answers: questions with answers, in their order; after an early exit fewer than conditions.
        verdicts: of each condition that was judged.
        cost: when it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    label: int | None
    rating: int | None
    rationale: str
    problem: str = ""
    caption: str = ""
    answers: tuple[Answered, ...] = ()
    verdicts: dict[str, bool | None] = {}
    cost: Cost = Cost()

    @property
    def confidence(self) -> float | None:
        """Rating over 5: a soft score, not calibrated."""
        return None if self.rating is None else self.rating / 5


@dataclass
class _Open:
    """An image while it is annotated; ``failed`` says which tool gave nothing."""

    row: int
    caption: Answer = field(default_factory=lambda: Answer(""))
    answers: list[tuple[Question, Answer]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    failed: str = ""


@dataclass(frozen=True, eq=False)
class Annotator:
    """Definition, questions and tools.

    Args:
        definition: whose conditions decide.
        questions: one for each condition.
        describer: writes captions; None: there are none.
        answerer: answers questions.
        model: decides from caption and answers; None: the rules alone.
        store: of labels.
        early_exit: stop at the first verdict that excludes an image, where rules decide.
    """

    definition: Definition
    questions: tuple[Question, ...]
    describer: Describer | None
    answerer: Answerer
    model: LanguageModel | None
    store: Store
    early_exit: bool = True

    def __post_init__(self) -> None:
        in_order(self.questions, self.definition.conditions)

    @property
    def most(self) -> Cost:
        """What one image costs at most, without repairs."""
        return Cost(
            captions=int(self.describer is not None),
            questions=len(self.questions),
            judgements=int(self.model is not None),
        )

    @property
    def exits(self) -> bool:
        """Whether a verdict may end the questions: never in front of a language model that decides."""
        return self.early_exit and self.model is None

    def record(self) -> dict[str, Any]:
        """What labels follow from, for plans and keys."""
        return {
            "format": FORMAT,
            "definition": self.definition.hash,
            "questions": [one.model_dump(mode="json") for one in self.questions],
            "captioner": "none" if self.describer is None else self.describer.name,
            "answers": self.answerer.name,
            "decides": "rules" if self.model is None else self.model.name,
            "early_exit": self.exits,
        }

    def annotate(self, images: ImageSet, *, spent: Cost = Cost(), limits: Limits = Limits()) -> list[Annotation]:  # noqa: B008 - frozen
        """Labels of usable images, in their order; fewer than images where limits are reached.

        A tool that fails for some images leaves them undecided, with its message; such labels are not kept. A server
        that cannot be reached stops the call.

        Args:
            images: readable ones.
            spent: before.
            limits: of everything.
        """
        found: list[Annotation] = []
        # Tokens are known behind an image alone, so that a limit of tokens is kept image by image.
        size = BATCH if limits.tokens is None else 1
        for start in range(0, len(images), size):
            part = images.select(range(start, min(start + size, len(images))))
            keys = [key_of(self.record(), content) for content in part.content_hashes]
            kept = [self._kept(key, one) for key, one in zip(keys, part.ids, strict=True)]
            # What is kept counts like what is not, so that an interrupted call stops at the same image.
            allowed, total = 0, spent
            while allowed < len(part) and limits.allow(total, self.most):
                total, allowed = total + self.most, allowed + 1
            missing = [row for row in range(allowed) if kept[row] is None]
            made = dict(zip(missing, self._made(part.select(missing)), strict=True)) if missing else {}
            for row, one in made.items():
                if not one.problem.startswith(FAILED):
                    self.store.put(self.definition.hash, keys[row], one.model_dump_json())
            batch = [kept[row] or made[row] for row in range(allowed)]
            found += batch
            spent = Cost.sum([spent, *(one.cost for one in batch)])
            if allowed < len(part):
                break
        return found

    def _kept(self, key: str, image: str) -> Annotation | None:
        held = self.store.get(self.definition.hash, key)
        return None if held is None else Annotation.model_validate_json(held).model_copy(update={"image": image})

    def _made(self, images: ImageSet) -> list[Annotation]:
        """Labels of all images; a server that is gone stops the call, which can be resumed."""
        pictures, opened = Pictures(images), [_Open(row) for row in range(len(images))]
        if self.describer is not None:
            for one, caption in self._used(self.describer.describe, pictures, opened, Cost(captions=1)):
                one.caption = caption
        conditions = {one.id: one for one in self.definition.conditions}
        for question in self.questions:
            left = [one for one in opened if not one.failed and not (self.exits and _excluded(one, conditions))]
            use = partial(self.answerer.answer, question=question)
            for one, answer in self._used(use, pictures, left, Cost(questions=1)):
                one.answers.append((question, answer))
        return [self._annotation(images.ids[one.row], one) for one in opened]

    def _used(
        self, use: Callable[[Pictures], list[Answer]], pictures: Pictures, among: Sequence[_Open], each: Cost
    ) -> list[tuple[_Open, Answer]]:
        """What a tool returns for each image; every use is booked, also one that failed and is repeated."""
        if not among:
            return []
        try:
            answers = use(pictures.select([one.row for one in among]))
        except UnreachableError:
            raise
        except ModelError as error:
            if len(among) == 1:
                answers = [Answer("", failed=str(error) or type(error).__name__)]
            else:
                for one in among:
                    one.cost += each
                # One image may be what a tool cannot take; the others keep their labels.
                return [pair for one in among for pair in self._used(use, pictures, [one], each)]
        found = []
        for one, answer in zip(among, answers, strict=True):
            one.cost += each + Cost(tokens=answer.tokens)
            one.failed = answer.failed
            if not answer.failed:
                found.append((one, answer))
        return found

    def _annotation(self, image: str, one: _Open) -> Annotation:
        verdicts = {question.condition: answer.holds for question, answer in one.answers}
        if one.failed:
            decision = Decision(None, None, "", verdicts, f"{FAILED}: {one.failed}"[:300])
        elif self.model is None:
            decision = by_rules(self.definition.conditions, verdicts)
        else:
            try:
                decision = judged(self.model, self.definition, one.caption.text, one.answers)
            except UnusableReplyError as error:
                paid = Cost(judgements=error.requests, tokens=error.tokens)
                decision = Decision(None, None, "", verdicts, f"unparsable reply: {error}"[:300], paid)
            except PaidError as error:
                decision = Decision(None, None, "", verdicts, f"{FAILED}: {error}"[:300], error.cost)
        return Annotation(
            image=image,
            label=decision.label,
            rating=decision.rating,
            rationale=decision.rationale,
            problem=decision.problem,
            caption=one.caption.text,
            answers=tuple(
                Answered(
                    condition=question.condition, question=question.question, answer=answer.text, p_yes=answer.p_yes
                )
                for question, answer in one.answers
            ),
            verdicts=dict(decision.verdicts),
            cost=one.cost + decision.cost,
        )


#: How the problem of an image begins where a tool failed: it is tried again by the next call.
FAILED = "a tool failed"


def _excluded(one: _Open, conditions: dict[str, Condition]) -> bool:
    return any(excludes(conditions[question.condition], answer.holds) for question, answer in one.answers)
