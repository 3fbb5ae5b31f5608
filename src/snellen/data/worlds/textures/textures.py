"""Pairs of textures as an image set: one that repeats without a seam, and its broken twin of the same pattern."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.rendered_source import RenderedSource
from snellen.data.worlds.textures.breaking import FAILURES, GEOMETRIC, Failure, twists
from snellen.data.worlds.textures.patterns import GENERATORS, Generator, seed_values
from snellen.data.worlds.textures.rendering import VERSION, Recipes, render_textures

CLASS_NAMES = ("not tileable", "tileable")

#: Least and greatest number of periods along a side.
PERIODS: dict[Generator, tuple[int, int]] = {
    "bricks": (2, 4),
    "weave": (4, 6),
    "stripes": (3, 7),
    "dots": (4, 7),
    "checkers": (2, 5),
    "cells": (4, 7),
    "noise": (2, 4),
    "wood": (1, 2),
    "terrazzo": (3, 6),
    "hexagons": (4, 7),
}


class Textures(Method):
    """Textures in pairs: a tileable one and its twin of the same pattern, colours and seed that does not tile.

    Tileable textures lie at many angles, as broken ones do, so that a slant does not give the answer away. Broken ones
    are cropped off their period, rotated, sheared or seen in perspective; or a ramp of light does not wrap; or a light
    spot makes the repetition conspicuous without any seam. Image i does not depend on how many there are.

    >>> textures = Textures(count=4, size=32).images()
    >>> textures.ids[1], textures.labels.tolist(), textures.column("unit_id")[:2]
    ('test/000001', [1, 0, 1, 0], ['test/pair-000000', 'test/pair-000000'])
    """

    name: ClassVar[str] = "textures"

    count: int = Field(500, ge=1, le=1_000_000, description="images; two make a pair")
    size: int = Field(64, ge=16, le=2048, description="side of the images, pixels")
    generators: tuple[Generator, ...] = Field(GENERATORS, min_length=1, description="patterns to draw from")
    held_out: tuple[Generator, ...] = Field((), description="patterns that only the test split shows, and no others")
    failures: tuple[Failure, ...] = Field(FAILURES, min_length=1, description="ways in which twins are broken")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything")

    def images(self, *, split: Split = "test") -> ImageSet:
        """The images of a split; even ones tile, odd ones are the broken twins of those before them.

        Columns: label (1 tileable), unit_id (pair), group (generator), attributes (generator, failure or null,
        frequency, twist, ramp, blob), caption, provenance.

        Raises:
            InputError: every generator is held out, so that nothing is left to train on.
        """
        recipes, failures = self._recipes(split)
        known = _attributes(recipes, failures)
        source = RenderedSource(
            self.count,
            lambda rows: render_textures(recipes[rows], size=self.size),
            lambda row: f"{VERSION} {self.size} {int(recipes.seeds[row])} {known[row]}",
            chunk=max(1, min(64, 2**18 // self.size**2)),
        )
        table = _table(recipes.generators, failures, known, split, self.seed)
        return ImageSet(source, table, CLASS_NAMES, f"textures ({split} split)", split=split)

    def _shown(self, split: Split) -> tuple[Generator, ...]:
        if split == "test" and self.held_out:
            return self.held_out
        left = tuple(name for name in self.generators if name not in self.held_out)
        if not left:
            raise InputError(f"held_out names all generators ({', '.join(self.generators)}): leave some to train on")
        return left

    def _recipes(self, split: Split) -> tuple[Recipes, list[Failure | None]]:
        pairs = (self.count + 1) // 2
        seeds = torch.tensor([derive_seed(self.seed, split, "pair", pair) for pair in range(pairs)])
        choice = seed_values(seeds, "choices", 2)
        shown = self._shown(split)
        generators = [shown[int(value * len(shown))] for value in choice[:, 0].tolist()]
        failures = [self.failures[int(value * len(self.failures))] for value in choice[:, 1].tolist()]
        frequency = _frequencies(seeds, generators)
        twist, ramp, blob = _damage(seeds, frequency, failures)
        whole = (
            torch.eye(3).repeat(pairs, 1, 1),
            torch.zeros(pairs, 2),
            torch.tensor([0.5, 0.5, 1.0, 0.0]).repeat(pairs, 1),
        )
        both = [
            torch.stack(pair, 1).flatten(0, 1)[: self.count] for pair in zip(whole, (twist, ramp, blob), strict=True)
        ]
        recipes = Recipes(
            generators=tuple(name for name in generators for _ in (0, 1))[: self.count],
            seeds=seeds.repeat_interleave(2)[: self.count],
            frequency=frequency.repeat_interleave(2, 0)[: self.count],
            twist=both[0],
            ramp=both[1],
            blob=both[2],
        )
        return recipes, [failure for name in failures for failure in (None, name)][: self.count]


def _frequencies(seeds: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Whole periods along the sides: rows (k, m) and (−m, k), a turned square; wood is drawn out, hexagons are flat."""
    drawn = seed_values(seeds, "frequency", 3).double()
    bounds = torch.tensor([PERIODS[name] for name in generators])
    periods = bounds[:, 0] + (drawn[:, 0] * (bounds[:, 1] - bounds[:, 0] + 1)).long()
    slants = ((2 * drawn[:, 1] - 1) * (periods // 2 + 1)).long()
    slants = torch.where(drawn[:, 2] < 0.25, 0, slants)
    stretch = torch.tensor([{"wood": 3.0, "hexagons": 3**-0.5}.get(name, 1.0) for name in generators]).double()
    across = torch.stack([-slants, periods], 1).double() * stretch[:, None]
    return torch.stack([torch.stack([periods, slants], 1), across.round().long()], 1)


def _damage(seeds: Tensor, frequency: Tensor, failures: Sequence[Failure]) -> tuple[Tensor, Tensor, Tensor]:
    """Twist, ramp and blob of the broken twins, see :class:`Recipes`."""
    twist = torch.eye(3).repeat(len(seeds), 1, 1)
    drawn = seed_values(seeds, "light", 8)
    ramp, blob = torch.zeros(len(seeds), 2), torch.tensor([0.5, 0.5, 1.0, 0.0]).repeat(len(seeds), 1)
    for failure in FAILURES:
        rows = torch.tensor([row for row, name in enumerate(failures) if name == failure], dtype=torch.int64)
        if not len(rows):
            continue
        if failure in GEOMETRIC:
            twist[rows] = twists(seeds[rows], frequency[rows], failure)
        elif failure == "ramp":
            signs = torch.where(drawn[rows, 0:2] < 0.5, -1.0, 1.0)
            ramp[rows] = signs * (0.15 + 0.3 * drawn[rows, 2:4])
        else:
            places = 0.38 + 0.24 * drawn[rows, 4:6]
            blob[rows] = torch.cat([places, 0.18 + 0.14 * drawn[rows, 6:7], 0.45 + 0.35 * drawn[rows, 7:8]], 1)
    return twist, ramp, blob


def _attributes(recipes: Recipes, failures: Sequence[Failure | None]) -> list[str]:
    columns = (recipes.frequency, recipes.twist, recipes.ramp, recipes.blob)
    rows = zip(recipes.generators, failures, *(column.tolist() for column in columns), strict=True)
    names = ("generator", "failure", "frequency", "twist", "ramp", "blob")
    return [json.dumps(dict(zip(names, row, strict=True))) for row in rows]


def _table(
    generators: Sequence[Generator], failures: Sequence[Failure | None], known: Sequence[str], split: Split, seed: int
) -> pa.Table:
    count = len(generators)
    made = Provenance(origin="generated", generator=f"snellen {VERSION}", seed=seed).model_dump_json(exclude_none=True)
    captions = [
        f"a seamless texture of {name}" if failure is None else f"a texture of {name}, broken by {failure}"
        for name, failure in zip(generators, failures, strict=True)
    ]
    return pa.table(
        {
            "id": pa.array([f"{split}/{row:06d}" for row in range(count)], COLUMNS["id"]),
            "label": pa.array([int(failure is None) for failure in failures], COLUMNS["label"]),
            "unit_id": pa.array([f"{split}/pair-{row // 2:06d}" for row in range(count)], COLUMNS["unit_id"]),
            "group": pa.array(generators, COLUMNS["group"]),
            "split": pa.array([split] * count, COLUMNS["split"]),
            "caption": pa.array(captions, COLUMNS["caption"]),
            "attributes": pa.array(known, COLUMNS["attributes"]),
            "provenance": pa.array([made] * count, COLUMNS["provenance"]),
        }
    )
