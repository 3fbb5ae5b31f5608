"""``snellen generate promptgen``: images of a wanted distribution, from a control that is fitted once and kept.

A control is fitted to the generator where its folder does not exist. Then each request is one draw ε → f → G. A request
that names a class is drawn again until the classifier sees that class: a control that makes the classes equally
frequent keeps this cheap, and the numbers of images are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Provenance
from snellen.core.method import Method
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.made_images import (
    made_set,
    seeds_of,
)
from snellen.models.diffusion.generate import Generated
from snellen.models.diffusion.sampler import seeded
from snellen.systems.distributional_control.control import Control
from snellen.systems.distributional_control.controlling import SAMPLES, Preset
from snellen.systems.distributional_control.energies import VIEWS, class_probabilities
from snellen.systems.distributional_control.fitted_folder import ready
from snellen.systems.distributional_control.fitting import ControlFit
from snellen.systems.distributional_control.guides import guide_of, judge_of


class DistributionalControl(Method):
    """Make a frozen generator draw classes, shares of classes, or what a text says (PromptGen, Wu et al. 2022)."""

    name: ClassVar[str] = "distributional_control"

    generator: str = Field(
        "bundled:scene-decoder",
        description="latent generator: bundled:NAME, artifact:FOLDER, diffusers:FOLDER?steps=5, "
        "autoencoder:FOLDER?dimension=64&images=REFERENCE, or control:FOLDER for a second control on top of a first",
    )
    control: str = Field("", description="folder of the control; fitted and written there where it is missing")
    classifier: str = Field("", description="reference of the classifier of classes and shares, with gradients")
    judge: str = Field(
        "",
        description="another classifier, or towers:MODEL for a text–image model, whose classes are labels and decide "
        "what is drawn again; without it that is the classifier that guided",
    )
    words: tuple[str, ...] = Field((), description="classes in words, that the text–image model recognises instead")
    template: str = Field("a {}", description="text of each class in words; {} stands for its words")
    tower: str = Field("bundled:scene-clip", description="text–image model, for words and for the text")
    shares: str = Field("", description="wanted shares of classes: uniform, or NAME=0.3,NAME=0.7")
    classes: tuple[str, ...] = Field((), description="wanted classes, instead of shares")
    text: str = Field("", description="text that the images should show")
    weight: float | None = Field(
        None, ge=0, description="of the classifier's energy; published: 1 or 2 for shares, 300 for a class"
    )
    text_weight: float | None = Field(None, ge=0, description="of the text's energy; published: 500 to 2000")
    views: int = Field(VIEWS, ge=0, description="changed views of each image that are compared with the text")
    preset: Preset = Field("small", description="numbers for small generators, or the published ones")
    fit: ControlFit | None = Field(None, description="numbers of a new fit, instead of those of the preset")
    samples: int = Field(SAMPLES, ge=16, description="images of the generator that shares are fitted to")
    truncation: float = Field(1.0, gt=0, le=1, description="of the generator, in sampling; published: 0.7")
    tries: int = Field(64, ge=1, description="draws of a request that names a class, at most")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.classifier and self.words:
            raise ValueError("classifier and words both say which classes there are; give one of them")
        if self.classes and self.shares:
            raise ValueError("classes and shares both say what is wanted of the classifier; give one of them")
        return self

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        if not self.control:
            return "needs the folder of the control, which it may make: --control FOLDER"
        if not (Path(self.control) / "card.json").is_file() and not (self.shares or self.classes or self.text):
            return "needs what is wanted: --shares uniform, --classes NAME or --text TEXT"
        if (self.shares or self.classes) and not (self.classifier or self.words):
            return "needs a classifier of what is wanted: --classifier MODEL, or --words NAME,NAME"
        return None

    def known_classes(self) -> tuple[str, ...]:
        """Those of the classifier; empty without one."""
        found = guide_of(self)
        return () if found is None or found.task == "multilabel" else found.class_names

    def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Refuse requests that cannot be fulfilled.

        Raises:
            InputError: a request with a prompt, or with a class that is not known.
        """
        for row in rows:
            self._class_of(row)

    def make_ready(self, progress: Progress | None = None) -> None:
        """Load the control, or fit it."""
        ready(self, progress)

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """One image for each request: ``id``, a ``class`` where one is wanted, and a ``seed``.

        The label of an image is what the classifier sees in it. Where no draw of a request shows its class, the last
        one is kept, with the label that it has, and its provenance says that it was not accepted.

        Raises:
            InputError: as :meth:`check`.
        """
        found, judge, names = ready(self), judge_of(self), self.known_classes()
        wanted = [self._class_of(row) for row in requests]
        seeds = seeds_of(requests, "control", rng)
        made = _drawn(found, judge, wanted, seeds, self.tries, names)
        origins, attributes = list[Provenance](), list[dict[str, object]]()
        for row, seed in enumerate(seeds):
            missed = wanted[row] is not None and made.labels[row] != wanted[row]
            reason = f"{int(made.draws[row])} draws showed no {names[wanted[row] or 0]}" if missed else None
            origins.append(
                Provenance(
                    origin="generated",
                    generator=self.generator,
                    seed=seed,
                    accepted=None if wanted[row] is None else not missed,
                    reason=reason,
                )
            )
            seen = {} if made.probabilities is None else {"probability": round(float(made.probabilities[row].max()), 4)}
            attributes.append({"draws": int(made.draws[row]), **seen})
        return made_set(
            Generated(made.images, tuple(origins)),
            requests,
            [names[label] if names else self.text for label in made.labels],
            name=f"{self.name} by {self.generator}",
            reported=attributes,
            classes=made.labels if names else (),
            class_names=names,
        )

    def notes(self) -> tuple[str, ...]:
        """What the fit measured, and its warnings."""
        found = ready(self)
        figures = [f"{name} {value:.3g}" for name, value in found.figures.items() if name in _NOTED]
        guide, judge = guide_of(self), judge_of(self)
        circular = (
            f"labels and draws are by {guide.name if guide else None}, which guided the control: this set says nothing "
            f"about that classifier; for an audit of it name another one with --judge",
        )
        return (
            f"control in {self.control}: {', '.join(figures)}",
            *(f"warning: {one}" for one in found.warnings),
            *(circular if guide is not None and judge is guide else ()),
        )

    def identities(self) -> dict[str, str]:
        """Hashes of the weights of control, generator and classifier."""
        found, guide, judge = ready(self), guide_of(self), judge_of(self)
        own = {"control": found.identity}
        if guide is not None:
            own["classifier"] = guide.identity or guide.name
        if judge is not None and judge is not guide:
            own["judge"] = judge.identity or judge.name
        return own

    def _class_of(self, row: Mapping[str, Any]) -> int | None:
        """Number of the class that a request names."""
        key = row.get("id")
        if row.get("prompt") is not None:
            raise InputError(
                f"request {key!r} has a prompt, and a control draws one distribution: say what is wanted with --text"
            )
        given, names = row.get("class"), self.known_classes()
        if given is None:
            return None
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(names):
            return given
        if given not in names:
            raise InputError(f"request {key!r} names class {given!r}; there are {', '.join(names) or 'none'}")
        return names.index(str(given))


