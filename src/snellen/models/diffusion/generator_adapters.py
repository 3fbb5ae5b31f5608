"""Adapters of a whole generator, in a folder: one for all classes of a data set, or one for each, which are swapped.

The folder holds ``adapters.json`` and, for each adapter, a folder for each adapted network: of peft, or with the tokens
that were learned for a text tower. At any time at most one adapter is in the networks:
:meth:`GeneratorAdapters.acting` takes out what it put in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.run import write_atomically
from snellen.models.diffusion.adapter_files import CONFIG, WEIGHTS, load_adapter
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.learned_tokens import TOKENS, knowing, load_tokens

#: The card of the folder, and the name of an adapter while it is in a network.
CARD, NAME = "adapters.json", "few_shot"

#: Folder of the adapter of all classes.
SHARED = "all"


class FittedAdapter(BaseModel):
    """How one adapter came about.

    Attributes:
        folder: within that of all adapters.
        images: shots that it was fitted to.
        steps: optimizer steps whose weights were kept; 0 is the unchanged generator.
        stopped: whether the fitting ended early, because the generator began to draw copies of the shots.
        losses: mean loss of each tenth of the fitting.
        nearness: after each check: steps, and the median distance of generated images to the nearest shot as a share of
            the distance among shots.
        copies: after each check: steps, and the share of generated images that are copies of a shot.
        sha256: hash of all its weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    images: int
    steps: int
    stopped: bool = False
    losses: tuple[float, ...] = ()
    nearness: tuple[tuple[int, float], ...] = ()
    copies: tuple[tuple[int, float], ...] = ()
    sha256: str = ""


#: The adapter of classes that have none: their images are those of the generator as it is.
NO_ADAPTER = ""


class AdapterCard(BaseModel):
    """What a user must know about a folder of adapters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: str = Field(description="reference of the generator that they belong to")
    models: dict[str, str] = Field(description="hash of the weights of each of its networks, without an adapter")
    classes: dict[str, str] = Field(description="the adapter of each class; empty: the generator as it is")
    prompts: dict[str, tuple[str, ...]] = Field(description="those that the adapter of each class was fitted with")
    adapters: dict[str, FittedAdapter]
    fit: dict[str, object] = Field(default_factory=dict, description="numbers of the fitting")
    seed: int = 0
    code_version: str = ""
    environment: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class GeneratorAdapters:
    """The adapters of one generator.

    Args:
        folder: with :data:`CARD`.
        card: what they are.
    """

    folder: Path
    card: AdapterCard

    @classmethod
    def load(cls, folder: str | Path) -> GeneratorAdapters:
        """Read a card, and check that all weights are its own.

        Raises:
            InputError: files are missing or damaged, or weights are not those of the card.
        """
        path = Path(folder)
        if not (path / CARD).is_file():
            raise InputError(
                f"{path} holds no adapters of a generator: {CARD} is missing; snellen synthesize few-shot and "
                f"snellen synthesize shortcuts write them"
            )
        try:
            card = AdapterCard.model_validate_json((path / CARD).read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise InputError(f"{path / CARD} is not the card of adapters: {error}") from error
        for name, adapter in card.adapters.items():
            if not (path / adapter.folder).resolve().is_relative_to(path.resolve()):
                raise InputError(f"{path / CARD}: the adapter {name!r} lies outside of its folder: {adapter.folder!r}")
            if (found := weights_hash(path / adapter.folder)) != adapter.sha256:
                raise InputError(
                    f"{path / adapter.folder}: sha256 {found[:16]}… is not the card's {adapter.sha256[:16]}…; file "
                    f"changed?"
                )
        return cls(path, card)

    @property
    def identity(self) -> str:
        """Hash of all weights and of the table of classes."""
        hashes = {NO_ADAPTER: "", **{name: one.sha256 for name, one in self.card.adapters.items()}}
        lines = [f"{label} {hashes[name]}" for label, name in sorted(self.card.classes.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def of(self, label: str) -> str:
        """Name of the adapter of a class; :data:`NO_ADAPTER` where it is generated without one.

        Raises:
            InputError: there is none.
        """
        if label not in self.card.classes:
            known = ", ".join(self.card.classes)
            raise InputError(f"{self.folder} has no adapter of class {label!r}; it has those of {known}")
        return self.card.classes[label]

    def check(self, generator: Generator) -> None:
        """Refuse a generator that they were not fitted for.

        Raises:
            InputError: other weights.
        """
        now = model_hashes(generator)
        if now != self.card.models:
            differs = sorted(name for name in {*now, *self.card.models} if now.get(name) != self.card.models.get(name))
            raise InputError(
                f"the adapters in {self.folder} were fitted for {self.card.generator}, and {generator.name} has other "
                f"weights ({', '.join(differs)}); name that generator, or fit adapters for this one"
            )

    @contextmanager
    def acting(self, generator: Generator, name: str, strength: float = 1.0) -> Iterator[None]:
        """Let one adapter act inside a ``with`` block; behind it the generator is as it was.

        Raises:
            InputError: the generator carries an adapter already, or its networks are not those of the files.
        """
        if name == NO_ADAPTER:
            yield
            return
        folder = self.folder / self.card.adapters[name].folder
        with ExitStack() as stack:
            for part, network in adapted_parts(generator, folder).items():
                if (folder / part / TOKENS).is_file():
                    stack.enter_context(knowing(generator, load_tokens(folder / part / TOKENS)))
                if not (folder / part / WEIGHTS).is_file():
                    continue
                adapters = Adapters(network)
                stack.callback(adapters.unload)
                load_adapter(adapters, NAME, folder / part)
                stack.enter_context(adapters.on({NAME: strength}))
            yield


def adapted_parts(generator: Generator, folder: Path) -> dict[str, nn.Module]:
    """The networks that an adapter has weights or tokens for, by the names of :meth:`Generator.modules`.

    Raises:
        InputError: it has none, or of a network that the generator does not have.
    """
    known = generator.modules()
    found = sorted(path.name for path in folder.iterdir() if any((path / name).is_file() for name in (WEIGHTS, TOKENS)))
    unknown = [name for name in found if name not in known]
    if not found or unknown:
        raise InputError(
            f"{folder} has weights of {', '.join(found) or 'no network'}; {generator.name} has {', '.join(known)}"
        )
    return {name: known[name] for name in found}


def model_hashes(generator: Generator) -> dict[str, str]:
    """Hash of the weights of each network of a generator, without adapters."""
    return {name: hash_tensors(dict(part.state_dict())) for name, part in generator.modules().items()}


def weights_hash(folder: Path) -> str:
    """Hash of all files of an adapter's weights and settings.

    Raises:
        InputError: there are none.
    """
    files = sorted(path for path in folder.glob("*/*") if path.name in (WEIGHTS, CONFIG, TOKENS))
    if not files:
        raise InputError(f"{folder} holds no adapter: {WEIGHTS} or {TOKENS} is missing")
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.parent.name}/{path.name}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def class_folder(label: str) -> str:
    """The folder of the adapter of a class: what is plain of its name, and a hash.

    >>> class_folder("St. Bernard")
    'st-bernard-7f7f71a5'
    """
    plain = re.sub("[^a-z0-9]+", "-", label.lower())[:50].strip("-")
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}".lstrip("-")


def write_card(folder: Path, card: AdapterCard) -> GeneratorAdapters:
    """Write the card, which comes last: a folder without it is unfinished."""
    write_atomically(folder / CARD, f"{card.model_dump_json(indent=2)}\n".encode())
    return GeneratorAdapters(folder, card)
