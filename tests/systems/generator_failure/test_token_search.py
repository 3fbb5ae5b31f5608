"""A token is held in the norms of the vocabulary and measured where it was not searched."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.references import load_two_tower
from snellen.systems.generator_failure.token_search import TOKEN, TokenSearch, search_token
from tests.systems.generator_failure.parts import Stub, discriminator, drawing, scene_generator

SEARCHED, HELD_OUT = ("a star", "a ring"), ("a cross", "a red square")


@pytest.fixture(scope="module")
def found():
    drawn = []

    class Watching(type(drawing())):
        def conditioned(self, latents, condition, **options):
            drawn.append(latents)
            return super().conditioned(latents, condition, **options)

    one = Watching(scene_generator(), steps=2, guidance_scale=1.0)
    numbers = TokenSearch(iterations=3, batch=2, measured=2, calls=30, rate=3.0)
    towers = load_two_tower("bundled:scene-clip")
    find = search_token(one, discriminator(), "heart", SEARCHED, HELD_OUT, numbers, Randomness(0), towers=towers)
    assert one.calls == find.calls
    return one, find, torch.cat(drawn)


@pytest.mark.covers("7.7")
def test_prompts_and_latents_that_measure_took_no_part(found):
    _, find, searched = found
    assert find.clean == ("a cross", "a cross", "a red square", "a red square")
    assert find.prompts == tuple(f"{text} {TOKEN}" for text in find.clean)
    assert not any(torch.equal(used, fresh) for used in searched for fresh in find.latents)
    assert find.calls == 3 * 2 + 2 * 4


@pytest.mark.covers("7.7")
def test_the_change_of_similarity_is_that_of_images_and_clean_prompts(found):
    one, find, _ = found
    assert -2 < find.similarity < 2
    assert find.similarity != 0
    towers = load_two_tower("bundled:scene-clip")
    texts = towers.encode_texts(find.clean)
    clean = one.draw(find.latents, one.condition(find.clean))
    change = ((towers.encode_images(find.images) - towers.encode_images(clean)) * texts).sum(1)
    assert find.similarity == pytest.approx(change.mean().item(), abs=1e-5)


@pytest.mark.covers("7.7")
def test_the_norm_stays_within_that_of_the_vocabulary(found):
    _, find, _ = found
    assert find.norms[0] - 1e-5 <= find.norm <= find.norms[1] + 1e-5


def test_the_generator_is_as_it_was(found):
    table = scene_generator().text.towers[0].network.get_input_embeddings()
    assert type(table) is torch.nn.Embedding
    assert not table.weight.requires_grad


def test_a_success_needs_more_of_the_target_than_without_the_token():
    numbers = TokenSearch(iterations=1, batch=1, measured=1, calls=10)
    always = search_token(
        drawing(2), Stub(lambda image, name: False), "heart", SEARCHED, HELD_OUT, numbers, Randomness(0)
    )
    assert (always.rate, always.clean_rate, always.mode, always.similarity) == (1.0, 1.0, None, None)


def test_prompts_that_would_measure_themselves_are_refused():
    with pytest.raises(InputError, match="no prompt twice"):
        search_token(drawing(2), Stub(None), "heart", SEARCHED, SEARCHED[:1], TokenSearch(), Randomness(0))
    with pytest.raises(InputError, match="no prompt twice"):
        search_token(drawing(2), Stub(None), "heart", (), HELD_OUT, TokenSearch(), Randomness(0))


def test_too_few_calls_for_a_search_are_refused():
    numbers = TokenSearch(batch=4, measured=4, calls=35)
    with pytest.raises(InputError, match=r"35 calls are too few for a token: 16 measure it on 2 .* give 36 or more"):
        search_token(drawing(2), Stub(None), "heart", SEARCHED, HELD_OUT, numbers, Randomness(0))
