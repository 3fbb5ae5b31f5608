"""A public video model by reference, sampled as STIV samples: ``diffusers:FOLDER`` of Wan 2.2 TI2V.

Its network is a diffusion transformer of flow matching on the latents of a video autoencoder, and was trained with what
STIV calls frame replacement: the latent of a given frame stands, clean, in place of a noisy one at every step. So given
frames, joint guidance and renormalisation are those of :mod:`snellen.systems.text_image_to_video.sampling`; only the
network differs. It reads a time for each token: that of a given frame is "no noise".

Its time runs the other way, τ = 1000 · (1 − t), and it predicts ε − x where STIV predicts x − ε.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.reference_query import query_parameters
from snellen.models.diffusion.folder import TOKENIZERS, load_network, load_tokenizer, read_json, read_part
from snellen.models.diffusion.text_encoding import TextTower
from snellen.models.weights.devices import resolve_device
from snellen.systems.text_image_to_video.guidance import passes
from snellen.systems.text_image_to_video.sampling import sample_videos
from snellen.systems.text_image_to_video.video_model import SampleSettings, VideoModel, given_or_none

#: What a reference of such a model begins with.
SCHEME = "diffusers:"

#: Part of the folder → classes that it may have, and the library that has them.
PARTS = {
    "transformer": {"WanTransformer3DModel": "diffusers"},
    "vae": {"AutoencoderKLWan": "diffusers"},
    "text_encoder": {"UMT5EncoderModel": "transformers"},
    "tokenizer": TOKENIZERS,
}

#: Tokens of a prompt, as in the published pipeline.
LENGTH = 512

#: Height and width, pixels, and frames of a video where the reference says neither.
SIDE, FRAMES = 480, 49


@dataclass(frozen=True, eq=False)
class PretrainedVideoModel:
    """A public network with its autoencoder and text encoder, frozen.

    Attributes:
        network: of latents (n, c, f, h, w), times for each token and text states.
        vae: between pixels and latents.
        text: of prompts.
        name: shown in records.
        side: height and width of its videos, pixels.
        frames: F, as many as are made unless another number is wanted.
    """

    network: Any
    vae: Any
    text: TextTower
    name: str
    side: int
    frames: int

    @cached_property
    def identity(self) -> str:
        """Hash of all weights (sha256); computed once, which takes a while for billions of them."""
        return hash_tensors(
            {
                f"{part}.{name}": value
                for part, network in (("network", self.network), ("vae", self.vae), ("text", self.text.network))
                for name, value in network.state_dict().items()
            }
        )

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.network.parameters()).device

    def check_texts(self, texts: Sequence[str]) -> None:
        """Refuse texts that it cannot read.

        Raises:
            InputError: one that is too long; none is cut.
        """
        self.text.tokens([cleaned(one) for one in texts])

    @torch.no_grad()
    def generate(
        self,
        texts: Sequence[str],
        seeds: Sequence[int],
        *,
        given: Tensor | None = None,
        replaced: Tensor | None = None,
        settings: SampleSettings | None = None,
        frames: int | None = None,
    ) -> Tensor:
        """Videos float32 (n, F, 3, h, w) in [0, 1], on the CPU.

        Args:
            texts: one for each video; an empty one is the null text.
            seeds: of the noise of each.
            given: frames in [0, 1], (n, F, 3, h, w); read where ``replaced`` is true.
            replaced: which frames are given, bool (n, F): none, or the first 1, 5, 9, … of a video.
            settings: of sampling.
            frames: F, one more than a multiple of four; None: :attr:`frames`.

        Raises:
            InputError: another number of frames, frames that are given one by one, or a text that is too long.
        """
        length, chosen = frames or self.frames, settings or SampleSettings()
        ratio = int(self.vae.config.scale_factor_temporal)
        if length % ratio != 1:
            raise InputError(
                f"{self.name} makes {ratio} frames from each latent after the first: {ratio + 1}, {2 * ratio + 1}, "
                f"{3 * ratio + 1} … frames; got {length}"
            )
        shape = (len(texts), length, 3, self.side, self.side)
        shown, held = given_or_none(given, replaced, shape)
        own = self._latent_mask(held, ratio)
        latents = (len(texts), own.shape[1], int(self.vae.config.z_dim), *(2 * (self._latent_side,)))
        noise = torch.cat([Randomness(seed).bind(1).normal("video", latents[1:]) for seed in seeds]).to(self.device)
        clean = self._encoded(shown, own, latents, ratio)
        own, clean = own.to(self.device), clean.to(self.device)
        states, null = self._states(list(texts)), self._states([""])

        def predict(videos: Tensor, times: Tensor, with_text: Tensor, with_image: Tensor) -> Tensor:
            over = len(videos) // len(states)
            text = torch.where(with_text[:, None, None], states.repeat(over, 1, 1), null)
            given_here = own.repeat(over, 1) & with_image[:, None]
            moments = 1000 * (1 - times[:, None]) * ~given_here  # 0, without noise, where a frame is given
            spots = (self._latent_side // int(self.network.config.patch_size[1])) ** 2
            found = self.network(
                videos.transpose(1, 2).to(self.network.dtype),
                moments.repeat_interleave(spots, dim=1),
                text.to(self.network.dtype),
                return_dict=False,
            )[0]
            return -found.float().transpose(1, 2)

        made = sample_videos(
            predict, noise, clean, own, passes(chosen.guidance, chosen.scale, chosen.image_scale), steps=chosen.steps,
            shift=chosen.shift, norm=chosen.norm, reference_frame=chosen.reference_frame,
        )  # fmt: skip
        return self._decoded(made)

    @property
    def _latent_side(self) -> int:
        return self.side // int(self.vae.config.scale_factor_spatial)

    def _latent_mask(self, held: Tensor, ratio: int) -> Tensor:
        """Which latents are given, bool (n, f).

        Raises:
            InputError: a latent holds given frames and others, too.
        """
        counts = held.sum(dim=1)
        places = torch.arange(held.shape[1])
        wrong = (held != (places < counts[:, None])).any(dim=1) | ((counts > 0) & (counts % ratio != 1))
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"video {row} gives the frames {held[row].nonzero().flatten().tolist()}; {self.name} has one latent "
                f"for its first frame and one for each {ratio} after it: give frame 0, or frames 0 to {ratio}, 0 to "
                f"{2 * ratio} and so on"
            )
        return torch.arange(1 + (held.shape[1] - 1) // ratio) < ((counts + ratio - 1) // ratio)[:, None]

    def _encoded(self, given: Tensor, own: Tensor, shape: tuple[int, ...], ratio: int) -> Tensor:
        """Latents of given frames, (n, f, c, h, w), 0 elsewhere: each video's are encoded together."""
        found = torch.zeros(shape)
        mean, deviation = self._moments()
        for row, count in enumerate(own.sum(dim=1).tolist()):
            if count:
                frames = given[row, : 1 + ratio * (count - 1)] * 2 - 1
                pixels = frames.transpose(0, 1)[None].to(self.vae.device, self.vae.dtype)
                encoded = self.vae.encode(pixels).latent_dist.mode().float()
                found[row, :count] = ((encoded - mean) / deviation)[0].transpose(0, 1).cpu()
        return found

    def _decoded(self, latents: Tensor) -> Tensor:
        mean, deviation = self._moments()
        videos = list[Tensor]()
        for one in latents.split(1):  # the decoder is what takes most memory
            shown = one.transpose(1, 2).to(self.vae.device) * deviation + mean
            decoded = self.vae.decode(shown.to(self.vae.dtype), return_dict=False)[0]
            videos.append(((decoded.float().transpose(1, 2) + 1) / 2).clamp(0, 1).cpu())
        return torch.cat(videos)

    def _moments(self) -> tuple[Tensor, Tensor]:
        config = self.vae.config
        mean, deviation = (torch.tensor(one).view(1, -1, 1, 1, 1) for one in (config.latents_mean, config.latents_std))
        return mean.to(self.vae.device), deviation.to(self.vae.device)

    def _states(self, texts: list[str]) -> Tensor:
        """Text states (n, 512, d), 0 behind the end of each prompt."""
        ids, mask = self.text.tokens([cleaned(one) for one in texts])
        states: Tensor = self.text.network(ids, mask).last_hidden_state
        return (states * mask[..., None]).to(self.device)


