"""System 21: does the metric see what keeps a texture from repeating, and does it help to make one that does.

The metric is the embedded one, which was trained once and never saw the patterns that are tested. Beside it, one seed
trains three networks for as long as a seed allows: the same network anew, the same without attention, and the same on
the image alone. The second one also judges what the metric helped to make. Nothing is chosen by test textures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.core.system import Scale
from snellen.data.worlds.textures.breaking import FAILURES, seam_energy_ratio
from snellen.data.worlds.textures.patterns import Generator
from snellen.data.worlds.textures.textures import Textures
from snellen.metrics.auroc import placements
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.tileability.full import full_material
from snellen.systems.tileability.network import TileabilityConfig
from snellen.systems.tileability.synthesis import (
    TextureSynthesis,
    patches_of,
    seam_ratio,
    sliced_wasserstein,
    synthesize_texture,
)
from snellen.systems.tileability.tileability import Tileability, load_tileability
from snellen.systems.tileability.training import PLAN, SMALL, fit_tileability, pairs_of
from snellen.training.batches import ImageStore
from snellen.training.students import StudentPlan, store_to_measure

#: Patterns that only the test shows.
HELD_OUT: tuple[Generator, ...] = ("checkers", "terrazzo", "stripes")


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train, test: textures, in pairs of a repeating and a broken one.
        side: of them, pixels.
        epochs: passes.
        made: textures that are synthesised.
        synthesis: its numbers.
        config: sizes of the network.
        after: passes in which every partner is broken anew.
        metric: the metric by reference; None: the one that the seed trains.
    """

    train: int
    test: int
    side: int
    epochs: int
    made: int
    synthesis: TextureSynthesis
    config: TileabilityConfig = SMALL
    after: int = 2
    metric: str | None = "bundled:tileability"


SMALL_SIZE = Size(4_000, 800, 64, 10, 12, TextureSynthesis(), after=10)
SMOKE = Size(
    64, 48, 32, 1, 2, TextureSynthesis(steps=2, projections=4, scales=2),
    SMALL.model_copy(update={"channels": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "side": 64}),
)  # fmt: skip
FULL = Size(0, 0, 512, 20, 50, TextureSynthesis(steps=500), TileabilityConfig(), 1, None)


