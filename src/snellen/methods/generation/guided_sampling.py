"""The frame of methods that sample from a generator and steer it; each says by what, and nothing else.

A request names a class, by name or number, and may bring a prompt and a seed. Where it brings no prompt, the template
of the method makes one of the class. The seed of a request belongs to its id and not to the method: methods that are
given the same requests begin with the same noise.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.randomness import Randomness
from snellen.methods.generation.generator_call import BLANK, NO_CLASS, GeneratorCall, names_of
from snellen.methods.generation.made_images import generator_of, identities_of, made_set, seeds_of
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generate import Steer, Steering, generate
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.solver import SolverName

#: The most images that are sampled together.
_TOGETHER = 32


@runtime_checkable
class ReportingSteer(Protocol):
    """A :data:`~snellen.models.diffusion.generate.Steer` that records what it did to each image."""

    def __call__(self, rows: range, rng: Randomness) -> Steering:
        """What acts on one batch."""

    def reported(self) -> Sequence[Mapping[str, object]]:
        """JSON values for each image, once all batches are made: the column ``attributes``."""


class GuidedSampling(Method):
    """Sample a class for each request, steered. A subclass says by what, in :meth:`steering`."""

    generator: str = Field("bundled:scene-diffusion", description="diffusers:FOLDER or bundled:NAME")
    steps: int = Field(25, ge=1, description="of the sampler")
    solver: SolverName = Field("ddim", description="which scheduler makes the steps")
    eta: float = Field(0.0, ge=0, le=1, description="noise that DDIM adds; 1: as much as DDPM")
    template: str = Field(
        "a {}", description="prompt of a request that brings none; {} stands for the words of its class"
    )

    @abstractmethod
    def steering(self, requested: GeneratorCall) -> Steer:
        """What acts on each batch; a :class:`ReportingSteer` also fills the column ``attributes``."""

    def base(self, requested: GeneratorCall) -> Condition:
        """The condition of the denoiser, a row for each image: by default, the request."""
        return requested.own

    def known_classes(self) -> tuple[str, ...]:
        """Names of the classes that may be requested: of the classifier that guides; empty for any words.

        By default those of the generator, and any words where it takes prompts.
        """
        return names_of(generator_of(self.generator))

    def start(self, requested: GeneratorCall, requests: Sequence[Mapping[str, Any]]) -> tuple[Tensor, float] | None:
        """Images (n, 3, h, w) in [0, 1] to start from, and the share of the steps that is made; None: from noise."""
        return None

    def source_of(self, request: Mapping[str, Any]) -> str | None:
        """Id of the image that an image is made from, for its provenance; None where there is none."""
        source = request.get("source")
        return None if source is None else str(source)

    def recorded_scale(self) -> float | None:
        """The scale of guidance in the provenance of each image; None where it is not one number."""
        return None

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        return None

    def generator_call(self, requests: Sequence[Mapping[str, Any]], rng: Randomness) -> GeneratorCall:
        """Requests as one call of the generator.

        Raises:
            InputError: a class that is not known, or an empty request.
        """
        generator = generator_of(self.generator)
        names = self.known_classes() or _named_in(requests)
        classes = [_class_of(request, names) for request in requests]
        templates = None
        if generator.takes == "classes" and NO_CLASS in classes:
            lacking = requests[classes.index(NO_CLASS)].get("id")
            raise InputError(f"request {lacking!r} names no class, and the generator takes nothing else")
        if generator.takes != "prompts":
            prompted = next((request.get("id") for request in requests if request.get("prompt") is not None), None)
            if prompted is not None:
                raise InputError(
                    f"request {prompted!r} has a prompt, and {self.generator} takes {generator.takes}: leave it out"
                )
        if generator.takes == "prompts":
            templates = tuple(
                _template_of(request, index, names, self.template)
                for request, index in zip(requests, classes, strict=True)
            )
        given = [request.get("image") for request in requests] if generator.takes == "images" else []
        return GeneratorCall(
            generator,
            tuple(seeds_of(requests, "sample", rng)),
            names,
            torch.tensor(classes, dtype=torch.int64),
            templates,
            tuple(one for one in given if isinstance(one, Image.Image)),
        )

    def check(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Refuse what can be refused before anything is fitted or made for the first of many requests.

        Raises:
            InputError: as :meth:`generator_call`, or settings of the sampler that do not go together.
        """
        requested = self.generator_call(requests, Randomness(0))
        _ = requested.captions
        self._sampler(requested)

    def _sampler(self, requested: GeneratorCall) -> Sampler:
        return Sampler(requested.generator, steps=self.steps, solver=self.solver, eta=self.eta)

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """One image for each request: ``id``, ``class`` (name or number), and ``prompt`` and ``seed`` if they matter.

        A prompt has ``{}`` where the words of the class belong; in one without, the class's own words, where they
        occur once, are that place. A request without a class is its prompt alone.

        Raises:
            InputError: a class that is not known, an empty request, a prompt that is too long.
        """
        requested = self.generator_call(requests, rng)
        steer, begun = self.steering(requested), self.start(requested, requests)
        made = generate(
            self._sampler(requested),
            requested.seeds,
            prompts=requested.captions,
            condition=self.base(requested),
            steer=steer,
            start=None if begun is None else begun[0],
            strength=1.0 if begun is None else begun[1],
            batch_size=_TOGETHER,
        )
        scale = self.recorded_scale()
        known = [{"guidance_scale": scale, "source_id": self.source_of(request)} for request in requests]
        return made_set(
            made,
            requests,
            requested.captions,
            name=f"{self.name} by {self.generator}",
            reported=steer.reported() if isinstance(steer, ReportingSteer) else (),
            classes=requested.classes.tolist() if bool((requested.classes != NO_CLASS).any()) else (),
            class_names=requested.class_names,
            provenance=[
                origin.model_copy(update=reported) for origin, reported in zip(made.provenance, known, strict=True)
            ],
        )

    def identities(self) -> dict[str, str]:
        """Hashes of all weights that decide the images."""
        return identities_of(generator_of(self.generator))


