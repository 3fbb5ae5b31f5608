"""The annotator: caption, atomic questions, decision, for many images at a time (stage C).

All images that are still open get one question together. With ``early_exit`` an image gets no further question, and no
request to the language model, once a necessary condition fails or a negative cue is there. A label is made once for
each definition, image and set of tools; afterwards it is read from the store, with what it cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from snellen.core.errors import ModelError, UnreachableError
from snellen.core.images import ImageSet
from snellen.models.language.protocol import LanguageModel, UnusableReplyError
from snellen.systems.language_model_annotation.deciding import Decision, by_rules, excludes, judged
from snellen.systems.language_model_annotation.definition import Condition, Definition
from snellen.systems.language_model_annotation.ledger import Cost, Limits, Store, key_of
from snellen.systems.language_model_annotation.questions import Question, in_order
from snellen.systems.language_model_annotation.tools import Answer, Answerer, Describer, Pictures

#: Counted up when kept labels of older versions must not be used any more.
FORMAT = 1

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
    """An image while it is annotated."""

    row: int
    caption: Answer
    answers: list[tuple[Question, Answer]]
    cost: Cost


@dataclass(frozen=True, eq=False)
class Annotator:
    """Definition, questions and tools.

    Args:
        definition: whose conditions decide.
        questions: one for each condition.
        describer: writes captions.
        answerer: answers questions.
        model: decides from caption and answers; None: the rules alone.
        store: of labels.
        early_exit: stop at the first verdict that excludes an image.
    """

    definition: Definition
    questions: tuple[Question, ...]
    describer: Describer
    answerer: Answerer
    model: LanguageModel | None
    store: Store
    early_exit: bool = True

    def __post_init__(self) -> None:
        in_order(self.questions, self.definition.conditions)

    @property
    def most(self) -> Cost:
        """What one image costs at most, without repairs."""
        return Cost(captions=1, questions=len(self.questions), judgements=int(self.model is not None))

    def record(self) -> dict[str, Any]:
        """What labels follow from, for plans and keys."""
        return {
            "format": FORMAT,
            "definition": self.definition.hash,
            "questions": [one.model_dump(mode="json") for one in self.questions],
            "captioner": self.describer.name,
            "answers": self.answerer.name,
            "decides": "rules" if self.model is None else self.model.name,
            "early_exit": self.early_exit,
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
        for start in range(0, len(images), BATCH):
            part = images.select(range(start, min(start + BATCH, len(images))))
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
        try:
            pictures = Pictures(images)
            opened = self._described(pictures)
            self._question(pictures, opened)
        except UnreachableError:
            raise  # all images would be undecided; the same call resumes once the server is back
        except ModelError as error:
            if len(images) == 1:
                return [_failed(images.ids[0], error)]
            # One image may be what a tool cannot take; the others keep their labels.
            return [one for row in range(len(images)) for one in self._made(images.select([row]))]
        return [self._annotation(images.ids[one.row], one) for one in opened]

    def _described(self, pictures: Pictures) -> list[_Open]:
        captions = self.describer.describe(pictures)
        return [
            _Open(row, caption, [], cost=Cost(captions=1, tokens=caption.tokens))
            for row, caption in enumerate(captions)
        ]

    def _question(self, pictures: Pictures, opened: Sequence[_Open]) -> None:
        conditions = {one.id: one for one in self.definition.conditions}
        for question in self.questions:
            left = [one for one in opened if not (self.early_exit and _excluded(one, conditions))]
            if not left:
                return
            answers = self.answerer.answer(pictures.select([one.row for one in left]), question)
            for one, answer in zip(left, answers, strict=True):
                one.answers.append((question, answer))
                one.cost += Cost(questions=1, tokens=answer.tokens)

    def _annotation(self, image: str, one: _Open) -> Annotation:
        conditions = {condition.id: condition for condition in self.definition.conditions}
        verdicts = {question.condition: answer.holds for question, answer in one.answers}
        if self.model is None or (self.early_exit and _excluded(one, conditions)):
            decision = by_rules(self.definition.conditions, verdicts)
        else:
            try:
                decision = judged(self.model, self.definition, one.caption.text, one.answers)
            except UnusableReplyError as error:
                decision = Decision(None, None, "", verdicts, f"unparsable reply: {error}"[:300], Cost(judgements=1))
            except UnreachableError:
                raise
            except ModelError as error:
                decision = Decision(None, None, "", verdicts, f"{FAILED}: {error}"[:300])
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


def _failed(image: str, error: Exception) -> Annotation:
    return Annotation(image=image, label=None, rating=None, rationale="", problem=f"{FAILED}: {error}"[:300])


def _excluded(one: _Open, conditions: dict[str, Condition]) -> bool:
    return any(excludes(conditions[question.condition], answer.holds) for question, answer in one.answers)
