"""Textual inversion: v* = argmin_v E ‖target − f(z_t, t, τ(prompt with v))‖²; a new word is one row of embeddings.

Gal, Alaluf, Atzmon, Patashnik, Bermano, Chechik and Cohen-Or, *An Image is Worth One Word*, ICLR 2023, arXiv
2208.01618, equation 2. The word is a new token behind all tokens that the tokenizer knows. Its row lies beside the
table of the text tower, and not in it: nothing that is trained or written can change another row.

A file holds one tensor (d,) under the token, which diffusers reads too: ``pipeline.load_textual_inversion(FILE)``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.diffusion.generator import Generator

#: The file of learned tokens in the folder of a text tower.
TOKENS = "learned_embeds.safetensors"

#: A token as prompts spell it.
_SPELLED = re.compile(r"<[^\s<>]{1,80}>")


class FurtherRows(nn.Module):
    """The table of a text tower, with further rows behind the tokens of its tokenizer.

    Args:
        table: of the text tower; it stays as it is.
        rows: of the new tokens, float32 (n, d).
        tokenizer: a copy that knows the new tokens, with which prompts are read while these rows act.
        first: number of the first new token.
    """

    def __init__(self, table: nn.Embedding, rows: Tensor, tokenizer: Any, first: int) -> None:  # noqa: ANN401 - of an extra
        super().__init__()
        self.table, self.tokenizer, self.first = table, tokenizer, first
        self.rows = nn.Parameter(rows)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (n, l) → states (n, l, d), in the precision of the table."""
        new = ids >= self.first
        known: Tensor = self.table(ids.masked_fill(new, 0))
        further = self.rows[(ids - self.first).clamp_min(0)].to(known.dtype)
        return torch.where(new[..., None], further, known)


def token_of(label: str) -> str:
    """The token of a class, as it stands in prompts.

    >>> token_of("St. Bernard"), token_of("雪")
    ('<st-bernard>', '<class>')
    """
    return f"<{re.sub('[^a-z0-9]+', '-', label.lower())[:50].strip('-') or 'class'}>"


def row_of(generator: Generator, word: str) -> Tensor:
    """The row of a word that the generator knows, float32 (d,): what a new one begins as.

    Raises:
        InputError: a generator without one text tower, or a word that is no single token.
    """
    tower = _tower(generator)
    ids = tower.tokenizer(word, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise InputError(
            f"a new token begins as a single known one, and {word!r} is {len(ids)} tokens of {generator.name}; name "
            f"another word"
        )
    table: nn.Embedding = tower.network.get_input_embeddings()
    return table.weight[ids[0]].detach().float().clone()


@contextmanager
def knowing(generator: Generator, vectors: Mapping[str, Tensor]) -> Iterator[nn.Parameter]:
    """Let prompts hold new tokens inside a ``with`` block; behind it the generator is as it was.

    Args:
        generator: of one text tower.
        vectors: row (d,) of each new token.

    Yields:
        The new rows (n, d), in the order of ``vectors``.

    Raises:
        InputError: a generator without one text tower, tokens that it knows, or rows of another width.
    """
    tower = _tower(generator)
    network: Any = tower.network
    table = network.get_input_embeddings()
    if isinstance(table, FurtherRows):
        raise InputError(f"{generator.name} carries learned tokens already; take those out first")
    tokenizer = _extended(tower.tokenizer, list(vectors), generator.name)
    wide = table.weight.shape[1]
    odd = next((name for name, vector in vectors.items() if vector.shape != (wide,)), None)
    if odd is not None:
        raise InputError(
            f"the token {odd} has a row of shape {tuple(vectors[odd].shape)}, and those of {generator.name} are "
            f"({wide},): it was learned for another generator"
        )
    rows = torch.stack([vector.float() for vector in vectors.values()]).to(table.weight.device)
    further = FurtherRows(table, rows, tokenizer, len(tower.tokenizer))
    network.set_input_embeddings(further)
    try:
        yield further.rows
    finally:
        network.set_input_embeddings(table)


def save_tokens(vectors: Mapping[str, Tensor], file: Path) -> None:
    """Write rows of tokens; the same ones give the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: vector.detach().float().cpu().contiguous() for name, vector in vectors.items()}, file)


def load_tokens(file: Path) -> dict[str, Tensor]:
    """Read rows of tokens.

    Raises:
        InputError: no such file, no safetensors, or something else than rows under tokens.
    """
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read as learned tokens (safetensors): {error}") from error
    for name, row in found.items():
        if not _SPELLED.fullmatch(name) or row.ndim != 1 or not bool(row.isfinite().all()):
            raise InputError(
                f"{file} holds {name!r} of shape {tuple(row.shape)}; expected finite rows (d,) as '<word>'"
            )
    return found


def _extended(tokenizer: Any, tokens: Sequence[str], name: str) -> Any:  # noqa: ANN401 - of an extra
    """A copy of a tokenizer that knows the tokens, numbered behind its own."""
    known = tokenizer.get_vocab()
    for one in tokens:
        if not _SPELLED.fullmatch(one):
            raise InputError(f"a new token is spelled <word>, without blanks; got {one!r}")
        if one in known:
            raise InputError(f"{name} knows the token {one} already; name another one")
    found, first = copy.deepcopy(tokenizer), len(tokenizer)
    from tokenizers import AddedToken

    # As it is spelled: a tokenizer of small letters would never find it.
    found.add_tokens([AddedToken(one, normalized=False, single_word=False) for one in tokens])
    assert found.convert_tokens_to_ids(list(tokens)) == list(range(first, first + len(tokens)))
    return found


def _tower(generator: Generator) -> Any:  # noqa: ANN401 - a text tower, whose network is of an extra
    if generator.text is None or generator.text.form != "one tower":
        takes = generator.takes if generator.text is None else f"prompts by {generator.text.form}"
        raise InputError(
            f"a token is learned for a generator with one text tower, such as Stable Diffusion 1 and 2; "
            f"{generator.name} takes {takes}"
        )
    return generator.text.towers[0]
