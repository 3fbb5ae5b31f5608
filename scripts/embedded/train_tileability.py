"""Train the embedded tileability metric, on textures that repeat and their broken twins.

    python scripts/embedded/train_tileability.py [--resume] [--threads N] [--first-steps]

Pairs of textures of 64 pixels, a repeating one and its broken twin, of seven of the ten patterns: the other three are
left for tests of what training never showed.
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from runs import fit, options, write_folder_card, write_record
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import derive_seed
from snellen.data.worlds.textures.textures import Textures
from snellen.reproduction.tileability.experiment import HELD_OUT
from snellen.systems.tileability.tileability import Tileability
from snellen.systems.tileability.training import PLAN, SMALL, beside_its_twin, pairs_of
from snellen.training.acceleration import seeded

NAME = "tileability"
SIZE, COUNT, EPOCHS, AFTER = 64, 24_000, 28, 3
DESCRIPTION = (
    "TexTile for textures of 64 pixels: whether one repeats side by side without a seam or a motif that shows. Trained "
    "on seven drawn patterns; photographs of textures were never shown."
)


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    textures = Textures(count=COUNT, size=SIZE, held_out=HELD_OUT).images(split="train")
    examples = pairs_of(textures, Preprocessing(size=(SIZE, SIZE)))
    plan = PLAN.model_copy(update={"epochs": EPOCHS, "ema_decay": 0.999})
    with seeded(derive_seed(plan.seed, NAME), torch.device("cpu")):
        metric = Tileability.of(SMALL)
    recipe = {
        "script": "scripts/embedded/train_tileability.py",
        "network": SMALL.model_dump(mode="json"),
        "after": AFTER,
    }
    trained, record = fit(
        given, NAME, "metric", metric, examples, plan=plan, objective=beside_its_twin(AFTER), recipe=recipe
    )
    metric.load_state_dict(dict(trained.weights))
    folder = given.assets / NAME
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: one.half().contiguous() for name, one in metric.network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SMALL.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    write_record(folder, "metric", record)
    write_folder_card(folder, kind="other", description=DESCRIPTION)


if __name__ == "__main__":
    main()
