"""Randomness without state: every draw is a pure function of (run seed, example id, stream name).

No draw depends on what was drawn before it, so batch size, batch order, shards, restarts and early-finished images
cannot change a number. Draws are made on the CPU with one Mersenne-Twister generator per example and stream, then
moved to the device of the images; the same seed therefore gives the same noise on every device.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

#: The validation split, alone or in front of the id of an image or unit, and its name when the records were measured.
_SPLIT, EARLIER_SPLIT = re.compile(r"^((?:image|unit) )?val(?=[/ ]|$)"), "tune"


def stream_name(text: str) -> str:
    """The text from which draws are derived: the split ``val`` under its earlier name, so that no draw has changed.

    >>> stream_name("val/000017"), stream_name("photos/val/1.png")
    ('tune/000017', 'photos/val/1.png')
    """
    return _SPLIT.sub(rf"\1{EARLIER_SPLIT}", text) if "val" in text else text


def derive_seed(*parts: int | float | str) -> int:
    """Derive a 63-bit seed from a sequence of parts.

    Parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ. The split ``val`` counts as its earlier name
    ``tune`` (:func:`stream_name`), so that these two, alone or in front of an id, give one seed.

    >>> derive_seed(0, "image-1", "noise") == derive_seed(0, "image-1", "noise")
    True
    >>> derive_seed("ab", "c") == derive_seed("a", "bc")
    False
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        encoded = f"{type(part).__name__}:{stream_name(part) if isinstance(part, str) else part}".encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return int.from_bytes(digest.digest(), "big") >> 1


@dataclass(frozen=True)
class Randomness:
    """The source of all randomness in a verb.

    ``ids`` are the ids of the examples of the current batch, in order. Where a caller has no ids (a notebook), the
    position in the batch stands in for them: see :meth:`bind`.

    >>> rng = Randomness(seed=0).for_examples(["a", "b", "c"])
    >>> whole = rng.normal("noise", (2, 2))
    >>> torch.equal(whole[[2, 0]], rng[[2, 0]].normal("noise", (2, 2)))
    True
    """

    seed: int
    ids: tuple[str, ...] | None = None
    path: tuple[str, ...] = ()
    _memory: dict[tuple[object, ...], Tensor] | None = field(default=None, repr=False, compare=False)

    def for_examples(self, ids: Sequence[str]) -> Randomness:
        """Return the same randomness for the examples with these ids."""
        return replace(self, ids=tuple(ids))

    def bind(self, count: int) -> Randomness:
        """Return randomness for ``count`` examples: unchanged if ids are set (and as many), else named by position."""
        if self.ids is None:
            return self.for_examples([str(position) for position in range(count)])
        if len(self.ids) != count:
            raise ValueError(f"randomness is bound to {len(self.ids)} examples, but {count} images came")
        return self

    def child(self, *names: str | int) -> Randomness:
        """Return an independent randomness for a part of the work ("restart", 2)."""
        return replace(self, path=(*self.path, *(str(name) for name in names)))

    def remembering(self) -> Randomness:
        """Return the same randomness that keeps its draws: a second request for a draw gets the same tensor at once.

        For one batch under several strengths. Draws must not be changed in place; the memory lives as long as this
        object and its children.

        >>> rng = Randomness(0).bind(2).remembering()
        >>> rng.normal("noise", (3,)) is rng.normal("noise", (3,))
        True
        """
        return replace(self, _memory={})

    def __getitem__(self, indices: Sequence[int] | Tensor) -> Randomness:
        """Return the randomness of some examples of the batch (used when finished images leave it)."""
        if self.ids is None:
            raise ValueError("bind the randomness to examples before taking a part of it")
        if isinstance(indices, Tensor) and indices.dtype == torch.bool:
            indices = indices.nonzero().flatten()  # a mask, as in indexing a tensor
        chosen = indices.tolist() if isinstance(indices, Tensor) else list(indices)
        return replace(self, ids=tuple(self.ids[i] for i in chosen))

    def generator(self, stream: str) -> torch.Generator:
        """Return a CPU generator for a draw that belongs to the whole run (a permutation, an initialisation)."""
        # The number keeps these seeds apart from those of examples: a name in the path is never a number.
        return torch.Generator().manual_seed(derive_seed(self.seed, *self.path, 0, stream))

    def normal(self, stream: str, shape: Sequence[int], *, like: Tensor | None = None) -> Tensor:
        """Draw standard normal noise: (n, *shape), float32, on the device of ``like``."""
        key = ("normal", tuple(shape))
        return self._draw(stream, lambda _, g: torch.randn(tuple(shape), generator=g), like, key)

    def uniform(
        self, stream: str, shape: Sequence[int], low: float = 0.0, high: float = 1.0, *, like: Tensor | None = None
    ) -> Tensor:
        """Draw uniform noise in [low, high): (n, *shape), float32, on the device of ``like``.

        Rounding to float32 may give ``high`` itself where the range is not [0, 1).
        """
        key = ("uniform", tuple(shape), low, high)
        return self._draw(stream, lambda _, g: low + (high - low) * torch.rand(tuple(shape), generator=g), like, key)

    def integers(self, stream: str, shape: Sequence[int], low: int, high: int, *, like: Tensor | None = None) -> Tensor:
        """Draw integers in [low, high): (n, *shape), int64, on the device of ``like``."""
        key = ("integers", tuple(shape), low, high)
        return self._draw(stream, lambda _, g: torch.randint(low, high, tuple(shape), generator=g), like, key)

    def beta(self, stream: str, first: float, second: float, *, like: Tensor | None = None) -> Tensor:
        """Draw from Beta(first, second), one number for each example: (n,), float32, on the device of ``like``."""

        def draw(_: int, generator: torch.Generator) -> Tensor:
            return torch.tensor(np.random.default_rng(generator.initial_seed()).beta(first, second)).float()

        return self._draw(stream, draw, like, ("beta", first, second))

    def poisson(self, stream: str, rates: Tensor) -> Tensor:
        """Draw Poisson counts for rates (n, ...) ≥ 0: float32, of the same shape and on the same device."""
        if not len(rates):
            return rates.float()
        on_cpu = rates.float().cpu()
        return self._draw(stream, lambda row, g: torch.poisson(on_cpu[row], generator=g), rates, None)

    def _draw(
        self,
        stream: str,
        draw: Callable[[int, torch.Generator], Tensor],
        like: Tensor | None,
        key: tuple[object, ...] | None,
    ) -> Tensor:
        """Draw row by row; ``key`` names the distribution for the memory, None is never remembered."""
        if self.ids is None:
            raise ValueError("bind the randomness to examples first: rng.for_examples(ids) or rng.bind(n)")
        device = torch.device("cpu") if like is None else like.device
        name = (self.ids, self.path, stream, key, device)
        if self._memory is not None and key is not None and name in self._memory:
            return self._memory[name]
        generator = torch.Generator()
        rows = [
            draw(row, generator.manual_seed(derive_seed(self.seed, *self.path, stream, example)))
            for row, example in enumerate(self.ids)
        ]
        drawn = (torch.stack(rows) if rows else draw(0, generator)[None][:0]).to(device)
        if self._memory is not None and key is not None:
            self._memory[name] = drawn
        return drawn
