"""p(v | prefix): which words a prompt may continue with, and how natural a whole prompt is.

SAGE (Liu et al., ICLR 2024) lets a language model propose words, so that prompts are ones that a person might write.
Three doors: an interpolated trigram model over prompts (Jelinek and Mercer 1980), of a file or of the captions that the
embedded generators know; a causal language model of transformers; and a language model behind a server, which proposes
words and gives no probabilities. What a model proposes is data, and is filtered like all else.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, get_args

import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import described
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.data.worlds.optotypes.vocabulary import forms
from snellen.models.language.causal import CausalLanguageModel, load_causal_language_model
from snellen.models.language.protocol import LanguageModel, ask_for_phrases
from snellen.models.language.references import load_language_model
from snellen.models.remote.permission import AllowRemote

#: The end of a prompt, where a model says that it is over.
END = "</s>"

#: Weights of trigrams, bigrams, words, and of words that never occurred.
WEIGHTS = (0.6, 0.29, 0.1, 0.01)

#: Captions of the small world that the embedded prior is counted from.
CAPTIONS = 3000

#: What a word may hold: letters and digits, with hyphens and apostrophes inside. All else is filtered.
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class LanguagePrior(Protocol):
    """Words that follow others, and how likely whole prompts are."""

    @property
    def name(self) -> str:
        """Its reference."""

    def propose(self, prefix: Sequence[str], count: int) -> list[tuple[str, float]]:
        """The likeliest next words with log p, most likely first; :data:`END` among them where a prompt may end."""

    def log_probability(self, words: Sequence[str]) -> float | None:
        """Log p of a whole prompt, its end included; None where the model gives no probabilities."""


def words_of(prompt: str) -> tuple[str, ...]:
    """Words of a prompt, in small letters, without punctuation.

    >>> words_of("A red star, on sand.")
    ('a', 'red', 'star', 'on', 'sand')
    """
    return tuple(_WORD.findall(unicodedata.normalize("NFC", prompt).lower()))


def perplexity(prior: LanguagePrior, words: Sequence[str]) -> float | None:
    """exp(−log p / number of words and the end); None where the model gives no probabilities."""
    found = prior.log_probability(words)
    return None if found is None else math.exp(-found / (len(words) + 1))


class TrigramPrior:
    """p(w | u, v) = λ3 p3 + λ2 p2 + λ1 p1 + λ0 / |V|, counted from prompts.

    >>> prior = TrigramPrior(["a red star", "a red ring on sand"], name="demo")
    >>> [word for word, _ in prior.propose(("a", "red"), 2)]
    ['ring', 'star']

    Args:
        prompts: texts.
        name: shown in reports.

    Raises:
        InputError: no words.
    """

    def __init__(self, prompts: Iterable[str], *, name: str) -> None:
        self.name = name
        self._three: dict[tuple[str, str], Counter[str]] = {}
        self._two: dict[str, Counter[str]] = {}
        self._one: Counter[str] = Counter()
        for prompt in prompts:
            words = words_of(prompt)
            if words:
                self._count(words)
        if not self._one:
            raise InputError(f"{name} holds no words, so there is nothing to propose; give prompts, one a line")
        self._total = sum(self._one.values())

    def _count(self, words: Sequence[str]) -> None:
        padded = ["", "", *words, END]
        for first, second, third in zip(padded, padded[1:], padded[2:], strict=False):
            self._three.setdefault((first, second), Counter())[third] += 1
            self._two.setdefault(second, Counter())[third] += 1
            self._one[third] += 1

    def probability(self, word: str, prefix: Sequence[str]) -> float:
        """p(word | prefix) in (0, 1)."""
        first, second = (["", "", *prefix])[-2:]
        parts = self._three.get((first, second), Counter()), self._two.get(second, Counter()), self._one
        known = [one[word] / one.total() if one else 0.0 for one in parts]
        return sum(weight * one for weight, one in zip(WEIGHTS, known, strict=False)) + WEIGHTS[3] / (
            len(self._one) + 1
        )

    def propose(self, prefix: Sequence[str], count: int) -> list[tuple[str, float]]:
        """The likeliest next words; equally likely ones in alphabetical order."""
        scored = [(word, self.probability(word, prefix)) for word in self._one]
        ranked = sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:count]
        return [(word, math.log(p)) for word, p in ranked]

    def log_probability(self, words: Sequence[str]) -> float:
        """Log p of a whole prompt."""
        return sum(math.log(self.probability(word, words[:place])) for place, word in enumerate([*words, END]))


class CausalPrior:
    """A causal language model whose tokens are words or begin them; tokens inside words are not proposed."""

    def __init__(self, model: CausalLanguageModel) -> None:
        self.model, self.name = model, model.name
        self._words = [_whole_word(piece) for piece in model.vocabulary]

    def propose(self, prefix: Sequence[str], count: int) -> list[tuple[str, float]]:
        """The likeliest next words that are one token."""
        tokens = self.model.tokenise([" ".join(prefix)], ended=False)[0] if prefix else torch.tensor([self._begin])
        logits, _ = self.model.logits(tokens[None])
        found: dict[str, float] = {}
        logs = logits[0].float().log_softmax(0)
        for token in logs.argsort(descending=True).tolist():
            word = END if token == self.model.end_token else self._words[token]
            if word and word not in found:
                found[word] = float(logs[token])
            if len(found) == count:
                break
        return list(found.items())

    @property
    def _begin(self) -> int:
        return self.model.begin_token

    @torch.no_grad()
    def log_probability(self, words: Sequence[str]) -> float:
        """Log p of all tokens behind the first mark, the end included."""
        tokens = self.model.tokenise([" ".join(words)])[0].to(self.model.device)
        logs = self.model.sequence_logits(tokens[None, :-1])[0].float().log_softmax(1)
        return float(logs.gather(1, tokens[1:, None]).sum())


class ServerPrior:
    """A language model that lists words on request; it gives their order, and no probabilities."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.name = model, model.name

    def propose(self, prefix: Sequence[str], count: int) -> list[tuple[str, float]]:
        """Words in the order of the reply; log p of the r-th is −log r, up to a constant.

        Raises:
            ModelError: no usable reply.
        """
        text = " ".join(prefix)
        question = (
            f"A caption of a picture begins with: {text!r}. List {count} single words, one each, that may naturally "
            f"come next in such a caption, the likeliest first. Plain words only."
        )
        phrases = ask_for_phrases(self.model, question)
        words = dict.fromkeys(words_of(one)[0] for one in phrases if words_of(one))
        return [(word, -math.log(rank)) for rank, word in enumerate([END, *words], 1)][: count + 1]

    def log_probability(self, words: Sequence[str]) -> None:
        """Unknown."""


