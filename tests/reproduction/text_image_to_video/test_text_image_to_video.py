"""The experiment's parts: arms of one start and one recipe, captions of other directions, figures of every claim."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.sample import Sample
from snellen.reproduction.text_image_to_video import experiment, full
from snellen.reproduction.text_image_to_video.experiment import (
    ARMS,
    SMALL,
    Experiment,
    small_world,
    subjects_of,
    text_image_to_video,
    turned_caption,
)
from snellen.systems.text_image_to_video.measures import DIRECTIONS, psnr
from snellen.systems.text_image_to_video.videos import Videos, read_videos


@pytest.fixture(scope="module")
def run():
    starts, plain = [], experiment.fit_video_model

    def watched(videos, network, training, **options):
        start = options.get("start")
        starts.append((network, training, None if start is None else hash_tensors(dict(start)), len(videos.ids)))
        return plain(videos, network, training, **options)

    experiment.fit_video_model = watched
    try:
        return text_image_to_video("smoke", 0, Silent()), starts
    finally:
        experiment.fit_video_model = plain


def test_a_smoke_run_has_every_figure_of_every_claim(run):
    figures, _ = run
    system = find_system("text_image_to_video")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    for claim in system.claims:
        ours, baseline = figures[claim.metric], figures[claim.baseline]
        assert isinstance(ours, Sample)
        assert isinstance(baseline, Sample)
        assert len(ours.values) == len(baseline.values) == 4, "paired, video by video"


def test_all_arms_begin_with_the_same_weights_and_are_trained_as_long(run):
    _, starts = run
    assert [start is None for _, _, start, _ in starts] == [True, False, False, False]
    assert len({start for _, _, start, _ in starts[1:]}) == 1
    changed = {"image_dropout"}
    assert len({training.model_dump_json(exclude=changed) for _, training, _, _ in starts[1:]}) == 1
    assert [network.image_by for network, _, _, _ in starts[1:]] == ["replacement", "cross_attention", "replacement"]
    assert [training.image_dropout for _, training, _, _ in starts[1:]] == [0.1, 0.1, 0.0]
    assert tuple(ARMS) == ("replacement", "cross_attention", "no_dropout")
    assert SMALL.arm.image_dropout > 0


def test_other_captions_ask_for_another_direction_and_nothing_else():
    for direction in DIRECTIONS:
        caption = f"a red cross moves {direction} fast on grey"
        turned = turned_caption(caption)
        different = [(one, other) for one, other in zip(caption.split(), turned.split(), strict=True) if one != other]
        assert [one for one, _ in different] == [direction]
        assert different[0][1] in DIRECTIONS


def test_measures_of_perfect_and_of_still_videos(run):
    figures, _ = run
    assert figures["real.second_frame"].mean == 60
    assert figures["real.motion"].mean == 1
    assert figures["replacement.first_frame"].mean == pytest.approx(60, abs=1e-3), "the given frame is given back"
    assert figures["cross_attention.first_frame"].mean < 60
    assert figures["still.second_frame"].mean < 30
    assert figures["real.dynamic"].mean == pytest.approx(2, abs=0.2), "an eighth of 16 pixels"


def test_gates_and_claims_of_motion_are_guarded(run):
    figures, _ = run
    system = find_system("text_image_to_video")
    gates = {gate.id: gate for gate in system.gates}
    claims = {claim.id: claim for claim in system.claims}
    assert gates["beats_still"].metric == "replacement.over_still"
    over = np.subtract(figures["replacement.second_frame"].values, figures["still.second_frame"].values)
    assert np.allclose(figures["replacement.over_still"].values, over, atol=1e-3)
    assert {"moves", "beats_still"} <= set(claims["30.a"].gates) & set(claims["30.e"].gates)
    assert "moves" in claims["30.b"].gates
    assert gates["moves"].scales == claims["30.d"].scales == ("small",), "no words name the motion of ordinary videos"
    assert claims["30.c"].threshold == 0.1


def test_captions_that_cannot_be_read_are_refused_before_anything_is_trained(monkeypatch):
    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(experiment, "train_student", never)
    monkeypatch.setattr(experiment, "fit_video_model", never)
    size = experiment.SMOKE
    train, test = (
        read_videos(small_world(4, 3, 0).images(split=split), frames=3, side=16) for split in ("train", "test")
    )
    labels = (subjects_of(train), subjects_of(test))
    for caption, message in (("a red heart on pavement", "'pavement'"), (" ".join(["a"] * 40), "has 40 words")):
        bad = dataclasses.replace(test, captions=(caption, *test.captions[1:]))
        with pytest.raises((InputError, UnknownNameError), match=message):
            Experiment(train, bad, labels, size, 0, Silent())
    # A word of a turned caption is known also where no training caption has it.
    one_way = dataclasses.replace(train, captions=("a red heart moves left fast on black",) * 4)
    same = dataclasses.replace(test, captions=one_way.captions)
    with pytest.raises(AssertionError, match="trained"):
        Experiment(one_way, same, labels, size, 0, Silent())


def test_videos_are_sampled_a_few_at_once_and_come_out_the_same(run, monkeypatch):
    figures, _ = run
    sizes, plain = [], experiment.VideoModel.generate

    def watched(self, texts, *arguments, **options):
        sizes.append(len(texts))
        return plain(self, texts, *arguments, **options)

    monkeypatch.setattr(experiment.VideoModel, "generate", watched)
    monkeypatch.setattr(experiment, "_AT_ONCE", 3)
    again = text_image_to_video("smoke", 0, Silent())
    assert set(sizes) == {3, 1}
    assert np.allclose(again["replacement.second_frame"].values, figures["replacement.second_frame"].values, atol=1e-3)


def test_subjects_are_colour_and_shape():
    captions = (
        "a red ring moves up fast on grey",
        "a blue heart moves up fast on grey",
        "a red ring moves left fast",
    )
    videos = Videos(torch.zeros(3, 2, 3, 4, 4, dtype=torch.uint8), captions, ("a", "b", "c"), (0, 1, 2))
    first, second, third = subjects_of(videos).tolist()
    assert first == third != second


def test_shapes_of_the_small_world_differ_by_more_than_the_error_of_its_network():
    """Of a circle and a square, 26 decibels apart, a network that reaches 25 need draw one alone."""
    drawn = small_world(48, 1, 0)

    def picture(shape):
        images = drawn.model_copy(update={"shapes": (shape,)}).images(split="test")
        return to_unit(read_videos(images, frames=1, side=16).pixels)[None]

    pictures = [picture(shape) for shape in drawn.shapes]
    assert max(float(psnr(a, b)) for a, b in itertools.combinations(pictures, 2)) < 21
    assert max(float(psnr(sum(pictures) / 3, one)) for one in pictures) < 25.5
    assert float(psnr(picture("circle"), picture("square"))) > 26


def test_the_judge_of_subjects_tells_colours_apart():
    """Red, green and blue of one grey: a network that reads grey sees no difference between them."""
    size = dataclasses.replace(SMALL, judge=1)
    train = read_videos(small_world(60, 3, 0).images(split="train"), frames=3, side=16)
    judge = Experiment(train, train, (subjects_of(train), subjects_of(train)), size, 0, Silent()).judge
    images = 0.6 * torch.eye(3)[:, :, None, None].expand(3, 3, 16, 16)
    scores = judge(images)
    assert min((scores[a] - scores[b]).abs().max() for a, b in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_the_full_scale_says_what_it_needs_and_its_parts_run_on_real_shapes(monkeypatch, tmp_path):
    monkeypatch.delenv(full.DATA, raising=False)
    with pytest.raises(InputError, match="unit_id"):
        text_image_to_video("full", 0, Silent())
    network, base, arm, sampling = full.full_size()
    assert (network.frames, network.side, network.width, network.blocks) == (16, 64, 768, 12)
    assert (base.text_steps, arm.joint_steps + arm.unmasked_steps) == (100_000, 50_000)
    rows = ["path,label,unit_id,caption,attributes,split"]
    for split in ("train", "test"):
        for video in range(2):
            for frame in range(16):
                name = f"{split}-{video}-{frame}.png"
                noise = np.random.default_rng(frame).integers(0, 255, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(noise).save(tmp_path / name)
                number = json.dumps({"frame": frame}).replace('"', '""')
                rows.append(f'{name},{"ab"[video]},{split}{video},a thing,"{number}",{split}')
    (tmp_path / "frames.csv").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.setenv(full.DATA, str(tmp_path / "frames.csv"))
    train, test, labels = full.full_material(network, Silent())
    assert train.pixels.shape == test.pixels.shape == (2, 16, 3, 64, 64)
    assert [one.tolist() for one in labels] == [[0, 1], [0, 1]]
    # Width and depth as in tests of the small scale; frames, pixels and tokens as at full scale.
    few = {"image_steps": 0, "text_steps": 1, "batch_size": 1, "accumulate": 2, "mixed_precision": "no"}
    narrow = network.model_copy(update={"width": 16, "heads": 2, "blocks": 1, "text_blocks": 1})
    one = {"joint_steps": 1, "unmasked_steps": 0, "text_steps": 0}
    size = experiment.Size(
        train=0, test=0, network=narrow, base=base.model_copy(update=few), arm=arm.model_copy(update=few | one),
        sampling=sampling.model_copy(update={"steps": 1}), judge=1,
    )  # fmt: skip
    figures = Experiment(train, test, labels, size, 0, Silent()).figures()
    assert np.isfinite(figures["replacement.second_frame"].mean)
    assert len(figures["no_dropout.dynamic"].values) == 2
