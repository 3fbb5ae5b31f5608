"""The folder of a video model: trained where it is missing, and refused where it was trained otherwise than wanted."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.data.references import load_images
from snellen.methods.generation.made_images import where
from snellen.systems.text_image_to_video.architecture import VideoArchitecture
from snellen.systems.text_image_to_video.fitting import VideoTraining, fit_video_model
from snellen.systems.text_image_to_video.pretrained import (
    SCHEME,
    AnyVideoModel,
    PretrainedVideoModel,
    load_pretrained_video_model,
)
from snellen.systems.text_image_to_video.video_model import VideoModel, lineage_of, load_video_model
from snellen.systems.text_image_to_video.videos import Videos, read_videos, vocabulary_of

if TYPE_CHECKING:
    from snellen.systems.text_image_to_video.method import TextImageToVideo


def train_video_model(
    videos: Videos,
    *,
    network: VideoArchitecture | None = None,
    training: VideoTraining | None = None,
    seed: int = 0,
    checkpoints: Path | None = None,
    source: str = "",
    progress: Progress | None = None,
) -> VideoModel:
    """Train a video model on videos; its vocabulary is that of their captions.

    Args:
        videos: of one length and size.
        network: numbers; length, size and words are those of the videos.
        training: numbers.
        seed: of everything random.
        checkpoints: folder to save to, and to resume from.
        source: name of the videos in the record.
        progress: callback that receives progress updates.
    """
    words, longest = vocabulary_of(videos.captions)
    base, numbers = network or VideoArchitecture(), training or VideoTraining()
    fields = {**base.model_dump(), "words": words, "longest": longest}
    fields |= {"frames": videos.pixels.shape[1], "side": videos.pixels.shape[-1]}
    found = fit_video_model(
        videos, VideoArchitecture(**fields), numbers, seed=seed, checkpoints=checkpoints, progress=progress
    )
    history = tuple(dict(row) for row in found.history)
    return VideoModel(found.network, lineage_of(numbers, found.data, seed, source=source), history)


def ready(method: TextImageToVideo, progress: Progress | None = None) -> AnyVideoModel:
    """The model: a public one by reference, or the one of the folder, which is trained first where it is missing.

    Raises:
        InputError: a folder with something else, or with a model that was trained otherwise.
    """
    if method.model.startswith(SCHEME):
        return _public(method)
    folder = Path(method.model)
    card = folder / "card.json"
    if not card.is_file():
        if folder.exists():
            raise InputError(f"{folder} is there and holds no video model; name another folder, or remove it")
        _trained(method, folder, progress)
    found = _opened(method.model, card.read_bytes(), where()[0])
    recorded = found.lineage.recipe
    differs = [
        f"{name} {recorded.get(name)!r}, not {wanted!r}"
        for name, wanted in (
            ("videos", method.videos or None),
            ("training", None if method.training is None else _counted(method.training.model_dump(mode="json"))),
        )
        if wanted is not None and (_counted(recorded.get(name)) if name == "training" else recorded.get(name)) != wanted
    ]
    if method.network is not None:
        own, wished = found.architecture.model_dump(), method.network.model_dump()
        differs += [
            f"{name} {own[name]}, not {value}"
            for name, value in wished.items()
            if name not in ("words", "longest") and own[name] != value
        ]
    if differs:
        raise InputError(f"{folder} was trained with {'; '.join(differs)}: name another folder for a new model")
    return found


def _public(method: TextImageToVideo) -> PretrainedVideoModel:
    """A public model, for which nothing is trained."""
    given = [name for name in ("videos", "network", "training") if getattr(method, name)]
    if given:
        raise InputError(f"{method.model} is trained already, so that --{given[0]} is of no use: leave it out")
    device, dtype = where()
    return load_pretrained_video_model(method.model, device=device, dtype=getattr(torch, dtype))


def _counted(training: object) -> object:
    """A recorded training without how often it was saved, which changes no weight."""
    return {k: v for k, v in training.items() if k != "checkpoint_every"} if isinstance(training, dict) else training


@lru_cache(maxsize=2)
def _opened(folder: str, card: bytes, device: str) -> VideoModel:
    """Loaded once; the card is part of the key, since the folder may change between two calls."""
    return load_video_model(folder, device=device)


def _trained(method: TextImageToVideo, folder: Path, progress: Progress | None) -> None:
    """Train a model, and write its folder. Always with seed 0, so that videos of any seed can use it."""
    images = load_images(method.videos).for_fitting()
    network = method.network or VideoArchitecture()
    videos = read_videos(images, frames=network.frames, side=network.side, progress=progress)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # What a stopped training leaves lies beside the folder, which is there only when the model is.
    unfinished = folder.parent / f"{folder.name}.training"
    unfinished.mkdir(exist_ok=True)
    model = train_video_model(
        videos,
        network=network,
        training=method.training,
        checkpoints=unfinished,
        source=method.videos,
        progress=progress,
    )
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        model.save(Path(beside) / folder.name)
        (Path(beside) / folder.name).rename(folder)
    for left in unfinished.glob("*.safetensors"):
        left.unlink()
    unfinished.rmdir()
