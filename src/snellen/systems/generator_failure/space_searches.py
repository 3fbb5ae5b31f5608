"""What is searched: prompts, latents or a token for each class, and random search beside each.

One discriminator and one objective serve all spaces. A shard holds all searches of one class in one space, and their
rivals. A search and its rival have the same most generator calls, and each ends at its first success. Every case keeps
its latents, and the hash of the images that the unmodified sampler makes of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from safetensors.torch import save
from torch import Tensor

from snellen.core.classifier import hash_tensors
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.dual_encoders.towers import TwoTower
from snellen.runs.measuring import Put
from snellen.runs.picture_grid import picture_grid
from snellen.runs.safe_names import folder_names
from snellen.runs.shard import Shard
from snellen.runs.thumbnails import png
from snellen.systems.generator_failure.discriminator import Discriminator, Judge
from snellen.systems.generator_failure.drawing import Drawing
from snellen.systems.generator_failure.language_prior import LanguagePrior
from snellen.systems.generator_failure.latent_search import LatentFind, LatentSearch, Prompts, search_latents
from snellen.systems.generator_failure.normality import normality
from snellen.systems.generator_failure.prompt_search import PromptFind, PromptSearch, PromptSearcher
from snellen.systems.generator_failure.record import (
    FailureCase,
    SearchRow,
    Space,
)
from snellen.systems.generator_failure.region import grow
from snellen.systems.generator_failure.token_search import TokenFind, TokenSearch, search_token

#: What progress calls it.
TASK = "searching for failures"

#: Most images on the picture of a case.
SHOWN = 8


class SearchNumbers(BaseModel):
    """How much is searched, and how.

    Attributes:
        searches: of each class in each space.
        steps, guidance_scale: of the sampler. together: images that are made at once.
        prompts, latents, token: numbers of each space.
        directions, draws: of the region around a latent; 0 directions grow none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    searches: int = Field(4, ge=1)
    steps: int = Field(50, ge=1)
    guidance_scale: float = Field(7.5, allow_inf_nan=False)
    together: int = Field(16, ge=1)
    prompts: PromptSearch = PromptSearch()
    latents: LatentSearch = LatentSearch()
    token: TokenSearch = TokenSearch()
    directions: int = Field(0, ge=0)
    draws: int = Field(64, ge=1)

    @field_validator("directions")
    @classmethod
    def _directions(cls, directions: int) -> int:
        if directions == 1:
            raise ValueError("a region is grown in 2 directions or more, or in none (0); got 1")
        return directions

    def most_calls(self, space: Space) -> int:
        """Generator calls of one search at most, without regions."""
        return {"prompts": self.prompts.calls, "latents": self.latents.calls, "token": self.token.calls}[space]


