"""System 30: does a video follow its first image and its text, how should the network get the image, and who guides.

One network learns moving shapes from captions. From its weights three arms are trained for as many steps on the same
videos: frame replacement, cross-attention to the image, and frame replacement without image dropout. Motion is measured
directly, and its error on real videos is reported; subjects are judged by a network that was trained on real frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.system import Scale
from snellen.data.worlds.moving_shapes import MovingColour, MovingShapes
from snellen.data.worlds.optotypes.factors import Shape
from snellen.models.classifiers.pooled_features import pooled_features
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.text_image_to_video.full import full_material, full_size
from snellen.systems.text_image_to_video.architecture import VideoArchitecture, tokens_of
from snellen.systems.text_image_to_video.fitting import VideoTraining, fit_video_model
from snellen.systems.text_image_to_video.measures import DIRECTIONS, directions, dynamic_degree, psnr
from snellen.systems.text_image_to_video.network import VideoTransformer
from snellen.systems.text_image_to_video.video_model import SampleSettings, VideoModel, lineage_of
from snellen.systems.text_image_to_video.videos import Videos, read_videos, vocabulary_of
from snellen.training.batches import ImageStore
from snellen.training.students import StudentPlan, as_classifier, train_student


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train: videos to train on.
        test: videos to measure on.
        network: numbers, without words.
        base: numbers of the training from text, which all arms begin with.
        arm: numbers of the training of each arm.
        sampling: of videos.
        judge: updates of the network that judges subjects.
    """

    train: int
    test: int
    network: VideoArchitecture
    base: VideoTraining
    arm: VideoTraining
    sampling: SampleSettings
    judge: int


#: The default recipe in two parts: all arms share the first.
_BASE, _ARM = VideoTraining(joint_steps=0), VideoTraining(text_steps=0)

SMALL = Size(
    train=2000,
    test=96,
    network=VideoArchitecture(),
    base=_BASE,
    arm=_ARM,
    sampling=SampleSettings(steps=16, scale=1.5),
    judge=200,
)

SMOKE = Size(
    train=60,
    test=4,
    network=VideoArchitecture(frames=3, side=16, patch=4, width=16, heads=2, blocks=1, text_blocks=1),
    base=_BASE.model_copy(update={"text_steps": 1, "batch_size": 2}),
    arm=_ARM.model_copy(update={"joint_steps": 1, "batch_size": 2}),
    sampling=SampleSettings(steps=2, scale=2.0),
    judge=1,
)

#: Those three of all shapes whose nearest two differ most, 20 decibels. Their mean is 24 from each, so that a network
#: of 25 has to draw shapes. A circle in place of a square costs 26, and such networks drew circles alone.
_SHAPES: tuple[Shape, ...] = ("ring", "heart", "hourglass")

_COLOURS: tuple[MovingColour, ...] = ("red", "green", "blue")

#: Videos that are sampled at once.
_AT_ONCE = 48

#: Changes of the network, and of the training, of each arm.
ARMS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "replacement": ({}, {}),
    "cross_attention": ({"image_by": "cross_attention"}, {}),
    "no_dropout": ({}, {"image_dropout": 0.0}),
}


