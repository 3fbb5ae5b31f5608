"""Randomness is a function of seed, example, stream and path, and of nothing else."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.checks.independent import in_first_half
from snellen.core.randomness import Randomness, derive_seed, stream_name
from snellen.data.worlds.optotypes.scenes import Scenes

parts = st.lists(st.integers() | st.text() | st.floats(allow_nan=False), max_size=4)
ids = st.lists(st.text(max_size=8), min_size=1, max_size=8, unique=True)


def test_seeds_are_those_of_earlier_versions():
    """Recorded once: a change here changes every number that was ever reported."""
    assert derive_seed() == 8238016292129134938
    assert derive_seed(0) == 5238861445096578620
    assert derive_seed(0, "image-1", "noise") == 8175923166716717299
    assert derive_seed("ä", 1.5, -3) == 1117288446417517143


def test_draws_of_the_validation_split_are_those_of_earlier_versions():
    """Recorded when the split was called tune: streams, ids, scenes of a world and the halves of an audit."""
    world = Scenes(count=3, shapes=("star", "ring"))
    images = world.images(split="val")
    assert [scene.seed for scene in world.scenes("val")] == [
        7845720476846898937, 5357106028559690494, 7706762437126347640,
    ]  # fmt: skip
    assert [images.content_hash(row)[:8] for row in range(3)] == ["034a886c", "b14a6abc", "81a5a749"]
    assert images.ids == ["val/000000", "val/000001", "val/000002"]
    drawn = Randomness(5).for_examples(images.ids).uniform("noise", (1,)).flatten().tolist()
    assert drawn == [0.024949491024017334, 0.9838231205940247, 0.7247291207313538]
    assert Randomness(5).child("val").generator("order").initial_seed() == 2347931380005842206
    units = [f"image {one}" for one in images.ids] + ["unit val/p-1"]
    assert in_first_half(units).tolist() == [False, True, False, True]


@pytest.mark.parametrize("name", ["interval", "value", "vals", "eval", "val_1", "photos/val/1.png", "a val"])
def test_longer_words_are_no_split(name):
    assert stream_name(name) == name


@given(parts, parts)
def test_other_parts_give_other_seeds(first, second):
    same = [(type(part), part) for part in first] == [(type(part), part) for part in second]
    # 0.0 and -0.0 are equal and written differently.
    assert (derive_seed(*first) == derive_seed(*second)) == (same and repr(first) == repr(second))


@given(parts)
def test_seeds_fit_every_generator(values):
    assert 0 <= derive_seed(*values) < 2**63


def test_parts_do_not_run_together():
    variants = [
        ("abc",),
        ("ab", "c"),
        ("a", "bc"),
        ("a", "b", "c"),
        ("abc", ""),
        ("", "abc"),
        (1, "1"),
        ("1", 1),
        (1.0, 1),
    ]
    assert len({derive_seed(*variant) for variant in variants}) == len(variants)


def test_a_draw_is_torchs_with_the_derived_seed():
    rng = Randomness(7).child("restart", 2).for_examples(["a", "b"])
    generator = torch.Generator()
    for row, example in enumerate(["a", "b"]):
        generator.manual_seed(derive_seed(7, "restart", "2", "noise", example))
        assert torch.equal(rng.normal("noise", (3, 2))[row], torch.randn(3, 2, generator=generator))
    generator.manual_seed(derive_seed(7, "restart", "2", 0, "order"))
    order = torch.randperm(9, generator=rng.generator("order"))
    assert torch.equal(order, torch.randperm(9, generator=generator))


@given(ids=ids, data=st.data())
def test_no_draw_depends_on_the_batch(ids, data):
    rng = Randomness(3).child("x")
    whole = rng.for_examples(ids).normal("noise", (5,))
    order = data.draw(st.permutations(range(len(ids))))
    chosen = order[: data.draw(st.integers(1, len(ids)))]
    part = rng.for_examples([ids[i] for i in chosen]).normal("noise", (5,))
    assert torch.equal(part, whole[chosen])
    for indices in (chosen, torch.tensor(chosen)):
        assert torch.equal(rng.for_examples(ids)[indices].normal("noise", (5,)), part)


def test_no_draw_depends_on_another_draw():
    rng = Randomness(0).bind(3)
    first = rng.uniform("noise", (4,))
    rng.normal("other", (100,))
    torch.rand(7)
    assert torch.equal(rng.uniform("noise", (4,)), first)
    state = torch.get_rng_state()
    rng.normal("noise", (4,))
    assert torch.equal(torch.get_rng_state(), state), "the global state is not touched"


def test_a_mask_selects_as_it_does_for_tensors():
    rng = Randomness(0).for_examples(["a", "b", "c"])
    assert rng[torch.tensor([True, False, True])].ids == ("a", "c")
    assert rng[torch.tensor([False, False, False])].ids == ()


def test_seeds_streams_paths_and_ids_are_independent():
    draws = {
        (seed, path, stream, example): Randomness(seed, (example,), path).normal(stream, (4000,))[0]
        for seed in (0, 1)
        for path in ((), ("restart", "0"), ("restart", "1"))
        for stream in ("start", "noise")
        for example in ("a", "b")
    }
    matrix = torch.corrcoef(torch.stack(list(draws.values())))
    off_diagonal = matrix[~torch.eye(len(draws), dtype=torch.bool)]
    assert float(off_diagonal.abs().max()) < 5 / 4000**0.5, "five standard errors"


def test_moments():
    rng = Randomness(1).bind(2)
    normal, uniform = rng.normal("n", (50_000,)), rng.uniform("u", (50_000,), -1, 3)
    assert normal.dtype == uniform.dtype == torch.float32
    assert torch.allclose(normal.mean(1), torch.zeros(2), atol=0.03)
    assert torch.allclose(normal.std(1), torch.ones(2), atol=0.03)
    assert torch.allclose(uniform.mean(1), torch.ones(2), atol=0.03)
    assert torch.allclose(uniform.var(1), torch.full((2,), 16 / 12), atol=0.03)


@given(low=st.floats(-100, 100, width=32), width=st.floats(0, 100, width=32), seed=st.integers(0, 2**40))
def test_uniform_stays_within_its_bounds(low, width, seed):
    draws = Randomness(seed).bind(2).uniform("u", (50,), low, low + width)
    bounds = torch.tensor([low, low + width])
    assert draws.shape == (2, 50)
    assert bool((draws >= bounds[0]).all())
    assert bool((draws <= bounds[1]).all())


def test_uniform_by_default_never_reaches_one():
    assert float(Randomness(0).bind(4).uniform("u", (200_000,)).max()) < 1


@given(low=st.integers(-(2**40), 2**40), width=st.integers(1, 1000), seed=st.integers(0, 2**40))
def test_integers_lie_in_their_range(low, width, seed):
    draws = Randomness(seed).bind(2).integers("i", (50,), low, low + width)
    assert draws.dtype == torch.int64
    assert bool(((draws >= low) & (draws < low + width)).all())


def test_integers_reach_every_value():
    draws = Randomness(0).bind(3).integers("i", (100,), 5, 9)
    assert all(row.unique().tolist() == [5, 6, 7, 8] for row in draws)


def test_unbound_randomness_raises_and_says_what_to_do():
    rng = Randomness(0)
    for draw in (
        lambda: rng.normal("n", (1,)),
        lambda: rng.uniform("n", (1,)),
        lambda: rng.integers("n", (1,), 0, 2),
    ):
        with pytest.raises(ValueError, match=r"rng\.for_examples\(ids\) or rng\.bind\(n\)"):
            draw()
    with pytest.raises(ValueError, match="bind the randomness"):
        rng[[0]]


def test_binding_names_examples_by_position_unless_they_have_ids():
    assert Randomness(0).bind(3).ids == ("0", "1", "2")
    named = Randomness(0).for_examples(["a", "b"])
    assert named.bind(2) is named
    with pytest.raises(ValueError, match="bound to 2 examples, but 3 images came"):
        named.bind(3)


def test_no_examples_give_no_rows():
    rng = Randomness(0).for_examples([])
    assert rng.normal("n", (3, 2)).shape == (0, 3, 2)
    assert rng.uniform("n", ()).shape == (0,)
    assert rng.integers("n", (4,), 0, 2).dtype == torch.int64


def test_children_are_paths():
    rng = Randomness(0)
    assert rng.child("a", 1).child("b") == rng.child("a", "1", "b") == Randomness(0, None, ("a", "1", "b"))
    assert rng == Randomness(0), "making a child changes nothing"


def test_draws_go_to_the_device_of_the_images():
    assert Randomness(0).bind(1).normal("n", (2,), like=torch.zeros(1, dtype=torch.float64)).dtype == torch.float32
    meta = Randomness(0).bind(1).normal("n", (2,), like=torch.zeros(1, device="meta"))
    assert meta.device.type == "meta"
    for first, second in itertools.combinations(Randomness(0).bind(4).normal("n", (2,)), 2):
        assert not torch.equal(first, second)


def test_a_draw_of_the_run_is_none_of_an_example() -> None:
    of_example = Randomness(0).child("a").for_examples(["x"]).normal("b", (4,))[0]
    of_run = torch.randn(4, generator=Randomness(0).child("a", "b").generator("x"))
    assert not torch.equal(of_example, of_run)


def draws(rng, like=None):
    return {
        "normal": rng.normal("s", (3, 2), like=like),
        "uniform": rng.uniform("s", (3, 2), like=like),
        "range": rng.uniform("s", (3, 2), -1, 1, like=like),
        "integers": rng.integers("s", (3, 2), 0, 5, like=like),
        "more integers": rng.integers("s", (3, 2), 0, 6, like=like),
        "shape": rng.normal("s", (6,), like=like),
        "stream": rng.normal("t", (3, 2), like=like),
    }


def test_remembering_changes_no_value():
    rng = Randomness(2).for_examples(["a", "b"])
    plain, remembering = draws(rng), rng.remembering()
    for _ in range(2):
        assert all(torch.equal(draw, plain[name]) for name, draw in draws(remembering).items())
    assert remembering == rng
    assert repr(remembering) == repr(rng)


def test_a_remembered_draw_is_the_same_tensor_for_children_too():
    rng = Randomness(2).for_examples(["a", "b"]).remembering()
    first, again = draws(rng), draws(rng)
    assert all(again[name] is draw for name, draw in first.items())
    assert len({id(draw) for draw in first.values()}) == len(first), "another stream, shape or range is another draw"
    child = rng.child("frost").uniform("place", (2,))
    assert rng.child("frost").uniform("place", (2,)) is child
    assert rng.child("snow").uniform("place", (2,)) is not child
    assert rng.bind(2).child("frost").uniform("place", (2,)) is child


def test_without_remembering_each_draw_is_a_new_tensor():
    rng = Randomness(2).bind(2)
    assert rng.normal("s", (3,)) is not rng.normal("s", (3,))
    remembering = rng.remembering()
    assert remembering.normal("s", (3,)) is not remembering.remembering().normal("s", (3,)), "a memory of its own"
    changed = rng.normal("s", (3,)).zero_()
    assert not torch.equal(rng.normal("s", (3,)), changed)


def test_memory_keeps_batches_apart():
    rng = Randomness(2).remembering()
    whole = rng.for_examples(["a", "b", "c"])
    drawn = whole.normal("s", (4,))
    for ids in (["a", "b"], ["c", "b", "a"], ["d", "e", "f"], ["a"], []):
        other = rng.for_examples(ids)
        assert torch.equal(other.normal("s", (4,)), Randomness(2).for_examples(ids).normal("s", (4,)))
    assert torch.equal(whole[[2, 0]].normal("s", (4,)), drawn[[2, 0]])
    assert rng.for_examples(["a", "b", "c"]).normal("s", (4,)) is drawn


def test_memory_keeps_devices_apart():
    rng = Randomness(2).bind(1).remembering()
    on_meta, on_cpu = draws(rng, torch.zeros(1, device="meta")), draws(rng)
    assert {draw.device.type for draw in on_meta.values()} == {"meta"}
    assert {draw.device.type for draw in on_cpu.values()} == {"cpu"}
    assert draws(rng, torch.zeros(7, dtype=torch.float64))["normal"] is on_cpu["normal"], "the device counts alone"


def test_poisson_moments():
    rates = torch.tensor([0.0, 0.3, 4.0, 60.0, 500.0]).repeat(2, 20_000, 1)
    counts = Randomness(0).bind(2).poisson("p", rates)
    assert counts.dtype == torch.float32
    assert counts.shape == rates.shape
    assert torch.equal(counts, counts.round())
    assert bool((counts >= 0).all())
    assert not counts[..., 0].any()
    for row in counts:
        error = (rates[0, 0] / 20_000).sqrt()
        assert bool(((row.mean(0) - rates[0, 0]).abs() <= 5 * error).all())
        assert torch.allclose(row.var(0)[1:], rates[0, 0, 1:], rtol=0.08)
    assert float(torch.corrcoef(torch.stack([counts[0, :, 2], counts[1, :, 2]]))[0, 1]) < 5 / 20_000**0.5


def test_poisson_does_not_depend_on_the_batch_or_on_memory():
    rates = 20 * torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0))
    rng = Randomness(1).for_examples(["a", "b", "c", "d"])
    counts = rng.poisson("p", rates)
    assert torch.equal(rng[[3, 1]].poisson("p", rates[[3, 1]]), counts[[3, 1]])
    assert torch.equal(rng.poisson("p", rates.double()), counts)
    assert not torch.equal(rng.poisson("q", rates), counts)
    remembering = rng.remembering()
    assert torch.equal(remembering.poisson("p", rates), counts)
    assert not remembering.poisson("p", torch.zeros(4, 3, 5)).any(), "other rates are another draw"
    assert torch.equal(remembering.poisson("p", rates), counts)


def test_poisson_of_nothing():
    empty = Randomness(0).bind(0).poisson("p", torch.zeros(0, 3, 2, dtype=torch.float64))
    assert (empty.shape, empty.dtype) == ((0, 3, 2), torch.float32)
    with pytest.raises(ValueError, match=r"rng\.for_examples\(ids\) or rng\.bind\(n\)"):
        Randomness(0).poisson("p", torch.ones(1, 2))


def test_beta_moments_and_rows():
    rng = Randomness(0).for_examples([str(number) for number in range(4000)])
    drawn = rng.beta("share", 2.0, 5.0)
    assert (drawn.shape, drawn.dtype) == ((4000,), torch.float32)
    assert abs(float(drawn.mean()) - 2 / 7) < 0.01
    assert abs(float(drawn.var()) - 10 / (49 * 8)) < 0.003
    assert torch.equal(rng[[5, 3]].beta("share", 2.0, 5.0), drawn[[5, 3]])
    assert not torch.equal(rng.beta("other", 2.0, 5.0), drawn)