@dataclass(frozen=True, eq=False)
class Searching:
    """The work. An item is a class in a space: all its searches, and their rivals."""

    drawing: Drawing
    discriminator: Discriminator
    judge: Judge | None
    prior: LanguagePrior | None
    towers: TwoTower | None
    items: Sequence[tuple[Space, str]]
    templates: tuple[str, ...]
    synonyms: Mapping[str, Sequence[str]]
    numbers: SearchNumbers
    seed: int

    @cached_property
    def stems(self) -> dict[str, str]:
        """Names of files for classes."""
        return folder_names([label for _, label in self.items])

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Search; see :class:`~snellen.runs.measuring.Work`."""
        rows: list[SearchRow] = []
        for item in items:
            space, label = self.items[item]
            rng = Randomness(self.seed).child("generator failure", space, label)
            search = {"prompts": self._prompts, "latents": self._latents, "token": self._token}[space]
            rows += search(label, rng, put)
            progress.advance(TASK, 1)
        return Shard(extra={"searches": [row.model_dump(mode="json") for row in rows]})

    # -- spaces --------------------------------------------------------------------------------------------------

    def _latents(self, label: str, rng: Randomness, put: Put) -> list[SearchRow]:
        searched = tuple(one.replace("{}", label) for one in self.templates)
        others = [
            (one.replace("{}", name), name)
            for name in self.discriminator.classes
            if name != label
            for one in self.templates
        ]
        numbers = self.numbers.latents
        order = torch.randperm(len(others), generator=rng.generator("held out")).tolist()
        prompts = Prompts(label, searched, tuple(others[row] for row in sorted(order[: numbers.held_out])))
        bound = rng.for_examples([str(number) for number in range(self.numbers.searches)])
        own = search_latents(self.drawing, self.discriminator, prompts, numbers, bound)
        rule = numbers.model_copy(update={"rule": "random"})
        rivals = search_latents(self.drawing, self.discriminator, prompts, rule, bound.child("rival"))
        return [
            self._row("latents", label, number, rival, one, self._latent_case(label, searched, one, put, number, rival))
            for rival, finds in ((False, own), (True, rivals))
            for number, one in enumerate(finds)
        ]

    def _latent_case(
        self, label: str, prompts: tuple[str, ...], find: LatentFind, put: Put, number: int, rival: bool
    ) -> FailureCase | None:
        if find.mode is None:
            return None
        assert find.images is not None and find.verdict is not None  # noqa: PT018 - one condition
        region = None
        if self.numbers.directions and not rival:
            name, prompt = label, prompts[0]

            def fails(latents: Tensor) -> Tensor:
                made = self.drawing.draw(latents, self.drawing.condition([prompt] * len(latents)))
                return self.discriminator.verdict(made, name).failed

            rng = Randomness(self.seed).child("region", label, number)
            # One prompt decides here, and it may be that it needs another batch than the search had.
            if bool(fails(find.latent[None])):
                region = grow(find.latent, fails, rng, directions=self.numbers.directions, draws=self.numbers.draws)
        latents = find.latent[None].repeat(len(prompts), 1, 1, 1)
        return self._case(
            "latents", label, number, rival, put, find.mode, prompts, latents, find.images,
            failing=1.0,
            probabilities=_means(find.verdict.probabilities),
            seen=find.verdict.seen,
            normality=normality(find.latent),
            persists=find.persists,
            region=region,
        )  # fmt: skip

    def _prompts(self, label: str, rng: Randomness, put: Put) -> list[SearchRow]:
        assert self.prior is not None
        banned = frozenset(word for word in self.synonyms.get(label, ()))
        rows = []
        for number in range(self.numbers.searches):
            template = self.templates[number % len(self.templates)]
            for rival in (False, True):
                numbers = self.numbers.prompts.model_copy(update={"rule": "random"} if rival else {})
                searcher = PromptSearcher(
                    self.drawing, self.discriminator, self.prior, label, template, numbers, banned
                )
                find = searcher.search(rng.child(number, "rival" if rival else "search"))
                case = self._prompt_case(label, searcher, find, put, number, rival)
                rows.append(self._row("prompts", label, number, rival, find, case))
        return rows

    def _prompt_case(
        self, label: str, searcher: PromptSearcher, find: PromptFind, put: Put, number: int, rival: bool
    ) -> FailureCase | None:
        if find.mode is None:
            return None
        assert find.images is not None and find.verdict is not None and find.latents is not None  # noqa: PT018
        assert find.share is not None
        first = list(searcher.first)
        added = tuple(word for word in find.prompt.split() if word not in first)
        assert find.above is not None
        return self._case(
            "prompts", label, number, rival, put, find.mode, (find.prompt,) * len(find.images),
            find.latents, find.images,
            added=added,
            failing=find.share,
            first_failing=find.first_share,
            above=find.above,
            probabilities=_means(find.verdict.probabilities[find.verdict.valid]),
            seen=find.verdict.seen,
            perplexity=find.perplexity,
        )  # fmt: skip

    def _token(self, label: str, rng: Randomness, put: Put) -> list[SearchRow]:
        texts = [
            one.replace("{}", name) for one in self.templates for name in self.discriminator.classes if name != label
        ]
        rows = []
        for number in range(self.numbers.searches):
            own = rng.child(number)
            order = torch.randperm(len(texts), generator=own.generator("prompts")).tolist()
            held_out = [texts[row] for row in order[1::2][: self.numbers.token.held_out]]
            searched = [text for text in texts if text not in held_out]
            find = search_token(
                self.drawing, self.discriminator, label, searched, held_out, self.numbers.token, own, towers=self.towers
            )
            rows.append(self._row("token", label, number, False, find, self._token_case(find, put, number, False)))
            rival = self._random_token(label, searched, held_out, own.child("rival"))
            rows.append(self._row("token", label, number, True, rival, self._token_case(rival, put, number, True)))
        return rows

    def _random_token(self, label: str, searched: Sequence[str], held_out: Sequence[str], rng: Randomness) -> TokenFind:
        """Random embeddings, each measured, until one succeeds or the calls are spent; the last one, with all calls."""
        numbers, spent = self.numbers.token, 0
        random = numbers.model_copy(update={"iterations": 0})
        while True:
            find = search_token(
                self.drawing,
                self.discriminator,
                label,
                searched,
                held_out,
                random,
                rng.child(spent),
                towers=self.towers,
            )
            spent += find.calls
            if find.mode is not None or spent + find.calls > numbers.calls:
                return replace(find, calls=spent)

    def _token_case(self, find: TokenFind, put: Put, number: int, rival: bool) -> FailureCase | None:
        if find.mode is None:
            return None
        return self._case(
            "token", find.target, number, rival, put, find.mode, find.prompts, find.latents, find.images,
            token=find.vector,
            failing=find.rate,
            norm=find.norm,
            norms=find.norms,
            clean=find.clean_rate,
            similarity=find.similarity,
        )  # fmt: skip

    # -- what they share -----------------------------------------------------------------------------------------

    def _case(
        self,
        space: Space,
        label: str,
        number: int,
        rival: bool,
        put: Put,
        mode: int,
        prompts: tuple[str, ...],
        latents: Tensor,
        images: Tensor,
        *,
        token: Tensor | None = None,
        **known: Any,  # noqa: ANN401 - fields of a case
    ) -> FailureCase:
        """Write latents and a picture, and ask the judge."""
        name = f"{space}-{self.stems[label]}-{number}{'-random' if rival else ''}"
        confirmed = None
        if self.judge is not None:
            seen = self.judge(torch.nan_to_num(images), label).float()
            valid = torch.isfinite(images).flatten(1).all(1)
            confirmed = float((seen if mode == 4 else 1 - seen)[valid].mean()) if bool(valid.any()) else None
        files: tuple[str, ...] = ()
        if not rival:
            files = (f"cases/{name}.safetensors", f"cases/{name}.png")
            tensors = {"latents": latents.detach().float().cpu().contiguous()}
            if token is not None:
                tensors["token"] = token.detach().float().cpu().contiguous()
            put(files[0], save(tensors))
            shown = (torch.nan_to_num(images[:SHOWN]).clamp(0, 1) * 255).round().to(torch.uint8)
            heads = [str(place + 1) for place in range(len(shown))]
            put(files[1], png(picture_grid(f"{label}: {prompts[0]}", heads, [(list(shown), f"mode {mode}")])))
        return FailureCase(
            name=name,
            space=space,
            mode=mode,
            label=label,
            prompts=prompts,
            confirmed=confirmed,
            digest=digest(images),
            files=files,
            **known,
        )

    def _row(
        self,
        space: Space,
        label: str,
        number: int,
        rival: bool,
        find: LatentFind | PromptFind | TokenFind,
        case: FailureCase | None,
    ) -> SearchRow:
        return SearchRow(
            space=space,
            label=label,
            number=number,
            rival=rival,
            calls=find.calls,
            invalid=find.invalid,
            not_run="" if isinstance(find, TokenFind) else find.reason,
            class_fails=isinstance(find, PromptFind) and find.class_fails,
            case=case,
        )

    def seconds(self) -> float:
        """What all searches take at most, by one image and one gradient."""
        prompt = self.templates[0].replace("{}", self.items[0][1])
        latents, condition = self.drawing.latents([0]), self.drawing.condition([prompt])
        started = time.perf_counter()
        self.drawing.draw(latents, condition)
        drawn = time.perf_counter() - started
        z = latents.requires_grad_(True)
        with torch.enable_grad():
            self.drawing.surrogate(z, condition).sum().backward()
        both = time.perf_counter() - started
        return self.most_calls() * max(drawn, both / 2)

    def most_calls(self) -> int:
        """Generator calls of all searches and their rivals at most."""
        each = sum(2 * self.numbers.most_calls(space) for space, _ in self.items) * self.numbers.searches
        latents = sum(space == "latents" for space, _ in self.items) * self.numbers.searches
        grown = self.numbers.directions * 8 + self.numbers.draws if self.numbers.directions else 0
        return each + latents * grown


def digest(images: Tensor) -> str:
    """Hash of float images, by which a case is reproduced bit for bit."""
    return hash_tensors({"images": images})


def _means(probabilities: Tensor) -> tuple[float, ...]:
    return tuple(float(one) for one in probabilities.mean(0))
