"""A style generator and its encoder, trained together on the user's training images (a VAE-GAN in minutes on a CPU).

The encoder E gives each block of the generator a code of its own. The loss of an image is

    |x̂ − x|² + ½ |x̂ − x| + ½ |∇x̂ − ∇x| + κ · KL(E(x) ‖ N(0, I)) + a · softplus(−D(G(z)))

and E also learns to give back the z of generated images. A critic D with R1 (Mescheder, Geiger and Nowozin, ICML 2018,
arXiv 1801.04406, equation 9) is trained beside them and dropped. The published system takes a finished GAN.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from snellen.core.artifact import Artifact, Card, Lineage, rounded
from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.latent_generators.style_network import (
    SMALLEST,
    DownNetwork,
    Maps,
    StyleBlock,
    StyleNetwork,
    StyleShape,
    style_artifact,
    style_network,
)
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.natural_transformations.inversion import Prior, SplitGenerator, peak_ratio
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.fitting.frame import laid_over
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Name of the encoder's architecture in its card.
ENCODER = "style_encoder"

#: Steps between two penalties of the critic, and their weight in such a step.
_PENALTY_EVERY, _PENALTY = 8, 8 * 0.5

#: Codes of the prior that are drawn for its moments, and images that are handled at once.
_DRAWS, _TOGETHER = 4096, 256

PLAN = TrainingPlan(
    epochs=20, batch_size=16, learning_rate=5e-3, second_momentum=0.99, weight_decay=0.0, warmup_steps=50,
    clip_norm=1.0, drop_last=True, channels_last=True,
)  # fmt: skip


class AutoencoderSettings(BaseModel):
    """Sizes and weights of the training.

    >>> AutoencoderSettings().shape(32).side
    32
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent: int = Field(16, ge=2, description="numbers of a code (d), one code for each block")
    widths: tuple[int, ...] = Field(
        (), description="channels of each block, the coarsest first; left out, 64 or fewer, halved towards the finest"
    )
    mapping_layers: int = Field(0, ge=0, description="layers from z to w")
    divergence: float = Field(2e-5, ge=0, description="weight of the divergence from the prior (κ)")
    adversarial: float = Field(
        0.0, ge=0, description="weight of the critic (a); 0: none is trained, which reconstructs best in minutes"
    )
    held_out: float = Field(0.1, gt=0, lt=1, description="share of the images that only measures the reconstruction")
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(PLAN, description="numbers of the training")

    def shape(self, side: int) -> StyleShape:
        """The generator of images of a side.

        Raises:
            InputError: a side that is no 8, 16, 32 and so on, or another number of widths.
        """
        blocks = (side // SMALLEST).bit_length()
        if blocks < 2 or SMALLEST * 2 ** (blocks - 1) != side:
            raise InputError(
                f"the generator makes images of 8, 16, 32, 64, … pixels, and these have {side}: set side=32"
            )
        widths = self.widths or tuple(min(64, 16 * 2**place) for place in reversed(range(blocks)))
        if len(widths) != blocks:
            raise InputError(f"images of {side} pixels need {blocks} widths, one for each block; got {list(widths)}")
        return StyleShape(
            latent=self.latent, widths=widths, mapping_layers=self.mapping_layers, mapping_rate=1.0, bounded=True
        )


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A trained generator with its encoder, both frozen.

    Attributes:
        generator: codes (n, blocks, d) → images.
        encoder: images → means and log-variances of z for all blocks, (n, 2 · blocks · d).
        metrics: measured on held-out images, such as ``held_out_psnr``.
        data: fingerprint of its training images.
        settings: it was trained under.
    """

    generator: StyleNetwork
    encoder: DownNetwork
    metrics: Mapping[str, float]
    data: str
    settings: AutoencoderSettings

    def __post_init__(self) -> None:
        for network in (self.generator, self.encoder):
            network.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where both networks are."""
        return self.generator.constant.device

    def to(self, device: torch.device | str) -> Autoencoder:
        """Copies of both networks on a device; itself, where they are there."""
        if self.device == torch.device(device):
            return self
        return replace(
            self, generator=copy.deepcopy(self.generator).to(device), encoder=copy.deepcopy(self.encoder).to(device)
        )

    @property
    def hashes(self) -> tuple[str, str]:
        """Hashes of generator and encoder."""
        return hash_tensors(self.generator.state_dict()), hash_tensors(self.encoder.state_dict())

    def start(self, images: Tensor) -> Tensor:
        """W0 = w of E's mean: images (n, 3, s, s) in [0, 1] → codes (n, blocks, d)."""
        mean, _ = latents(self.encoder, images, len(self.generator.blocks))
        return mapped(self.generator, mean)

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """W0 of many images, uint8 (n, 3, s, s): codes (n, blocks, d).

        Raises:
            InputError: images of another size than the generator makes.
        """
        side = self.generator.shape.side
        if tuple(images.shape[1:]) != (self.generator.shape.channels, side, side):
            raise InputError(f"the generator makes {side} × {side} pixels, and images are {tuple(images.shape[1:])}")
        return torch.cat([self.start(to_unit(part.to(self.device))) for part in images.split(_TOGETHER)])

    def perceptual(self, images: Tensor, others: Tensor) -> Tensor:
        """Mean squared distance of the encoder's maps, whose channels have unit length at each place: (n,).

        The form of LPIPS (Zhang et al., CVPR 2018, arXiv 1801.03924, equation 1) without its learned weights, and in
        the maps of this encoder, so that no pretrained network is needed.
        """
        first, second, found = images, others, images.new_zeros(len(images))
        for block in self.encoder.blocks:
            first, second = block(first), block(second)
            apart = F.normalize(first, dim=1, eps=1e-6) - F.normalize(second, dim=1, eps=1e-6)
            found = found + apart.square().sum(1).mean((1, 2))
        return found / len(self.encoder.blocks)

    def split(self, block: int | None = None) -> SplitGenerator:
        """The generator cut in front of a block; None: the middle."""
        return split_style(self.generator, len(self.generator.blocks) // 2 if block is None else block)

    def save(self, folder: Path, lineage: Lineage) -> None:
        """Write ``generator``, which loads as a latent generator too, and ``encoder`` with their cards."""
        figures = rounded(self.metrics)
        style_artifact(self.generator, "style-generator", lineage, metrics=figures).save(folder / "generator")
        shape = self.generator.shape.model_dump(mode="json")
        card = Card(
            name="style-encoder",
            kind="other",
            architecture={"name": ENCODER, **shape},
            metrics=figures,
            lineage=lineage,
        )
        Artifact(dict(self.encoder.state_dict()), card).save(folder / "encoder")

    @classmethod
    def load(cls, folder: Path) -> Autoencoder:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no such folder, or networks that do not belong together.
        """
        artifact, encoded = Artifact.load(folder / "generator"), Artifact.load(folder / "encoder")
        generator = style_network(artifact, source=str(folder / "generator"))
        described = dict(encoded.card.architecture)
        if described.pop("name", None) != ENCODER or described != generator.shape.model_dump(mode="json"):
            raise InputError(f"{folder}/encoder is no encoder of {folder}/generator: name a folder that holds both")
        with torch.random.fork_rng(devices=[]):
            encoder = encoder_of(generator.shape)
        load_strictly(encoder, encoded.tensors, source=str(folder / "encoder"))
        lineage = artifact.card.lineage
        try:
            settings = AutoencoderSettings.model_validate(lineage.recipe.get("settings"))
        except ValidationError as error:
            raise InputError(
                f"{folder}/generator does not say under which settings it was trained with its encoder; expected a "
                f"folder that --keep wrote"
            ) from error
        return cls(generator, encoder, artifact.card.metrics, lineage.data, settings)


def encoder_of(shape: StyleShape) -> DownNetwork:
    """An encoder with the mirrored widths of a generator."""
    return DownNetwork(shape, 2 * shape.latent * len(shape.widths))


def latents(encoder: nn.Module, images: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """Means and log-variances of z: images (n, 3, s, s) → (n, blocks, d) each; log-variances stay within ±8."""
    mean, spread = encoder(images).unflatten(1, (2, blocks, -1)).unbind(1)
    return mean, spread.clamp(-8, 8)


def mapped(generator: StyleNetwork, noises: Tensor) -> Tensor:
    """The mapping network on each block's own z: (n, blocks, d) → w, (n, blocks, d)."""
    codes: Tensor = generator.mapping(noises.flatten(0, 1))
    return codes.unflatten(0, noises.shape[:2])


def split_style(generator: StyleNetwork, block: int) -> SplitGenerator:
    """A style generator cut in front of a block: what is expanded are its maps there beside the colours so far.

    Raises:
        InputError: there is nothing in front of the block, or nothing behind it.
    """
    blocks, channels = len(generator.blocks), generator.shape.channels
    if not 0 < block < blocks:
        raise InputError(f"a generator of {blocks} blocks is cut in front of block 1 to {blocks - 1}; got {block}")

    def own(codes: Tensor) -> Tensor:
        # Without mapping layers, w is z of length √d: codes that were shifted go back to the sphere that was learnt.
        return mapped(generator, codes) if generator.shape.mapping_layers == 0 else codes

    def coarse(codes: Tensor) -> Tensor:
        maps = generator.maps(generator.styles(own(codes)), block)
        assert maps.image is not None
        return torch.cat([maps.features, maps.image], 1)

    def fine(features: Tensor, codes: Tensor) -> Tensor:
        before = Maps(features[:, :-channels], features[:, -channels:])
        made = generator.render(generator.styles(own(codes)), start=block, before=before)
        return made if generator.shape.bounded else made.clamp(0, 1)

    with torch.no_grad():
        drawn = torch.randn(_DRAWS, generator.shape.latent, generator=torch.Generator().manual_seed(0))
        prior = Prior.of_codes(generator.mapping(drawn.to(generator.constant)))
    affine = tuple(
        torch.cat([part.weight.detach() for part in (one.style1, one.style2, one.to_colours)])
        for one in generator.blocks
        if isinstance(one, StyleBlock)
    )
    width = generator.shape.widths[block - 1] + channels
    identity = f"{hash_tensors(generator.state_dict())}:{block}"
    return SplitGenerator(coarse, fine, prior, blocks, width, affine, identity)


class AutoencoderTraining(nn.Module):
    """Generator, encoder and critic as one module of one training; the critic's gradients reach the critic alone.

    ``module(images)`` are reconstructions; ``module(images, noises, prior noises, penalty)`` the losses (n,).
    """

    def __init__(self, shape: StyleShape, settings: AutoencoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.generator, self.encoder = StyleNetwork(shape), encoder_of(shape)
        narrow = shape.model_copy(update={"widths": tuple(max(8, width // 2) for width in shape.widths)})
        self.critic = DownNetwork(narrow, 1) if settings.adversarial else None

    def forward(
        self, images: Tensor, noise: Tensor | None = None, drawn: Tensor | None = None, penalty: bool = False
    ) -> Tensor:
        """As above: noises (n, blocks, d) of the posterior, and (m, blocks, d) of the prior."""
        mean, spread = latents(self.encoder, images, len(self.generator.blocks))
        if noise is None or drawn is None:
            return self.generator.synthesis(mapped(self.generator, mean))
        made = self.generator.synthesis(mapped(self.generator, mean + noise * (spread / 2).exp()))
        divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum((1, 2))
        losses = apart(made, images) + self.settings.divergence * divergence
        sampled = self.generator.synthesis(mapped(self.generator, drawn))
        again, _ = latents(self.encoder, sampled.detach(), len(self.generator.blocks))
        losses = losses + 0.01 * (F.normalize(again, dim=2) - F.normalize(drawn, dim=2)).square().sum(2).mean()
        if self.critic is None:
            return losses
        losses = losses + self.settings.adversarial * F.softplus(-frozen(self.critic, sampled)).mean()
        return losses + self._critic_loss(images, sampled.detach(), penalty)

    def _critic_loss(self, images: Tensor, sampled: Tensor, penalty: bool) -> Tensor:
        assert self.critic is not None
        real = images[: len(sampled)].detach().requires_grad_(penalty)
        scores = self.critic(real)
        loss = F.softplus(-scores).mean() + F.softplus(self.critic(sampled)).mean()
        if penalty:
            slope = torch.autograd.grad(scores.sum(), real, create_graph=True)[0]
            loss = loss + _PENALTY * slope.square().sum((1, 2, 3)).mean()
        return loss


def apart(made: Tensor, images: Tensor) -> Tensor:
    """Squared, half the absolute and half the gradient differences of images (n, 3, s, s): (n,)."""
    difference = made - images
    edges = difference.diff(dim=2).abs().flatten(1).mean(1) + difference.diff(dim=3).abs().flatten(1).mean(1)
    return difference.square().flatten(1).mean(1) + 0.5 * difference.abs().flatten(1).mean(1) + 0.5 * edges


def frozen(network: nn.Module, images: Tensor) -> Tensor:
    """A forward pass whose gradients reach the images and not the weights."""
    still = {name: weight.detach() for name, weight in network.named_parameters()}
    made: Tensor = torch.func.functional_call(network, still, (images,))
    return made


def autoencoding(model: nn.Module, batch: Batch) -> Tensor:
    """The objective of the training: noises are drawn for each image, a quarter as many codes of the prior."""
    module = getattr(model, "module", model)
    assert isinstance(module, AutoencoderTraining)
    size = (len(module.generator.blocks), module.generator.shape.latent)
    noise = batch.rng.normal("posterior", size, like=batch.images)
    some = torch.arange(max(1, len(batch.images) // 4))
    drawn = batch.rng[some].normal("prior", size, like=batch.images)
    losses: Tensor = model(batch.images, noise, drawn, int(batch.rng.path[-1]) % _PENALTY_EVERY == 0)
    return losses


def fit_autoencoder(
    store: ImageStore,
    settings: AutoencoderSettings,
    *,
    rng: Randomness,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Autoencoder:
    """Train generator and encoder on prepared training images; labels are not read.

    Args:
        store: images uint8 (n, 3, s, s), of the train split; a share is held out and measures the reconstruction.
        settings: of the training.
        rng: of weights, held-out images, order and noise.
        checkpoint: file to save to, and to go on from.
        progress: callback that receives progress updates.

    Raises:
        InputError: images that are not square with a side of 8, 16, 32, …, or too few of them.
    """
    height, width = store.images.shape[2:]
    if height != width:
        raise InputError(f"the generator makes square images, and these are {height} × {width}: set a side")
    shape = settings.shape(height)
    order = rng.for_examples(store.ids).uniform("held out", ()).argsort()
    count = round(settings.held_out * len(store))
    plan = settings.plan.model_copy(update={"seed": rng.generator("training").initial_seed() % 2**31})
    if count < 1 or len(store) - count < plan.batch_size:
        raise InputError(
            f"{len(store)} images are too few to train a generator: it needs more than a batch of {plan.batch_size} "
            f"beside those held out; give more images, or name a generator that was trained before"
        )
    held, used = order[:count], order[count:].sort().values
    taken = plan.epochs * (len(used) // (plan.batch_size * plan.accumulate))
    plan = plan.model_copy(update={"warmup_steps": min(plan.warmup_steps, taken // 4)})
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        module = AutoencoderTraining(shape, settings)
    chosen = ImageStore.of_tensors(
        store.images[used], torch.zeros(len(used), dtype=torch.int64), ids=[store.ids[row] for row in used.tolist()]
    )
    trained = train(
        module,
        chosen,
        plan=plan,
        objective=autoencoding,
        checkpoint=checkpoint,
        recipe={"settings": settings.model_dump(mode="json")},
        progress=progress,
    )
    module.load_state_dict(dict(trained.weights))
    made = Autoencoder(module.generator, module.encoder, {}, store.fingerprint(), settings)
    pictures = to_unit(store.images[held])
    with torch.no_grad():
        shown = torch.cat([made.generator.synthesis(made.start(part)) for part in pictures.split(_TOGETHER)])
    metrics = {"held_out_psnr": float(peak_ratio(pictures, shown).mean()), "held_out_images": float(count)}
    return Autoencoder(made.generator, made.encoder, metrics, made.data, settings)
