"""What the trainings of the embedded models draw: held-out combinations, captions and tokens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.described import described
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.truth import holds

pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "embedded"))
import caption_tokens
import scene_examples
import scene_tokenizer
import scene_world


@pytest.fixture(scope="module")
def seen():
    return scene_world.scenes(scene_world.WORLD, "train", count=600, seen=True)


@pytest.fixture(scope="module")
def tokenizer():
    return scene_tokenizer.build()


def combinations(scenes):
    return {(one.shape, one.colour, one.texture, scene.background) for scene in scenes for one in scene.objects}


def test_held_out_combinations_are_never_drawn_for_fitting_and_are_a_sixth(seen):
    kept = combinations(scene_world.scenes(scene_world.WORLD, "test", count=600, seen=False))
    assert combinations(seen).isdisjoint(kept)
    everything = combinations(scene_world.WORLD.model_copy(update={"count": 6000}).scenes("train"))
    assert len(everything) == 6 * 6 * 3 * 4
    assert 0.1 < len(kept) / len(everything) < 0.23


def test_no_value_of_a_factor_is_held_out_altogether(seen):
    for position, values in enumerate(
        (scene_world.SHAPES, scene_world.COLOURS, scene_world.TEXTURES, scene_world.BACKGROUNDS)
    ):
        assert {combination[position] for combination in combinations(seen)} == set(values)


def test_short_captions_are_true_and_tell_less_than_everything(seen):
    texts = scene_world.short_captions(seen[:200], seed=3)
    said = [parse(text) for text in texts]
    assert all(holds(one, described(scene)) for one, scene in zip(said, seen, strict=False))
    unsaid = sum(one.background is None for one in said) / len(said)
    assert 0.05 < unsaid < 0.3


def test_every_word_of_captions_is_one_token_and_no_character_is_the_end(tokenizer):
    assert [word for word in scene_tokenizer.caption_words() if len(tokenizer(word)["input_ids"]) != 3] == []
    for character in 'z9"-.,':
        inner = tokenizer(character)["input_ids"][1:-1]
        assert inner
        assert tokenizer.eos_token_id not in inner
    assert tokenizer.eos_token_id == len(tokenizer) - 1


def test_the_tokens_of_a_scene_do_not_depend_on_the_batch_it_is_requested_with(seen, tokenizer):
    captions = caption_tokens.CaptionTokens(tokenizer, seen[:20], others=(seen[20:30], scene_world.LEFT_OUT))
    positions = torch.arange(30)
    rng = Randomness(0).for_examples([str(position) for position in range(30)])
    together = captions(positions, rng)
    for position in (0, 7, 25):
        alone = captions(positions[position : position + 1], Randomness(0).for_examples([str(position)]))
        assert torch.equal(together[position : position + 1], alone)
    assert (together[:, 0] == tokenizer.bos_token_id).all()


def test_examples_are_drawn_once_and_are_the_same_in_any_order(seen):
    targets = scene_examples.factor_numbers(seen[:10], ("shape", "colour"))
    examples = scene_examples.SceneExamples(seen[:10], 16, targets)
    some, told = examples.read(torch.tensor([7, 2]))
    assert torch.equal(told, targets[[7, 2]])
    again = scene_examples.SceneExamples(seen[:10], 16, targets)
    assert torch.equal(again.images()[[7, 2]], some)
    assert torch.equal(again.read(torch.tensor([7, 2]))[0], some)
    assert again.fingerprint() == examples.fingerprint()
    assert scene_examples.SceneExamples(seen[:9], 16, targets[:9]).fingerprint() != examples.fingerprint()


def test_encoded_examples_are_encoded_once(seen):
    counted = []

    def encode(images):
        counted.append(len(images))
        return images.float().mean((2, 3))

    plain = scene_examples.SceneExamples(seen[:6], 16, torch.arange(6))
    encoded = scene_examples.EncodedExamples(plain, encode, (3,), "mean")
    first, told = encoded.read(torch.tensor([4, 1]))
    assert torch.equal(told, torch.tensor([4, 1]))
    again, _ = encoded.read(torch.tensor([1, 4, 5]))
    assert counted == [2, 1]
    assert torch.equal(again[:2], first.flip(0))
