"""Stages of a training: what each drops, that a killed one ends with the same bytes, and averaged weights."""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, RunConflictError
from snellen.core.randomness import Randomness
from snellen.data.worlds.moving_shapes import MovingShapes
from snellen.systems.text_image_to_video import fitting
from snellen.systems.text_image_to_video.architecture import VideoArchitecture, tokens_of
from snellen.systems.text_image_to_video.fitting import (
    Stage,
    VideoFlow,
    VideoTraining,
    fit_video_model,
    kept_positions,
    stages_of,
)
from snellen.systems.text_image_to_video.network import VideoTransformer
from snellen.systems.text_image_to_video.videos import read_videos, vocabulary_of
from snellen.training import loop
from snellen.training.batches import Batch
from tests.systems.text_image_to_video.small_videos import FRAMES, NETWORK, TRAINING, videos


def built(**changes):
    words, longest = vocabulary_of(videos(40).captions)
    return VideoArchitecture(**{**NETWORK.model_dump(), "words": words, "longest": longest, **changes})


class Watched(torch.nn.Module):
    """A network that predicts one number everywhere, and remembers what it sees."""

    def __init__(self):
        super().__init__()
        self.level, self.seen = torch.nn.Parameter(torch.zeros(24, FRAMES, 3, 16, 16)), {}

    def forward(self, shown, times, tokens, **options):
        self.seen = {"shown": shown, "times": times, "tokens": tokens, **options}
        return self.level[: len(shown)]


def batch(count=8):
    found = videos(count)
    ids = [f"example {number}" for number in range(count)]
    return Batch(
        images=found.pixels.float() / 255,
        targets=tokens_of(list(found.captions), built()),
        weights=torch.ones(count),
        positions=torch.arange(count),
        rng=Randomness(3).for_examples(ids),
    )


@pytest.mark.covers("30.1")
@pytest.mark.covers("30.2")
def test_the_objective_shows_given_frames_clean_and_learns_nothing_of_them():
    given, network = batch(24), Watched()
    training = TRAINING.model_copy(update={"image_dropout": 0.4, "text_dropout": 0.4, "mask_ratio": 0.0})
    losses = VideoFlow(built(), training, Stage("joint", 1, 0.0, 0.4))(network, given)
    losses.sum().backward()
    clean, shown = given.images * 2 - 1, network.seen["shown"]
    has_image, has_text = network.seen["with_image"], network.seen["tokens"][:, 0] != 1
    assert {(bool(a), bool(b)) for a, b in zip(has_image, has_text, strict=True)} == {
        (True, True), (True, False), (False, True), (False, False)
    }  # fmt: skip
    same = (shown[:, 0] == clean[:, 0]).flatten(1).all(dim=1)
    assert torch.equal(same, has_image), "without the image the first frame is as noisy as the others"
    silent = network.level.grad[:, 0].flatten(1).abs().amax(dim=1) == 0
    assert torch.equal(silent, has_image)
    assert float(network.level.grad[:, 1:].abs().amax(dim=(2, 3, 4)).min()) > 0


@pytest.mark.covers("30.8")
@pytest.mark.parametrize("each_frame", [False, True])
def test_dropped_positions_are_neither_shown_nor_learned_and_no_frame_is_dropped(each_frame):
    rng = Randomness(0).bind(8)
    kept = kept_positions(rng, FRAMES, 16, 0.5, each_frame=each_frame)
    assert kept.shape == (8, FRAMES if each_frame else 1, 8)
    assert bool((kept.diff(dim=-1) > 0).all()), "each position once"
    assert len({tuple(row) for row in kept.flatten(0, 1).tolist()}) > 6
    assert kept_positions(rng, FRAMES, 16, 0.0, each_frame=each_frame) is None
    network = Watched()
    training = TRAINING.model_copy(update={"mask_each_frame": each_frame})
    VideoFlow(built(), training, Stage("text", 1, 0.5, 1.0))(network, batch()).sum().backward()
    learned = (
        network.level.grad[:8].abs().amax(dim=2).unflatten(-1, (4, 4)).unflatten(-3, (4, 4)).amax(dim=(-3, -1)) > 0
    )
    shown = torch.zeros(8, FRAMES, 16, dtype=torch.bool)
    shown = shown.scatter(2, network.seen["kept"].expand(-1, FRAMES, -1), True)
    assert torch.equal(learned.flatten(2), shown)
    assert bool(shown.any(dim=2).all())


