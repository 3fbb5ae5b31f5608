"""Tokenizers of a few words: every word one token, every text possible, and the same bytes each time."""

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from snellen.core.errors import InputError
from snellen.models.tokens.small_tokenizers import (
    WORDS,
    bert_tokenizer,
    clip_tokenizer,
    gpt2_tokenizer,
    siglip_tokenizer,
)
from snellen.models.weights.quiet_loading import quiet_loading

MAKERS = [bert_tokenizer, clip_tokenizer, gpt2_tokenizer, siglip_tokenizer]


@pytest.mark.parametrize("make", MAKERS)
def test_every_word_is_one_token(make: Callable) -> None:
    tokenizer = make()
    for word in WORDS:
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word
    assert len(tokenizer("a small red star", add_special_tokens=False)["input_ids"]) == 4


@pytest.mark.parametrize("make", MAKERS)
def test_a_saved_tokenizer_comes_back_as_it_was(make: Callable, tmp_path: Path) -> None:
    tokenizer = make(context_length=19)
    texts = ["A small red star!", "Zwölf, 漢 & co", "", "xylophone 42"]
    with quiet_loading():
        tokenizer.save_pretrained(tmp_path)
        back = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert back(texts)["input_ids"] == tokenizer(texts)["input_ids"] == make(context_length=19)(texts)["input_ids"]
    assert back.model_max_length == 19
    assert back.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("make", [clip_tokenizer, gpt2_tokenizer])
def test_bytes_cover_every_text(make: Callable) -> None:
    """In CLIP the unknown token is the end mark: one unknown letter would end the text."""
    tokenizer = make(["star"])
    ids = tokenizer("Zwölf 漢 \x7f star", add_special_tokens=False)["input_ids"]
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids).split() == ["zwölf" if make is clip_tokenizer else "Zwölf", "漢", "\x7f", "star"]


def test_marks_are_where_models_look_for_them() -> None:
    clip = clip_tokenizer()
    begin, *_, end = clip("a star")["input_ids"]
    assert (begin, end) == (clip.bos_token_id, clip.eos_token_id)
    assert end == max(clip.get_vocab().values()) == len(clip) - 1
    bert = bert_tokenizer()
    assert bert("a")["input_ids"][0] == bert.cls_token_id
    assert bert("a")["input_ids"][-1] == bert.sep_token_id
    assert siglip_tokenizer()("a")["input_ids"][-1] == siglip_tokenizer().eos_token_id
    assert gpt2_tokenizer().eos_token_id == len(gpt2_tokenizer()) - 1


@pytest.mark.parametrize("words", [[], ["Star"], ["two words"], [""]])
def test_words_that_are_none(words: list[str]) -> None:
    with pytest.raises(InputError, match="words in lower case, without spaces"):
        clip_tokenizer(words)
