"""Erasers in force: bitwise pass-through, two towers, padding, hooks that go, pipelines that share nothing."""

import copy
import dataclasses
import threading

import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.layer_hooks import is_edited
from snellen.systems.concept_erasing import text_edit as module
from snellen.systems.concept_erasing.text_edit import encode_erased, erasing, real_tokens
from tests.systems.concept_erasing.conftest import OTHERS, RED

MIXED = [RED[0], OTHERS[0], OTHERS[1], RED[1], OTHERS[0]]
HAS_RED = torch.tensor([True, False, False, True, False])


@pytest.mark.covers("34.5")
def test_prompts_that_are_not_flagged_pass_bit_for_bit(sd, eraser):
    plain = sd.encode_prompts(MIXED)
    condition, verdict = encode_erased(sd, MIXED, [eraser])
    assert verdict.flagged.tolist() == HAS_RED.tolist()
    assert verdict.scores.shape == (1, 5)
    assert torch.equal(condition.text[~HAS_RED], plain.text[~HAS_RED])
    changed = (condition.text - plain.text).abs().amax(2)[HAS_RED]
    assert (changed.amax(1) > 1e-3).all()
    assert not changed[:, 0].any(), "the start mark sees nothing of the edit"


@pytest.mark.covers("34.5")
def test_two_towers_pass_bit_for_bit_and_are_edited_together(xl, xl_erasers):
    plain = xl.encode_prompts(MIXED)
    condition, verdict = encode_erased(xl, MIXED, xl_erasers)
    assert verdict.flagged.tolist() == HAS_RED.tolist()
    for part in ("text", "pooled", "time_ids"):
        assert torch.equal(getattr(condition, part)[~HAS_RED], getattr(plain, part)[~HAS_RED])
    width = xl_erasers[0].layer.width
    for own in (slice(0, width), slice(width, None)):
        assert ((condition.text - plain.text)[HAS_RED][..., own].abs().amax((1, 2)) > 1e-3).all()
    assert ((condition.pooled - plain.pooled)[HAS_RED].abs().amax(1) > 1e-3).all()
    blind = dataclasses.replace(xl_erasers[1], threshold=1e9)
    one, _ = encode_erased(xl, MIXED, [xl_erasers[0], blind])
    assert torch.equal(one.text, condition.text), "a prompt that one tower flags is edited in both"


def test_no_prompt_stays_as_it_is(sd, eraser):
    encode_erased(sd, RED, [eraser.always()])
    before = sd.null(1).text
    encode_erased(sd, MIXED, [eraser])
    assert torch.equal(sd.null(1).text, before)
    condition, verdict = encode_erased(sd, [""], [eraser])
    assert not verdict.flagged.any()
    assert torch.equal(condition.text, before)


def test_padding_is_edited_where_the_denoiser_reads_it(sd, eraser, layer):
    plain, (condition, _) = sd.encode_prompts(RED[:1]), encode_erased(sd, RED[:1], [eraser])
    padding = ~layer.states(RED[:1]).real[0]
    assert (condition.text - plain.text)[0, padding].abs().amax() > 0


@pytest.mark.covers("34.11")
def test_a_prompt_gets_the_same_text_alone_and_among_others(sd, eraser):
    alone, _ = encode_erased(sd, RED[:1], [eraser])
    among, _ = encode_erased(sd, [*OTHERS[:3], RED[0], "a very large green heart on sand in fog"], [eraser])
    assert torch.allclose(alone.text[0], among.text[3], atol=1e-5)


@pytest.mark.covers("34.5")
def test_an_encoder_of_another_library_is_edited_inside_the_block(sd, eraser, layer):
    ids, _ = layer.tower.tokens(MIXED)
    with torch.no_grad():
        plain = layer.network(ids)
        with erasing(eraser):
            inside = layer.network(input_ids=ids)
        after = layer.network(ids)
    assert torch.equal(inside[0][~HAS_RED], plain[0][~HAS_RED])
    assert torch.equal(inside[0][HAS_RED], encode_erased(sd, MIXED, [eraser])[0].text[HAS_RED])
    assert torch.equal(after[0], plain[0])


@pytest.mark.covers("34.12")
def test_hooks_go_with_an_exception(sd, eraser, layer, monkeypatch):
    plain = sd.encode_prompts(RED).text
    with pytest.raises(InputError), erasing(eraser):
        sd.encode_prompts(["too long " * 90])
    assert not is_edited(layer.network)
    monkeypatch.setattr(module, "where_flagged", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        encode_erased(sd, RED, [eraser])
    assert not is_edited(layer.network)
    assert torch.equal(sd.encode_prompts(RED).text, plain)


@pytest.mark.covers("34.12")
def test_pipelines_at_the_same_time_share_nothing(eraser, layer):
    other = copy.deepcopy(layer.network)
    ids, _ = layer.tower.tokens(RED[:2])
    with torch.no_grad():
        plain = other(ids)[0]
        with erasing(eraser):
            assert torch.equal(other(ids)[0], plain), "another encoder is not edited"
            inside = layer.network(ids)[0]
            with erasing(eraser.always(), other):
                assert torch.equal(other(ids)[0], inside)
    assert not is_edited(other)


@pytest.mark.covers("34.12")
def test_threads_on_one_encoder_do_not_mix_their_prompts(eraser, layer):
    long = layer.tower.tokens(["a red star on sand on sand on sand on sand"])[0]
    short = layer.tower.tokens([OTHERS[0]])[0]
    found, barrier = {}, threading.Barrier(2)

    def encode(name, ids):
        with torch.no_grad():
            barrier.wait()
            found[name] = [layer.network(ids)[0] for _ in range(15)]

    with torch.no_grad(), erasing(eraser):
        alone = {"long": layer.network(long)[0], "short": layer.network(short)[0]}
        threads = [threading.Thread(target=encode, args=pair) for pair in (("long", long), ("short", short))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, states in found.items():
        assert all(torch.equal(state, alone[name]) for state in states)


def test_the_end_mark_ends_the_text(layer):
    ids = layer.states(["a red star", ""]).ids
    assert torch.equal(real_tokens(ids, layer.network), layer.states(["a red star", ""]).real)
    older = copy.deepcopy(layer.network)
    older.config.eos_token_id = 2
    assert torch.equal(real_tokens(ids, older), layer.states(["a red star", ""]).real)


def test_erasers_are_those_of_the_towers(sd, xl, eraser, xl_erasers):
    for generator, erasers in ((sd, []), (sd, [xl_erasers[0]]), (xl, xl_erasers[::-1]), (xl, xl_erasers[:1])):
        with pytest.raises(InputError, match="an eraser for each"):
            encode_erased(generator, RED, erasers)
    with pytest.raises(InputError, match="no prompt"):
        encode_erased(sd, [], [eraser])


def test_states_that_are_not_finite_are_reported(sd, eraser, layer):
    broken = copy.deepcopy(layer.network)
    with torch.no_grad():
        broken.get_parameter("embeddings.token_embedding.weight").fill_(float("nan"))
    ids, _ = layer.tower.tokens(RED[:1])
    with torch.no_grad(), pytest.raises((InputError, ModelError), match="not finite"), erasing(eraser, broken):
        broken(ids)