def load_prior(reference: str, *, allow_remote: AllowRemote = False, device: str = "cpu") -> LanguagePrior:
    """``captions`` of the embedded world, ``file:FILE`` of prompts, ``hf:FOLDER``, or ``http://HOST/v1#MODEL``.

    Raises:
        InputError: another reference, or a file that cannot be read.
    """
    if reference == "captions":
        return caption_prior()
    scheme, _, rest = reference.partition(":")
    if scheme == "file" and rest:
        try:
            lines = Path(rest).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"prompts cannot be read from {rest}: {error}; expected text, a prompt a line") from error
        return TrigramPrior(lines, name=f"file:{Path(rest).name}")
    if scheme == "hf" and rest:
        return CausalPrior(load_causal_language_model(reference, device=device))
    if scheme in ("http", "https"):
        return ServerPrior(load_language_model(reference, allow_remote=allow_remote))
    raise InputError(f"a language prior is captions, file:FILE, hf:FOLDER or http://HOST/v1#MODEL; got {reference!r}")


def caption_prior(seed: int = 0) -> TrigramPrior:
    """Trigrams of captions of the small world with all nuisances of it: words that embedded generators can read."""
    scenes = WORLD.model_copy(update={"count": CAPTIONS, "seed": derive_seed(seed, "prior") % 2**31}).scenes("train")
    return TrigramPrior((caption(described(one), seed=one.seed, words="fitting") for one in scenes), name="captions")


def caption_synonyms(name: str) -> frozenset[str]:
    """Words that captions of the small world use for other shapes than this one.

    >>> "hoop" in caption_synonyms("star"), "hoop" in caption_synonyms("ring")
    (True, False)
    """
    named = {shape: {word for form in forms("shape", shape) for word in words_of(form)} for shape in get_args(Shape)}
    others = {word for shape, words in named.items() if shape != name for word in words}
    return frozenset(others - named.get(name, {name}) - {"shape", "sign"})


def complete(prior: LanguagePrior, words: Sequence[str], most: int = 3) -> tuple[str, ...] | None:
    """The words with the likeliest continuation up to where the model ends a prompt; None where it does not end it.

    Raises:
        ModelError: the model proposes nothing.
    """
    found = list(words)
    for _ in range(most + 1):
        proposed = prior.propose(found, 5)
        if not proposed:
            raise ModelError(f"{prior.name} proposes no word after {' '.join(found)!r}; name another language prior")
        if proposed[0][0] == END:
            return tuple(found)
        found.append(proposed[0][0])
    return None


def _whole_word(piece: str) -> str:
    """The word that a token stands for; empty of a part of one, a mark or punctuation."""
    if piece.startswith(("Ġ", "▁")):
        word = piece[1:]
    elif piece.endswith("</w>"):
        word = piece[:-4]
    else:
        return ""
    return word.lower() if _WORD.fullmatch(word) else ""
