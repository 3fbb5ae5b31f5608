"""Every unit of a layer in a sentence, from the image regions that excite it most.

Hernandez, Schwettmann, Bau, Bagashvili, Torralba and Andreas, "Natural Language Descriptions of Deep Visual Features"
(MILAN), ICLR 2022, arXiv 2201.11114; official code github.com/evandez/neuron-descriptions (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Described
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.methods.explanations.grad_cam import last_map_layer
from snellen.systems.neuron_descriptions.ablation import Unit, units_described_with
from snellen.systems.neuron_descriptions.captioner import Regions
from snellen.systems.neuron_descriptions.describer import Describer, load_describer
from snellen.systems.neuron_descriptions.describing import Objective, Sentence
from snellen.systems.neuron_descriptions.exemplars import Exemplars, find_exemplars
from snellen.systems.neuron_descriptions.regions_of_units import Read, reader, unit_regions

#: What progress calls it.
TASK = "describing units"

#: What is left of the brightness outside of a region, in the pictures.
DIMMED = 0.3

#: Longer side of the pictures, pixels: those of all units are in memory at once.
LONGEST = 112


class NeuronDescriptions(Method):
    """Describe the units of layers: channels of convolutions, units of vision transformers.

    >>> NeuronDescriptions(layer=("layer4",)).weight
    0.2
    """

    name: ClassVar[str] = "neuron_descriptions"
    needs: ClassVar[frozenset[Need]] = frozenset({"layers"})

    layer: tuple[str, ...] = Field(
        (), description="names of layers, or patterns such as layer4.*.conv2; left out, the last one that gives a map"
    )
    describer: str = Field(
        "bundled:scene-describer", description="what writes the sentences: bundled:NAME, or artifact:FOLDER"
    )
    words: tuple[str, ...] = Field(
        (), description="tell only of units whose description has one of these words, or its plural"
    )
    units: int | None = Field(None, ge=1, description="describe at most so many units of each layer, the first ones")
    exemplars: int = Field(15, ge=1, description="images for each unit (k)")
    share: float = Field(0.99, gt=0, lt=1, description="share of all places that lie below a unit's threshold")
    objective: Objective = Field(
        "rerank",
        description="rerank: the sentences of a beam, weighed by how unusual they are; likelihood: its likeliest; "
        "stepwise: a beam of weighed words",
    )
    weight: float = Field(0.2, ge=0, description="of log p(sentence), taken from log p(sentence | regions) (λ)")
    beams: int = Field(50, ge=1, description="sentences that are considered")
    length: int = Field(15, ge=2, description="most words of a sentence")
    shown: int = Field(5, ge=1, description="images of each unit that are shown")

    def describe(
        self, classifier: Classifier, images: ImageSet, *, rng: Randomness, progress: Progress | None = None
    ) -> Described:
        """Describe units by what excites them among these images.

        Args:
            classifier: a torch module.
            images: the probing set; labels are not read. The more varied, the more units can be described.
            rng: draws the other unit that each sentence is held against.
            progress: callback that receives progress updates.

        Raises:
            InputError: no image is usable, or not a describer.
            UnknownNameError: no such layer.
            UnsupportedError: a layer without units, or no layer is named and none gives a map.
        """
        describer, listener = load_describer(self.describer), progress or Silent()
        with classifier.counting() as spent:
            found, rejected = find_exemplars(
                classifier,
                images,
                self.layer or (_last_layer(classifier, images),),
                count=self.exemplars,
                share=self.share,
                progress=progress,
            )
        listener.begin(TASK, len(found))
        layers = []
        for name, exemplars in found.items():
            layers.append(self._layer(exemplars.first(self.units), describer, classifier, images, rng))
            listener.advance(TASK, 1, name)
        listener.finish(TASK)
        told = _UnitRows.joined(layers).only(self._wanted(layers))
        return Described(
            parts=tuple(str(unit) for unit in told.units),
            status=tuple(told.status),
            text=tuple("" if one is None else one.text for one in told.sentences),
            pictures=tuple(told.pictures),
            sources=tuple(told.sources),
            figures={
                name: torch.tensor([torch.nan if one is None else getattr(one, name) for one in told.sentences])
                for name in ("likelihood", "prior", "score")
            },
            controls={"likelihood": torch.tensor(told.elsewhere)},
            records=tuple(told.records),
            rejected=tuple(rejected),
            assumptions=(
                f"a unit is told by its {self.exemplars} images with the highest activation, and the places in them "
                f"above its own {self.share:g} quantile over all places; lower activations are not looked at",
                # The describer stands in the record: this text is written under pseudonyms as well.
                f"the describer knows {len(describer.vocabulary.words)} words: what it has no word for is called by "
                f"the nearest one",
                "a description says what a unit responds to, not what it does to the decision: zero it and see",
            ),
            spent=spent(),
        )

    def _layer(
        self, exemplars: Exemplars, describer: Describer, classifier: Classifier, images: ImageSet, rng: Randomness
    ) -> _UnitRows:
        """Everything about the units of one layer."""
        seen = _seen(images, classifier)
        regions = unit_regions(exemplars, describer.encoder, seen)
        sentences = describer.describe(
            regions, objective=self.objective, weight=self.weight, width=self.beams, length=self.length
        )
        ids = images.ids
        told = _UnitRows(
            [], [], sentences, [], [], [], _elsewhere(describer, regions, sentences, rng.child(exemplars.layer))
        )
        for number, sentence in enumerate(sentences):
            unit = Unit(exemplars.layer, number)
            active = bool(exemplars.active[number])
            told.units.append(unit)
            told.status.append("ok" if sentence is not None else _why(active))
            kept = regions.present[number].nonzero().flatten()[: self.shown]
            rows = exemplars.positions[number, kept].tolist()
            told.sources.append(tuple(ids[row] for row in rows))
            told.pictures.append(_dimmed(seen(rows), exemplars.masks(number)[kept], exemplars.size))
            told.records.append(
                {
                    "layer": exemplars.layer,
                    "unit": number,
                    "threshold": float(exemplars.thresholds[number]),
                    "peak": float(exemplars.peaks[number, 0]),
                    "mean_activation": float(exemplars.masses[number]),
                    "regions": int(regions.present[number].sum()),
                    "images": exemplars.images,
                }
            )
        return told

    def _wanted(self, layers: Sequence[_UnitRows]) -> set[Unit]:
        all_told = _UnitRows.joined(layers)
        if not self.words:
            return set(all_told.units)
        said = zip(all_told.units, all_told.sentences, strict=True)
        return set(units_described_with({unit: one.text for unit, one in said if one is not None}, self.words))


def _last_layer(classifier: Classifier, images: ImageSet) -> str:
    """The last layer that gives a map, found by a pass of the first image that can be read."""
    for batch in prepared_batches(images, classifier.preparation, 1):
        if batch.ids:
            return last_map_layer(classifier, to_unit(batch.pixels).to(classifier.device))
    raise InputError(f"none of the {len(images)} images of {images.name} can be read: {batch.rejected[0][1]}")


def _seen(images: ImageSet, classifier: Classifier) -> Read:
    """Images as the classifier saw them; the last ones are kept, because units of a layer share many."""
    one = lru_cache(maxsize=256)(lambda row: reader(images, classifier.preparation)([row]))
    return lambda rows: torch.cat([one(row) for row in rows]) if len(rows) else torch.zeros(0, 3, 1, 1)


class _UnitRows:
    """Rows of the result, one for each unit."""

    def __init__(
        self,
        units: list[Unit],
        status: list[str],
        sentences: list[Sentence | None],
        pictures: list[Tensor],
        sources: list[tuple[str, ...]],
        records: list[dict[str, Any]],
        elsewhere: list[float],
    ) -> None:
        self.units, self.status, self.sentences = units, status, sentences
        self.pictures, self.sources, self.records, self.elsewhere = pictures, sources, records, elsewhere

    @classmethod
    def joined(cls, parts: Sequence[_UnitRows]) -> _UnitRows:
        """The rows of several layers, one after the other."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*([row for column in one for row in column] for one in columns))

    def only(self, wanted: set[Unit]) -> _UnitRows:
        """Rows of some units."""
        rows = [row for row, unit in enumerate(self.units) if unit in wanted]
        return _UnitRows(*([column[row] for row in rows] for column in vars(self).values()))