def _named_in(requests: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The classes that requests name, for a generator that takes any words.

    Raises:
        InputError: a class that is not named by words; a number would mean another class in each batch.
    """
    named = set[str]()
    for request in requests:
        given = request.get("class")
        if given is not None and not isinstance(given, str):
            raise InputError(
                f"request {request.get('id')!r} names class {given!r}; the generator takes any words and numbers no "
                f"classes, so name it"
            )
        named |= set() if given is None else {given}
    return tuple(sorted(named))


def _class_of(request: Mapping[str, Any], names: Sequence[str]) -> int:
    given = request.get("class")
    if given is None:
        return NO_CLASS
    if isinstance(given, int) and not isinstance(given, bool):
        if 0 <= given < len(names):
            return given
        raise InputError(f"request {request.get('id')!r} names class {given}; there are 0 to {len(names) - 1}")
    if given not in names:
        raise InputError(f"request {request.get('id')!r} names class {given!r}; there are {', '.join(names)}")
    if names.count(given) > 1:
        raise InputError(f"request {request.get('id')!r}: several classes are called {given!r}; ask by number")
    return list(names).index(given)


def _template_of(request: Mapping[str, Any], index: int, names: Sequence[str], template: str) -> str:
    """The prompt of a request with a blank in place of its class."""
    prompt = request.get("prompt", request.get("caption"))
    if prompt is None and index != NO_CLASS:
        prompt = template
    if not isinstance(prompt, str):
        raise InputError(f"request {request.get('id')!r} has neither a 'class' nor a text 'prompt'")
    words = "" if index == NO_CLASS else names[index]
    if not words or BLANK in prompt:
        return prompt
    blanked, times = re.subn(rf"(?<![\w-]){re.escape(words)}(?![\w-])", BLANK, prompt)
    return blanked if times == 1 else prompt
