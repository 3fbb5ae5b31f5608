"""System 39's experiment: all stages on random weights, and what its world and judge are."""

import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.models.references import load_captioner, load_two_tower
from snellen.reproduction.guided_captions import experiment as study
from snellen.reproduction.guided_captions.experiment import ALPHAS, FEWER, SCALES, guided_captions
from snellen.reproduction.guided_captions.judging import Judge, self_recall
from snellen.reproduction.guided_captions.vague_world import captioned, fact_vectors, read_back, true_facts

#: References against which captions lose, and images that find them again: both families.
BOTH = ("bleu_4", "meteor", "rouge_l", "cider", "clip_score", "ref_clip_score", "recall_1", "recall_5", "recall_10")


#: Shares of dropped conditions of the fine-tunings that the smoke run makes.
SHARES: list[float] = []


@pytest.fixture(scope="module")
def smoke():
    original = study.tune_captioner

    def watched(*arguments, dropped, **rest):
        SHARES.append(dropped)
        return original(*arguments, dropped=dropped, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "tune_captioner", watched)
        return guided_captions("smoke", 0, Silent())


@pytest.fixture(scope="module")
def world():
    return captioned("test", 24, seed=5)


@pytest.mark.covers("39.9", "39.10", "39.11")
def test_the_smoke_run_gives_every_figure_of_every_curve(smoke):
    curves = {"cfg": SCALES, "undropped": FEWER, "language": FEWER, "style": ALPHAS}
    for curve, values in curves.items():
        for value in values:
            for name in (*BOTH, "words", "words_spread", "repetition", "facts", "unreadable"):
                assert f"{curve}_{value:g}.{name}" in smoke
    assert smoke["undropped.gain"] == smoke["undropped_2.recall_1"] - smoke["undropped_1.recall_1"]
    assert smoke["cfg.knee"] in SCALES


def test_the_smoke_run_gives_what_the_claims_name(smoke):
    for claim in find_system("39").claims:
        named = {claim.metric, *([claim.baseline] if claim.baseline else []), *claim.controls}
        assert named <= set(smoke), claim.id


@pytest.mark.covers("39.11")
def test_both_fine_tunings_are_made(smoke):
    assert SHARES == [0.5, 0.0]


def test_there_is_no_full_experiment():
    with pytest.raises(InputError, match="no full experiment"):
        guided_captions("full", 0, Silent())


def test_references_are_vague_and_true(world):
    truths = true_facts(world.scenes)
    for vague, full, truth in zip(world.vague, world.full, truths, strict=True):
        assert len(vague) == len(full) == 5
        assert all(read_back(one) <= truth for one in [*vague, *full])
    count = sum(len(read_back(one)) for told in world.vague for one in told) / 120
    full = sum(len(read_back(one)) for told in world.full for one in told) / 120
    assert count < 3.4 < 5.5 < full


@pytest.fixture(scope="module")
def judge(world):
    towers = load_two_tower("bundled:scene-clip")
    return Judge(towers, towers.encode_images(world.images), world.vague, world.full, true_facts(world.scenes))


def test_the_judge_tells_vague_captions_from_full_ones(world, judge):
    vague = judge.figures([told[0] for told in world.vague])
    full = judge.figures([told[0] for told in world.full])
    assert full["recall_1"] > vague["recall_1"]
    assert full["facts_recall_1"] > 0.8
    assert full["facts_right"] == vague["facts_right"] == 1
    assert vague["cider"] > full["cider"]
    assert full["cider_full"] > vague["cider_full"]
    assert vague["recall_1_low"] <= vague["recall_1"] <= vague["recall_1_high"]


@pytest.mark.covers("39.10")
def test_gibberish_is_long_repeats_and_is_not_read(judge):
    found = judge.figures(["star star star star star star star star star star"] * 23 + [""])
    assert found["repetition"] > 0.7
    assert found["unreadable"] > 0.9
    assert found["words"] == pytest.approx(230 / 24)
    assert found["facts_recall_1"] == 0


@pytest.mark.covers("39.7")
def test_retrieval_is_judged_by_another_model_and_the_captioners_own_apart(world, smoke):
    captioner, towers = load_captioner("bundled:scene-captioner"), load_two_tower("bundled:scene-clip")
    assert captioner.identity() != towers.identity()
    assert {"cfg_1.self_recall_1", "cfg_2.self_recall_1"} <= set(smoke)
    states = captioner.encode(world.images[:6])
    captions = [told[0] for told in world.full[:6]]
    likely = torch.stack(
        [captioner.score(world.images[row : row + 1].repeat(6, 1, 1, 1), captions) for row in range(6)], 1
    )
    expected = float((likely.argmax(1) == torch.arange(6)).double().mean())
    assert self_recall(captioner, states, captions) == pytest.approx(expected)
    with pytest.raises(ModelError, match="log probabilities that are not finite"):
        self_recall(captioner, torch.full_like(states, float("nan")), captions)


def test_facts_in_common_rank_images():
    names = ["colour red", "shape star"]
    assert fact_vectors([frozenset({"colour red"}), None], names).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert read_back("gibberish star of of") is None