_NOTED = ("before.divergence", "after.divergence", "effective_sample_size", "nearest", "entropy")


class _Made:
    """Images of some requests, and what was seen of them."""

    def __init__(self, count: int, images: Tensor, probabilities: Tensor | None) -> None:
        self.images, self.probabilities = images, probabilities
        self.labels = [-1] * count if probabilities is None else [int(v) for v in probabilities.argmax(1)]
        self.draws = torch.ones(count, dtype=torch.int64)


def _drawn(
    control: Control,
    judge: Classifier | None,
    wanted: Sequence[int | None],
    seeds: Sequence[int],
    tries: int,
    names: Sequence[str],
) -> _Made:
    """A draw for each request; those that do not show their class are drawn again.

    A draw belongs to the seed of its request and its number, so that a batch changes nothing.
    """
    known = () if judge is None else judge.class_names
    places = [known.index(name) for name in names] if known != tuple(names) and names else None

    def draw(rows: Sequence[int], number: int) -> tuple[Tensor, Tensor | None]:
        rng = seeded([seeds[row] for row in rows]).child("draw", number)
        images = control.images_of(rng.normal("control", (control.generator.dimension,)))
        if judge is None:
            return images, None
        with torch.no_grad():
            seen = class_probabilities(judge, images).cpu()
            return images, seen if places is None else seen[:, places]

    made = _Made(len(seeds), *draw(range(len(seeds)), 0))
    for number in range(1, tries):
        pending = [row for row, one in enumerate(wanted) if one is not None and made.labels[row] != one]
        if not pending:
            break
        images, probabilities = draw(pending, number)
        assert probabilities is not None
        assert made.probabilities is not None
        made.images[pending], made.probabilities[pending] = images, probabilities
        for row, label in zip(pending, probabilities.argmax(1).tolist(), strict=True):
            made.labels[row] = label
            made.draws[row] = number + 1
    return made
