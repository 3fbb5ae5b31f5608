"""The models that take part in a labelling, by reference or as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import LanguageModel
from snellen.models.language.references import load_language_model
from snellen.models.references import load_two_tower
from snellen.models.remote.permission import AllowRemote
from snellen.systems.language_model_annotation.tools import Answerer, Describer, load_answerer, load_describer


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
