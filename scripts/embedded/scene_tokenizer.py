"""The tokenizer of the embedded models: CLIP's own class, its merges learnt from the words of scene captions."""

from __future__ import annotations

import re
import string
import tomllib
from importlib import resources
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

#: Longest caption in tokens, both ends included.
LENGTH = 40

START, END = "<|startoftext|>", "<|endoftext|>"

#: Characters that stand alone, so that no text holds one that is unknown: CLIP takes an unknown token for the end.
_OTHERS = string.digits + "!\"#$%&'()*+,-./:;?@[]_"


def caption_words() -> list[str]:
    """All words that captions of scenes are made of, sorted."""
    text = (resources.files("snellen.data.worlds.optotypes") / "captions.toml").read_text(encoding="utf-8")
    slots = tomllib.loads(text).values()
    found = {"a", "an", "the", "of"}
    for forms in (value for slot in slots for value in slot.values()):
        for phrase in [*forms["fitting"], *forms["held_out"]]:
            found.update(re.findall("[a-z]+", phrase.lower()))
    return sorted(found)


def build() -> CLIPTokenizer:
    """Learn the merges and make the tokenizer; the two special tokens come last, the end token at the very end."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        initial_alphabet=list(string.ascii_lowercase),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(caption_words(), trainer)
    learnt = _state(learner)
    tokens = [token for token, _ in sorted(learnt["vocab"].items(), key=lambda pair: pair[1])]
    alphabet = [*string.ascii_lowercase, *_OTHERS]
    ordered = dict.fromkeys([*alphabet, *(f"{letter}</w>" for letter in alphabet), *tokens, START, END])
    vocabulary = {token: number for number, token in enumerate(ordered)}
    merges = [tuple(merge) for merge in learnt["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def _state(learner: Tokenizer) -> dict:
    import json

    state: dict = json.loads(learner.to_str())["model"]
    return state


def save(folder: Path) -> None:
    """Write the tokenizer's own files."""
    build().save_pretrained(folder)
