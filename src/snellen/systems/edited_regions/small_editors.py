"""Small editors that differ in how their decoders enlarge: autoencoders whose spectra leave different traces.

Each is a network with a code of a quarter of the sides, as latent models have one, trained in seconds by one function.
An editor draws what its prompt says into the region, and writes *the whole picture* anew through its own decoder, so
that pixels outside of the region change, too, as those of latent diffusion models do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.models.diffusion.editor import check_edit
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: How a decoder enlarges by two: repeated pixels or a line between them, and a convolution; transposed convolutions of
#: two kernels; pixels out of channels; repeated pixels from a code of few levels.
Decoder = Literal["nearest", "transposed4", "transposed3", "shuffle", "bilinear", "quantised"]

DECODERS: tuple[Decoder, ...] = get_args(Decoder)

#: Levels of each number of a quantised code.
LEVELS = 8

#: Sides of images are multiples of this, pixels.
FACTOR = 4

#: Images (n, 3, h, w), masks bool (n, 1, h, w), prompts, seeds → what the prompts say, drawn into the regions.
Painter = Callable[[Tensor, Tensor, Sequence[str], Sequence[int]], Tensor]


class _Quantised(nn.Module):
    """Numbers in (−1, 1) rounded to a few levels; gradients pass as if nothing was rounded."""

    def forward(self, code: Tensor) -> Tensor:
        bounded = code.tanh()
        levels = ((bounded + 1) * (LEVELS - 1) / 2).round() * 2 / (LEVELS - 1) - 1
        return bounded + (levels - bounded).detach()


def _enlarged(decoder: Decoder, given: int, made: int) -> nn.Module:
    if decoder == "transposed4":
        return nn.ConvTranspose2d(given, made, 4, 2, 1)
    if decoder == "transposed3":
        return nn.ConvTranspose2d(given, made, 3, 2, 1, output_padding=1)  # kernels overlap unevenly: a checkerboard
    if decoder == "shuffle":
        return nn.Sequential(nn.Conv2d(given, 4 * made, 3, padding=1), nn.PixelShuffle(2))
    smooth = {"mode": "bilinear", "align_corners": False} if decoder == "bilinear" else {"mode": "nearest"}
    return nn.Sequential(nn.Upsample(scale_factor=2, **smooth), nn.Conv2d(given, made, 3, padding=1))


class EditorNetwork(nn.Module):
    """An autoencoder, float (n, 3, h, w) in [0, 1] → the same; sides are multiples of 4.

    Args:
        decoder: how it enlarges.
        width: channels at half of the sides.
        channels: of the code, at a quarter of the sides.
    """

    def __init__(self, decoder: Decoder, *, width: int = 24, channels: int = 12) -> None:
        super().__init__()
        wide = 2 * width
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.SiLU(), nn.Conv2d(width, wide, 4, 2, 1), nn.SiLU(),
            nn.Conv2d(wide, channels, 3, padding=1), _Quantised() if decoder == "quantised" else nn.Identity(),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, wide, 3, padding=1), nn.SiLU(),
            _enlarged(decoder, wide, width), nn.SiLU(), _enlarged(decoder, width, 3),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """The images as the decoder writes them; not cut to [0, 1], for the sake of gradients."""
        written: Tensor = self.decoder(self.encoder(images * 2 - 1))
        return written / 2 + 0.5


#: Numbers of a training that takes seconds.
PLAN = TrainingPlan(epochs=4, batch_size=16, learning_rate=3e-3, weight_decay=0.0)


def fit_editor(
    decoder: Decoder, images: Tensor, *, plan: TrainingPlan = PLAN, width: int = 24, progress: Progress | None = None
) -> EditorNetwork:
    """Train an editor's network to write images again; the seed of the plan and the decoder decide its weights.

    Args:
        decoder: how it enlarges.
        images: bytes (n, 3, h, w), sides multiples of 4.
        plan: all numbers of the training.
        width: channels at half of the sides.
        progress: callback that receives progress updates.

    Raises:
        InputError: other images.
    """
    if images.ndim != 4 or images.shape[2] % FACTOR or images.shape[3] % FACTOR:
        raise InputError(
            f"an editor learns from images (n, 3, h, w) with sides of {FACTOR} k; got {tuple(images.shape)}"
        )
    with seeded(derive_seed(plan.seed, "editor", decoder), torch.device("cpu")):
        network = EditorNetwork(decoder, width=width)
    store = ImageStore.of_tensors(images, torch.zeros(len(images), dtype=torch.int64))

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        difference = model(batch.images) - batch.images
        return difference.abs().flatten(1).mean(1) + difference.square().flatten(1).mean(1)

    trained = train(network, store, plan=plan, objective=objective, progress=progress)
    network.load_state_dict(dict(trained.weights))
    return network.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class SmallEditor:
    """An :class:`~snellen.models.diffusion.editor.Editor` of a small network and a painter.

    Args:
        network: from :func:`fit_editor`.
        painter: draws what a prompt says, before the network writes the picture anew.
        batch_size: pictures at a time.
    """

    network: EditorNetwork
    painter: Painter
    batch_size: int = 32

    def identity(self) -> str:
        """Hash of the weights (sha256)."""
        return hash_tensors(dict(self.network.state_dict()))

    @torch.no_grad()
    def edit(self, images: Tensor, masks: Tensor, prompts: Sequence[str] | None, seeds: Sequence[int]) -> Tensor:
        """Edit pictures; see :class:`~snellen.models.diffusion.editor.Editor`. Nothing is pasted back.

        Raises:
            InputError: no prompts, images or masks that cannot be used, or a prompt that is not understood.
        """
        free = check_edit(images, masks, seeds)
        if prompts is None or isinstance(prompts, str) or len(prompts) != len(images):
            raise InputError(f"a small editor takes one prompt for each of {len(images)} images")
        return self.written(self.painter(images.float(), free, prompts, seeds))

    @torch.no_grad()
    def written(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) as the decoder writes them, at any size, in [0, 1]."""
        height, width = images.shape[2:]
        padded = functional.pad(images, (0, -width % FACTOR, 0, -height % FACTOR), mode="replicate")
        parts = [self.network(part).clamp(0, 1) for part in padded.split(self.batch_size)]
        return torch.cat(parts)[:, :, :height, :width]


def written_bytes(network: EditorNetwork, images: Tensor) -> Tensor:
    """Byte images (n, 3, h, w) as a decoder writes them: a generated base, whose pixels are all synthetic."""
    written = SmallEditor(network, lambda given, *_: given).written(to_unit(images))
    return written.mul(255).round().to(torch.uint8)


def hash_mask(mask: Tensor) -> str:
    """Hash of a mask, bool (h, w): of its size and pixels (sha256, hex)."""
    return hashlib.sha256(f"{tuple(mask.shape)} ".encode() + mask.numpy().tobytes()).hexdigest()
