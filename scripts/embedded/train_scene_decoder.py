"""Train the embedded latent generator: 16 numbers to a scene of 32 × 32 pixels, with colours of unequal frequency.

    python scripts/embedded/train_scene_decoder.py [--resume] [--threads N] [--first-steps]

The decoder of a variational autoencoder; its encoder is not kept. Seven of ten objects are red, two green, one is blue,
so that there is something to balance. What a generator draws of its prior is not what its training images show: the
card has the shares that the judge sees.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from scene_examples import SceneExamples
from scene_world import SIZE, WORLD
from torch import Tensor, nn

from runs import fit, options, write_record
from snellen import __version__
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.randomness import derive_seed
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.latent_generators.decoder_network import WIDTHS, DecoderNetwork
from snellen.models.latent_generators.references import ARCHITECTURE
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

NAME = "scene-decoder"
COUNT = 6_000
DIMENSION = 16
BIASED = WORLD.model_copy(
    update={
        "shapes": ("square", "star", "ring"),
        "colours": ("red",) * 7 + ("green",) * 2 + ("blue",),
        "textures": ("plain",),
        "sizes": ("large",),
        "backgrounds": ("grey", "sand"),
        "nuisance_share": 0.0,
    }
)

#: Weights of the parts of the loss beside the absolute error: squared error, error of differences of neighbours, and
#: divergence of the latents from the prior in nats; and how much more an error on the object counts.
SQUARED, GRADIENT, DIVERGENCE, OBJECT = 0.5, 0.3, 2.5e-3, 3.0

PLAN = TrainingPlan(
    epochs=12,
    batch_size=64,
    drop_last=True,
    learning_rate=3e-3,
    schedule="one-cycle",
    warmup_steps=300,
    clip_norm=1.0,
    channels_last=True,
)


class Autoencoder(nn.Module):
    """Images and noise → reconstruction, mean and log-variance of the latents."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *reversed(WIDTHS))
        blocks: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            blocks += [nn.Conv2d(before, after, 3, 1 if number == 0 else 2, 1), nn.SiLU()]
        self.encoder = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(WIDTHS[0] * 16, 2 * DIMENSION))
        self.decoder = DecoderNetwork(DIMENSION)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n, 3, h, w) in [0, 1], noise (n, d)."""
        mean, logvar = self.encoder(images).chunk(2, 1)
        logvar = logvar.clamp(-8, 4)
        return self.decoder(mean + (logvar / 2).exp() * noise), mean, logvar


def objective(model: nn.Module, batch: Batch) -> Tensor:
    """Absolute, squared and gradient error, weighted towards the object, and the divergence of the latents."""
    found, mean, logvar = model(batch.images, batch.rng.normal("latents", (DIMENSION,)))
    error = found.float() - batch.images
    weight = 1 + OBJECT * batch.targets.float() / 255
    across, down = error.diff(dim=3).abs() * weight[..., 1:], error.diff(dim=2).abs() * weight[..., 1:, :]
    pixels = weight * (error.abs() + SQUARED * error.square())
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return (
        pixels.mean((1, 2, 3))
        + GRADIENT * (across.mean((1, 2, 3)) + down.mean((1, 2, 3)))
        + DIVERGENCE * divergence.sum(1)
    )


def figures(decoder: DecoderNetwork) -> dict[str, float]:
    """Shares of colours and shapes that the judge sees in 2,000 draws of the prior, and how sure it is."""
    with torch.no_grad():
        images = decoder(torch.randn(2000, DIMENSION, generator=torch.Generator().manual_seed(0)))
    probabilities, answers = load_judge().probabilities(images), load_judge().answers(images)
    found = {}
    for factor, values in {"colour": ("red", "green", "blue"), "shape": BIASED.shapes}.items():
        found |= {f"{factor}.{value}": answers[factor].count(value) / len(images) for value in values}
        found[f"{factor}.sure"] = round(float(probabilities[factor].amax(1).mean()), 4)
    return found


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__ or "")
    examples = SceneExamples(BIASED.model_copy(update={"count": COUNT}).scenes("train"), SIZE, None)
    with seeded(derive_seed(PLAN.seed, NAME), torch.device("cpu")):
        model = Autoencoder()
    recipe = {
        "script": "scripts/embedded/train_scene_decoder.py",
        "world": BIASED.model_dump(mode="json"),
        "dimension": DIMENSION,
        "loss": {"squared": SQUARED, "gradient": GRADIENT, "divergence": DIVERGENCE, "object": OBJECT},
    }
    trained, record = fit(given, NAME, "decoder", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    model.load_state_dict(trained.weights)
    decoder = model.decoder.eval()
    stored = {name: tensor.half() for name, tensor in decoder.state_dict().items()}
    decoder.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    card = Card(
        name=NAME,
        kind="other",
        architecture={"name": ARCHITECTURE, "dimension": DIMENSION, "widths": list(WIDTHS)},
        description=(
            "Latent generator of scenes: 16 standard normal numbers to 32 × 32 pixels, the decoder of a variational "
            "autoencoder. Its training images show red, green and blue objects as 7 : 2 : 1, so that there is a bias "
            "to remove. Figures: shares of 2,000 draws by bundled:scene-judge."
        ),
        metrics=figures(decoder),
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
    write_record(given.assets / NAME, "decoder", record)
    print(card.metrics)


if __name__ == "__main__":
    main()