def text_image_to_video(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 30.

    Returns:
        Of each arm, and of ``replacement`` under other guidance and with other captions, for each test video:
        ``first_frame`` and ``second_frame`` (decibels), ``motion`` (goes the true way), ``dynamic`` (pixels a frame
        along the true direction), ``kept`` (share of generated frames with the subject) and ``consistency`` with the
        first image. Of arms also ``over_still``, how much nearer the second frame is than a copy of the first
        (decibels), and, from text alone, ``text_subject`` and ``text_motion``. Of real videos the same measures.
    """
    if scale == "full":
        network, base, arm, sampling = full_size()
        size = Size(train=0, test=0, network=network, base=base, arm=arm, sampling=sampling, judge=20_000)
        train, test, labels = full_material(network, progress)
        return Experiment(train, test, labels, size, seed, progress).figures()
    size = SMOKE if scale == "smoke" else SMALL
    frames, side = size.network.frames, size.network.side
    train = read_videos(small_world(size.train, frames, seed).images(split="train"), frames=frames, side=side)
    test = read_videos(small_world(size.test, frames, seed).images(split="test"), frames=frames, side=side)
    return Experiment(train, test, (subjects_of(train), subjects_of(test)), size, seed, progress).figures()


text_image_to_video.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with single steps of one block, and four test videos",),
    "small": (
        "moving shapes of 16 pixels, 5 frames, for videos with captions",
        "a transformer of 0.4 million parameters in pixels for one of 8.7 billion in latents",
        "2,000 steps of 16 videos for 400,000 of 1,024",
        "direct measures of motion and subject for VBench",
    ),
}


def small_world(count: int, frames: int, seed: int) -> MovingShapes:
    """Three shapes in three colours on two grounds, one speed: 72 captions."""
    return MovingShapes(
        count=count,
        frames=frames,
        shapes=_SHAPES,
        colours=_COLOURS,
        speeds=("fast",),
        grounds=("black", "grey"),
        seed=seed,
    )


def subjects_of(videos: Videos) -> Tensor:
    """Colour and shape of each video as a class, int64 (n,)."""
    pairs = [tuple(caption.split()[1:3]) for caption in videos.captions]
    known: list[tuple[str, str]] = sorted({(c, s) for c in _COLOURS for s in _SHAPES})
    return torch.tensor([known.index((pair[0], pair[1])) for pair in pairs])


class Experiment:
    """One seed.

    Args:
        train: videos to train on.
        test: videos to measure on.
        labels: subject of each of both, int64.
        size: how much of everything.
        seed: of weights, order and noise.
        progress: callback that receives progress updates.
    """

    def __init__(
        self, train: Videos, test: Videos, labels: tuple[Tensor, Tensor], size: Size, seed: int, progress: Progress
    ) -> None:
        self.train, self.test, self.labels, self.size, self.seed = train, test, labels, size, seed
        self.progress = progress
        self.turned = [turned_caption(caption) for caption in test.captions]
        words, longest = vocabulary_of((*train.captions, *(turned_caption(one) for one in train.captions)))
        self.network = VideoArchitecture(**{**size.network.model_dump(), "words": words, "longest": longest})
        tokens_of([*test.captions, *self.turned], self.network)  # before hours of training
        self.real = to_unit(test.pixels)
        self.way = directions(self.real)
        self.judge = self._judge()
        self.seeds = [seed * 100_000 + number for number in range(len(self.real))]

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        found = self._measured("real", self.real)
        found["real.motion"] = Sample.of((self.way == self._named(self.test.captions)).double().numpy())
        found["real.subject"] = found.pop("real.kept")
        still = self.real[:, :1].expand_as(self.real)
        copied = psnr(still[:, 1], self.real[:, 1])
        found["still.second_frame"] = Sample.of(copied.numpy())
        network = self.network
        base = fit_video_model(self.train, network, self.size.base, seed=self.seed, progress=self.progress).network
        for name, (changes, numbers) in ARMS.items():
            own = network.model_copy(update=changes)
            training = self.size.arm.model_copy(update=numbers)
            fitted = fit_video_model(
                self.train, own, training, seed=self.seed, start=base.state_dict(), progress=self.progress
            )
            model = VideoModel(_measuring(fitted.network), lineage_of(training, fitted.data, self.seed), name=name)
            made = self._from_image(model, self.test.captions)
            found |= self._measured(name, made)
            found[f"{name}.over_still"] = Sample.of((psnr(made[:, 1], self.real[:, 1]) - copied).numpy())
            if name != "cross_attention":
                found |= self._from_text(name, model)
            if name == "replacement":
                found |= self._guided(model)
        return found

    def _guided(self, model: VideoModel) -> dict[str, Figure]:
        """The same network under other guidance, and with captions of other directions."""
        found: dict[str, Figure] = {}
        for name, changes in (("text_guidance", {"guidance": "text"}), ("unguided", {"scale": 1.0})):
            sampling = self.size.sampling.model_copy(update=changes)
            found |= self._measured(name, self._from_image(model, self.test.captions, sampling))
        made = directions(self._from_image(model, self.turned))
        found["other_captions.motion"] = Sample.of((made == self.way).double().numpy())
        found["other_captions.named_motion"] = Sample.of((made == self._named(self.turned)).double().numpy())
        return found

    def _from_image(
        self, model: VideoModel, captions: tuple[str, ...] | list[str], sampling: SampleSettings | None = None
    ) -> Tensor:
        """Videos of the first real frames and captions."""
        replaced = torch.zeros(self.real.shape[:2], dtype=torch.bool)
        replaced[:, 0] = True
        return self._made(model, captions, replaced, sampling or self.size.sampling)

    def _made(
        self, model: VideoModel, captions: tuple[str, ...] | list[str], replaced: Tensor, settings: SampleSettings
    ) -> Tensor:
        """Videos of captions, some of the frames given by the real ones; a few at once, since memory has an end."""
        parts = []
        for first in range(0, len(self.seeds), _AT_ONCE):
            few = slice(first, first + _AT_ONCE)
            parts.append(
                model.generate(
                    captions[few], self.seeds[few], given=self.real[few], replaced=replaced[few], settings=settings
                )
            )
        return torch.cat(parts)

    def _from_text(self, name: str, model: VideoModel) -> dict[str, Figure]:
        nothing = torch.zeros(self.real.shape[:2], dtype=torch.bool)
        made = self._made(model, self.test.captions, nothing, self.size.sampling)
        right, _ = self._judged(made)
        return {
            f"{name}.text_subject": Sample.of(right.mean(dim=1).numpy()),
            f"{name}.text_motion": Sample.of((directions(made) == self.way).double().numpy()),
        }

    def _measured(self, name: str, made: Tensor) -> dict[str, Figure]:
        right, features = self._judged(made)
        first = self._judged(self.real[:, :1])[1]
        near = torch.cosine_similarity(features[:, 1:], first, dim=-1).mean(dim=1)
        values = {
            "first_frame": psnr(made[:, 0], self.real[:, 0]),
            "second_frame": psnr(made[:, 1], self.real[:, 1]),
            "motion": (directions(made) == self.way).double(),
            "dynamic": dynamic_degree(made, self.way),
            "kept": right[:, 1:].mean(dim=1),
            "consistency": near,
        }
        return {f"{name}.{key}": Sample.of(value.double().numpy()) for key, value in values.items()}

    def _judged(self, videos: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each frame shows the subject, float64 (n, F), and its features (n, F, d)."""
        found = [pooled_features(self.judge, part) for part in videos.flatten(0, 1).split(256)]
        scores = torch.cat([scores for scores, _ in found]).unflatten(0, videos.shape[:2])
        features = torch.cat([features for _, features in found if features is not None])
        right = scores.argmax(dim=-1) == self.labels[1][:, None]
        return right.double(), features.unflatten(0, videos.shape[:2])

    def _judge(self) -> Classifier:
        """A small network that was trained on real frames; it sees no generated one."""
        frames = self.train.pixels.shape[1]
        store = ImageStore.of_tensors(self.train.pixels.flatten(0, 1), self.labels[0].repeat_interleave(frames))
        # Half of a subject is its colour, which the default student does not see: it reads grey.
        plan = StudentPlan(architecture="timm:resnet10t", side=self.size.network.side, amount=self.size.judge)
        classes = int(torch.cat(self.labels).max()) + 1
        network = train_student(store, plan, classes, self.seed, "judge of subjects")
        return as_classifier(network, plan, [str(number) for number in range(classes)], "judge of subjects")

    @staticmethod
    def _named(captions: tuple[str, ...] | list[str]) -> Tensor:
        """The direction that each caption names, −1 for none."""
        words = [caption.split() for caption in captions]
        return torch.tensor([next((k for k, one in enumerate(DIRECTIONS) if one in row), -1) for row in words])


def turned_caption(caption: str) -> str:
    """The caption with another direction: a quarter of a turn, always the same way.

    >>> turned_caption("a red circle moves left fast on black")
    'a red circle moves up fast on black'
    """
    quarter = {"left": "up", "up": "right", "right": "down", "down": "left"}
    return " ".join(quarter.get(word, word) for word in caption.split())


def _measuring(network: VideoTransformer) -> VideoTransformer:
    """Where videos are sampled."""
    return network.to("cuda" if torch.cuda.is_available() else "cpu")
