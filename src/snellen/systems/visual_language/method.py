"""VALE: an attribution map, the place it points at, the object there, and a sentence about that object.

Natarajan and Nambiar, "VALE: A Multimodal Visual and Language Explanation Framework for Image Classifiers using
eXplainable AI and Language Models", 2024, arXiv 2408.12808; code VALE-Explainer (MIT).

Every stage works on the prepared image that the classifier decided on, so that what is explained is what was reported.
The released modules take the point from the wrong axes, hand a normalised image to the segmenter and may point at
evidence against the class; none of that is repeated here. A region that looks like an object does not prove that the
classifier used it, and neither does a sentence: whether removing the region takes the decision with it is measured
beside a region of the same shape somewhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need, method_field
from snellen.core.outcomes import Explained
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed, Attributor
from snellen.methods.explanations.faithfulness.removal import region_effect
from snellen.methods.explanations.filling import FillName, filling
from snellen.methods.explanations.maps import Select, moved, strongest
from snellen.methods.explanations.pointed_region import Candidate, PointedRegion, pointed_region, points_of
from snellen.methods.explanations.score import TargetScore
from snellen.models.captioners.protocol import Captioner
from snellen.models.references import load_captioner, load_segmenter
from snellen.models.segmenters.protocol import Segmenter

if TYPE_CHECKING:
    AnyExplanation = Method
else:
    AnyExplanation = method_field("explanations")

#: What a prompt says where the name of the explained class is put in.
LABEL = "{label}"

#: Classes that are listed for each image.
TOP = 3

NOTHING_FOR = "no evidence: no part of the image speaks for the class"
NO_REGION = "no region: the segmenter found nothing at the place that the map points at"


class VisualLanguage(Method):
    """Attribution, prompt point, segment and caption, each stage another model or left out.

    The sentence describes the region alone, on black. With ``{label}`` in the prompt the captioner gets the decision
    and repeats it, right or wrong; the result says whether it got it.
    """

    name: ClassVar[str] = "visual_language"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores"})

    attribution: AnyExplanation | None = Field(
        {"method": "partition_shap", "fill": "telea", "budget": 1000},  # type: ignore[assignment]
        description="the map that chooses the place; none only with a segmenter that needs no prompt",
    )
    select: Select = Field("positive", description="place of the most evidence for the class, or of either sign")
    segmenter: str | None = Field("bundled:scene-sam", description="reference of the segmenter, or none")
    candidate: Candidate = Field("best", description="which of the segmenter's candidates is the region")
    captioner: str | None = Field("bundled:scene-captioner", description="reference of the captioner, or none")
    prompt: str = Field("a", description="what the sentence begins with; {label} tells it the class")
    max_tokens: int = Field(30, ge=1, description="length of the sentence")
    fill: FillName = Field("telea", description="what stands where the region is removed, to see what that does")

    @field_validator("attribution", "segmenter", "captioner", mode="before")
    @classmethod
    def _left_out(cls, value: object) -> object:
        """A stage is left out by None, and on the command line by its name."""
        return None if value == "none" else value

    @model_validator(mode="after")
    def _stages_fit(self) -> VisualLanguage:
        if self.attribution is None and self.segmenter is None:
            raise ValueError("without attribution and segmenter nothing is explained; leave one of them")
        if self.attribution is not None and not isinstance(self.attribution, Attributor):
            raise ValueError(f"{self.attribution.name} makes no map; take partition_shap, rise, grad_cam or the like")
        return self

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Also what the attribution lacks."""
        return super().missing(classifier, images) or (
            None if self.attribution is None else self.attribution.missing(classifier, images)
        )

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness) -> Explained:
        """Explain the scores of ``targets`` (n,) on prepared images (n, 3, h, w).

        Raises:
            InputError: a segmenter that needs a place, and no attribution; models that cannot be loaded.
        """
        rng = rng.bind(len(images))
        segmenter = None if self.segmenter is None else _segmenter(self.segmenter, str(classifier.device))
        captioner = None if self.captioner is None else _captioner(self.captioner, str(classifier.device))
        names = [classifier.class_names[target] for target in targets.tolist()]
        with classifier.counting() as spent:
            found = self._attributed(classifier, images, targets, rng)
            places = torch.full((len(images), 2), -1) if found is None else strongest(found.pixels, self.select).cpu()
            status = _status(len(images), found, places)
            places = torch.where(torch.tensor([said == "ok" for said in status])[:, None], places, -1)
            part = _part(segmenter, images, None if found is None else places, status, self.candidate)
            told = self._described(captioner, images, part, status, names, rng)
            figures, controls = self._effects(classifier, images, targets, part, status, rng)
            probabilities = classifier.probabilities(_scores(classifier, images))
        if found is not None:
            figures["completeness_gap"] = found.gap.abs()
        figures |= told.figures
        controls |= told.controls
        regions = {} if part is None else part.regions()
        return Explained(
            targets=targets,
            status=tuple(status),
            maps={} if found is None else {"evidence": found.pixels},
            regions=regions,
            points=None if found is None else points_of(places),
            edits={} if part is None else self._edits(images, part.region),
            figures=figures,
            controls=controls,
            text=told.texts,
            records=tuple(
                {
                    "top": _top(probabilities[row], classifier.class_names),
                    "select": self.select,
                    **({} if part is None else part.record(row)),
                    **told.records[row],
                }
                for row in range(len(images))
            ),
            assumptions=self._assumptions(segmenter, captioner),
            spent=spent(),
        )

    def _attributed(
        self, classifier: Classifier, images: Tensor, targets: Tensor, rng: Randomness
    ) -> Attributed | None:
        if self.attribution is None:
            return None
        assert isinstance(self.attribution, Attributor)
        return self.attribution.attribute(classifier, images, targets, rng=rng.child("attribution"))

    def _effects(
        self,
        classifier: Classifier,
        images: Tensor,
        targets: Tensor,
        part: PointedRegion | None,
        status: Sequence[str],
        rng: Randomness,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What is lost without the region, and what it gives alone; and the same of a region moved elsewhere."""
        rows = _explained(status)
        if part is None or not len(rows):
            return {}, {}
        asked, region, score = images[rows], part.region[rows], TargetScore(classifier, targets[rows])
        without = region_effect(score, asked, filling(self.fill, asked), region, rng[rows])
        alone = region_effect(score, asked, filling("black", asked), region, rng[rows])  # as the captioner sees it
        figures = {"drop": without.drop, "kept": alone.kept}
        controls = {"drop": without.control_drop, "kept": alone.control_kept}
        return (
            {name: _spread(values, rows, len(images)) for name, values in figures.items()},
            {name: _spread(values, rows, len(images)) for name, values in controls.items()},
        )

    def _edits(self, images: Tensor, region: Tensor) -> dict[str, Tensor]:
        rows, inside = torch.arange(len(images)), region.to(images.device)
        removed = filling(self.fill, images)(rows, ~inside)
        return {"region alone": on_black(images, inside), f"region removed ({self.fill})": removed}

    def _described(
        self,
        captioner: Captioner | None,
        images: Tensor,
        part: PointedRegion | None,
        status: Sequence[str],
        names: Sequence[str],
        rng: Randomness,
    ) -> Descriptions:
        rows, count = _explained(status), len(images)
        if captioner is None or not len(rows):
            return Descriptions(None, [{}] * count, {}, {})
        shown = images[rows] if part is None else on_black(images[rows], part.region[rows])
        prompts = [self.prompt.replace(LABEL, names[row]) for row in rows.tolist()]
        ready = prepared_for(captioner, shown)
        sentences = _sentences(captioner, ready, prompts, self.max_tokens)
        likely = captioner.score(ready, sentences)
        controls = {}
        if part is not None:
            elsewhere = on_black(images[rows], moved(part.region[rows], rng[rows]))
            beside = captioner.score(prepared_for(captioner, elsewhere), sentences)
            controls = {"sentence": _spread(beside, rows, count)}
        records: list[dict[str, Any]] = [{} for _ in range(count)]
        spoken = [""] * count
        for place, row in enumerate(rows.tolist()):
            spoken[row] = sentences[place]
            records[row] = {
                "prompt": prompts[place],
                "label_in_prompt": LABEL in self.prompt,
                "described": "the whole image" if part is None else "the region on black",
            }
        return Descriptions(tuple(spoken), records, {"sentence": _spread(likely, rows, count)}, controls)

    def _assumptions(self, segmenter: Segmenter | None, captioner: Captioner | None) -> tuple[str, ...]:
        told = []
        if segmenter is not None:
            told.append(
                "the region is the object that the segmenter sees at one place; the classifier may use less, or more: "
                "drop and kept say how much the decision hangs on it"
            )
        if captioner is not None:
            told.append("sentences are those of the captioner: they say what is there, not why the class was chosen")
            if LABEL in self.prompt:
                told.append("the captioner was told the class, and repeats it whether or not it is there")
        return tuple(told)


@dataclass(frozen=True, eq=False)
class Descriptions:
    """Sentences with what led to them; ``texts`` is None where nobody spoke."""

    texts: tuple[str, ...] | None
    records: Sequence[dict[str, Any]]
    figures: dict[str, Tensor]
    controls: dict[str, Tensor]


def on_black(images: Tensor, region: Tensor) -> Tensor:
    """The images with black outside of their region: (n, 3, h, w), bool (n, h, w) → (n, 3, h, w)."""
    return images * region.to(images.device)[:, None]


def prepared_for(captioner: Captioner, images: Tensor) -> Tensor:
    """Images (n, 3, h, w) in [0, 1] as a captioner takes them, by its own resize, through 8 bits."""
    return torch.stack([captioner.preparation(to_image(image)) for image in images]).to(captioner.device)


def _status(count: int, found: Attributed | None, places: Tensor) -> list[str]:
    """Whether there is a place to go on with, for each image."""
    if found is None:
        return ["ok"] * count
    pointed = (places >= 0).all(1).tolist()
    return [
        NOTHING_FOR if said == "ok" and not place else said for said, place in zip(found.status, pointed, strict=True)
    ]


def _part(
    segmenter: Segmenter | None, images: Tensor, places: Tensor | None, status: list[str], candidate: Candidate
) -> PointedRegion | None:
    """The region of each image; those that have none get another status, in place."""
    if segmenter is None:
        return None
    rows = _explained(status)
    part = pointed_region(segmenter, images, places, rows, candidate=candidate)
    for row in rows.tolist():
        if not bool(part.region[row].any()):
            status[row] = NO_REGION
    return part


def _explained(status: Sequence[str]) -> Tensor:
    return torch.tensor([row for row, said in enumerate(status) if said == "ok"], dtype=torch.int64)


def _sentences(captioner: Captioner, ready: Tensor, prompts: Sequence[str], max_tokens: int) -> list[str]:
    """A sentence for each image after its own prompt; images of one prompt go together."""
    spoken = [""] * len(prompts)
    for prompt in dict.fromkeys(prompts):
        rows = [row for row, own in enumerate(prompts) if own == prompt]
        said = captioner.caption(ready[rows], max_tokens=max_tokens, prompt=prompt).texts
        for row, sentence in zip(rows, said, strict=True):
            spoken[row] = sentence
    return spoken


def _spread(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Values of some images among all, NaN elsewhere."""
    whole = torch.full((count,), torch.nan, dtype=torch.float64)
    whole[rows] = values.double().cpu()
    return whole


def _scores(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(images)


def _top(probabilities: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    best = probabilities.topk(min(TOP, len(names)))
    return [
        {"class": names[place], "probability": value} for value, place in zip(*map(Tensor.tolist, best), strict=True)
    ]


@lru_cache(maxsize=2)
def _segmenter(reference: str, device: str) -> Segmenter:
    return load_segmenter(reference, device=device)


@lru_cache(maxsize=2)
def _captioner(reference: str, device: str) -> Captioner:
    return load_captioner(reference, device=device)
