"""Anything trained: tensors, a card, and the lineage from which it can be made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.formats import CARD

Kind = Literal[
    "classifier", "judge", "adapter", "embedding", "sae", "flow", "denoiser", "segmenter", "captioner", "other"
]


class Lineage(BaseModel):
    """How an artifact was made: enough to make it again.

    Attributes:
        seed: of all random draws.
        code_version: version of Snellen that made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: dict[str, Any] = Field(description="method and parameters, as Method.record() gives them")
    data: str = Field(description="fingerprint of the training images")
    seed: int
    code_version: str
    parent: str | None = Field(None, description="sha256 of the weights it started from")
    environment: dict[str, str] = Field(default_factory=dict, description="versions, threads, device")


class Card(BaseModel):
    """What a user must know about an artifact.

    Attributes:
        name: of the artifact.
        kind: what it is: classifier, generator ….
        description: in words.
        class_names: in the order of the scores.
        preparation: resize and crop of images, as the loader takes them.
        normalization: mean and standard deviation of each channel.
        lineage: how it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    architecture: dict[str, Any] = Field(description="what builds the module: name and arguments")
    description: str = ""
    class_names: tuple[str, ...] = ()
    task: Literal["single", "multilabel", "ordinal"] = Field("single", description="what a classifier's scores decide")
    preparation: dict[str, Any] = Field(default_factory=dict)
    normalization: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict, description="measured figures, by dotted name")
    history: tuple[dict[str, float], ...] = Field((), description="figures of each epoch of the training")
    bag_decision: dict[str, Any] = Field(
        default_factory=dict,
        description="how a bag is decided from its images: pooling, threshold; else empty",
    )
    licence: str = Field("", description="under which its author publishes it; empty: not stated")
    lineage: Lineage
    sha256: str = Field("", description="hash of weights.safetensors; filled by save()")


@dataclass(frozen=True, eq=False)
class Artifact:
    """Tensors and their card; a folder with ``weights.safetensors`` and ``card.json``.

    >>> import tempfile, torch
    >>> lineage = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")
    >>> card = Card(name="demo", kind="other", architecture={"name": "linear"}, lineage=lineage)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = Artifact({"weight": torch.ones(2)}, card).save(Path(folder))
    ...     Artifact.load(Path(folder)).tensors["weight"].tolist()
    [1.0, 1.0]
    """

    tensors: Mapping[str, Tensor]
    card: Card

    def __repr__(self) -> str:
        """One line, without a number of the tensors: a notebook shows what a cell returns.

        >>> import torch
        >>> lineage = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")
        >>> card = Card(name="demo", kind="other", architecture={"name": "linear"}, lineage=lineage)
        >>> Artifact({"weight": torch.ones(2, 3)}, card)
        Artifact(demo, other, 1 tensor of 6 numbers)
        """
        count, numbers = len(self.tensors), sum(tensor.numel() for tensor in self.tensors.values())
        tensors = "1 tensor" if count == 1 else f"{count} tensors"
        return f"Artifact({self.card.name}, {self.card.kind}, {tensors} of {numbers:,} numbers)"

    def save(self, folder: Path) -> Artifact:
        """Write the folder; returns the artifact with its hash filled in."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "weights.safetensors"
        weights.write_bytes(save({name: tensor.contiguous() for name, tensor in self.tensors.items()}))
        card = self.card.model_copy(update={"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()})
        unsaid = None if card.bag_decision else {"bag_decision"}
        fields = CARD.stamped(json.loads(card.model_dump_json(exclude=unsaid)))
        text = json.dumps(fields, indent=1, ensure_ascii=False)
        (folder / "card.json").write_text(text + "\n", encoding="utf-8")
        return Artifact(self.tensors, card)

    @classmethod
    def load(cls, folder: Path) -> Artifact:
        """Read a folder and check the hash.

        Raises:
            InputError: files are missing or damaged, the weights are not those of the card, or a newer version of
                Snellen wrote the card.
        """
        weights, card_path = folder / "weights.safetensors", folder / "card.json"
        for path in (weights, card_path):
            if not path.is_file():
                raise InputError(f"{folder} is not an artifact: {path.name} is missing")
        try:
            card = Card(**CARD.read(json.loads(card_path.read_text(encoding="utf-8")), card_path))
        except InputError:
            raise
        except (ValueError, TypeError) as error:
            raise InputError(f"{card_path}: not an artifact card: {error}") from error
        content = weights.read_bytes()
        if (found := hashlib.sha256(content).hexdigest()) != card.sha256:
            raise InputError(f"{weights}: sha256 {found[:16]}… is not the card's {card.sha256[:16]}…; file changed?")
        try:
            return cls(load(content), card)
        except SafetensorError as error:
            raise InputError(f"{weights}: not a safetensors file: {error}") from error


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures as cards hold them, to six decimals."""
    return {name: round(float(value), 6) for name, value in figures.items()}
