"""The frame of methods that generate a labelled data set: they differ in what an image is conditioned on.

A method says which rows a manifest has (:meth:`Conditioned.rows`) and makes the images of any of them. Sampling,
guidance and seeds are those of :class:`snellen.methods.generation.sample.Sample`; there is no second loop.
"""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet
from snellen.core.method import Method
from snellen.core.randomness import Randomness
from snellen.data.class_balance import FLAG
from snellen.data.files.joining import join
from snellen.methods.generation.guided_sampling import GuidedSampling
from snellen.methods.generation.made_images import generator_of, identities_of
from snellen.methods.generation.sample import Sample
from snellen.methods.synthesis.avoided_failures import failures_in
from snellen.methods.synthesis.manifest_rows import BLANK, Manifested, Source, check_templates
from snellen.methods.synthesis.templates import known_templates
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.generator_adapters import CARD, GeneratorAdapters
from snellen.models.diffusion.solver import SolverName


class Conditioned(Method):
    """Generate images of classes; a subclass says what each is conditioned on."""

    generator: str = Field("bundled:scene-diffusion", description="diffusers:FOLDER or bundled:NAME")
    guidance_scale: float = Field(
        2.0,
        description="of classifier-free guidance; 1 means none. Repeat it for several settings",
        allow_inf_nan=False,
    )
    templates: tuple[str, ...] = Field(
        ("a {}",),
        description="prompts, one drawn for each image; {} stands for the words of the class. clip: CLIP's 80",
    )
    words: dict[str, str] = Field(
        default_factory=dict,
        description="words of classes whose name is not what a prompt should say, by name, as JSON",
    )
    steps: int = Field(25, ge=1, description="of the sampler")
    solver: SolverName = Field("ddim", description="which scheduler makes the steps")
    adapter: Path | None = Field(
        None, description="folder of adapters of the generator, as few-shot writes it: one for all classes or for each"
    )

    avoid: Path | None = Field(
        None,
        description="folder of snellen scan generator: classes and prompts on which it found this generator to fail "
        "are not drawn, and count as rejected",
    )

    @field_validator("templates", mode="before")
    @classmethod
    def _with_presets(cls, given: object) -> object:
        """The name of a set of templates stands for all of it."""
        if not isinstance(given, list | tuple):
            return given
        return tuple(one for text in given for one in (known_templates(text) if isinstance(text, str) else (text,)))

    @model_validator(mode="after")
    def _templates_have_a_place(self) -> Self:
        check_templates(self.templates)
        return self

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        return None

    @abstractmethod
    def rows(self, source: Source, count: int | None, seed: int) -> list[Manifested]:
        """The manifest of ``count`` images for each class, nested: a larger count only adds rows.

        Without a count it is that of a twin: one image for each real one, with its id and class.

        Raises:
            InputError: a count below 1, or a source that lacks what the images are conditioned on.
        """

    def request(self, row: Manifested, source: Source) -> dict[str, Any]:
        """One row as a request to :meth:`generate`.

        Raises:
            RejectedImageError: the real image that it is made from cannot be read, or the generator is known to fail.
        """
        why = self.avoided(row)
        if why is not None:
            raise RejectedImageError(why)
        return self.request_of_text(row)

    def avoided(self, row: Manifested) -> str | None:
        """Why the image of a row is not made, by the failures that are to be avoided; None: it is."""
        if self.avoid is None:
            return None
        return failures_in(self.avoid).reason((row.label, self.words.get(row.label, row.label)), row.prompt)

    def request_of_text(self, row: Manifested) -> dict[str, Any]:
        """The same without a real image: all that can be checked before the first one is made."""
        return {"id": row.id, "label": row.label, "index": row.index, "seed": row.seed, "prompt": row.prompt}

    def sampled(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request of this method as one of :meth:`sampling`: by prompt, or by class where there is none."""
        passed = {key: request[key] for key in ("id", "seed", "source", "image") if request.get(key) is not None}
        label = _label_of(request)
        prompt = request.get("prompt")
        return {**passed, **({"class": self.words.get(label, label)} if prompt is None else {"prompt": prompt})}

    def sampling(self) -> GuidedSampling:
        """What makes the images."""
        return Sample(**self._sampled())

    def _sampled(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("generator", "guidance_scale", "steps", "solver")}

    def takes_prompts(self) -> bool:
        """Whether the generator takes prompts; one of classes gets these by name."""
        return generator_of(self.generator).takes == "prompts"

    def filled(self, template: str, label: str) -> str | None:
        """A prompt for a class; None for a generator that takes no prompts."""
        return template.replace(BLANK, self.words.get(label, label)) if self.takes_prompts() else None

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """One image for each request, with label, index, provenance and the flag ``synthetic``.

        Raises:
            InputError: a class or a prompt that the generator does not take.
        """
        labels = [_label_of(one) for one in requests]
        made = self._made(requests, labels, rng)
        names = tuple(dict.fromkeys(labels))
        table = made.table.drop_columns([name for name in ("label",) if name in made.table.column_names])
        added: dict[str, tuple[list[object], pa.DataType]] = {
            "label": ([names.index(label) for label in labels], COLUMNS["label"]),
            "index": ([one.get("index") for one in requests], pa.int64()),
            # An explicit flag: nothing may have to be read off a path or a name of a file.
            FLAG: (["1"] * len(made), pa.string()),
        }
        for name, (values, kind) in added.items():
            table = table.append_column(name, pa.array(values, kind))
        return replace(made, table=table, class_names=names)

    def _made(self, requests: Sequence[Mapping[str, Any]], labels: Sequence[str], rng: Randomness) -> ImageSet:
        """The images, those of classes with the same adapter together: one adapter acts at a time."""
        wanted, sampling = [self.sampled(one) for one in requests], self.sampling()
        if self.adapter is None:
            return sampling.generate(wanted, rng=rng)
        generator = generator_of(self.generator)
        card = self.adapter / CARD
        adapters = _fitting_adapters(self.adapter, card.read_bytes() if card.is_file() else b"", generator)
        names = [adapters.of(label) for label in labels]
        parts, order = list[ImageSet](), list[int]()
        for name in dict.fromkeys(names):
            rows = [row for row, own in enumerate(names) if own == name]
            with adapters.acting(generator, name):
                part = sampling.generate([wanted[row] for row in rows], rng=rng)
            # Classes of a part are those of its own requests; the labels are put on afterwards.
            column = [one for one in ("label",) if one in part.table.column_names]
            parts.append(replace(part, table=part.table.drop_columns(column), class_names=None))
            order += rows
        joined = join(parts, name=parts[0].name)
        return joined.select(np.argsort(order))

    def adapters(self) -> GeneratorAdapters | None:
        """The adapters in the folder; None without one.

        Raises:
            InputError: the folder holds none, or files that were changed.
        """
        return None if self.adapter is None else GeneratorAdapters.load(self.adapter)

    def check(self, rows: Sequence[Manifested], source: Source) -> None:
        """Refuse what can be refused before the first of many images is made: every different prompt is checked.

        Raises:
            InputError: a prompt or class that the generator does not take, or adapters that do not fit.
        """
        self._check_failures(rows)
        different = {(row.label, row.prompt): row for row in rows}
        self.sampling().check([self.sampled(self.request_of_text(row)) for row in different.values()])
        adapters = self.adapters()
        if adapters is not None:
            adapters.check(generator_of(self.generator))
            for label in source.classes:
                adapters.of(label)

    def _check_failures(self, rows: Sequence[Manifested]) -> None:
        """Refuse failures of another generator, and those that leave nothing to draw.

        Raises:
            InputError: as above, or no record of failures.
        """
        if self.avoid is None:
            return
        if failures_in(self.avoid).weights != identities_of(generator_of(self.generator)):
            raise InputError(
                f"{self.avoid} holds failures of another generator than {self.generator}: search this one with "
                f"snellen scan generator {shlex.quote(str(self.generator))}"
            )
        reasons = [self.avoided(row) for row in rows]
        if rows and all(reasons):
            raise InputError(f"nothing is left to generate, the first reason: {reasons[0]}")

    def identities(self) -> dict[str, str]:
        """Hashes of all weights that decide the images, and of the failures that are avoided."""
        adapters = self.adapters()
        own = {} if adapters is None else {"adapters": adapters.identity}
        if self.avoid is not None:
            own["avoided"] = sha256(failures_in(self.avoid).model_dump_json().encode()).hexdigest()
        return {**identities_of(generator_of(self.generator)), **own}


def _label_of(request: Mapping[str, Any]) -> str:
    return str(request.get("label", request.get("class")))


@lru_cache(maxsize=4)
def _fitting_adapters(folder: Path, _card: bytes, generator: Generator) -> GeneratorAdapters:
    """Adapters that fit a generator: gigabytes are hashed once, and not for every batch."""
    adapters = GeneratorAdapters.load(folder)
    adapters.check(generator)
    return adapters
