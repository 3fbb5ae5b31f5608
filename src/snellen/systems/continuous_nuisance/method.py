"""Images of classes under a nuisance of any words, in rising strength: CNS-Bench.

O. Dünkel et al., *CNS-Bench: Benchmarking Image Classifier Robustness Under Continuous Nuisance Shifts*, ICCV 2025,
arXiv 2507.17651. For each shift a slider is trained once; every request is a trajectory, a class at all strengths from
one noise. Four scores of two encoders that decide nothing else say whether a trajectory still shows its class. What is
computed is in :mod:`snellen.systems.continuous_nuisance`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, model_validator
from torch.nn.functional import interpolate

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance
from snellen.core.method import Method
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import ArraySource
from snellen.methods.generation.made_images import generator_of, identities_of, seeds_of
from snellen.methods.synthesis.avoided_failures import failures_in
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.continuous_nuisance.class_tokens import read_tokens, token_of_class
from snellen.systems.continuous_nuisance.filter_scores import filter_scores
from snellen.systems.continuous_nuisance.filtering import NEEDED, PUBLISHED_THRESHOLDS, SCORES, keep
from snellen.systems.continuous_nuisance.slider import SliderFit
from snellen.systems.continuous_nuisance.slider_folder import (
    filter_of,
    nuisance_generator,
    slider_identities,
    sliders_of,
)
from snellen.systems.continuous_nuisance.strengths import PUBLISHED, checked_strengths
from snellen.systems.continuous_nuisance.trajectories import GATE, sample_trajectories
from snellen.systems.continuous_nuisance.words import SHIFTED, check_words, class_prompt, named_phrases, shifted_prompt


class ContinuousNuisance(Method):
    """Generate trajectories: each request's class under its shift, at every strength.

    Sliders are read from their folder, or are trained and written there where they are missing; they are always trained
    with seed 0. A slider serves all ``classes``, or each class has its own.
    """

    name: ClassVar[str] = "continuous_nuisance"

    generator: str = Field(
        "bundled:scene-diffusion", description="diffusers:FOLDER or bundled:NAME, that takes prompts"
    )
    concept: tuple[str, ...] = Field(
        (), description="a shift: its words (fog, or with stripes), or NAME=WORDS; a noun gets in before it"
    )
    classes: tuple[str, ...] = Field((), description="words of the classes that sliders are trained on")
    sliders: str = Field("", description="folder of the sliders; trained and written there where they are missing")
    strengths: tuple[float, ...] = Field(PUBLISHED, description="ascending from 0, which is the generator as it is")
    template: str = Field("a picture of a {}", description="prompt; {} stands for the words of the class")
    shifted: str = Field(SHIFTED, description="prompt under a shift; {} stands for the prompt, and for its words")
    negative: str | None = Field(None, description="prompt to guide away from, instead of from no prompt")
    guidance_scale: float = Field(7.5, description="of classifier-free guidance; 1 means none", allow_inf_nan=False)
    steps: int = Field(50, ge=1, description="of the sampler (DDIM)")
    size: int | None = Field(None, ge=8, description="height and width of the images; none: the generator's own")
    kept_size: int | None = Field(None, ge=8, description="to which they are scaled before they are filtered and kept")
    gate: float = Field(GATE, description="highest timestep at which sliders act; above it the layout is decided")
    sliders_for: Literal["all", "each"] = Field(
        "all", description="classes that a slider is trained on: all of them, or each has its own (published)"
    )
    fit: SliderFit | None = Field(
        None, description="numbers of a training; sliders that are there must have been trained so"
    )
    text_image: str | None = Field(None, description="text-image model of the filter; none: no filter")
    second_encoder: str | None = Field(None, description="second encoder of the filter")
    thresholds: dict[str, float] = Field(
        dict(PUBLISHED_THRESHOLDS), description="of the four scores; the published ones belong to its two encoders"
    )
    needed: int = Field(NEEDED, ge=1, le=len(SCORES), description="scores that must exceed their thresholds")
    quirk: bool = Field(False, description="compare softmaxes of the second encoder's vectors (published)")
    tokens: Path | None = Field(
        None,
        description="folder of learned tokens of the classes (ImageNet*), with tokenizer, text_encoder and tokens.pt; "
        "prompts then name a class by its token",
    )
    avoid: Path | None = Field(
        None,
        description="folder of snellen scan generator: classes, and classes under a shift, at which it found this "
        "generator to fail are not made",
    )
    device: str = Field("cpu", description="where generator and encoders of the filter run: cpu or cuda")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of the generator's weights")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        checked_strengths(self.strengths)
        named_phrases(self.concept)
        if (self.text_image is None) != (self.second_encoder is None):
            raise ValueError("the filter needs text_image and second_encoder; give both of them or none")
        if self.text_image is not None and set(self.thresholds) != set(SCORES):
            raise ValueError(f"thresholds are those of {', '.join(SCORES)}; got {', '.join(self.thresholds) or 'none'}")
        return self

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        if not self.concept:
            return "needs a shift: --concept 'in fog'"
        if not self.sliders:
            return "needs the folder of the sliders, which it may make: --sliders FOLDER"
        return None if self.classes else "needs the classes: --classes NAME for each"

    def prompt(self, class_name: str) -> str:
        """The prompt of a class: by its token where there are tokens, else by its words.

        Raises:
            InputError: tokens that cannot be read, or no token of the class.
        """
        return class_prompt(
            self.template, class_name if self.tokens is None else token_of_class(self.tokens, class_name)
        )

    def make_ready(self, progress: Progress | None = None) -> None:
        """Load the sliders, or train them."""
        sliders_of(self, self.classes, progress)

    def check(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Refuse what can be refused before anything is trained or made.

        Raises:
            InputError: a class or a shift that is not among those of the method; a word that the generator does not
                know, or a size that it does not make; a class under a shift at which it is known to fail.
        """
        avoided = self.avoided()
        for request, (class_name, concept) in zip(requests, self._requested_pairs(requests), strict=True):
            if (concept, class_name) in avoided:
                raise InputError(
                    f"request {request.get('id')!r} is for {class_name} under {concept}: "
                    f"{avoided[concept, class_name]}; leave it out"
                )

    def avoided(self) -> dict[tuple[str, str], str]:
        """Shift and class of each trajectory that is not made, with the reason: the generator is known to fail there.

        Raises:
            InputError: no record of failures, or one of another generator.
        """
        if self.avoid is None:
            return {}
        failures, phrases = failures_in(self.avoid), named_phrases(self.concept)
        if failures.weights != identities_of(generator_of(self.generator, self.device)):
            raise InputError(
                f"{self.avoid} holds failures of another generator than {self.generator}; search this one with "
                f"snellen scan generator"
            )
        found = dict[tuple[str, str], str]()
        for concept, words in phrases.items():
            for name in self.classes:
                prompt = shifted_prompt(self.prompt(name), words, self.shifted)
                why = failures.reason((name,), prompt)
                if why is not None:
                    found[concept, name] = why
        return found

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """A trajectory for each request: ``id``, ``class`` and ``concept`` (names), and a ``seed`` if it matters.

        The images of a trajectory have the ids ``ID/0``, ``ID/0.5`` and so on, and the trajectory as their unit. The
        column ``attributes`` holds class, concept, strength, seed, and whether the filter keeps the trajectory, with
        the reason if not. Requests of one class and seed share their first steps, and strength 0.

        Raises:
            InputError: what :meth:`check` and :func:`sliders_of` refuse.
        """
        requested = self._requested_pairs(requests)
        sliders = sliders_of(self, tuple(dict.fromkeys(class_name for class_name, _ in requested)))
        seeds, generator = seeds_of(requests, self.name, rng), nuisance_generator(self)
        pixels: dict[int, np.ndarray[Any, Any]] = {}
        reasons: dict[int, str | None] = {}
        encoders, phrases = filter_of(self), named_phrases(self.concept)
        for concepts, rows in _grouped(requested, seeds, apart=self.sliders_for == "each"):
            first = [rows[objects][0] for objects in range(len(rows))]
            own = sliders[requested[first[0]][0]]
            made = sample_trajectories(
                Sampler(generator, steps=self.steps),
                {concept: own[concept] for concept in concepts},
                [self.prompt(requested[row][0]) for row in first],
                [seeds[row] for row in first],
                self.strengths,
                gate=self.gate,
                negative=self.negative,
                guidance_scale=self.guidance_scale,
                size=self._square(),
                batch_size=_TOGETHER,
            )
            bytes_of = (_scaled(made.images, self.kept_size) * 255).round().to(torch.uint8)
            for number, concept in enumerate(concepts):
                why: Sequence[str | None] = [None] * len(first)
                if encoders is not None:
                    words = phrases[concept]
                    names = [requested[row][0] for row in first]
                    # What is scored is what is written: bytes.
                    scores = filter_scores(
                        encoders, bytes_of[number].float() / 255, names, words,
                    )  # fmt: skip
                    why = keep(scores, self.thresholds, strengths=self.strengths, needed=self.needed).reasons
                for one_object, members in enumerate(rows):
                    row = members[number]
                    pixels[row] = bytes_of[number, one_object].permute(0, 2, 3, 1).numpy()
                    reasons[row] = why[one_object]
        return self._made(requests, requested, seeds, pixels, reasons if encoders is not None else None)

    def notes(self) -> tuple[str, ...]:
        """The limits of generated shifts."""
        return (
            "strengths are multipliers of a slider: they are not calibrated between classes or shifts, and a generated "
            "shift may change more than its words say",
        )

    def identities(self) -> dict[str, str]:
        """Hashes of all weights that decide the images and which are kept."""
        encoders = filter_of(self)
        failures = None if self.avoid is None else failures_in(self.avoid).model_dump_json()
        return {
            **identities_of(nuisance_generator(self)),
            **slider_identities(self),
            **({} if encoders is None else encoders.identities()),
            **({} if self.tokens is None else {"tokens": _hash_of(read_tokens(self.tokens))}),
            **({} if failures is None else {"avoided": sha256(failures.encode()).hexdigest()}),
        }

    def _requested_pairs(self, requests: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Class and concept of each request."""
        concepts = named_phrases(self.concept)
        found: list[tuple[str, str]] = []
        for request in requests:
            pair = []
            for what, known in (("class", self.classes), ("concept", tuple(concepts))):
                given = request.get(what, known[0] if len(known) == 1 else None)
                if given not in known:
                    raise InputError(
                        f"request {request.get('id')!r} asks for the {what} {given!r}; there are {', '.join(known)}"
                    )
                pair.append(str(given))
            found.append((pair[0], pair[1]))
        prompts = [self.prompt(name) for name in self.classes]
        shifted = [shifted_prompt(prompt, words, self.shifted) for words in concepts.values() for prompt in prompts]
        generator = nuisance_generator(self)
        check_words(generator, [*prompts, *shifted])
        generator.latent_shape(self._square())
        return found

    def _square(self) -> tuple[int, int] | None:
        return None if self.size is None else (self.size, self.size)

    def _made(
        self,
        requests: Sequence[Mapping[str, Any]],
        requested: Sequence[tuple[str, str]],
        seeds: Sequence[int],
        pixels: Mapping[int, np.ndarray[Any, Any]],
        reasons: Mapping[int, str | None] | None,
    ) -> ImageSet:
        """The images of all trajectories, in the order of the requests and of strength."""
        columns: dict[str, list[object]] = {
            name: [] for name in ("id", "label", "unit_id", "caption", "attributes", "provenance")
        }
        for row, request in enumerate(requests):
            key, (class_name, concept) = str(request.get("id", row)), requested[row]
            prompt = self.prompt(class_name)
            reason = None if reasons is None else reasons[row]
            for strength in self.strengths:
                told = {"class": class_name, "concept": concept, "strength": strength, "seed": seeds[row]}
                origin = Provenance(
                    origin="generated",
                    generator=self.generator,
                    prompt=prompt,
                    seed=seeds[row],
                    guidance_scale=self.guidance_scale,
                    accepted=None if reasons is None else reason is None,
                    reason=reason,
                )
                if reasons is not None:
                    told |= {"kept": reason is None} | ({} if reason is None else {"reason": reason})
                values = (
                    f"{key}/{strength:g}", self.classes.index(class_name), key, prompt, json.dumps(told),
                    origin.model_dump_json(exclude_none=True),
                )  # fmt: skip
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
        table = pa.table({name: pa.array(values, COLUMNS[name]) for name, values in columns.items()})
        source = ArraySource(np.concatenate([pixels[row] for row in range(len(requests))]))
        return ImageSet(source, table, self.classes, f"{self.name} by {self.generator}")


#: Images that are sampled together.
_TOGETHER = 32


def _hash_of(tokens: Mapping[str, str]) -> str:
    return sha256(json.dumps(list(tokens.items())).encode()).hexdigest()


def _scaled(images: torch.Tensor, side: int | None) -> torch.Tensor:
    """Images (..., 3, h, w) in [0, 1] as squares of a side; as they are without one."""
    if side is None:
        return images
    flat = interpolate(images.flatten(0, -4), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    return flat.unflatten(0, images.shape[:-3])


def _grouped(
    requested: Sequence[tuple[str, str]], seeds: Sequence[int], *, apart: bool
) -> list[tuple[tuple[str, ...], list[list[int]]]]:
    """Requests that can be sampled together: shifts, and for each object (class and seed) its row under every shift.

    Args:
        requested: class and shift of each request.
        seeds: of each.
        apart: classes one after the other, because each has sliders of its own.
    """
    objects: dict[tuple[str, int], dict[str, int]] = {}
    alone: list[tuple[tuple[str, ...], list[list[int]]]] = []
    for row, ((class_name, concept), seed) in enumerate(zip(requested, seeds, strict=True)):
        members = objects.setdefault((class_name, seed), {})
        if concept in members:  # requested twice
            alone.append(((concept,), [[row]]))
        else:
            members[concept] = row
    groups: dict[tuple[str, tuple[str, ...]], list[list[int]]] = {}
    for (class_name, _), members in objects.items():
        concepts = tuple(sorted(members))
        key = (class_name if apart else "", concepts)
        groups.setdefault(key, []).append([members[concept] for concept in concepts])
    return [*((concepts, rows) for (_, concepts), rows in groups.items()), *alone]
