"""System 39's experiment: all stages on random weights, and what its world and judge are."""

import json

import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.models.language.causal import write_random_causal_model
from snellen.models.random_folders import write_random_clip, write_random_vit_gpt2
from snellen.models.references import load_captioner, load_two_tower
from snellen.models.tokens.small_tokenizers import WORDS
from snellen.models.weights.hugging_face_folder import import_transformers, load_tokenizer
from snellen.reproduction.guided_captions import curves as study
from snellen.reproduction.guided_captions import full as published
from snellen.reproduction.guided_captions.curves import ALPHAS, FEWER, SCALES
from snellen.reproduction.guided_captions.experiment import SMOKE_PLAN, guided_captions
from snellen.reproduction.guided_captions.judging import Judge, self_recall
from snellen.reproduction.guided_captions.style_documents import style_documents
from snellen.reproduction.guided_captions.vague_world import captioned, fact_vectors, read_back, synonyms, true_facts
from snellen.reproduction.sample import mean_of

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
    first, second = (mean_of(smoke[f"undropped_{scale}.facts_recall_1"]) for scale in (1, 2))
    assert mean_of(smoke["undropped.gain"]) == second - first
    assert smoke["cfg.knee"] in SCALES


def test_the_smoke_run_gives_what_the_claims_name(smoke):
    for claim in find_system("39").claims:
        if "small" not in claim.scales:
            continue
        named = {claim.metric, *([claim.baseline] if claim.baseline else []), *claim.controls}
        assert named <= set(smoke), claim.id


@pytest.mark.covers("39.11")
def test_both_fine_tunings_are_made(smoke):
    assert SHARES == [0.5, 0.0]


def test_the_full_experiment_names_what_it_lacks():
    with pytest.raises(InputError, match=r"SNELLEN_CAPTIONS_COCO.*SNELLEN_CAPTIONS_KARPATHY.*SNELLEN_CAPTIONS_FOLDER"):
        guided_captions("full", 0, Silent())


def coco(folder, *, sentences=6):
    """Five images in the layout of MS-COCO with the Karpathy splits; every image has more captions than are read."""
    listed = []
    for row, split in enumerate(("train", "restval", "val", "test", "test")):
        place = folder / "val2014" / f"COCO_{row}.jpg"
        place.parent.mkdir(exist_ok=True)
        Image.new("RGB", (80, 60), (40 * row, 255 - 40 * row, 90)).save(place)
        told = [{"raw": f"a {word} star on grass "} for word in ("red", "big", "blue", "white", "green", "red")]
        listed.append({"filepath": "val2014", "filename": place.name, "split": split, "sentences": told[:sentences]})
    path = folder / "dataset_coco.json"
    path.write_text(json.dumps({"images": listed}))
    return path


def test_karpathy_splits_are_read(tmp_path):
    train, test = published.karpathy(coco(tmp_path), tmp_path)
    assert [one.name for one in train.files] == ["COCO_0.jpg", "COCO_1.jpg", "COCO_2.jpg"]
    assert all(one.is_file() for one in [*train.files, *test.files])
    assert test.captions == [[f"a {word} star on grass" for word in ("red", "big", "blue", "white", "green")]] * 2
    with pytest.raises(InputError, match="fewer than 5 captions"):
        published.karpathy(coco(tmp_path, sentences=4), tmp_path)
    with pytest.raises(InputError, match="not dataset_coco"):
        published.karpathy(tmp_path / "other.json", tmp_path)


def test_the_full_experiment_on_a_transformer_of_224_pixels(tmp_path, monkeypatch):
    splits = coco(tmp_path)
    words = sorted({*["a", "red", "big", "blue", "white", "green", "star", "on", "grass"], *WORDS})
    folder = write_random_vit_gpt2(tmp_path / "captioner", image_size=224, words=words)
    tokenizer = load_tokenizer(import_transformers("a language model"), folder)
    language = write_random_causal_model(tmp_path / "language", tokenizer)
    (tmp_path / "prompt.txt").write_text("a big red star\n\na white star\n")
    given = {
        published.COCO: tmp_path,
        published.SPLITS: splits,
        published.CAPTIONER: f"hf:{folder}",
        published.TOWERS: f"hf:{write_random_clip(tmp_path / 'towers', image_size=224)}",
        published.LANGUAGE: f"hf:{language}",
        published.PROMPT: tmp_path / "prompt.txt",
        published.FOLDER: tmp_path / "states",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    figures = published.full(0, Silent(), plan=SMOKE_PLAN, max_tokens=3)
    for claim in find_system("39").claims:
        if "full" in claim.scales:
            assert {claim.metric, claim.baseline, *claim.controls} <= set(figures)
    assert len(figures["coco.cfg_2.recall_1"].values) == 2
    assert "coco.cfg_2.facts" not in figures
    captioner = load_captioner(f"hf:{folder}")
    images, _ = published.karpathy(splits, tmp_path)
    again = published.mapped_states(captioner, images.files, tmp_path / "again", Silent())
    stored = torch.from_file(str(tmp_path / "states" / "train.states"), size=again.numel(), dtype=torch.float32)
    assert torch.equal(stored.view_as(again), again)
    assert not torch.equal(again[0], again[1])


def test_documents_are_of_one_style_and_part_captions_as_prompts_do(world):
    captioner = load_captioner("bundled:scene-captioner")
    rows = style_documents(captioner, [world.vague, world.full], seed=3, together=4)
    assert rows.tokens.shape[:2] == (12, 1)
    lengths = rows.mask[:, 0].sum(1).tolist()
    assert max(lengths[:6]) < min(lengths[6:])
    ends = (rows.tokens[:, 0] == captioner.end_token) & (rows.mask[:, 0] > 0)
    assert ends.sum(1).tolist() == [4] * 12


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
    return Judge(
        towers, towers.encode_images(world.images), world.vague, synonyms(), world.full, true_facts(world.scenes)
    )


def test_the_judge_tells_vague_captions_from_full_ones(world, judge):
    vague = means(judge.figures([told[0] for told in world.vague]))
    full = means(judge.figures([told[0] for told in world.full]))
    assert full["recall_1"] > vague["recall_1"]
    assert full["facts_recall_1"] > 0.8
    assert full["facts_right"] == vague["facts_right"] == 1
    assert vague["cider"] > full["cider"]
    assert full["cider_full"] > vague["cider_full"]


def means(figures):
    return {name: mean_of(figure) for name, figure in figures.items()}


@pytest.mark.covers("39.10")
def test_gibberish_is_long_repeats_and_is_not_read(judge):
    found = means(judge.figures(["star star star star star star star star star star"] * 23 + [""]))
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
