"""Captions that say more of the image: guidance in the decoding of a captioner.

Kornblith, Li, Wang and Nguyen, "Guiding image captioning models toward more specific captions", ICCV 2023, arXiv
2307.16686. A captioner that was fine-tuned with dropped conditions
(:mod:`snellen.systems.guided_captions.caption_tuning`) also says what captions are like without an image; decoding
amplifies by γ what the image adds (equation 3). A language model with a prompt of captions can set the style (equation
4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Provenance
from snellen.core.method import Method
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.held_images import CARRIED, held_set
from snellen.models.captioners.protocol import Captioner
from snellen.models.language.causal import CausalLanguageModel, load_causal_language_model
from snellen.models.references import load_captioner
from snellen.systems.guided_captions.caption_decoding import (
    Decoded,
    GuidedSteps,
    beam_search,
    decode,
    greedy,
    prompt_tokens,
    sampling,
)
from snellen.systems.guided_captions.caption_rules import (
    ClassifierFree,
    LanguageGuided,
    Rule,
    Unconditional,
    newline_tokens,
)

#: Above this scale retrieval falls and gibberish grows (table 1 of the paper).
STRONGEST = 3.0


class GuidedCaptions(Method):
    """Captions under guidance.

    >>> GuidedCaptions(scale=1.5).record()["decoding"]
    'greedy'
    """

    name: ClassVar[str] = "caption"

    captioner: str = Field(
        "bundled:scene-captioner",
        description="hf:FOLDER or bundled:NAME; best one that was fine-tuned with dropped conditions",
    )
    scale: float = Field(2.0, ge=0, allow_inf_nan=False, description="γ: 1 is no guidance, 0 leaves the image out")
    rule: Literal["classifier_free", "language_model"] = Field(
        "classifier_free", description="amplify the image by the scale, or follow a language model's style by α and β"
    )
    unconditional: Unconditional = Field(
        "captioner", description="who says what captions are like without the image, in the rule classifier_free"
    )
    language_model: str | None = Field(
        None, description="hf:FOLDER of a causal language model with the captioner's own tokens"
    )
    alpha: float = Field(5.0, gt=0, allow_inf_nan=False, description="weight of the captioner with the image")
    beta: float = Field(2.5, ge=0, allow_inf_nan=False, description="weight of the captioner without it, subtracted")
    prompt: tuple[str, ...] = Field((), description="captions in the wanted style, for the language model")
    decoding: Literal["greedy", "beam", "sampling"] = Field(
        "greedy", description="greedy as published; beam search and sampling are extras"
    )
    beams: int = Field(4, ge=1, description="hypotheses of beam search")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    plausible: float = Field(
        0.0, ge=0, le=1, description="leave out words below this share of the likeliest one's probability; an extension"
    )
    max_tokens: int = Field(64, ge=1, description="longest caption, in tokens; the captioner's context bounds it too")
    device: str = Field("cpu", description="where the models run")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a language model that is needed and not named, or α below β."""
        asks = self.rule == "language_model" or self.unconditional == "language_model"
        if asks and self.language_model is None:
            return "asks a language model; name one (language_model)"
        if self.rule == "language_model" and self.alpha < self.beta:
            return f"takes alpha of at least beta, got {self.alpha:g} and {self.beta:g}"
        return super().missing(classifier, images)

    def notes(self) -> tuple[str, ...]:
        """What is remarkable about these parameters.

        >>> GuidedCaptions(scale=4).notes()
        ('a scale above 3 lowered retrieval and lengthened captions in the paper',)
        """
        strong = self.rule == "classifier_free" and self.scale > STRONGEST
        return ("a scale above 3 lowered retrieval and lengthened captions in the paper",) if strong else ()

    def identities(self) -> Mapping[str, str]:
        """Hash of the weights of each model that is named."""
        found = {self.captioner: _captioner(self.captioner, self.device).identity()}
        if self.language_model is not None:
            found[self.language_model] = _language_model(self.language_model, self.device).identity()
        return found

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness | None = None) -> ImageSet:
        """Caption the ``image`` (PIL) of each request; returns these images with captions and provenance.

        An image keeps the columns of its request: split, unit, labels, and from its ``provenance`` the origin. There
        ``generator``, ``guidance_scale`` and ``seed`` say how the caption was made, ``source_id`` which image it is.

        Further columns: ``log_probability`` of the caption with the image, and ``gain``, by how much that is more than
        without it (pointwise mutual information, in nats; empty where the captioner was not run without the image).

        Raises:
            InputError: no requests, one without an image or an id or with a bad provenance, or models that do not fit
                together.
        """
        lacking = self.missing()
        if lacking is not None:
            raise InputError(f"{self.name} {lacking}")
        pictures, ids = _pictures(requests)
        origins = [_origin(request) for request in requests]
        captioner = _captioner(self.captioner, self.device)
        pixels = to_unit(torch.stack([captioner.preparation.pixels(picture) for picture in pictures]))
        source = (rng or Randomness(0)).child("caption").for_examples(ids)
        texts, decoded = self.caption(captioner, pixels.to(captioner.device), source)
        made = {
            "generator": self.captioner,
            "guidance_scale": self.scale if self.rule == "classifier_free" else None,
            "seed": source.seed if self.decoding == "sampling" else None,
        }
        provenance = [
            origin.model_copy(update={**made, "source_id": one}).model_dump_json(exclude_none=True)
            for one, origin in zip(ids, origins, strict=True)
        ]
        return held_set(
            pictures,
            ids,
            name=captioner.name,
            classes=[request.get("class") for request in requests],
            columns={
                **_carried(requests),
                "caption": texts,
                "provenance": provenance,
                **_log_probabilities(decoded, len(ids)),
            },
        )

    def caption(self, captioner: Captioner, images: Tensor, rng: Randomness) -> tuple[tuple[str, ...], Decoded | None]:
        """Prepared images (n, 3, h, w) in [0, 1] → captions, and their log-probabilities on both sides (None after
        beams).
        """
        with torch.no_grad():
            states = captioner.encode(images)
        begin = captioner.tokenise([""], ended=False)[0].to(states.device)
        room = min(self.max_tokens, captioner.context_length - len(begin))
        rows = len(states) * (self.beams if self.decoding == "beam" else 1)
        steps = self._steps(captioner, states.repeat_interleave(rows // len(states), 0))
        start, end = begin.expand(len(states), -1), captioner.end_token
        if self.decoding == "beam":
            tokens = beam_search(steps, start, beams=self.beams, end=end, filler=end, max_tokens=room)
            return captioner.texts(tokens), None
        choose = sampling(rng, temperature=self.temperature) if self.decoding == "sampling" else greedy
        decoded = decode(steps, start, end=end, filler=end, max_tokens=room, choose=choose)
        return captioner.texts(decoded.tokens), decoded

    def _steps(self, captioner: Captioner, states: Tensor) -> GuidedSteps:
        language = None if self.language_model is None else _language_model(self.language_model, self.device)
        newlines = newline_tokens(captioner.vocabulary)
        prompt = None if language is None else prompt_tokens(language, self.prompt, newline=bool(len(newlines)))
        return GuidedSteps(
            captioner,
            states,
            self._rule(captioner, len(states), newlines),
            language=language,
            prompt=prompt,
            plausible=self.plausible,
        )

    def _rule(self, captioner: Captioner, rows: int, newlines: Tensor) -> Rule:
        def filled(value: float) -> Tensor:
            return torch.full((rows,), value, device=captioner.device)

        if self.rule == "classifier_free":
            return ClassifierFree(filled(self.scale), self.unconditional)
        return LanguageGuided(filled(self.alpha), filled(self.beta), captioner.end_token, newlines.to(captioner.device))


def _pictures(requests: Sequence[Mapping[str, Any]]) -> tuple[list[Image.Image], list[str]]:
    if not requests:
        raise InputError("caption got no requests; it takes one for each image")
    for request in requests:
        if not isinstance(request.get("image"), Image.Image) or not isinstance(request.get("id"), str):
            raise InputError(
                f"caption takes requests with an 'id' and an 'image' (PIL); got {sorted(request)}; on the "
                f"command line, name images, not a list of prompts"
            )
    return [request["image"] for request in requests], [request["id"] for request in requests]


def _origin(request: Mapping[str, Any]) -> Provenance:
    """Where the image of a request came from; real where it does not say, as in any set of images."""
    known = request.get("provenance")
    try:
        return Provenance() if known is None else Provenance.model_validate_json(known)
    except ValueError as error:
        raise InputError(f"request {request['id']!r}: its 'provenance' cannot be used: {error}") from error


def _carried(requests: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[object]]:
    """Columns of the images in the requests, without empty ones."""
    found = {column: [request.get(column) for request in requests] for column in CARRIED}
    return {column: values for column, values in found.items() if any(value is not None for value in values)}


def _log_probabilities(decoded: Decoded | None, count: int) -> dict[str, Sequence[object]]:
    if decoded is None:
        return {}
    conditional = decoded.conditional.sum(1)
    found: dict[str, Sequence[object]] = {"log_probability": [round(value, 4) for value in conditional.tolist()]}
    if decoded.unconditional is not None:
        gain = conditional - decoded.unconditional.sum(1)
        found["gain"] = [round(value, 4) for value in gain.tolist()]
    return found


@lru_cache(maxsize=2)
def _captioner(reference: str, device: str) -> Captioner:
    return load_captioner(reference, device=device)


@lru_cache(maxsize=2)
def _language_model(reference: str, device: str) -> CausalLanguageModel:
    return load_causal_language_model(reference, device=device)
