"""The space of cells: a probe of two steps in float64, and real training on the images of a user.

The probe trains a network on a few fixed images and hashes the cross-entropy of each of them and of as many others, as
Gillard et al. (arXiv 2302.05433) and AutoML-Zero do with errors. Isomorphic cells get equal initial weights, so they
differ by the order of sums alone, which the key cuts off. The test split is never read.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.systems.functional_hashing import cells
from snellen.systems.functional_hashing.cell_network import CellNetwork
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.function_cache import Evaluation
from snellen.training.batches import ImageStore
from snellen.training.evaluation import accuracy
from snellen.training.loop import Trained, train
from snellen.training.objectives import classify, cross_entropy
from snellen.training.plan import TrainingPlan

#: A vertex that leads to the output has an edge to it and one from elsewhere, so at most 4 of them share the channels.
LEAST_CHANNELS = cells.MOST_EDGES // 2


class CellSettings(BaseModel):
    """How cells are probed and trained.

    Attributes:
        channels: of the first stack, at least 4: the output of a cell divides them among up to 4 vertices.
        stacks: of cells.
        cells: of each stack.
        epochs: of the training that scores a candidate.
        batch_size: images of an update.
        learning_rate: peak, of AdamW.
        probe_steps: updates of the probe; with one, a network that starts late looks like a dead one.
        probe_images: that the probe trains on, and as many others that it only scores.
        probe_rate: learning rate of the probe, plain gradient descent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(8, ge=LEAST_CHANNELS)
    stacks: int = Field(2, ge=1)
    cells: int = Field(1, ge=1)
    epochs: int = Field(2, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(1e-2, gt=0)
    probe_steps: int = Field(2, ge=1)
    probe_images: int = Field(32, ge=1)
    probe_rate: float = Field(0.05, gt=0)

    def of_cell(self, cell: Cell, classes: int, seed: int) -> dict[str, Any]:
        """Arguments of the network of a cell."""
        return {
            "cell": cell.encode(),
            "class_count": classes,
            "channels": self.channels,
            "stacks": self.stacks,
            "cells": self.cells,
            "seed": seed,
        }

    def training(self, epochs: int, seed: int) -> TrainingPlan:
        """The numbers of the loop."""
        return TrainingPlan(
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer="adamw",
            learning_rate=self.learning_rate,
            weight_decay=1e-3,
            schedule="cosine",
            clip_norm=1.0,
            seed=seed,
        )


def cell_settings(**numbers: float) -> CellSettings:
    """Settings from numbers of a command.

    Raises:
        InputError: one out of range.
    """
    try:
        return CellSettings.model_validate(numbers)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("channels",):
            raise InputError(
                f"channels: the output of a cell divides them among up to {LEAST_CHANNELS} vertices; expected at least "
                f"{LEAST_CHANNELS}, got {first['input']!r}"
            ) from error
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}") from error


def check_stacks(stacks: int, side: int) -> None:
    """Refuse more stacks than the side can be halved for: the last one would be as small as the one before it.

    Raises:
        InputError: as above.
    """
    most = (side - 1).bit_length() + 1
    if stacks > most:
        raise InputError(f"stacks: images of {side} pixels are one pixel after {most} stacks; got {stacks}")


