"""The network: which tokens see which, positions, norms, dropped positions, and its start from an image model."""

import pytest
import torch
from pydantic import ValidationError

from snellen.core.errors import InputError, UnknownNameError
from snellen.systems.text_image_to_video.architecture import VideoArchitecture, tokens_of, without_text
from snellen.systems.text_image_to_video.flow import velocity_towards
from snellen.systems.text_image_to_video.layers import Attention, rotated, rotated_2d
from snellen.systems.text_image_to_video.network import (
    Block,
    Places,
    VideoTransformer,
    cut,
    from_image_model,
    gathered,
    joined,
    spread,
)

#: The head gives the velocity itself: that of a video divides by the rest of the time, which magnifies rounding.
NUMBERS = {
    "head": "velocity",
    "frames": 4,
    "side": 8,
    "patch": 2,
    "width": 16,
    "heads": 2,
    "blocks": 2,
    "text_blocks": 1,
}


def architecture(**changes):
    return VideoArchitecture(**{**NUMBERS, "words": ("red", "star"), "longest": 3, **changes})


def changed(network, seed=0):
    """Weights as after a training, so that no gate is closed."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=draws))
    return network.eval().requires_grad_(False)


def moved(network, frame, row, column, **options):
    """Whether each token of the output changes, bool (F, grid, grid), where one token of the input does."""
    one = network.architecture
    draws = torch.Generator().manual_seed(3)
    videos = torch.randn(1, one.frames, 3, one.side, one.side, generator=draws)
    tokens, time = tokens_of(["red star"], one), torch.tensor([0.4])
    before = network(videos, time, tokens, **options)
    videos[0, frame, :, row * one.patch, column * one.patch] += 1
    change = (network(videos, time, tokens, **options) - before).abs()
    return cut(change, one.patch)[0].amax(dim=-1).unflatten(-1, (one.grid, one.grid)) > 1e-6


def only(network, kind):
    """Close all branches but one, whose attention then alone joins tokens."""
    for block in network.blocks:
        for name in ("spatial", "temporal"):
            if name != kind:
                block.attentions[name].out.weight.zero_()
                block.attentions[name].out.bias.zero_()
    return network


@pytest.mark.covers("30.5")
def test_temporal_attention_joins_one_position_in_both_directions_and_spatial_attention_one_frame():
    found = moved(only(changed(VideoTransformer(architecture())), "temporal"), 2, 1, 3)
    expected = torch.zeros_like(found)
    expected[:, 1, 3] = True
    assert torch.equal(found, expected), "every frame at this position, earlier ones too, and no other position"
    found = moved(only(changed(VideoTransformer(architecture())), "spatial"), 2, 1, 3)
    assert bool(found[2].all())
    assert not found[[0, 1, 3]].any()
    assert bool(moved(changed(VideoTransformer(architecture())), 2, 1, 3).all()), "two blocks join everything"


@pytest.mark.covers("30.5")
def test_causal_attention_looks_back_alone():
    found = moved(changed(VideoTransformer(architecture(causal=True))), 2, 0, 0)
    assert not found[:2].any()
    assert bool(found[2:].all())


@pytest.mark.covers("30.8")
@pytest.mark.parametrize("frames", [1, 4])
def test_dropped_positions_are_zero_and_seen_by_nobody(frames):
    network = changed(VideoTransformer(architecture()))
    kept = torch.stack([torch.randperm(16)[:6].sort().values for _ in range(frames)])[None]
    found = moved(network, 1, *divmod(int(kept[0, 1 % frames, 2]), 4), kept=kept)
    here = torch.zeros(4, 16, dtype=torch.bool).scatter(1, kept[0].expand(4, -1), True).view(4, 4, 4)
    assert not found[~here].any()
    assert bool(found[1][here[1]].all()), "the frame that was changed"
    dropped = next(spot for spot in range(16) if spot not in kept[0, 1 % frames].tolist())
    assert not moved(network, 1, *divmod(dropped, 4), kept=kept).any()


@pytest.mark.covers("30.8")
def test_temporal_attention_does_not_mix_positions_where_each_frame_drops_others():
    network = only(changed(VideoTransformer(architecture())), "temporal")
    kept = torch.stack(
        [torch.randperm(16, generator=torch.Generator().manual_seed(n))[:9].sort().values for n in range(4)]
    )
    spot = int(kept[1, 4])
    found = moved(network, 1, *divmod(spot, 4), kept=kept[None]).flatten(1)
    for frame in range(4):
        expected = torch.zeros(16, dtype=torch.bool)
        expected[spot] = spot in kept[frame].tolist()
        assert torch.equal(found[frame], expected)


def test_keeping_all_positions_is_dropping_none():
    network = changed(VideoTransformer(architecture()))
    videos, times, tokens = torch.randn(2, 4, 3, 8, 8), torch.rand(2), tokens_of(["red", ""], network.architecture)
    whole = network(videos, times, tokens)
    for frames in (1, 4):
        kept = torch.arange(16).expand(2, frames, -1)
        assert torch.allclose(network(videos, times, tokens, kept=kept), whole, atol=1e-5)


@pytest.mark.covers("30.10")
def test_a_video_model_from_an_image_model_makes_every_frame_as_that_does():
    images = changed(VideoTransformer(architecture(frames=1)))
    fresh = changed(VideoTransformer(architecture()), seed=5)
    network = from_image_model(images.state_dict(), fresh)
    videos, times, tokens = torch.randn(2, 4, 3, 8, 8), torch.rand(2), tokens_of(["red star", ""], network.architecture)
    made = network(videos, times, tokens)
    for frame in range(4):
        assert torch.allclose(
            made[:, frame : frame + 1], images(videos[:, frame : frame + 1], times, tokens), atol=1e-6
        )
    # The new layers can learn: their gates have a gradient.
    network.requires_grad_(True)
    network(videos, times, tokens).square().sum().backward()
    offsets = network.blocks[0].offsets.grad
    assert float(offsets[1, 2].abs().max()) > 0
    with pytest.raises(ValueError, match="has another shape"):
        from_image_model({"enter.weight": torch.zeros(3, 3)}, fresh)


def test_a_new_network_is_the_identity_of_its_tokens_and_predicts_nothing():
    network = VideoTransformer(architecture())
    videos, times, tokens = torch.randn(2, 4, 3, 8, 8), torch.rand(2), tokens_of(["red", ""], network.architecture)
    assert float(network(videos, times, tokens).detach().abs().max()) == 0


@pytest.mark.parametrize("kept", [None, torch.tensor([[[0, 3, 5]], [[1, 2, 9]]])])
def test_a_head_of_videos_gives_the_velocity_that_leads_to_what_it_shows(kept):
    """Of weights that are the same, one head gives v = h and the other v = (h − xₜ) / (1 − t)."""
    shown, plain = (VideoTransformer(architecture(head=head)) for head in ("video", "velocity"))
    plain.load_state_dict(changed(shown).state_dict())
    videos, times = torch.randn(2, 4, 3, 8, 8), torch.tensor([0.25, 0.5])
    tokens = tokens_of(["red", ""], shown.architecture)
    with torch.no_grad():
        change, video = (network(videos, times, tokens, kept=kept) for network in (shown, plain))
    here = torch.ones(2, 16) if kept is None else torch.zeros(2, 16).scatter(1, kept[:, 0], 1.0)
    here = here.view(2, 1, 1, 4, 4).repeat_interleave(2, -2).repeat_interleave(2, -1)
    led = (videos + (1 - times).view(2, 1, 1, 1, 1) * change) * here
    torch.testing.assert_close(led, video, atol=1e-5, rtol=1e-5)
    assert float((change * (1 - here)).abs().max()) == 0, "nothing where a position is dropped"


def test_a_velocity_is_bounded_at_the_end_of_the_time():
    video, noisy = torch.ones(2, 1), torch.zeros(2, 1)
    assert velocity_towards(video, noisy, torch.tensor([0.99, 1.0])).flatten().tolist() == pytest.approx([20.0, 20.0])


@pytest.mark.covers("30.7")
def test_norms_are_there_and_can_be_switched_off():
    plain = Block(architecture())
    assert set(plain.behind) == set(plain.before) == {"spatial", "temporal", "cross", "mlp"}
    assert not [name for name, _ in plain.named_parameters() if "before" in name or "behind" in name], "no state"
    learned = Block(architecture(stateless_norm=False))
    assert len([name for name, _ in learned.named_parameters() if "before" in name or "behind" in name]) == 16
    assert not Block(architecture(sandwich_norm=False)).behind
    torch.manual_seed(0)
    for normalised in (True, False):
        attention = Attention(8, 2, query_key_norm=normalised)
        shown = torch.randn(1, 5, 8)
        with torch.no_grad():
            before = attention(shown)
            attention.query.weight.mul_(50)
            attention.query.bias.mul_(50)
            far = float((attention(shown) - before).abs().max())
        assert (far < 1e-3) == normalised, "the length of queries matters only without their norm"
    # A branch of any size is brought back to one size before it is added.
    for sandwich in (True, False):
        network = changed(VideoTransformer(architecture(sandwich_norm=sandwich)))
        sizes = []
        for factor in (1, 100):
            network.blocks[0].mlp[2].weight.mul_(factor)
            network.blocks[0].mlp[2].bias.mul_(factor)
            shown = torch.ones(1, 4, 16, 16) + torch.randn(16, generator=torch.Generator().manual_seed(1))
            places = Places(network.architecture, 4, None, shown.device)
            mask = torch.ones(1, 3, dtype=torch.bool)
            sizes.append(
                float(network.blocks[0](shown, torch.ones(1, 3, 3, 16), torch.ones(1, 3, 16), mask, places).norm())
            )
        assert (sizes[1] < 1.05 * sizes[0]) == sandwich


def test_rotary_products_depend_on_the_distance_alone():
    draws = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 8, generator=draws)

    def product(a, b):
        return float((rotated(first[None], torch.tensor([a])) * rotated(second[None], torch.tensor([b]))).sum())

    assert product(1.0, 4.0) == pytest.approx(product(11.0, 14.0), abs=1e-4)
    assert product(1.0, 4.0) != pytest.approx(product(1.0, 5.0), abs=1e-2)
    turn = lambda v, r, c: rotated_2d(v[None], torch.tensor([r]), torch.tensor([c]))  # noqa: E731
    pair = lambda a, b: float((turn(first, *a) * turn(second, *b)).sum())  # noqa: E731
    assert pair((0.0, 1.0), (2.0, 3.0)) == pytest.approx(pair((5.0, 4.0), (7.0, 6.0)), abs=1e-4)
    assert pair((0.0, 1.0), (2.0, 3.0)) != pytest.approx(pair((1.0, 0.0), (3.0, 2.0 + 1)), abs=1e-3)


def test_with_whole_turns_a_video_that_is_moved_over_the_edge_comes_out_moved():
    """The frame is a ring in both directions then; with falling rates it has an edge."""
    draws = torch.Generator().manual_seed(4)
    videos, time = torch.randn(1, 4, 3, 8, 8, generator=draws), torch.tensor([0.4])
    for rotary in ("whole_turns", "falling"):
        network = changed(VideoTransformer(architecture(rotary=rotary)))
        tokens = tokens_of(["red star"], network.architecture)
        by = {"shifts": (2, -4), "dims": (-2, -1)}
        found, expected = network(videos.roll(**by), time, tokens), network(videos, time, tokens).roll(**by)
        assert torch.allclose(found, expected, atol=1e-5) == (rotary == "whole_turns")


def test_a_learned_factor_of_queries_lets_a_small_head_look_at_one_place():
    draws = torch.Generator().manual_seed(0)
    shown = torch.randn(1, 16, 16, generator=draws)
    torch.manual_seed(0)
    plain, scaled = (Attention(16, 1, query_key_norm=True, query_scale=learned) for learned in (False, True))
    assert plain.log_scale is None
    assert Attention(16, 1, query_key_norm=False, query_scale=True).log_scale is None
    with torch.no_grad():
        for attention in (plain, scaled):  # keys are queries; values and output are what is shown
            attention.query.weight.copy_(torch.eye(16))
            attention.key_value.weight.copy_(torch.cat([torch.eye(16)] * 2))
            attention.out.weight.copy_(torch.eye(16))
            for layer in (attention.query, attention.key_value, attention.out):
                layer.bias.zero_()
        scaled.log_scale.zero_()
        assert torch.allclose(plain(shown), scaled(shown), atol=1e-6)
        scaled.log_scale.fill_(3)
        assert torch.allclose(scaled(shown), shown, atol=1e-3)
        assert float((plain(shown) - shown).abs().max()) > 0.1, "4 is the largest product of 16 normalised numbers"


def test_positions_of_longer_videos_are_interpolated_and_those_of_shorter_ones_are_the_first():
    one = architecture()
    same, longer, shorter = (Places(one, frames, None, torch.device("cpu")) for frames in (4, 8, 2))
    assert same.rows.max() == same.columns.max() == 3
    assert same.times.tolist() == [[0, 1, 2, 3]]
    assert longer.times.max() == 3.5
    assert shorter.times.tolist() == [[0, 1]]
    network = changed(VideoTransformer(one))
    assert network(torch.randn(1, 6, 3, 8, 8), torch.rand(1), tokens_of([""], one)).shape == (1, 6, 3, 8, 8)
    # With attention to earlier frames alone, the first two frames are the same alone and in a whole video.
    looking_back = changed(VideoTransformer(architecture(causal=True)))
    videos, time, tokens = torch.randn(1, 4, 3, 8, 8), torch.rand(1), tokens_of(["red"], one)
    whole, part = looking_back(videos, time, tokens), looking_back(videos[:, :2], time, tokens)
    assert torch.allclose(whole[:, :2], part, atol=1e-5)


def test_patches_come_back():
    videos = torch.randn(2, 4, 3, 8, 8)
    patches = cut(videos, 2)
    assert patches.shape == (2, 4, 16, 12)
    assert torch.equal(patches[0, 0, 1].view(3, 2, 2), videos[0, 0, :, :2, 2:4]), "row by row"
    assert torch.equal(joined(patches, 2, 8), videos)
    kept = torch.tensor([[[1, 5]], [[0, 15]]])
    found = spread(gathered(patches, kept), kept, 16)
    assert torch.equal(found[1, :, 15], patches[1, :, 15])
    assert float(found[1, :, 1:15].abs().max()) == 0


def test_the_text_multiplies_what_tokens_hold_and_filler_is_no_text():
    for pooled in (True, False):
        network = VideoTransformer(architecture(pooled_text=pooled))
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if "cross" not in name:  # the branch that adds the text stays closed
                    weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
        calls = []
        network.text.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        videos, time = torch.randn(1, 4, 3, 8, 8), torch.rand(1)
        one, other = (network(videos, time, tokens_of([text], network.architecture)) for text in ("red", "star"))
        assert torch.equal(one, other) != pooled
        assert len(calls) == 2, "the encoder is called once"
    network = changed(VideoTransformer(architecture()))
    short = changed(VideoTransformer(architecture(longest=1)))
    short.load_state_dict({**network.state_dict(), "text.places": network.text.places[:1]})
    wide, narrow = (each(videos, time, tokens_of(["red"], each.architecture)) for each in (network, short))
    assert torch.allclose(wide, narrow, atol=1e-5)


@pytest.mark.covers("30.4")
def test_a_network_with_cross_attention_sees_the_image_only_where_it_has_one():
    network = changed(VideoTransformer(architecture(image_by="cross_attention")))
    videos, times, tokens = torch.randn(2, 4, 3, 8, 8), torch.rand(2), tokens_of(["red", "red"], network.architecture)
    first, second = torch.randn(2, 2, 3, 8, 8)
    mask = torch.tensor([True, False])
    one = network(videos, times, tokens, image=first, with_image=mask)
    other = network(videos, times, tokens, image=second, with_image=mask)
    assert not torch.allclose(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert torch.allclose(one[1], network(videos, times, tokens)[1], atol=1e-6), "no image is no token, not a black one"
    black = network(videos, times, tokens, image=torch.zeros_like(first))
    assert not torch.allclose(black[1], one[1])


def test_texts_become_tokens_and_the_null_text_is_one_of_its_own():
    one = architecture(words=("a", "red", "star"), longest=4)
    assert tokens_of(["A red, red star!", ""], one).tolist() == [[2, 3, 3, 4], [1, 0, 0, 0]]
    dropped = without_text(tokens_of(["red", "red"], one), torch.tensor([True, False]))
    assert dropped.tolist() == [[3, 0, 0, 0], [1, 0, 0, 0]]
    with pytest.raises(UnknownNameError, match="unknown word for this video model 'stra'; did you mean 'star'"):
        tokens_of(["a stra"], one)
    with pytest.raises(InputError, match="has 5 words, and this video model reads 4; shorten it"):
        tokens_of(["a red red red star"], one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 3}, "8 pixels cannot be cut into patches of 3"),
        ({"heads": 3}, "multiple of 4 numbers"),
        ({"words": ("red", "red")}, "each word once"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        architecture(**changes)
