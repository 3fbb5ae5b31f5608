"""Learned tokens of classes (ImageNet*): a text tower that knows a word of its own for each class.

Vendrow, Jain, Engstrom and Madry, *Dataset Interfaces*, 2023, arXiv 2302.07865: one token a class by textual inversion,
with which a generator draws the class as the data set shows it. The released folder holds ``tokenizer/``,
``text_encoder/`` and ``tokens.pt``, a dictionary of the classes' words (``initializer_words``) and their tokens
(``tokens``), in the order of the classes. Tokenizer and text tower take the place of the generator's own; its denoiser
stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from snellen.core.errors import InputError, unknown_name
from snellen.models.diffusion.folder import PARTS, TOKENIZERS, load_network, load_tokenizer, read_part
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.text_encoding import TextTower
from snellen.models.weights.checkpoint_file import read_mapping

#: The list of tokens in such a folder.
TOKENS = "tokens.pt"


@lru_cache(maxsize=2)
def read_tokens(folder: Path) -> Mapping[str, str]:
    """Words of each class → its token, in the order of the classes. No code of the file is run.

    Raises:
        InputError: no such file, or something else than such a list.
    """
    path = folder / TOKENS
    if not path.is_file():
        raise InputError(f"{path} is missing; expected the released folder with tokenizer, text_encoder and {TOKENS}")
    held = read_mapping(path)
    words, tokens = held.get("initializer_words"), held.get("tokens")
    if (
        not isinstance(words, list)
        or not isinstance(tokens, list)
        or len(words) != len(tokens)
        or not all(isinstance(one, str) for one in (*words, *tokens))
    ):
        raise InputError(f"{path} holds no lists 'initializer_words' and 'tokens' of one length, of texts")
    found: dict[str, str] = {}
    for word, token in zip(words, tokens, strict=True):
        found.setdefault(word, token)  # two classes of ImageNet are called crane: the first one has the word
    return found


def tokens_in_order(folder: Path) -> tuple[str, ...]:
    """The tokens by number of the class.

    Raises:
        InputError: as :func:`read_tokens`.
    """
    read_tokens(folder)
    listed = read_mapping(folder / TOKENS)["tokens"]
    assert isinstance(listed, list), "as was checked"
    return tuple(listed)


def token_of_class(folder: Path, class_name: str) -> str:
    """The token of a class by its words.

    Raises:
        InputError: as :func:`read_tokens`.
        UnknownNameError: no class of these words.
    """
    known = read_tokens(folder)
    if class_name not in known:
        raise unknown_name(f"class with a token in {folder}", class_name, known)
    return known[class_name]


def with_class_tokens(generator: Generator, folder: Path) -> Generator:
    """The generator with tokenizer and text tower of a folder of learned tokens.

    Raises:
        InputError: a generator without one text tower; files that are missing; states of another width; a token that
            the tokenizer does not know as one.
    """
    if generator.text is None or generator.text.form != "one tower":
        raise InputError(
            f"tokens of classes are for a generator with one text tower, such as Stable Diffusion 2; {generator.name} "
            f"takes {generator.takes}"
        )
    known, before = read_tokens(folder), generator.text.towers[0]
    weight = next(before.network.parameters())
    tokenizer = load_tokenizer(read_part(folder / "tokenizer", "tokenizer", "CLIPTokenizer", TOKENIZERS))
    part = read_part(folder / "text_encoder", "text_encoder", "CLIPTextModel", PARTS["text_encoder"])
    network = load_network(part, weight.device, weight.dtype)
    widths = [int(one.config.hidden_size) for one in (before.network, network)]  # type: ignore[union-attr, arg-type]
    if widths[0] != widths[1]:
        raise InputError(
            f"{part.path} gives states of {widths[1]}, and {generator.name} takes {widths[0]}: its tokens were learned "
            f"for another generator"
        )
    vocabulary = tokenizer.get_vocab()
    lacking = [token for token in known.values() if token not in vocabulary]
    if lacking:
        raise InputError(f"{folder / 'tokenizer'} does not know the token {lacking[0]} of {folder / TOKENS}")
    tower = TextTower(tokenizer, network, before.length)
    return replace(
        generator, name=f"{generator.name} with {folder.name}", text=replace(generator.text, towers=(tower,))
    )
