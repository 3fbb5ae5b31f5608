"""A describer: what turns the regions of a unit into a sentence, with the encoder that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.artifact import Artifact, Card, Lineage, rounded
from snellen.core.errors import InputError, unknown_name
from snellen.core.package import asset
from snellen.models.classifiers.references import load_classifier
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.neuron_descriptions.captioner import RegionCaptioner, Regions
from snellen.systems.neuron_descriptions.describing import Objective, Sentence, describe_regions
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder
from snellen.systems.neuron_descriptions.sentence_model import SentenceModel
from snellen.systems.neuron_descriptions.vocabulary import Vocabulary, split_words

#: Describers that come with the package.
BUNDLED = ("scene-describer",)

#: What the card of an artifact calls it.
ARCHITECTURE = "neuron_describer"


@dataclass(frozen=True, eq=False)
class Describer:
    """Encoder, captioner p(d | E) and sentence model p(d), all frozen.

    Attributes:
        encoder: of regions.
        captioner: of their vectors.
        language: of sentences alone.
        vocabulary: of both.
        name: shown in reports.
        identity: hash of the weights, or empty.
    """

    encoder: RegionEncoder
    captioner: RegionCaptioner
    language: SentenceModel
    vocabulary: Vocabulary
    name: str = "describer"
    identity: str = ""

    def __post_init__(self) -> None:
        for network in (self.captioner, self.language):
            network.eval().requires_grad_(False)

    def describe(
        self,
        regions: Regions,
        *,
        objective: Objective = "rerank",
        weight: float = 0.2,
        width: int = 50,
        length: int = 15,
    ) -> list[Sentence | None]:
        """A sentence for each unit, None where it has no region; see :func:`describe_regions`."""
        told = regions.present.any(1)
        found = iter(
            describe_regions(
                self.captioner,
                self.language,
                self.vocabulary,
                regions.of(told),
                objective=objective,
                weight=weight,
                width=width,
                length=length,
            )
            if bool(told.any())
            else []
        )
        return [next(found) if one else None for one in told.tolist()]

    @torch.no_grad()
    def likelihoods(self, regions: Regions, sentences: Sequence[str]) -> list[float]:
        """How likely each sentence is for the regions of one of n units, which all have some: log p(d | E), nats."""
        rows = self.vocabulary.rows(sentences, length=max(len(split_words(one)) for one in sentences))
        found = self.captioner(regions, rows)[0].gather(2, rows[:, 1:, None])[:, :, 0]
        return ((rows[:, 1:] != self.vocabulary.pad) * found).sum(1).tolist()

    def artifact(
        self,
        lineage: Lineage,
        *,
        name: str,
        metrics: Mapping[str, float],
        description: str,
        history: Sequence[Mapping[str, float]] = (),
    ) -> Artifact:
        """The describer as tensors and a card, with the epochs of the captioner; the encoder is named, not copied."""
        architecture = {
            "name": ARCHITECTURE,
            "encoder": (self.encoder.classifier.reference or {}).get("ref", ""),
            "identity": self.encoder.classifier.identity,
            "levels": list(self.encoder.levels),
            "words": list(self.vocabulary.words),
            "captioner": _sizes(self.captioner),
            "language": _sizes(self.language),
        }
        tensors = {f"captioner.{key}": value for key, value in self.captioner.state_dict().items()}
        tensors |= {f"language.{key}": value for key, value in self.language.state_dict().items()}
        card = Card(
            name=name,
            kind="captioner",
            architecture=architecture,
            description=description,
            metrics=dict(metrics),
            history=tuple(rounded(row) for row in history),
            lineage=lineage,
        )
        return Artifact(tensors, card)


def describer_of(artifact: Artifact, *, source: str) -> Describer:
    """The describer of an artifact.

    Raises:
        InputError: an artifact of another kind, or an encoder that is not the one it was trained on.
    """
    described: Mapping[str, Any] = artifact.card.architecture
    if described.get("name") != ARCHITECTURE:
        raise InputError(
            f"{source} holds {described.get('name')!r}, no describer of neurons; make one with 'snellen train "
            f"neuron-describer SCENES --out FOLDER'"
        )
    try:
        encoder = load_classifier(str(described["encoder"]))
        vocabulary = Vocabulary([str(word) for word in described["words"]])
        levels = [str(level) for level in described["levels"]]
        captioner = RegionCaptioner(words=len(vocabulary), **described["captioner"])
        language = SentenceModel(len(vocabulary), **described["language"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{source}: its card does not say how the describer is built: {error}") from error
    if encoder.identity != described.get("identity"):
        raise InputError(
            f"{source} was trained on other weights of {described['encoder']} than are here; train it again on these"
        )
    for part, network in (("captioner", captioner), ("language", language)):
        own = {key.removeprefix(f"{part}."): value for key, value in artifact.tensors.items() if key.startswith(part)}
        load_strictly(network, {key: value.float() for key, value in own.items()}, source=f"{source}, {part}")
    return Describer(
        RegionEncoder(encoder, levels), captioner, language, vocabulary, name=source, identity=artifact.card.sha256
    )


@cache
def load_describer(reference: str) -> Describer:
    """Load a describer: ``bundled:scene-describer``, or ``artifact:FOLDER`` of one that was trained here.

    Raises:
        InputError: not such a reference, or not such a folder.
        UnknownNameError: no such bundled describer.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "bundled":
        if rest not in BUNDLED:
            raise unknown_name("bundled describer", rest, BUNDLED)
        return describer_of(Artifact.load(asset(rest)), source=reference)
    if scheme != "artifact" or not rest:
        raise InputError(f"a describer is bundled:NAME or artifact:FOLDER; got {reference!r}")
    return describer_of(Artifact.load(Path(rest)), source=reference)


def _sizes(network: RegionCaptioner | SentenceModel) -> dict[str, Any]:
    embedding, dropout = network.embedding.embedding_dim, network.dropout.p
    if isinstance(network, SentenceModel):
        return {
            "embedding": embedding,
            "hidden": network.lstm.hidden_size,
            "layers": network.lstm.num_layers,
            "dropout": dropout,
        }
    return {
        "features": network.gate.out_features,
        "embedding": embedding,
        "hidden": network.cell.hidden_size,
        "dropout": dropout,
    }


def scaled_like(captioner: RegionCaptioner, regions: Regions) -> None:
    """Set the scale of a captioner to that of the regions of its training units, in place."""
    known: Tensor = regions.vectors[regions.present]
    captioner.centre.copy_(known.mean(0))
    captioner.scale.copy_(known.std(0).clamp(min=1e-6))