@pytest.mark.covers("30.8")
def test_stages_come_in_order_and_end_without_dropped_positions():
    stages = stages_of(VideoTraining(unmasked_steps=600, mask_ratio=0.5))
    assert [(one.name, one.mask_ratio, one.image_dropout) for one in stages] == [
        ("text", 0.5, 1.0), ("joint", 0.5, 0.1), ("unmasked", 0.0, 0.1)
    ]  # fmt: skip
    text_alone = stages_of(VideoTraining(joint_steps=0, unmasked_steps=5, mask_ratio=0.5))
    assert [(one.name, one.image_dropout) for one in text_alone] == [("text", 1.0), ("unmasked", 1.0)]
    with pytest.raises(InputError, match="one step or more"):
        fit_video_model(
            videos(), built(), VideoTraining(image_steps=0, text_steps=0, joint_steps=0, unmasked_steps=0), seed=0
        )
    with pytest.raises(ValidationError):
        VideoTraining(mask_ratio=1.0)


@pytest.mark.covers("30.12")
def test_a_killed_training_ends_with_the_same_bytes_and_gives_averaged_weights(tmp_path, monkeypatch):
    training = TRAINING.model_copy(update={"checkpoint_every": 1})
    whole = fit_video_model(videos(), built(), training, seed=1, checkpoints=tmp_path / "whole")
    steps, plain = [0], loop._Training.step

    def dying(self, *arguments):
        steps[0] += 1
        if steps[0] == 7:  # inside the third stage
            raise KeyboardInterrupt
        plain(self, *arguments)

    monkeypatch.setattr(loop._Training, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        fit_video_model(videos(), built(), training, seed=1, checkpoints=tmp_path / "killed")
    again = fit_video_model(videos(), built(), training, seed=1, checkpoints=tmp_path / "killed")
    assert steps[0] == 7 + 3, "what was done is not done again"
    assert hash_tensors(again.network.state_dict()) == hash_tensors(whole.network.state_dict())
    other = fit_video_model(videos(), built(), training, seed=2)
    assert hash_tensors(other.network.state_dict()) != hash_tensors(whole.network.state_dict())
    with pytest.raises(RunConflictError, match="another training"):
        fit_video_model(videos(), built(), training.model_copy(update={"text_dropout": 0.3}), seed=1,
                        checkpoints=tmp_path / "killed")  # fmt: skip


@pytest.mark.covers("30.12")
def test_weights_are_the_average_and_not_the_last_ones(monkeypatch):
    averages, plain = [], loop._Training.close_epoch

    def watched(self, epoch):
        averages.append((self.average, self.plain))
        plain(self, epoch)

    monkeypatch.setattr(loop._Training, "close_epoch", watched)
    found = fit_video_model(videos(), built(), TRAINING, seed=0)
    average, last = averages[-1]
    assert len(averages) == 4
    assert hash_tensors(found.network.state_dict()) == hash_tensors(average.state_dict())
    assert hash_tensors(found.network.state_dict()) != hash_tensors(last.state_dict())
    assert not found.network.training
    assert not any(weight.requires_grad for weight in found.network.parameters())


@pytest.mark.covers("30.10")
def test_the_video_stage_begins_with_the_weights_of_the_image_stage(monkeypatch):
    calls, plain = [], fitting.from_image_model

    def watched(weights, network):
        calls.append(hash_tensors(dict(weights)))
        return plain(weights, network)

    monkeypatch.setattr(fitting, "from_image_model", watched)
    fit_video_model(videos(), built(), TRAINING, seed=0)
    assert len(calls) == 1
    start = {name: torch.zeros_like(value) for name, value in VideoTransformer(built()).state_dict().items()}
    with pytest.raises(InputError, match="has no image stage; got 2 steps"):
        fit_video_model(videos(), built(), TRAINING, seed=0, start=start)
    joint = TRAINING.model_copy(update={"image_steps": 0})
    fit_video_model(videos(), built(), joint, seed=0, start=start)
    assert len(calls) == 1, "given weights are not thrown away"
    with pytest.raises(
        InputError, match=r"given weights fit another network: enter.weight is \(32, 48\), and \(16, 48\)"
    ):
        fit_video_model(videos(), built(), joint, seed=0, start=VideoTransformer(built(width=32)).state_dict())
    with pytest.raises(InputError, match="none of the given weights belongs to a video model"):
        fit_video_model(videos(), built(), joint, seed=0, start={"a": torch.zeros(1)})


@pytest.mark.parametrize("frames", [1, FRAMES])
def test_an_image_stage_trains_what_is_returned(frames):
    alone = VideoTraining(image_steps=3, text_steps=0, joint_steps=0, unmasked_steps=0, batch_size=4)
    shown = dataclasses.replace(videos(), pixels=videos().pixels[:, :frames])
    found = fit_video_model(shown, built(frames=frames), alone, seed=0)
    assert float(found.network.head.weight.abs().max()) > 0, "not as it was made"
    assert len(found.history) == 1
    assert found.data


def test_the_objective_draws_shifted_times_and_weighs_errors_by_them():
    losses, times = [], []
    for changes in ({"error_of": "velocity"}, {"error_of": "video"}, {"shift": 1.0}):
        network, training = Watched(), TRAINING.model_copy(update={"mask_ratio": 0.0, **changes})
        losses.append(VideoFlow(built(), training, Stage("text", 1, 0.0, 1.0))(network, batch()).detach())
        times.append(network.seen["times"])
    assert torch.equal(times[0], times[1])
    assert torch.allclose(losses[1], losses[0] * (1 - times[0]).square())
    assert torch.allclose(times[0], times[2] / (times[2] + TRAINING.shift * (1 - times[2])))


def test_training_lowers_the_loss():
    training = VideoTraining(
        image_steps=0, text_steps=60, joint_steps=0, unmasked_steps=0, batch_size=8, mask_ratio=0.0, learning_rate=5e-3
    )
    network = built(width=32)
    found = fit_video_model(videos(16), network, training, seed=0)
    objective = VideoFlow(network, training, Stage("text", 1, 0.0, 1.0))
    with torch.no_grad():
        before, after = (float(objective(one, batch()).mean()) for one in (VideoTransformer(network), found.network))
    assert after < 0.8 * before


def test_videos_are_units_in_the_order_of_their_frames():
    images = MovingShapes(count=3, frames=FRAMES).images(split="train")
    turned = images.select(list(reversed(range(len(images)))))
    found, again = (read_videos(one, frames=3, side=16) for one in (images, turned))
    assert found.pixels.shape == (3, 3, 3, 16, 16)
    assert again.ids == tuple(reversed(found.ids))
    assert torch.equal(again.pixels.flip(0), found.pixels), "by the number of the frame, not of the row"
    assert found.captions[0].startswith("a ")
    short = images.select([0, 1, 2, 3, 4, 5])
    assert dict(read_videos(short, frames=4, side=16).rejected) == {"train/000001": "2 frames, 4 are needed"}
    with pytest.raises(InputError, match="none of the 3 videos"):
        read_videos(images, frames=9, side=16)


def test_videos_of_another_size_and_a_rival_with_other_patterns_are_refused():
    with pytest.raises(InputError, match="takes videos of"):
        fit_video_model(videos(), built(side=8, patch=4), TRAINING, seed=0)
    rival = built(image_by="cross_attention")
    with pytest.raises(InputError, match="first frames alone"):
        VideoFlow(rival, TRAINING.model_copy(update={"patterns": ("ends",)}), Stage("joint", 1, 0.5, 0.1))
    assert fit_video_model(videos(), rival, TRAINING, seed=0).network.architecture.image_by == "cross_attention"