def tileability(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 21.

    Returns:
        ``NAME.auc`` and ``NAME.FAILURE`` of each network and of the ratio of jumps: for each broken texture, the share
        of repeating ones that score higher. ``made.NAME.seam``, ``made.NAME.judge`` and ``made.NAME.texture`` with the
        metric and without: ratio of jumps, logit of the network without attention, distance to the example's patches;
        ``made.guided.kept`` is that distance over the distance to another example.
    """
    size = {"smoke": SMOKE, "small": SMALL_SIZE, "full": FULL}[scale]
    if scale == "full":
        return Experiment(size, seed, progress, *full_material()).figures()
    drawn = Textures(count=size.train, size=size.side, held_out=HELD_OUT, seed=derive_seed(seed, "textures"))
    unseen = drawn.model_copy(update={"count": size.test})
    return Experiment(size, seed, progress, drawn.images(split="train"), unseen.images(split="test")).figures()


tileability.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with one pass over 64 textures of 32 pixels and a smaller network",),
    "small": (
        "ten drawn patterns of 64 pixels, in pairs of a repeating one and its broken twin, for libraries of textures",
        "a ConvNeXt of 0.35 million weights from nothing for ConvNeXt-Base from ImageNet",
        "pictures of 128 pixels for 512",
        "patches by sliced Wasserstein distance for neural texture synthesis",
    ),
}


@dataclass(frozen=True, eq=False)
class Experiment:
    """One seed."""

    size: Size
    seed: int
    progress: Progress
    train: ImageSet
    test: ImageSet
    convnext: Mapping[str, Tensor] | None = None

    def figures(self) -> dict[str, Figure]:
        """Train, test, synthesise."""
        short = self._fitted()
        plain = self._fitted(config=self.size.config.model_copy(update={"attention": False}))
        alone = self._fitted(tiles=1)
        metric = load_tileability(self.size.metric) if self.size.metric else short
        scores = {
            "metric": self._logits(metric),
            "short": self._logits(short),
            "plain": self._logits(plain),
            "alone": self._logits(alone),
            "seam": -seam_energy_ratio(self._tested.permute(0, 2, 3, 1).numpy()),
        }
        found: dict[str, Figure] = {}
        for name, values in scores.items():
            found |= self._areas(name, values)
        whole = scores["seam"][self._failures == "none"]
        found["whole.seam"] = float(np.median(-whole))
        found["metric.right"] = Sample.of((scores["metric"] > 0) == (self._failures == "none"))
        return {**found, **self._made(metric, plain)}

    @cached_property
    def _store(self) -> ImageStore:
        return pairs_of(self.train, self._preparation, self.progress)

    @cached_property
    def _tested(self) -> Tensor:
        """Test textures, uint8 (n, 3, h, w)."""
        held = store_to_measure(self.test, StudentPlan(), preparation=self._preparation)
        return held.read(torch.arange(len(held)))[0]

    @cached_property
    def _failures(self) -> NDArray[np.str_]:
        """What is wrong with each test texture; "none" where it repeats."""
        whole = list(self.test.class_names or ()).index("tileable")
        columns = (str(one) if one else "{}" for one in self.test.column("attributes"))
        known = [json.loads(one).get("failure") or "other" for one in columns]
        return np.where(self.test.labels == whole, "none", np.array(known, dtype=str))

    @property
    def _preparation(self) -> Preprocessing:
        return Preprocessing(size=(self.size.side, self.size.side))

    def _fitted(self, *, config: TileabilityConfig | None = None, tiles: int = 2) -> Tileability:
        """All see the same batches."""
        own = derive_seed(self.seed, "metric") % 2**31
        steps = self.size.epochs * (len(self._store) // PLAN.batch_size)
        plan = PLAN.model_copy(
            update={"epochs": self.size.epochs, "warmup_steps": min(PLAN.warmup_steps, steps // 4), "seed": own}
        )
        return fit_tileability(
            self._store,
            config=config or self.size.config,
            plan=plan,
            tiles=tiles,
            after=self.size.after,
            convnext=self.convnext,
            progress=self.progress,
        )

    def _logits(self, metric: Tileability) -> NDArray[np.float64]:
        with torch.no_grad():
            parts = [metric.logits(to_unit(part)) for part in self._tested.split(50)]
        found: NDArray[np.float64] = torch.cat(parts).double().numpy()
        return found

    def _areas(self, name: str, scores: NDArray[np.float64]) -> dict[str, Figure]:
        """Share of repeating textures above each broken one; its mean is the area under the ROC curve."""
        whole = scores[self._failures == "none"]
        found: dict[str, Figure] = {}
        for failure in ("auc", *FAILURES):
            rows = self._failures != "none" if failure == "auc" else self._failures == failure
            broken = scores[rows]
            found[f"{name}.{failure}"] = Sample.of(1 - placements(broken, whole)) if len(broken) else None
        return found

    def _made(self, metric: Tileability, judge: Tileability) -> dict[str, Figure]:
        """Textures like crops off their period, with the metric in the loss and without; both begin at the same noise.

        From the example itself, the loss of the texture would be 0, and nothing would move without the metric.
        """
        kind = "crop" if (self._failures == "crop").any() else "other"
        rows = np.flatnonzero(self._failures == kind)[: self.size.made]
        values: dict[str, list[float]] = {}
        for place, row in enumerate(rows.tolist()):
            example = to_unit(self._tested[row])
            wanted = patches_of(example, self.size.synthesis.patch)
            directions = torch.randn(256, wanted.shape[1], generator=torch.Generator().manual_seed(self.seed))
            begun = {"seam": seam_ratio(example), "judge": float(judge.logits(example[None])[0]), "texture": 0.0}
            self._note(values, "start", begun)
            noise = torch.Generator().manual_seed(derive_seed(self.seed, "noise", place) % 2**31)
            start = torch.rand(example.shape, generator=noise)
            for name, guide in (("guided", metric), ("unguided", None)):
                made = synthesize_texture(
                    example, guide, start=start, synthesis=self.size.synthesis, seed=self.seed, progress=self.progress
                )
                away = sliced_wasserstein(patches_of(made.image, self.size.synthesis.patch), wanted, directions)
                after = {
                    "seam": made.seam_ratio[1],
                    "judge": float(judge.logits(made.image[None])[0]),
                    "texture": float(away),
                }
                self._note(values, name, after)
            other = patches_of(to_unit(self._tested[rows[(place + 1) % len(rows)]]), self.size.synthesis.patch)
            apart = float(sliced_wasserstein(other, wanted, directions))
            self._note(values, "guided", {"kept": values["made.guided.texture"][-1] / apart})
        return {name: Sample.of(one) for name, one in values.items()}

    @staticmethod
    def _note(values: dict[str, list[float]], name: str, figures: Mapping[str, float]) -> None:
        for key, value in figures.items():
            values.setdefault(f"made.{name}.{key}", []).append(value)
