"""Tools that read images: captioners, and models that answer questions, by one protocol each.

Real ones come by reference: BLIP from a folder, a language model that sees images on a server, or two towers that
compare an image with phrases. What they return is data about an image and never an instruction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError, ModelError, RejectedImageError, UnreachableError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.data.loading import prepared_batches
from snellen.models.captioners.protocol import Captioner, QuestionAnswerer
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.language.protocol import LanguageModel, Message, UnusableReplyError
from snellen.models.references import load_captioner, load_question_answerer, load_two_tower
from snellen.models.weights.hugging_face_folder import check_folder, import_transformers, load_config
from snellen.runs.thumbnails import png
from snellen.systems.language_model_annotation.questions import Question

#: Probabilities nearer to a half than this are no answer.
UNSURE = 0.1

#: Longer side of a picture that is sent to a server, pixels.
SENT_SIDE = 768

_WORDS = {"yes": True, "true": True, "no": False, "false": False}

#: The bare word, or the word with punctuation behind it and then anything: "No idea" is no answer.
_ANSWER = re.compile(r"\W*(yes|true|no|false)(?:[^\w?]*|[.,;:!)\]\"'*]+\s.*)", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What a tool returned for one image.

    Attributes:
        text: as it came.
        p_yes: probability of yes, where the tool has one.
        tokens: of a language model that were sent and received for it.
        failed: why the tool returned nothing; empty where it did. What was paid for is counted all the same.
    """

    text: str
    p_yes: float | None = None
    tokens: int = 0
    failed: str = ""

    @property
    def holds(self) -> bool | None:
        """Yes or no; None for every other text, which is kept apart from no.

        >>> Answer("Yes.").holds, Answer("no, a cup").holds, Answer("No idea").holds
        (True, False, None)
        """
        word = _ANSWER.fullmatch(self.text.casefold())
        return _WORDS[word.group(1)] if word else None


@dataclass(frozen=True, eq=False)
class Pictures:
    """Some usable images of a set, read once for each preparation.

    Attributes:
        images: n of them, all readable.
    """

    images: ImageSet
    _prepared: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def prepared(self, preparation: Preprocessing) -> Tensor:
        """Pixels, float (n, 3, h, w) in [0, 1].

        Raises:
            InputError: an image that cannot be read any more.
        """
        key = preparation.model_dump_json()
        if key not in self._prepared:
            batch = next(prepared_batches(self.images, preparation, len(self.images)))
            if batch.rejected:
                one, reason = batch.rejected[0]
                raise InputError(f"{one!r} could be read before and cannot be read now: {reason}")
            self._prepared[key] = to_unit(batch.pixels)
        return self._prepared[key]

    def select(self, rows: Sequence[int]) -> Pictures:
        """Some of them; what was prepared is not read again."""
        held = {key: pixels[list(rows)] for key, pixels in self._prepared.items()}
        return Pictures(self.images.select(list(rows)), held)


class Describer(Protocol):
    """Images → captions."""

    @property
    def name(self) -> str:
        """Shown in records, with what makes its captions what they are."""

    def describe(self, pictures: Pictures) -> list[Answer]:
        """A caption for each image."""


class Answerer(Protocol):
    """One question about many images."""

    @property
    def name(self) -> str:
        """Shown in records, with what makes its answers what they are."""

    def answer(self, pictures: Pictures, question: Question) -> list[Answer]:
        """An answer for each image."""


class CaptionerTool:
    """A captioner of this machine."""

    def __init__(self, captioner: Captioner, *, max_tokens: int = 40) -> None:
        self._captioner, self._max_tokens = captioner, max_tokens
        self.name = f"{captioner.name} {captioner.identity()[:16]} {max_tokens}"

    def describe(self, pictures: Pictures) -> list[Answer]:
        """A sentence for each image."""
        found = self._captioner.caption(
            pictures.prepared(self._captioner.preparation).to(self._captioner.device), max_tokens=self._max_tokens
        )
        return [Answer(text) for text in found.texts]


class AnswererTool:
    """A model of this machine that answers questions in words."""

    def __init__(self, answerer: QuestionAnswerer) -> None:
        self._answerer = answerer
        self.name = f"{answerer.name} {answerer.identity()[:16]}"

    def answer(self, pictures: Pictures, question: Question) -> list[Answer]:
        """All images with the question in one batch."""
        images = pictures.prepared(self._answerer.preparation).to(self._answerer.device)
        return [Answer(text) for text in self._answerer.answer(images, [question.question] * len(pictures))]


