"""Images from prompts, without the concepts that an operator blocks: Interpret-then-Deactivate.

Z. Tian et al. 2025, arXiv 2503.09446. A sparse autoencoder on a middle layer of the frozen text encoder finds the
features that only prompts with a blocked concept have. A prompt in which suppressing them changes much is flagged, and
its text states are edited; any other prompt passes bit for bit. What is computed is in
:mod:`snellen.systems.concept_erasing`. The default mends two slips of the published code: calibration and use share one
score, and padding never counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.methods.generation.made_images import identities_of, made_set, seeds_of
from snellen.metrics.auroc import auroc
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.concept_erasing.eraser import ConceptEraser, concept_eraser
from snellen.systems.concept_erasing.fitting import AutoencoderFit, autoencoder_of, fit_autoencoder, prompts_hash
from snellen.systems.concept_erasing.text_edit import encode_erased
from snellen.systems.concept_erasing.text_layer import text_layer

#: Share of the prompts to keep that may be flagged before it is remarked on.
MOST_FLAGGED = 0.1


class Erase(Method):
    """Generate from prompts, with blocked concepts detected and taken out of the text.

    Each entry of ``erase`` is a concept; put into the templates it gives the target prompts. The autoencoder is read
    from its folder, or is fitted and written there when the folder is not there and ``fit_on`` says to what. It is
    always fitted with seed 0, so that images of any seed can use it.
    """

    name: ClassVar[str] = "erase"

    generator: str = Field(
        "bundled:scene-diffusion", description="diffusers:FOLDER or bundled:NAME, with CLIP text encoders"
    )
    autoencoder: str = Field("", description="folder of the fitted autoencoders, a subfolder for each text encoder")
    fit_on: str = Field(
        "",
        description="prompts to fit to where that folder is missing: FILE.txt, or images with captions by reference; "
        "an autoencoder that is there must have been fitted to them",
    )
    erase: tuple[str, ...] = Field((), description="words or phrases of the concepts to erase")
    templates: tuple[str, ...] = Field(
        ("{}",), min_length=1, description="target prompts of a concept; {} stands for its words"
    )
    keep: str = Field("", description="prompts that show none of them: FILE.txt, or images with captions by reference")
    layer: int | None = Field(None, ge=0, description="of the text encoder; none: at two thirds of its depth")
    selected: int = Field(128, ge=1, description="features chosen for one prompt; styles may need 256")
    factor: float = Field(-8.0, le=1, description="of the concepts' features in flagged prompts; 0 only removes them")
    margin: float = Field(0.99, gt=0, le=1, description="threshold over the least score of a target prompt")
    always: bool = Field(False, description="edit every prompt, without a threshold")
    fit: AutoencoderFit | None = Field(
        None, description="sizes and training of a new autoencoder; one that is there must have been fitted so"
    )
    steps: int = Field(50, ge=1, description="of the sampler (DDIM)")
    guidance_scale: float = Field(7.5, description="of classifier-free guidance; 1 means none")
    negative: str | None = Field(None, description="prompt to guide away from; it is not edited")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        if not self.erase:
            return "needs concepts to erase: --erase 'a word' for each"
        if not self.keep:
            return "needs prompts to keep, which show none of the concepts: --keep FILE.txt"
        if not self.autoencoder:
            return "needs the folder of the autoencoders: --autoencoder FOLDER; --fit-on FILE.txt fits new ones there"
        bad = next((template for template in self.templates if template.count("{}") != 1), None)
        return None if bad is None else f"needs templates with {{}} once for the concept; got {bad!r}"

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """One image for each request: ``id``, ``prompt`` (or ``caption``), and a ``seed`` if it matters.

        The column ``attributes`` says for each whether its text was edited, and its score for each text encoder.

        Raises:
            InputError: a request without a prompt, one that is too long, or what :func:`prepared` raises.
        """
        ready = prepared(self)
        prompts = []
        for request in requests:
            prompt = request.get("prompt", request.get("caption"))
            if not isinstance(prompt, str):
                raise InputError(f"request {request.get('id')!r} has no text 'prompt'; got {sorted(request)}")
            prompts.append(prompt)
        condition, verdict = encode_erased(ready.generator, prompts, ready.erasers)
        made = generate(
            Sampler(ready.generator, steps=self.steps),
            seeds_of(requests, "erase", rng),
            prompts=prompts,
            condition=condition,
            negative=self.negative,
            guidance_scale=self.guidance_scale,
        )
        reported = [
            {"text edited": flagged, "scores": [round(score, 9) for score in scores]}
            for flagged, scores in zip(verdict.flagged.tolist(), verdict.scores.T.tolist(), strict=True)
        ]
        return made_set(made, requests, prompts, name="erased", reported=reported)

    def notes(self) -> tuple[str, ...]:
        """How well target prompts are separated from those to keep, and how many of these the threshold flags.

        Where every prompt is edited there is no threshold, and the second is not reported.
        """
        ready = prepared(self)
        area = (
            f"the score tells target prompts from prompts to keep with an area under the ROC curve of "
            f"{ready.kept_auroc:.3f}; the features come from the same prompts, so others may be told apart less well"
        )
        if self.always:
            return (area,)
        reported = f"{ready.kept_flagged:.1%} of the {len(ready.keep)} prompts to keep are flagged, and edited in use"
        much = ready.kept_flagged > MOST_FLAGGED
        return (area, f"{reported}: more than a tenth; look for a target prompt with a low score" if much else reported)

    def identities(self) -> dict[str, str]:
        """Hashes of all that decides the images and is in files: weights, kept prompts, features; and thresholds."""
        ready = prepared(self)
        return {
            "kept prompts": _hash(ready.keep),
            **{f"features {number}": _hash(_numbers(eraser)) for number, eraser in enumerate(ready.erasers)},
            **{f"threshold {number}": repr(eraser.threshold) for number, eraser in enumerate(ready.erasers)},
            "kept prompts flagged": f"{ready.kept_flagged:.4f}",
            "AUROC of target prompts against kept prompts": f"{ready.kept_auroc:.4f}",
            **identities_of(ready.generator),
            **{
                f"autoencoder {number}": hash_tensors(dict(eraser.autoencoder.state_dict()))
                for number, eraser in enumerate(ready.erasers)
            },
        }


@dataclass(frozen=True, eq=False)
class Prepared:
    """A generator and an eraser for each of its text encoders."""

    generator: Generator
    erasers: tuple[ConceptEraser, ...]
    keep: tuple[str, ...]

    @cached_property
    def kept_flagged(self) -> float:
        """Share of the prompts to keep that any eraser flags."""
        flags = [eraser.flags(scores) for eraser, scores in zip(self.erasers, self._kept_scores, strict=True)]
        return float(torch.stack(flags).any(0).double().mean())

    @cached_property
    def kept_auroc(self) -> float:
        """Area under the ROC curve of the target prompts against those to keep.

        Of several erasers the largest score counts, each over the least one of its target prompts: any of them flags.
        """
        parts = []
        for eraser, kept in zip(self.erasers, self._kept_scores, strict=True):
            targets = eraser.score_prompts([prompt for one in eraser.concepts.values() for prompt in one.prompts])
            least = targets.min().clamp(min=torch.finfo(targets.dtype).tiny)
            parts.append(torch.cat([targets, kept]) / least)
        scores = torch.stack(parts).amax(0)
        count = len(scores) - len(self.keep)
        return auroc([1] * count + [0] * len(self.keep), scores.cpu().numpy())

    @cached_property
    def _kept_scores(self) -> tuple[Tensor, ...]:
        return tuple(eraser.score_prompts(self.keep) for eraser in self.erasers)


def prepared(method: Erase) -> Prepared:
    """Load the generator, load or fit the autoencoders, and find the concepts' features.

    Raises:
        InputError: what is missing; a folder that holds something else, or an autoencoder that was fitted otherwise; a
            concept whose features retained prompts have.
    """
    lacking = method.missing()
    if lacking is not None:
        raise InputError(f"erase {lacking}")
    cards = sorted(Path(method.autoencoder).glob("text_encoder*/card.json"))
    fit_on = tuple(prompts_of(method.fit_on)) if method.fit_on else ()
    return _prepared(method, tuple(prompts_of(method.keep)), fit_on, tuple(card.read_bytes() for card in cards))


@lru_cache(maxsize=1)
def _prepared(method: Erase, keep: tuple[str, ...], fit_on: tuple[str, ...], cards: tuple[bytes, ...]) -> Prepared:
    """As :func:`prepared`; what the files hold is part of the key, since they may change between two calls."""
    generator = load_generator(method.generator)
    if generator.text is None:
        raise InputError(f"{method.generator} takes {generator.takes}, not prompts: there is no text to edit")
    concepts = {words: [template.replace("{}", words) for template in method.templates] for words in method.erase}
    erasers = []
    for tower in range(len(generator.text.towers)):
        layer = text_layer(generator.text, tower, method.layer)
        folder = Path(method.autoencoder) / ("text_encoder" if tower == 0 else f"text_encoder_{tower + 1}")
        if not folder.exists():
            if not fit_on:
                raise InputError(f"{folder} is not there; --fit-on FILE.txt fits an autoencoder and writes it there")
            made = fit_autoencoder(
                layer,
                fit_on,
                fit=method.fit or AutoencoderFit(),
                rng=Randomness(0),
                generator=method.generator,
            )
            made.save(folder)
        artifact = Artifact.load(folder)
        _check_fit(artifact, method.fit, fit_on, folder)
        found = concept_eraser(
            layer,
            autoencoder_of(artifact, layer),
            concepts,
            keep,
            selected=method.selected,
            factor=method.factor,
            margin=method.margin,
        )
        erasers.append(found.always() if method.always else found)
    return Prepared(generator, tuple(erasers), keep)


def _check_fit(artifact: Artifact, fit: AutoencoderFit | None, fit_on: Sequence[str], folder: Path) -> None:
    """Refuse numbers and prompts that an autoencoder which is there was not fitted with."""
    was = artifact.card.lineage.recipe
    asked = {} if fit is None else fit.model_dump(mode="json")
    differs = [f"{name} {was.get(name)}, not {value}" for name, value in asked.items() if was.get(name) != value]
    if differs:
        raise InputError(
            f"{folder} was fitted with {', '.join(differs)}; take --fit away to use it, or name another --autoencoder"
        )
    if fit_on and was.get("prompts") != prompts_hash(fit_on):
        known = "was fitted to other prompts than those" if "prompts" in was else "does not tell its prompts: not those"
        raise InputError(
            f"{folder} {known} of --fit-on, of which there are {len(fit_on)}; take --fit-on away to use it as it is, "
            f"or name another --autoencoder to fit a new one"
        )


def _numbers(eraser: ConceptEraser) -> list[int]:
    return [int(number) for number in eraser.features.nonzero()[:, 0]]


def _hash(found: Sequence[str] | Sequence[int]) -> str:
    return hashlib.sha256(json.dumps([*found]).encode()).hexdigest()


def prompts_of(reference: str) -> list[str]:
    """Prompts of a text file, one a line, empty lines left out; or the captions of images by reference.

    Raises:
        InputError: no file, or none in it.
    """
    path = Path(reference)
    if path.suffix == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{reference}: prompts cannot be read: {error}") from error
        found = [line.strip() for line in lines if line.strip()]
    else:
        found = [str(caption) for caption in load_images(reference).column("caption") if caption]
    if not found:
        raise InputError(f"{reference} holds no prompts: expected one a line, or images with captions")
    return found
