"""Train the judge of scenes: it reads every factor of one object, and how strong nuisances are.

    python scripts/embedded/train_scene_judge.py [--resume] [--threads N] [--first-steps]

It is trained on more than the embedded generator draws (all shapes, colours, textures, backgrounds, sizes, tilts,
lights and nuisances), so that it can also say that a picture shows something else. It guides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scene_examples import SceneExamples, factor_numbers
from scene_world import SIZE, WORLD, held_out, scenes
from torch import Tensor, nn

from runs import fit, options, write_record
from snellen import __version__
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.factors import NUISANCES
from snellen.data.worlds.optotypes.nuisances import STRONGEST
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scene_set import LABELS
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.models.classifiers.factor_judge import LAYERS, FactorJudge, FactorNetwork
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

NAME = "scene-judge"
COUNT = 48_000
EVERYTHING = Scenes(
    size=SIZE,
    lightings=("dim", "bright"),
    nuisance_share=0.5,
    strengths=(0.0, 4.0),
    captions=False,
    seed=1,
)
FACTORS = ("shape", "colour", "texture", "size", "background", "lighting")
PLACES = ("x", "y", "radius")

#: Weight of the squared errors of strengths (in shares of the strongest) and of places, beside the cross-entropies.
MEASURE_WEIGHT = 4.0

PLAN = TrainingPlan(
    epochs=5,
    batch_size=64,
    drop_last=True,
    learning_rate=2e-3,
    schedule="one-cycle",
    warmup_steps=400,
    mixed_precision="bf16",
    channels_last=True,
)


def targets_of(drawn: Sequence[Scene]) -> Tensor:
    """Numbers of the factors' values, then strengths and places, float64 (n, factors + measures)."""
    strengths = [[scene.nuisances.strength(name) / STRONGEST for name in NUISANCES] for scene in drawn]
    places = [[getattr(scene.objects[0], name) for name in PLACES] for scene in drawn]
    return torch.cat(
        [factor_numbers(drawn, FACTORS).double(), torch.tensor(strengths).double(), torch.tensor(places).double()], 1
    )


def objective(model: nn.Module, batch: Batch) -> Tensor:
    """Sum of the cross-entropies of all factors, and of the squared errors of all measures."""
    counts = [len(LABELS[name][0]) for name in FACTORS]
    outputs = model(batch.images).float()
    named, measured = batch.targets[:, : len(FACTORS)].long(), batch.targets[:, len(FACTORS) :].float()
    parts = zip(outputs[:, : sum(counts)].split(counts, 1), named.unbind(1), strict=True)
    told = sum(F.cross_entropy(part, target, reduction="none") for part, target in parts)
    return told + MEASURE_WEIGHT * (outputs[:, sum(counts) :] - measured).square().sum(1)


def figures(judge: FactorJudge) -> dict[str, float]:
    """Accuracy on the generator's own world: combinations that were held out, and clean ones of all kinds."""
    clean = WORLD.model_copy(update={"nuisance_share": 0.0})
    found = {}
    for name, drawn in {
        "held_out": scenes(clean, "test", count=2000, seen=False),
        "seen": scenes(clean, "test", count=2000, seen=True),
        "everything": EVERYTHING.model_copy(update={"count": 4000, "nuisance_share": 0.0}).scenes("test"),
    }.items():
        assert name != "held_out" or all(held_out(scene) for scene in drawn)
        images = to_unit(SceneExamples(drawn, SIZE, None, "test").images())
        answers = judge.answers(images)
        for factor in FACTORS:
            right = [said == LABELS[factor][1](scene) for said, scene in zip(answers[factor], drawn, strict=True)]
            found[f"{name}.{factor}"] = round(sum(right) / len(right), 4)
    return found


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__ or "")
    drawn = EVERYTHING.model_copy(update={"count": COUNT}).scenes("train")
    examples = SceneExamples(drawn, SIZE, targets_of(drawn))
    factors = {name: tuple(LABELS[name][0]) for name in FACTORS}
    measures = (*NUISANCES, *PLACES)
    outputs = sum(map(len, factors.values())) + len(measures)
    with seeded(derive_seed(PLAN.seed, NAME), torch.device("cpu")):
        model = FactorNetwork(outputs)
    recipe = {
        "script": "scripts/embedded/train_scene_judge.py",
        "world": EVERYTHING.model_dump(mode="json"),
        "measure weight": MEASURE_WEIGHT,
    }
    trained, record = fit(given, NAME, "judge", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    stored = {name: t.half() if t.is_floating_point() else t for name, t in trained.weights.items()}
    model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in stored.items()})
    judge = FactorJudge(model.eval(), factors, measures, SIZE, NAME)
    card = Card(
        name=NAME,
        kind="judge",
        architecture={
            "name": "factor_network",
            "layers": [list(layer) for layer in LAYERS],
            "factors": {name: list(values) for name, values in factors.items()},
            "measures": list(measures),
            "size": SIZE,
        },
        description=(
            "Reads shape, colour, texture, size, background and lighting of a scene with one object, the strengths of "
            "nuisances in shares of the strongest, and place and radius in half sides of the image. It judges; it "
            "guides nothing. Figures: accuracy on scenes that training never drew, without nuisances; held_out and "
            "seen are of the small world of the embedded generator, everything of all values of all factors."
        ),
        metrics=figures(judge),
        licence="Apache-2.0",
        lineage=Lineage(
            recipe=recipe,
            data=trained.data,
            seed=PLAN.seed,
            code_version=__version__,
            environment=record["environment"],
        ),
    )
    Artifact(stored, card).save(given.assets / NAME)
    write_record(given.assets / NAME, "judge", record)
    print(card.metrics)


if __name__ == "__main__":
    main()
