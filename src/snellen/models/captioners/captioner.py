"""Captioners over an image encoder and a decoder with cross-attention, and their texts as tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.models.captioners.greedy import decode_greedily, sequence_log_probabilities
from snellen.models.captioners.protocol import Captions, DecoderCache
from snellen.models.classifiers.prepared_images import check_prepared
from snellen.models.tokens.token_rows import check_texts, fit, pad
from snellen.models.weights.state_dict_file import WeightsIdentity


class KeyValueCache:
    """Keys and values that a decoder has computed: of its tokens, and of the states it reads."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - transformers.EncoderDecoderCache
        self.inner = inner

    @property
    def length(self) -> int:
        """Number of tokens it holds for each row."""
        return int(self.inner.get_seq_length())

    def select(self, rows: Tensor) -> KeyValueCache:
        """The rows with these indices (m,), in this order. The cache it is called on must not be used any more."""
        self.inner.batch_select_indices(rows)
        return self


class CrossAttentionDecoder:
    """Logits of the next token, from a prefix and states; with a cache, or for all positions at once.

    Every state is read: there is no mask for padding among them, because the library's BLIP passes over it.

    Args:
        transformers: the library.
        decoder: its language model with cross-attention and a head over the vocabulary.
    """

    def __init__(self, transformers: ModuleType, decoder: nn.Module) -> None:
        # Classes, not the library itself: a module cannot be copied, and a captioner is copied to be fine-tuned.
        self._cache_classes, self._decoder = (transformers.EncoderDecoderCache, transformers.DynamicCache), decoder
        # Newer versions of the library call the argument "cache".
        named = inspect.signature(decoder.forward).parameters
        self._argument = "cache" if "cache" in named else "past_key_values"

    @torch.no_grad()
    def logits(
        self, tokens: Tensor, states: Tensor, cache: KeyValueCache | None = None
    ) -> tuple[Tensor, KeyValueCache]:
        """Whole prefix int64 (n, t), states (n, s, w) → logits of the next token (n, v), and the cache.

        Raises:
            InputError: a cache that holds the whole prefix already.
        """
        if cache is None:
            joint, dynamic = self._cache_classes
            cache = KeyValueCache(joint(dynamic(), dynamic()))
        if cache.length >= tokens.shape[1]:
            raise InputError(
                f"the cache holds {cache.length} tokens, and the prefix has {tokens.shape[1]}: nothing is left to read"
            )
        output = self._decoder(
            input_ids=tokens[:, cache.length :],
            encoder_hidden_states=states,
            use_cache=True,
            **{self._argument: cache.inner},
        )
        return output.logits[:, -1], cache

    def sequence_logits(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Tokens int64 (n, t), states (n, s, w) → logits after each token (n, t, v). Differentiable."""
        logits: Tensor = self._decoder(input_ids=tokens, encoder_hidden_states=states, use_cache=False).logits
        return logits


class WordPieces:
    """A tokenizer of transformers with the marks that a decoder wants, which may not be the tokenizer's own.

    Args:
        tokenizer: of transformers.
        begin: the token before a sentence.
        end: the token after it.
        filler: what pads short sentences.
        size: number of tokens that the decoder knows, marks included.
        context_length: most tokens of a sentence, marks included.
        name: for messages.

    Raises:
        InputError: a mark that the decoder does not know.
    """

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - of an extra
        *,
        begin: int | None,
        end: int | None,
        filler: int | None,
        size: int,
        context_length: int,
        name: str,
    ) -> None:
        for what, mark in (("begins", begin), ("ends", end), ("pads", filler)):
            if mark is None or not 0 <= mark < size:
                raise InputError(
                    f"{name}: the token that {what} a sentence is {mark}, but the decoder knows 0 to {size - 1}; set "
                    f"it in config.json"
                )
        assert begin is not None and end is not None and filler is not None  # noqa: PT018 - one condition
        self.begin, self.end, self.filler = begin, end, filler
        self.size, self.context_length, self.name = size, context_length, name
        self._tokenizer = tokenizer

    def __deepcopy__(self, memo: dict[int, object]) -> WordPieces:
        """Itself: nothing in it changes, and a copied CLIPTokenizer writes marks where words end ("a</w>red</w>")."""
        return self

    def tokenise(self, texts: Sequence[str], *, ended: bool = True) -> list[Tensor]:
        """Texts → tokens (t,) of each: beginning, words, and the end mark where ``ended``.

        Raises:
            InputError: a text that is longer than the context.
        """
        check_texts(texts, name=self.name)
        words = self._tokenizer(list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False)[
            "input_ids"
        ]
        rows = [[self.begin, *row, *([self.end] if ended else [])] for row in words]
        fitted = fit(rows, texts, context=self.context_length, truncate=False, name=self.name)
        return [torch.tensor(row, dtype=torch.long) for row in fitted]

    def texts(self, tokens: Tensor) -> tuple[str, ...]:
        """Tokens (n, t), from the beginning mark on → texts, up to the first end mark, without marks."""
        texts = []
        for row in tokens.tolist():
            words = row[1:]
            words = words[: words.index(self.end)] if self.end in words else words
            texts.append(self._tokenizer.decode(words, skip_special_tokens=True).strip())
        return tuple(texts)

    def vocabulary(self) -> tuple[str, ...]:
        """The pieces of text that tokens stand for, by their number; empty for marks that the tokenizer has not."""
        pieces = [""] * self.size
        for piece, number in self._tokenizer.get_vocab().items():
            pieces[number] = piece
        return tuple(pieces)


#: Images that are captioned, and texts that are scored, at a time.
BATCH = 32


class CrossAttentionCaptioner:
    """A :class:`~snellen.models.captioners.protocol.Captioner`; its network is put into evaluation mode and frozen.

    Args:
        module: the whole network.
        encoder: normalised images (n, 3, h, w) → states (n, s, w) as the decoder reads them.
        decoder: the language model that reads them.
        pieces: texts to tokens and back.
        name: shown in reports and messages.
        preparation: the model's own resize and crop, to a fixed size.
        normalization: mean and std that the encoder wants.
        notes: what the loader found remarkable.
        device: where the model runs.

    Raises:
        InputError: the encoder does not take images of the preparation's size.
    """

    def __init__(
        self,
        *,
        module: nn.Module,
        encoder: Callable[[Tensor], Tensor],
        decoder: CrossAttentionDecoder,
        pieces: WordPieces,
        name: str,
        preparation: Preprocessing,
        normalization: Normalization,
        notes: Sequence[str] = (),
        device: str | torch.device = "cpu",
    ) -> None:
        self.name, self.preparation, self.normalization = name, preparation, normalization
        self.notes, self.device = tuple(notes), torch.device(device)
        self.module = module.eval().requires_grad_(False).to(device)
        self.end_token, self.context_length = pieces.end, pieces.context_length
        self.vocabulary = pieces.vocabulary()
        self._encoder, self._decoder, self._pieces = encoder, decoder, pieces
        self._identity = WeightsIdentity(self.module)
        self._scale = tuple(torch.tensor(values, device=device).view(-1, 1, 1) for values in normalization)
        self.state_shape = self._probe()

    def __repr__(self) -> str:
        size = "x".join(map(str, self.preparation.size or ()))
        return f"CrossAttentionCaptioner({self.name!r}, {size}, {len(self.vocabulary)} tokens)"

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""
        return self._identity()

    def encode(self, images: Tensor) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] → states (n, s, w); differentiable.

        Raises:
            InputError: images of another shape, type, size or range.
        """
        check_prepared(images, self.preparation.size, name=self.name)
        mean, std = self._scale
        return self._encoder((images.to(self.device) - mean) / std)

    def null_condition(self, count: int) -> Tensor:
        """States without information about the image: zeros (count, s, w)."""
        return torch.zeros((count, *self.state_shape), device=self.device)

    def tokenise(self, texts: Sequence[str], *, ended: bool = True) -> list[Tensor]:
        """Texts → tokens (t,) of each: beginning, words, and the end mark where ``ended``.

        Raises:
            InputError: a text that is longer than the context.
        """
        return self._pieces.tokenise(texts, ended=ended)

    def texts(self, tokens: Tensor) -> tuple[str, ...]:
        """Tokens (n, t), from the beginning mark on → texts, up to the first end mark, without marks."""
        return self._pieces.texts(tokens)

    def logits(
        self, tokens: Tensor, condition: Tensor | None, cache: DecoderCache | None = None
    ) -> tuple[Tensor, DecoderCache]:
        """Logits of the next token: whole prefix int64 (n, t), states (n, s, w) or None → (n, v), and the cache.

        ``tokens`` is always the whole prefix; those that the cache holds are not computed again. The cache that is
        given is used up: go on with the one that is returned, and with the condition it was begun with.
        ``condition=None`` is the null condition. Without gradients.

        Raises:
            InputError: another number of states than of prefixes, states of another width, or a foreign cache.
        """
        if cache is not None and not isinstance(cache, KeyValueCache):
            raise InputError(f"{self.name} got a cache of type {type(cache).__name__}, which it did not make")
        return self._decoder.logits(tokens, self._states(tokens, condition), cache)

    def sequence_logits(self, tokens: Tensor, condition: Tensor | None) -> Tensor:
        """Logits after each token: int64 (n, t), states (n, s, w) or None → (n, t, v). Differentiable, for training.

        Raises:
            InputError: another number of states than of sequences, or states of another width.
        """
        return self._decoder.sequence_logits(tokens, self._states(tokens, condition))

    def caption(self, images: Tensor, *, max_tokens: int = 30, prompt: str = "") -> Captions:
        """Decode greedily: prepared images (n, 3, h, w) in [0, 1] → sentences that begin with ``prompt``.

        A sentence also ends where the context is full.

        Raises:
            InputError: images or a number of tokens that cannot be used, or a prompt that fills the context.
        """
        check_prepared(images, self.preparation.size, name=self.name)
        start = self.tokenise([prompt], ended=False)[0]
        room = self.context_length - len(start)
        if max_tokens < 1 or room < 1:
            raise InputError(
                f"{self.name} cannot decode {max_tokens} tokens after a prompt of {len(start) - 1}: max_tokens is at "
                f"least 1, and {self.context_length} tokens fit into the context"
            )
        parts = []
        for batch in images.split(BATCH):
            with torch.no_grad():
                states = self.encode(batch)
            parts.append(
                decode_greedily(
                    lambda tokens, cache, states=states: self._decoder.logits(tokens, states, cache),  # type: ignore[misc]
                    start.to(self.device).expand(len(batch), -1),
                    end=self.end_token,
                    filler=self._pieces.filler,
                    max_tokens=min(max_tokens, room),
                )
            )
        rows = [row for part in parts for row in part.tokens.tolist()]
        tokens, _ = pad(rows, filler=self._pieces.filler)
        return Captions(
            texts=self.texts(tokens),
            log_probabilities=torch.cat([part.log_probabilities for part in parts]),
            tokens=tokens.to(self.device),
            lengths=torch.cat([part.lengths for part in parts]),
        )

    @torch.no_grad()
    def score(self, images: Tensor | None, texts: Sequence[str]) -> Tensor:
        """Log-probability of each text for its image, end mark included: n images, n texts → (n,).

        ``images=None`` gives log p(text) under the null condition.

        Raises:
            InputError: another number of texts than images, or a text that is longer than the context.
        """
        rows = [row.tolist() for row in self.tokenise(texts)]
        if images is not None and len(images) != len(rows):
            raise InputError(f"{self.name} scores one text for each image; got {len(images)} images, {len(rows)} texts")
        scores = []
        for start in range(0, len(rows), BATCH):
            tokens, mask = (
                part.to(self.device) for part in pad(rows[start : start + BATCH], filler=self._pieces.filler)
            )
            condition = None if images is None else self.encode(images[start : start + BATCH])
            scores.append(sequence_log_probabilities(self.sequence_logits(tokens, condition), tokens, mask))
        return torch.cat(scores)

    def _states(self, tokens: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            return self.null_condition(len(tokens))
        if condition.ndim != 3 or len(condition) != len(tokens) or condition.shape[2] != self.state_shape[1]:
            raise InputError(
                f"{self.name} reads states ({len(tokens)}, s, {self.state_shape[1]}), one set for each of "
                f"{len(tokens)} rows of tokens; got {tuple(condition.shape)}"
            )
        return condition

    def _probe(self) -> tuple[int, int]:
        """Number and width of an image's states, from one black image."""
        if self.preparation.size is None:
            raise InputError(f"{self.name} does not state the size of its images")
        try:
            with torch.no_grad():
                states = self.encode(torch.zeros(1, 3, *self.preparation.size))
        except (RuntimeError, ValueError) as error:
            size = "x".join(map(str, self.preparation.size))
            raise InputError(
                f"{self.name}: its processor makes images of {size} pixels, which its network does not take: {error}"
            ) from error
        return int(states.shape[1]), int(states.shape[2])