class TowerTool:
    """Two towers: yes, if the phrases of a question fit better than what other images show instead.

    p(yes) is the part of the phrases in softmax over them and the others of scale · cos(image, text). Each image is
    encoded once.
    """

    def __init__(self, towers: TwoTower) -> None:
        self._towers, self._vectors = towers, dict[str, Tensor]()
        self.name = f"{towers.name} {towers.identity()[:16]}"

    def answer(self, pictures: Pictures, question: Question) -> list[Answer]:
        """Yes, no, or unsure near a half.

        Raises:
            InputError: a question without phrases.
        """
        if not question.phrases:
            raise InputError(
                f"{self._towers.name} compares images with phrases, and the question {question.question!r} has none; "
                f"write phrases and instead, or take a model that answers questions"
            )
        ids = list(pictures.images.content_hashes)
        new = [row for row, one in enumerate(ids) if one not in self._vectors]
        if new:
            with torch.no_grad():
                vectors = self._towers.encode_images(pictures.prepared(self._towers.preparation)[new]).cpu()
            self._vectors.update((ids[row], vector) for row, vector in zip(new, vectors, strict=True))
        texts = self._towers.encode_texts([*question.phrases, *question.instead], truncate=True).cpu()
        cosines = torch.stack([self._vectors[one] for one in ids]) @ texts.T
        sure = (self._towers.logit_scale * cosines).softmax(1)[:, : len(question.phrases)].sum(1).tolist()
        return [Answer(_said(value), p_yes=round(value, 6)) for value in sure]


def _said(p_yes: float) -> str:
    return "unsure" if abs(p_yes - 0.5) < UNSURE else "yes" if p_yes > 0.5 else "no"


class LanguageModelTool:
    """A language model that sees images, as captioner and as answerer; images are sent to its server one by one."""

    def __init__(self, model: LanguageModel) -> None:
        if not model.sees_images:
            raise InputError(f"{model.name} sees no images; name a captioner or a model that answers questions")
        self._model, self.name = model, model.name

    def describe(self, pictures: Pictures) -> list[Answer]:
        """A detailed caption for each image."""
        prompt = "Describe this image in detail: objects, activities, setting, text that is written in it, style."
        return self._each(pictures, prompt, 200)

    def answer(self, pictures: Pictures, question: Question) -> list[Answer]:
        """Yes or no, where the model gives one of them."""
        return self._each(pictures, f"{question.question} Answer with yes, no, or unsure, and nothing else.", 10)

    def _each(self, pictures: Pictures, prompt: str, max_tokens: int) -> list[Answer]:
        return [self._one(sent_picture(pictures.images, row), prompt, max_tokens) for row in range(len(pictures))]

    def _one(self, file: bytes, prompt: str, max_tokens: int) -> Answer:
        """A reply, or why there is none: an image that the model cannot take spoils no other."""
        before = self._model.spent.tokens
        try:
            reply = self._model.complete((Message("user", prompt, (file,)),), max_tokens=max_tokens)
        except UnreachableError:
            raise
        except ModelError as error:
            known = error.tokens if isinstance(error, UnusableReplyError) else 0
            return Answer("", tokens=max(known, self._model.spent.tokens - before), failed=str(error) or "no reply")
        return Answer(reply.text.strip(), tokens=reply.prompt_tokens + reply.completion_tokens)


def sent_picture(images: ImageSet, row: int) -> bytes:
    """The whole image as a PNG file: its longer side at most :data:`SENT_SIDE`, its aspect kept, never enlarged.

    Raises:
        InputError: an image that cannot be read any more.
    """
    try:
        image = images.read(row)
    except RejectedImageError as error:
        raise InputError(f"{images.ids[row]!r} could be read before and cannot be read now: {error}") from error
    image.thumbnail((SENT_SIDE, SENT_SIDE), Image.Resampling.LANCZOS)
    return png(image)


#: Loads a language model by its reference; hosts that may be reached are the caller's.
LoadModel = Callable[[str], LanguageModel]


def load_describer(reference: str, load_model: LoadModel, *, device: str = "cpu") -> Describer:
    """A captioner by reference: ``http://HOST/v1#MODEL`` of a model that sees images, ``hf:FOLDER``, ``bundled:NAME``.

    Raises:
        InputError: a reference that cannot be used.
    """
    if reference.startswith(("http:", "https:")):
        return LanguageModelTool(load_model(reference))
    return CaptionerTool(load_captioner(reference, device=device))


def load_answerer(reference: str, load_model: LoadModel, *, device: str = "cpu") -> Answerer:
    """What answers questions, by reference: a model that sees images on a server, BLIP from a folder, or two towers.

    Raises:
        InputError: a reference that cannot be used.
    """
    if reference.startswith(("http:", "https:")):
        return LanguageModelTool(load_model(reference))
    scheme, _, rest = reference.partition(":")
    if scheme == "hf":
        check_folder(Path(rest))
        if load_config(import_transformers(reference), Path(rest)).model_type == "blip":
            return AnswererTool(load_question_answerer(reference, device=device))
    return TowerTool(load_two_tower(reference, device=device))
