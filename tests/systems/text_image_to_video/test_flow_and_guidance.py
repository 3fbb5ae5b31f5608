"""Path, replacement, dropped conditions, guidance and Euler steps, against hand computation."""

import itertools

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.text_image_to_video.flow import (
    check_generated,
    draw_conditions,
    draw_times,
    error_weights,
    masked_loss,
    on_path,
    replace_frames,
    shifted,
    velocity,
)
from snellen.systems.text_image_to_video.guidance import CONDITIONAL, guided, passes, renormalised
from snellen.systems.text_image_to_video.sampling import sample_videos

SHAPE = (2, 3, 3, 4, 4)


def videos(seed, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


FIRST = torch.tensor([[True, False, False]]).expand(2, -1)
NONE = torch.zeros(2, 3, dtype=torch.bool)


@pytest.mark.covers("30.6")
def test_time_zero_is_noise_and_one_euler_step_with_the_true_velocity_gives_the_video():
    clean, noise = videos(0), videos(1)
    assert torch.equal(on_path(clean, noise, torch.zeros(2)), noise)
    assert torch.equal(on_path(clean, noise, torch.ones(2)), clean)
    times = torch.tensor([0.2, 0.9])
    here = on_path(clean, noise, times)
    left = (1 - times)[:, None, None, None, None]
    assert torch.allclose(here + left * velocity(clean, noise), clean, atol=1e-6)
    truth = lambda now, *_: velocity(clean, noise)  # noqa: E731
    made = sample_videos(truth, noise, clean, NONE, (CONDITIONAL,), steps=1)
    assert torch.allclose(made, clean, atol=1e-6)
    # A point mass: v(x, t) = (x1 − x) / (1 − t) leads there in any number of steps.
    towards = lambda now, t, *_: (clean - now) / (1 - t)[:, None, None, None, None]  # noqa: E731
    assert torch.allclose(sample_videos(towards, noise, clean, NONE, (CONDITIONAL,), steps=5), clean, atol=1e-5)


@pytest.mark.covers("30.1")
def test_given_frames_are_clean_in_the_input_and_have_no_gradient_in_the_loss():
    clean, noise = videos(0), videos(1)
    noisy = replace_frames(on_path(clean, noise, torch.full((2,), 0.3)), clean, FIRST)
    assert torch.equal(noisy[:, 0], clean[:, 0])
    assert torch.allclose(noisy[:, 1], 0.3 * clean[:, 1] + 0.7 * noise[:, 1])
    predicted = videos(2).requires_grad_()
    losses = masked_loss(predicted, velocity(clean, noise), ~FIRST[:, :, None, None, None])
    losses.sum().backward()
    assert float(predicted.grad[:, 0].abs().max()) == 0
    assert float(predicted.grad[:, 1:].abs().min()) > 0
    expected = (predicted - velocity(clean, noise))[:, 1:].square().flatten(1).mean(dim=1)
    assert torch.allclose(losses, expected), "the mean is over what counts, not over all frames"


@pytest.mark.covers("30.2")
def test_text_and_image_are_dropped_independently_and_all_four_combinations_occur():
    rng = Randomness(0).for_examples([str(number) for number in range(4000)])
    drawn = draw_conditions(rng, 5, image_dropout=0.3, text_dropout=0.2)
    shares = {
        (image, text): float(((drawn.with_image == image) & (drawn.with_text == text)).float().mean())
        for image in (True, False)
        for text in (True, False)
    }
    wanted = {(True, True): 0.56, (True, False): 0.14, (False, True): 0.24, (False, False): 0.06}
    assert shares == pytest.approx(wanted, abs=0.03)
    assert set(map(tuple, drawn.replaced.int().tolist())) == {(0,) * 5, (1, 0, 0, 0, 0)}
    same = draw_conditions(rng[[7]], 5, image_dropout=0.3, text_dropout=0.2)
    assert torch.equal(same.replaced[0], drawn.replaced[7]), "a draw belongs to its example, and to no batch"


@pytest.mark.covers("30.11")
def test_one_mask_serves_first_frames_ends_prefixes_and_any_frames():
    rng = Randomness(0).for_examples([str(number) for number in range(400)])
    every = ("first", "ends", "prefix", "any")
    drawn = draw_conditions(rng, 4, image_dropout=0.0, text_dropout=0.0, patterns=every)
    rows = set(map(tuple, drawn.replaced.int().tolist()))
    assert {(1, 0, 0, 0), (1, 0, 0, 1), (1, 1, 0, 0), (1, 1, 1, 0), (0, 1, 0, 1)} <= rows
    assert (1, 1, 1, 1) not in rows, "something is left to generate"
    assert not draw_conditions(rng, 1, image_dropout=0.0, text_dropout=0.0, patterns=every).with_image.any()
    with pytest.raises(InputError, match="pattern of given frames"):
        draw_conditions(rng, 4, image_dropout=0.0, text_dropout=0.0, patterns=())
    with pytest.raises(InputError, match="video 1 has all of its 3 frames given"):
        check_generated(torch.tensor([[True, False, False], [True, True, True]]))


def test_times_lie_inside_and_logit_normal_ones_are_in_the_middle():
    rng = Randomness(0).bind(3000)
    normal, uniform = draw_times(rng), draw_times(rng, "uniform")
    for times in (normal, uniform):
        assert float(times.min()) > 0
        assert float(times.max()) < 1
        assert float(times.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(normal.std()) < 0.22 < 0.27 < float(uniform.std())


def test_shifted_times_lie_nearer_to_noise_in_training_and_in_sampling():
    rng = Randomness(0).bind(3000)
    assert torch.equal(draw_times(rng, shift=4.0), shifted(draw_times(rng), 4.0))
    assert (
        float((draw_times(rng, shift=8.0) < 0.1).float().mean())
        > 0.4
        > 0.02
        > float((draw_times(rng) < 0.1).float().mean())
    )
    seen = []

    def predict(shown, times, *_):
        seen.append(float(times[0]))
        return times[:, None, None, None, None].expand_as(shown)

    noise = videos(1)
    made = sample_videos(predict, noise, videos(0), NONE, (CONDITIONAL,), steps=3, shift=4.0)
    times = [0, 1 / 9, 1 / 3, 1]  # t / (t + 4·(1 − t)) of 0, 1/3, 2/3, 1
    assert seen == pytest.approx(times[:3])
    moved = sum(here * (there - here) for here, there in itertools.pairwise(times))
    assert torch.allclose(made - noise, torch.full(SHAPE, moved), atol=1e-6)


def test_the_weighted_error_of_the_velocity_is_the_error_of_the_video():
    clean, noise, predicted, times = videos(0), videos(1), videos(2), torch.tensor([0.3, 0.9])
    everything = torch.ones(2, 3, 1, 1, 1, dtype=torch.bool)
    losses = masked_loss(predicted, velocity(clean, noise), everything) * error_weights(times, "video")
    reached = on_path(clean, noise, times) + (1 - times)[:, None, None, None, None] * predicted
    assert torch.allclose(losses, (reached - clean).square().flatten(1).mean(dim=1), atol=1e-5)


@pytest.mark.covers("30.3")
def test_joint_guidance_drops_both_and_a_scale_of_one_is_the_conditional_prediction():
    assert passes("joint", 1.0) == passes("text", 1.0) == passes("separate", 1.0) == (CONDITIONAL,)
    joint, text = passes("joint", 4.0), passes("text", 4.0)
    assert [(one.text, one.image) for one in joint] == [(True, True), (False, False)]
    assert [(one.text, one.image) for one in text] == [(True, True), (False, True)]
    separate = passes("separate", 4.0, 2.0)
    assert [(one.text, one.image) for one in separate] == [(True, True), (False, True), (False, False)]
    for found in (joint, text, separate):
        assert sum(one.weight for one in found) == pytest.approx(1)
    both, image, nothing = videos(0), videos(1), videos(2)
    assert torch.allclose(
        guided([both, nothing], [one.weight for one in joint]), nothing + 4 * (both - nothing), atol=1e-5
    )
    found = guided([both, image, nothing], [one.weight for one in separate])
    assert torch.allclose(found, nothing + 2 * (image - nothing) + 4 * (both - image), atol=1e-5)
    # Equal scales of image and text are joint guidance.
    assert passes("separate", 3.0)[0].weight == 3
    assert len(passes("separate", 3.0)) == 2


@pytest.mark.parametrize(
    ("kind", "scale", "own"), [("joint", -0.1, None), ("text", float("nan"), None), ("joint", 2, 2)]
)
def test_scales_that_make_no_sense_are_refused(kind, scale, own):
    with pytest.raises(InputError, match=r"where 1 means none|goes with guidance 'separate'"):
        passes(kind, scale, own)


@pytest.mark.covers("30.9")
@pytest.mark.parametrize("norm", ["video", "frame"])
def test_renormalisation_gives_the_norm_of_the_conditional_prediction(norm):
    strong, plain, generated = 7 * videos(0), videos(1), ~FIRST
    found = renormalised(strong, plain, norm, generated)
    axes = (1, 2, 3, 4) if norm == "video" else (2, 3, 4)
    size = lambda videos: torch.linalg.vector_norm(videos[:, 1:], dim=axes)  # noqa: E731
    assert torch.allclose(size(found), size(plain), atol=1e-4)
    assert torch.allclose(
        torch.cosine_similarity(found[:, 1:].flatten(2), strong[:, 1:].flatten(2), dim=-1), torch.ones(2, 2)
    )
    assert torch.equal(renormalised(strong, plain, "none", generated), strong)
    nothing = torch.zeros(SHAPE)
    assert torch.equal(renormalised(nothing, plain, norm, generated), nothing), "no number is made up"


class Recorder:
    """Remembers what the network sees, and predicts something of it."""

    def __init__(self):
        self.calls = []

    def __call__(self, shown, times, with_text, with_image):
        self.calls.append((shown.clone(), times, with_text, with_image))
        return 0.1 * shown + with_text[:, None, None, None, None] + 2 * with_image[:, None, None, None, None]


@pytest.mark.covers("30.1")
@pytest.mark.covers("30.3")
@pytest.mark.covers("30.4")
@pytest.mark.parametrize("reference", ["noised", "tracked"])
def test_given_frames_are_put_back_before_each_step_and_the_reference_never_sees_them(reference):
    clean, noise, recorder = videos(0), videos(1), Recorder()
    made = sample_videos(recorder, noise, clean, FIRST, passes("joint", 3.0), steps=4, reference_frame=reference)
    assert torch.equal(made[:, 0], clean[:, 0])
    assert len(recorder.calls) == 4, "both passes go through the network as one batch"
    for number, (shown, times, with_text, with_image) in enumerate(recorder.calls):
        assert torch.allclose(times, torch.full((4,), number / 4))
        assert with_text.tolist() == with_image.tolist() == [True, True, False, False]
        assert torch.equal(shown[:2, 0], clean[:, 0]), "clean at every step"
        reference_sees = shown[2:, 0]
        assert not torch.isclose(reference_sees, clean[:, 0], atol=1e-3).all()
        assert float(reference_sees.abs().max()) > 0, "a null image is not a black one"
        if reference == "noised":
            assert torch.allclose(reference_sees, on_path(clean, noise, torch.full((2,), number / 4))[:, 0])
        elif number:
            assert not torch.allclose(reference_sees, on_path(clean, noise, torch.full((2,), number / 4))[:, 0])
        assert torch.equal(shown[2:, 1:], shown[:2, 1:])


@pytest.mark.covers("30.4")
def test_without_an_image_nothing_is_replaced():
    clean, noise, recorder = torch.zeros(SHAPE), videos(1), Recorder()
    sample_videos(recorder, noise, clean, NONE, passes("joint", 3.0), steps=1)
    assert torch.equal(recorder.calls[0][0][:2], noise)
    black = Recorder()
    sample_videos(black, noise, clean, FIRST, passes("joint", 3.0), steps=1)
    assert float(black.calls[0][0][:2, 0].abs().max()) == 0


@pytest.mark.covers("30.11")
def test_any_frames_may_be_given_and_a_video_does_not_depend_on_its_neighbours():
    clean, noise = videos(0), videos(1)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    predict = Recorder()
    made = sample_videos(predict, noise, clean, mask, passes("text", 2.0), steps=3, norm="video")
    assert torch.equal(made[mask], clean[mask])
    assert not torch.isclose(made[~mask], clean[~mask]).all()
    alone = sample_videos(predict, noise[1:], clean[1:], mask[1:], passes("text", 2.0), steps=3, norm="video")
    assert torch.allclose(alone[0], made[1], atol=1e-6)
    with pytest.raises(InputError, match="nothing to generate"):
        sample_videos(predict, noise, clean, torch.ones(2, 3, dtype=torch.bool), (CONDITIONAL,), steps=3)
    with pytest.raises(InputError, match="one step or more"):
        sample_videos(predict, noise, clean, mask, (CONDITIONAL,), steps=0)
