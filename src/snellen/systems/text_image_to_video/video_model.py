"""A trained video model, a folder of safetensors and a card: its network, and what it makes of texts and frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.core.refused_values import refused_values
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.text_image_to_video.architecture import VideoArchitecture, tokens_of, without_text
from snellen.systems.text_image_to_video.guidance import Kind, Norm, passes
from snellen.systems.text_image_to_video.network import VideoTransformer
from snellen.systems.text_image_to_video.sampling import ReferenceFrame, sample_videos
from snellen.training.environment import record_environment
from snellen.version import __version__

#: Name of the architecture in the card.
ARCHITECTURE = "video_transformer"


class SampleSettings(BaseModel):
    """How videos are sampled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(20, ge=1, description="Euler steps from noise to the video")
    shift: float = Field(4.0, ge=1, allow_inf_nan=False, description="how far steps lie nearer to noise; 1: not at all")
    guidance: Kind = Field(
        "joint", description="what the reference pass drops: text and image, text alone, or one after the other"
    )
    scale: float = Field(1.5, ge=0, allow_inf_nan=False, description="of guidance; 1 means none")
    image_scale: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="of the image, where guidance is separate"
    )
    norm: Norm = Field("video", description="bring the guided prediction back to the norm of the conditional one")
    reference_frame: ReferenceFrame = Field(
        "noised", description="what the pass without image sees in place of a given frame"
    )


def given_or_none(given: Tensor | None, replaced: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Given frames (n, F, 3, h, w) in [0, 1] and which of them count, bool (n, F): none of them where none are given.

    Raises:
        InputError: frames or a mask of another shape.
    """
    held = torch.zeros(shape[:2], dtype=torch.bool) if replaced is None else replaced
    frames = torch.zeros(shape) if given is None else given
    if tuple(frames.shape) != shape or tuple(held.shape) != shape[:2]:
        raise InputError(f"given frames are {shape}; got {tuple(frames.shape)} with a mask of {tuple(held.shape)}")
    return frames, held


@dataclass(frozen=True, eq=False)
class VideoModel:
    """A network with averaged weights, in evaluation mode.

    Attributes:
        network: F.
        lineage: how it was made.
        history: figures of its stages.
        name: shown in records.
    """

    network: VideoTransformer
    lineage: Lineage
    history: tuple[dict[str, float], ...] = ()
    name: str = "video model"

    @property
    def architecture(self) -> VideoArchitecture:
        """Its numbers."""
        return self.network.architecture

    @property
    def frames(self) -> int:
        """F, as in training."""
        return self.architecture.frames

    @property
    def side(self) -> int:
        """Height and width of its videos, pixels."""
        return self.architecture.side

    def check_texts(self, texts: Sequence[str]) -> None:
        """Refuse texts that it cannot read.

        Raises:
            InputError: one that is too long.
            UnknownNameError: a word that the model does not know.
        """
        tokens_of(list(texts), self.architecture)

    @property
    def identity(self) -> str:
        """Hash of the weights (sha256)."""
        return hash_tensors(self.network.state_dict())

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
        """Videos float32 (n, F, 3, h, w) in [0, 1], on the CPU. A video does not depend on its neighbours.

        Args:
            texts: one for each video; an empty one is the null text.
            seeds: of the noise of each.
            given: frames in [0, 1], (n, F, 3, h, w); read where ``replaced`` is true.
            replaced: which frames are given, bool (n, F); None: none.
            settings: of sampling.
            frames: F; None: as in training. Positions of longer videos are interpolated.

        Raises:
            InputError: all frames of a video are given, an image that the network cannot take, a text that is too long,
                or more than one frame of a model of images.
            UnknownNameError: a word that the model does not know.
        """
        one, chosen = self.architecture, settings or SampleSettings()
        length = frames or one.frames
        shape = (len(texts), length, 3, one.side, one.side)
        if one.frames == 1 and length > 1:
            raise InputError(f"this is a model of images, without temporal layers; it cannot make {length} frames")
        tokens = tokens_of(list(texts), one)
        noise = torch.cat([Randomness(seed).bind(1).normal("video", shape[1:]) for seed in seeds])
        frames_given, held = given_or_none(given, replaced, shape)
        clean = frames_given * 2 - 1
        in_place = one.image_by == "replacement"
        if not in_place and bool(held[:, 1:].any()):
            raise InputError("this network takes an image by cross-attention, and no frame but the first")
        device = next(self.network.parameters()).device
        tokens, noise, held, clean = (each.to(device) for each in (tokens, noise, held, clean))
        has_image = held.any(dim=1)

        def predict(videos: Tensor, times: Tensor, with_text: Tensor, with_image: Tensor) -> Tensor:
            times_over = len(videos) // len(tokens)
            shown = without_text(tokens.repeat(times_over, 1), with_text)
            image = None if in_place else clean[:, 0].repeat(times_over, 1, 1, 1)
            return self.network(videos, times, shown, image=image, with_image=with_image & has_image.repeat(times_over))

        guidance = passes(chosen.guidance, chosen.scale, chosen.image_scale)
        made = sample_videos(
            predict,
            noise,
            clean,
            held,
            guidance,
            steps=chosen.steps,
            shift=chosen.shift,
            norm=chosen.norm,
            reference_frame=chosen.reference_frame,
            in_place=in_place,
        )
        return ((made + 1) / 2).clamp(0, 1).cpu()

    def save(self, folder: Path | str) -> Artifact:
        """Write weights as safetensors, and the card."""
        card = Card(
            name=Path(folder).name,
            kind="denoiser",
            architecture={"name": ARCHITECTURE, **self.architecture.model_dump(mode="json")},
            description="Short videos from text and given frames (STIV, Z. Lin et al. 2024).",
            history=self.history,
            lineage=self.lineage,
        )
        return Artifact({name: value.cpu() for name, value in self.network.state_dict().items()}, card).save(
            Path(folder)
        )


def load_video_model(folder: Path | str, *, device: str = "cpu") -> VideoModel:
    """Open a folder that :meth:`VideoModel.save` wrote.

    Raises:
        InputError: a folder with something else.
    """
    artifact = Artifact.load(Path(folder))
    described = dict(artifact.card.architecture)
    if described.pop("name", None) != ARCHITECTURE:
        raise InputError(f"{folder} holds a {artifact.card.kind}, and no video model")
    try:
        architecture = VideoArchitecture(**described)
    except ValidationError as error:
        raise InputError(f"{folder}/card.json: {refused_values(error)}") from error
    network = VideoTransformer(architecture)
    load_strictly(network, artifact.tensors, source=str(Path(folder) / "weights.safetensors"))
    network.to(device).eval().requires_grad_(False)
    return VideoModel(network, artifact.card.lineage, artifact.card.history, artifact.card.name)


def lineage_of(training: BaseModel, data: str, seed: int, *, source: str = "") -> Lineage:
    """The lineage of a model that was trained here."""
    return Lineage(
        recipe={"method": "text_image_to_video", "training": training.model_dump(mode="json"), "videos": source},
        data=data,
        seed=seed,
        code_version=__version__,
        environment=record_environment("cpu"),
    )
