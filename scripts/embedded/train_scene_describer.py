"""Train the embedded describer of neurons, on drawn units of scenes and on the units of the embedded classifier.

    python scripts/embedded/train_scene_describer.py [--assets FOLDER]

Writes an artifact in half precision, and the record of its training beside it.
"""

from __future__ import annotations

import os
import time

import torch

from runs import ASSETS, EVERY, FIRST_STEPS, options, write_record
from snellen.core.artifact import Artifact
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.neuron_descriptions.recipe import PLAN, NeuronDescriber
from snellen.training import record_environment

NAME = "scene-describer"

#: Of the shapes that the encoder knows; two of five scenes have text over them.
WORLD = Scenes(
    count=1200,
    size=32,
    shapes=("square", "triangle", "star", "cross", "ring", "heart"),
    lettering_share=0.4,
    captions=False,
    seed=7,
)
RECIPE = NeuronDescriber(units=2048, plan=PLAN.model_copy(update={"epochs": 30}))
SEED = 0

DESCRIPTION = (
    "Says in a few words what image regions have in common that excite a unit: shape, colour, texture and ground of "
    "drawn scenes, and letters. It knows no other words."
)


class FirstLosses(Silent):
    """Hears the mean loss of the first epoch of the first training, after every ten of its first steps."""

    def __init__(self) -> None:
        self.steps, self.means, self.trainings = 0, [], 0

    def begin(self, task: str, total: float) -> None:
        """A training begins."""
        print(f"{task} ({total:.0f})")
        self.trainings += task == "train"
        self.total = total

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """A step of a training is done."""
        if task == "train" and amount and self.trainings == 1:
            self.steps += int(amount)
            if self.steps <= FIRST_STEPS and self.steps % EVERY == 0:
                self.means.append(float(note.rsplit(" ", 1)[1]))


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    if given.first_steps or given.resume:
        raise SystemExit("this training takes minutes: it has neither --first-steps nor --resume")
    data, heard = WORLD.images(split="train"), FirstLosses()
    started, before = time.monotonic(), os.times()
    made = RECIPE.fit(data, rng=Randomness(SEED), progress=heard)
    after = os.times()
    tensors = {name: one.half() if one.is_floating_point() else one for name, one in made.tensors.items()}
    card = made.card.model_copy(update={"name": NAME, "description": DESCRIPTION, "licence": "Apache-2.0"})
    folder = given.assets / NAME
    Artifact(tensors, card).save(folder)
    record = {
        "recipe": {"script": "scripts/embedded/train_scene_describer.py", **RECIPE.record()},
        "plan": RECIPE.plan.model_dump(mode="json"),
        "data": made.card.lineage.data,
        "examples": made.card.lineage.recipe["units used"] * RECIPE.sentences,
        "steps": int(made.card.history[-1]["step"]),
        "losses": [row["train.loss"] for row in made.card.history],
        # Means since the beginning, after 10, 20, … steps of the captioner.
        "first losses": heard.means,
        "seconds": {
            "wall": round(time.monotonic() - started),
            "processor": round(after.user + after.system - before.user - before.system),
            "resumed": False,
        },
        "environment": record_environment(),
    }
    write_record(folder, "describer", record)
    print(made.card.metrics, sum(one.numel() for one in tensors.values()), (ASSETS / NAME).name)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
