"""A describer of neurons: learns to say what the regions have in common that excite a unit.

Hernandez, Schwettmann, Bau, Bagashvili, Torralba and Andreas, "Natural Language Descriptions of Deep Visual Features"
(MILAN), ICLR 2022, arXiv 2201.11114, sections 3 and 4. Trained there on what people wrote about units of eight networks
(MILANNOTATIONS); here on units whose regions are known, see :mod:`snellen.systems.neuron_descriptions.drawn_units`, or
on regions with phrases, see :mod:`snellen.systems.neuron_descriptions.captioned_regions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.scene_shortcuts import scenes_of, with_scenes
from snellen.models.classifiers.references import load_classifier
from snellen.systems.neuron_descriptions.captioned_regions import captioned_units
from snellen.systems.neuron_descriptions.captioner import Regions
from snellen.systems.neuron_descriptions.drawn_units import drawn_units
from snellen.systems.neuron_descriptions.exemplars import find_exemplars
from snellen.systems.neuron_descriptions.fitting import Sizes, UnitSentences, fit_describer, split_units
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder
from snellen.systems.neuron_descriptions.region_sentences import region_sentences
from snellen.systems.neuron_descriptions.region_truth import FactorMaps, attributes_of_units
from snellen.systems.neuron_descriptions.regions_of_units import reader, unit_regions
from snellen.systems.neuron_descriptions.varied_letters import varied_letters
from snellen.training.fitting.frame import FittedMethod, Fitting
from snellen.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=25, batch_size=64, learning_rate=3e-3)
LANGUAGE_PLAN = TrainingPlan(epochs=12, batch_size=128, learning_rate=3e-3)


class NeuronDescriber(FittedMethod):
    """Train a describer on scenes of Optotypes, or on regions with phrases (``regions``).

    Units are drawn, put through the same choice of exemplars as units of networks, and described by what their regions
    show; the units of the encoder's levels are described likewise. Text in the scenes is moved, enlarged and coloured
    first. No labels are used. The encoder is frozen; it is named in the artifact, and not copied.

    >>> NeuronDescriber(units=64).encoder
    'bundled:scene-cnn'
    """

    name: ClassVar[str] = "neuron_describer"

    encoder: str = Field("bundled:scene-cnn", description="reference of the frozen classifier that sees the regions")
    levels: tuple[str, ...] = Field(
        ("body.2", "body.8", "body.14"), min_length=1, description="layers of the encoder, the first one first"
    )
    regions: str | None = Field(
        None,
        description="learn from phrases in place of scenes: a Parquet file of regions in these images, or a folder of "
        "MILANNOTATIONS, which has its own",
    )
    units: int = Field(1536, ge=8, description="units to draw, beside those of the encoder's levels")
    held_out: float = Field(0.05, gt=0, lt=1, description="share of the units that choose the epochs; published 0.05")
    exemplars: int = Field(15, ge=1, description="images for each unit (k)")
    share: float = Field(0.99, gt=0, lt=1, description="share of all places below a unit's threshold")
    sentences: int = Field(3, ge=1, description="sentences for each unit, each a sample of its own")
    embedding: int = Field(24, ge=1, description="width of a word; published 128")
    hidden: int = Field(48, ge=1, description="width of the captioner's state; published 512")
    language_hidden: int = Field(40, ge=1, description="width of the sentence model's layers; published 512")
    dropout: float = Field(0.2, ge=0, lt=1, description="before the last layers; published 0.5")
    length: int = Field(15, ge=2, description="most words of a sentence")
    plan: TrainingPlan = Field(PLAN, description="numbers of the captioner's training; the best epoch is kept")
    language_plan: TrainingPlan = Field(LANGUAGE_PLAN, description="numbers of the sentence model's training")

    @property
    def starts_from(self) -> str:
        """A describer is trained from scratch."""
        return "initial weights"

    def fitted(self, fitting: Fitting) -> Artifact:
        """Train on scenes, or on captioned regions; the sentence model's checkpoint lies beside the captioner's.

        Raises:
            InputError: images that are no scenes, or not more of them than ``exemplars``; regions that cannot be read.
        """
        if self.regions is not None:
            return self.fit_units(self.captioned_units(fitting.data, fitting.progress), fitting)
        return self.fit_units(self.described_units(fitting.data, fitting.rng, fitting.progress), fitting)

    def fit_units(self, units: UnitSentences, fitting: Fitting) -> Artifact:
        """Train on units that are described already."""
        kept, held = split_units(units, self.held_out, fitting.rng)
        encoder = self.region_encoder()
        describer, trained, alone = fit_describer(
            kept,
            held,
            encoder,
            sizes=Sizes(self.embedding, self.hidden, self.language_hidden, self.dropout),
            plan=self.plan,
            language_plan=self.language_plan,
            length=self.length,
            rng=fitting.rng,
            checkpoint=fitting.checkpoint,
            progress=fitting.progress,
        )
        recipe: dict[str, Any] = {**self.record(), "units used": len(units.sentences)}
        return describer.artifact(
            fitting.lineage(recipe, fitting.data.fingerprint(), parent=encoder.classifier.identity),
            name="neuron-describer",
            metrics={
                "held_out.bleu": round(trained.history[trained.best_epoch - 1]["val.bleu"], 6),
                "held_out.language_loss": round(alone.history[alone.best_epoch - 1]["val.loss"], 6),
            },
            history=trained.history,
            description="Says in a sentence what the image regions have in common that excite a unit of a network.",
        )

    def region_encoder(self) -> RegionEncoder:
        """The frozen encoder."""
        return RegionEncoder(load_classifier(self.encoder), self.levels)

    def captioned_units(self, data: ImageSet, progress: Progress | None = None) -> UnitSentences:
        """Units of ``regions``, with the phrases that they came with."""
        assert self.regions is not None
        return captioned_units(
            Path(self.regions), data, self.region_encoder(), exemplars=self.exemplars, sentences=self.sentences,
            progress=progress,
        )  # fmt: skip

    def described_units(self, data: ImageSet, rng: Randomness, progress: Progress | None = None) -> UnitSentences:
        """Draw units on scenes, and say what their regions show; those that show nothing are left out."""
        words = np.random.default_rng(rng.generator("sentences").initial_seed())
        data = with_scenes(data, varied_letters(scenes_of(data), words))
        if len(data) <= self.exemplars:
            raise InputError(f"{data.name} has {len(data)} scenes, and a unit alone takes {self.exemplars}: give more")
        encoder, read = self.region_encoder(), reader(data, Preprocessing())
        maps = FactorMaps.of_scenes(scenes_of(data), data.read(0).height)
        seed = rng.generator("units").initial_seed() % 2**31
        own, _ = find_exemplars(
            encoder.classifier, data, self.levels, count=self.exemplars, share=self.share, progress=progress
        )
        drawn = drawn_units(maps, self.units, exemplars=self.exemplars, share=self.share, seed=seed, progress=progress)
        parts = [*own.values(), *drawn]
        vectors, present, sentences = [], [], []
        for part in parts:
            regions = unit_regions(part, encoder, read)
            told = attributes_of_units(part, maps)
            rows = [row for row, said in enumerate(told) if said and bool(regions.present[row].any())]
            vectors.append(regions.vectors[rows])
            present.append(regions.present[rows])
            sentences += [tuple(region_sentences(sorted(told[row]), count=self.sentences, rng=words)) for row in rows]
        if not sentences:
            raise InputError(f"no unit finds anything in {data.name}: give more scenes")
        return UnitSentences(Regions(torch.cat(vectors), torch.cat(present)), tuple(sentences))