#: A model that was trained here, or a public one.
AnyVideoModel: TypeAlias = VideoModel | PretrainedVideoModel


def cleaned(text: str) -> str:
    """A prompt without HTML entities and double spaces, as the model was trained.

    >>> cleaned("  a  cat &amp; a dog ")
    'a cat & a dog'
    """
    return " ".join(html.unescape(html.unescape(text)).split())


@lru_cache(maxsize=1)
def load_pretrained_video_model(
    reference: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> PretrainedVideoModel:
    """Open ``diffusers:FOLDER``, or ``diffusers:FOLDER?side=480&frames=49``. Nothing is downloaded, no pickle is read.

    The last one stays loaded, as all calls of a run take the same.

    Args:
        reference: of a folder that ``save_pretrained`` of ``WanPipeline`` or ``WanImageToVideoPipeline`` wrote.
        device: ``cpu``, ``cuda``, …
        dtype: of network and text encoder; the autoencoder stays in float32.

    Raises:
        InputError: no such folder, another model, or a side that the model cannot make.
        MissingExtraError: diffusers or transformers is not installed.
    """
    place, _, query = reference.removeprefix(SCHEME).partition("?")
    sizes = {"side": SIDE, "frames": FRAMES}
    for key, value in query_parameters(query, reference).items():
        if key not in sizes or not value.isdecimal() or int(value) < 1:
            raise InputError(f"{reference}: expected ?side=PIXELS&frames=NUMBER; got {key}={value}")
        sizes[key] = int(value)
    folder = Path(place)
    if not (folder / "model_index.json").is_file():
        raise InputError(
            f"{SCHEME}{folder} has no model_index.json; expected a folder of Wan 2.2 TI2V, as save_pretrained() writes "
            f"it: hf download Wan-AI/Wan2.2-TI2V-5B-Diffusers --local-dir FOLDER"
        )
    index = read_json(folder / "model_index.json")
    if not index.get("expand_timesteps"):
        raise InputError(
            f"{SCHEME}{folder} is a {index.get('_class_name')} that was not trained with frames in place "
            f"(expand_timesteps); expected Wan 2.2 TI2V. Models that take an image as further channels are not "
            f"supported"
        )
    parts = {}
    for name, kinds in PARTS.items():
        entry = index.get(name)
        if not isinstance(entry, list) or not any(entry):
            raise InputError(f"{folder}/model_index.json names no {name}")
        parts[name] = read_part(folder / name, name, str(entry[-1]), kinds)
    where = resolve_device(device)
    vae = load_network(parts["vae"], where, torch.float32)
    network = load_network(parts["transformer"], where, dtype)
    encoder = load_network(parts["text_encoder"], where, dtype)
    _check_side(reference, sizes["side"], vae, network)
    return PretrainedVideoModel(
        network=network,
        vae=vae,
        text=TextTower(load_tokenizer(parts["tokenizer"]), encoder, LENGTH),
        name=f"{SCHEME}{folder.name or folder.resolve().name}",
        side=sizes["side"],
        frames=sizes["frames"],
    )


def _check_side(reference: str, side: int, vae: nn.Module, network: nn.Module) -> None:
    """Refuse a side that latents and patches do not divide."""
    multiple = int(vae.config.scale_factor_spatial) * int(network.config.patch_size[1])  # type: ignore[union-attr, arg-type, index]
    if side % multiple:
        raise InputError(f"{reference}: this model makes videos whose side is a multiple of {multiple}; got {side}")