def _why(active: bool) -> str:
    return "no place in its images is above its threshold" if active else "never active on these images"


def _dimmed(images: Tensor, masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Images that are dark outside their regions, uint8 (k, 3, h, w), no side longer than :data:`LONGEST`."""
    shrunk = min(LONGEST / max(size), 1.0)
    shown = tuple(max(round(side * shrunk), 1) for side in size)
    if not len(masks):
        return torch.zeros(0, 3, *shown, dtype=torch.uint8)
    dark = images * (masks.float()[:, None] * (1 - DIMMED) + DIMMED)
    smaller = F.interpolate(dark, size=shown, mode="area") if shrunk < 1 else dark
    return (smaller * 255).round().byte()


def _elsewhere(
    describer: Describer, regions: Regions, sentences: Sequence[Sentence | None], rng: Randomness
) -> list[float]:
    """How likely each sentence is for another unit of the layer: log p(d | E'), NaN where there is no sentence."""
    told = [row for row, one in enumerate(sentences) if one is not None]
    found = [float("nan")] * len(sentences)
    if len(told) > 1:
        order = torch.randperm(len(told), generator=rng.generator("other unit")).tolist()
        # Each item's successor in a random cycle is never itself.
        other = {told[place]: told[order[(at + 1) % len(order)]] for at, place in enumerate(order)}
        texts = [one.text for one in sentences if one is not None]
        values = describer.likelihoods(regions.of([other[row] for row in told]), texts)
        for row, value in zip(told, values, strict=True):
            found[row] = value
    return found