@dataclass(frozen=True, eq=False)
class CellSpace:
    """Cells that are trained on images in memory; see :class:`~snellen.systems.functional_hashing.space.Space`.

    Args:
        examples: to train on; the probe takes its images from here.
        val: that fitness is measured on; no test images.
        classes: number of classes.
        settings: numbers.
        seed: of trainings.
    """

    examples: ImageStore
    val: ImageStore
    classes: int
    settings: CellSettings = field(default_factory=CellSettings)
    seed: int = 0
    worst: float = 0.0
    _probe: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = min(2 * self.settings.probe_images, len(self.examples))
        order = torch.Generator().manual_seed(derive_seed("probe images"))
        chosen = torch.randperm(len(self.examples), generator=order)[:count]
        images, targets = self.examples.read(chosen)
        unit = to_unit(images) if images.dtype == torch.uint8 else images
        object.__setattr__(self, "_probe", (unit.double(), targets))

    def sample(self, rng: random.Random) -> Cell:
        """A random valid cell."""
        return cells.sample(rng)

    def mutate(self, candidate: Cell, rng: random.Random) -> Cell:
        """A valid neighbour."""
        return cells.mutate(candidate, rng)

    def structure(self, candidate: Cell) -> str:
        """The pruned cell, the same for isomorphic ones."""
        return cells.canonical(candidate).encode()

    def encode(self, candidate: Cell) -> str:
        """The cell in one line, as it was drawn."""
        return candidate.encode()

    def probe(self, candidate: Cell, seed: int) -> Sequence[float]:
        """Cross-entropy of each probe image after a few steps, in nats: those trained on, then the others.

        Ends with one NaN where a loss is not finite.
        """
        how = self.settings
        network = self._network(self.settings.of_cell(candidate, self.classes, seed)).double()
        images, targets = self._probe
        half = (len(images) + 1) // 2
        network.train()
        for _ in range(how.probe_steps):
            loss = cross_entropy(network(images[:half]), targets[:half]).mean()
            if not torch.isfinite(loss):
                return [float("nan")]
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    parameter.sub_(how.probe_rate * gradient)
        with torch.no_grad():
            # Statistics of a batch: after two steps running ones are still those of the start.
            trained = cross_entropy(network(images[:half]), targets[:half])
            others = cross_entropy(network(images[half:]), targets[half:]) if len(images) > half else trained[:0]
        return [*trained.tolist(), *others.tolist()]

    def evaluate(self, candidate: Cell, run: int) -> Evaluation:
        """Train the canonical cell and measure its accuracy on the validation images.

        Raises:
            ModelError: scores or losses that are not finite.
        """
        started = time.perf_counter()
        _, network = self.trained(candidate, run, self.settings.epochs)
        valid = float(accuracy(network, self.val)["accuracy"])
        return Evaluation(valid, seconds=time.perf_counter() - started)

    @staticmethod
    def _network(arguments: Mapping[str, Any]) -> CellNetwork:
        """Built without a trace in the global generator of torch."""
        with torch.random.fork_rng(devices=[]):
            return CellNetwork(**arguments)

    def run_seed(self, run: int) -> int:
        """Seed of initial weights and order of a repetition."""
        return derive_seed(self.seed, "run", run) % 2**31

    def trained(
        self,
        candidate: Cell,
        run: int,
        epochs: int,
        *,
        choose: bool = False,
        as_drawn: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Trained, nn.Module]:
        """Train the canonical cell; equal cells give equal weights.

        Args:
            candidate: any cell of the space.
            run: index of an independent repetition.
            epochs: passes over the training images.
            choose: take the epoch that is best on the validation images, and not the last one.
            as_drawn: train the cell with its vertices in the order given, to see what the canonical order changes.
            progress: callback that receives progress updates.

        Raises:
            ModelError: scores or losses that are not finite.
        """
        seed = self.run_seed(run)
        network = self._network(
            self.settings.of_cell(candidate if as_drawn else cells.canonical(candidate), self.classes, seed)
        )
        try:
            trained = train(
                network,
                self.examples,
                plan=self.settings.training(epochs, seed),
                objective=classify,
                val=self.val if choose else None,
                evaluate=accuracy,
                progress=progress,
            )
        except ModelError as error:
            # The loop advises settings of a plan that a search does not have.
            fault = str(error).partition(";")[0]
            raise ModelError(
                f"{fault}; lower the learning rate ({self.settings.learning_rate:g}): --learning-rate, in Python "
                "CellSettings(learning_rate=…)"
            ) from error
        network.load_state_dict(dict(trained.weights))
        return trained, network.eval()
