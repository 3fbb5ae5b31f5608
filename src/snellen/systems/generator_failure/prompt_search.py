"""score(v) = (E[v] − e_i) · ∂L/∂e_i − λ log p(v | prefix): natural prompts on which a generator loses the class.

SAGE (Liu et al., ICLR 2024, arXiv 2306.00974), failure mode 1. A language prior proposes words, the gradient of the
discriminator with respect to the embedding at their place ranks them (as HotFlip, Ebrahimi et al. 2018), the best few
are drawn, and a beam keeps those on which the class is least seen. The class word stays, no other class is named, and a
prompt counts only when enough *fresh* latents fail, which no step of the search has seen, and clearly more than of the
first prompt. Where the first prompt fails by itself, the class as such fails, and there is no prompt to search for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.metrics.intervals import newcombe_difference
from snellen.systems.generator_failure.discriminator import Discriminator, Verdict
from snellen.systems.generator_failure.drawing import Drawing, as_image
from snellen.systems.generator_failure.embedded_words import rows_of_words, span_of_words, watched
from snellen.systems.generator_failure.language_prior import END, LanguagePrior, complete, perplexity, words_of

#: Failure mode of prompts, as the paper numbers it.
NATURAL = 1

#: Words that take the class away: a prompt with one describes something else.
NEGATIONS = frozenset(
    "no not without never nothing nobody none neither nor instead absent missing removed empty".split()  # noqa: SIM905
)

_Words = tuple[str, ...]


class PromptSearch(BaseModel):
    """Numbers of the search; none was published.

    Attributes:
        rule: gradient is the method; likely leaves the gradient out; random draws natural prompts.
        proposals: N, words of the prior at a place.
        checked: M, prompts that are drawn of each turn.
        beam: b, prompts that are continued.
        latents: n_z, of a check and of the confirmation.
        gradient_latents: of a gradient.
        share: ρ, of latents that must fail.
        likelihood: λ of the prior's log p.
        most_words: that are added to the first prompt.
        perplexity_ratio: most perplexity of a prompt, over that of the first one by the same prior. Where the prior
            gives no probabilities, nothing is limited.
        taped: steps of the sampler on the tape.
        calls: most generator calls of a search.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal["gradient", "likely", "random"] = "gradient"
    proposals: int = Field(25, ge=1)
    checked: int = Field(8, ge=1)
    beam: int = Field(4, ge=1)
    latents: int = Field(8, ge=2)
    gradient_latents: int = Field(2, ge=1)
    share: float = Field(0.5, gt=0, le=1)
    likelihood: float = Field(0.05, ge=0)
    most_words: int = Field(6, ge=1)
    perplexity_ratio: float = Field(4.0, gt=0, allow_inf_nan=False)
    taped: int = Field(4, ge=1)
    calls: int = Field(400, ge=1)


@dataclass(eq=False)
class PromptFind:
    """What became of one search.

    Attributes:
        prompt: the last one that was confirmed or tried.
        calls: of the generator.
        mode: 1, or None without a success.
        invalid: fewer than half of the images that were drawn were finite.
        first_share: of fresh latents on which the first prompt fails; None where none was valid.
        share: of fresh latents that fail; None without a confirmation.
        above: least difference of the two shares, the low end of Newcombe's interval; None without a confirmation.
        reason: why nothing was searched; empty where something was.
        class_fails: the reason is that the first prompt fails by itself.
        perplexity: of the prompt; None where the prior gives no probabilities.
        latents: fresh ones, (n, c, h, w). images: drawn from these. verdict: of the images.
        tried: prompts that were drawn.
    """

    prompt: str
    calls: int = 0
    mode: int | None = None
    invalid: bool = False
    first_share: float | None = None
    share: float | None = None
    above: float | None = None
    reason: str = ""
    class_fails: bool = False
    perplexity: float | None = None
    latents: Tensor | None = None
    images: Tensor | None = None
    verdict: Verdict | None = None
    tried: list[str] = field(default_factory=list)


class PromptSearcher:
    """Searches for one class.

    Args:
        drawing: the generator.
        discriminator: decides.
        prior: proposes.
        name: the class, as prompts spell it.
        template: the first prompt, with ``{}`` for the class.
        numbers: of the search.
        banned: further words that name other classes, such as synonyms.

    Raises:
        InputError: a first prompt that does not hold the class, or one with a piece between spaces that is not one
            word, so that the prior cannot read it.
    """

    def __init__(
        self,
        drawing: Drawing,
        discriminator: Discriminator,
        prior: LanguagePrior,
        name: str,
        template: str,
        numbers: PromptSearch,
        banned: frozenset[str] = frozenset(),
    ) -> None:
        self.banned = banned
        self.drawing, self.discriminator, self.prior, self.name = drawing, discriminator, prior, name
        self.numbers = numbers
        self.own = words_of(name)
        self.others = [words_of(one) for one in discriminator.classes if one != name]
        self.first = tuple(template.replace("{}", name).split())
        for piece in (*self.first, *name.split()):
            if len(words_of(piece)) != 1:
                raise InputError(
                    f"{piece!r} of the prompt {' '.join(self.first)!r} is not one word, so a language prior cannot "
                    f"read it; write words of letters and digits, with hyphens inside and marks at their ends"
                )
        if not self.own or not self.keeps_class(self.first):
            raise InputError(
                f"the first prompt {template!r} does not ask for {name!r} alone; write a template with {{}}"
            )
        self._first_counts = 0, 0

    @cached_property
    def most_perplexity(self) -> float | None:
        """That a prompt may have; None where the prior gives no probabilities."""
        usual = perplexity(self.prior, plain(self.first))
        return None if usual is None else self.numbers.perplexity_ratio * usual

    def keeps_class(self, words: Sequence[str]) -> bool:
        """The class is named once, no other class is, and nothing takes it away."""
        words = plain(words)
        if (NEGATIONS | self.banned) & set(words) or len(_places(words, self.own)) != 1:
            return False
        return not any(_places(words, other) for other in self.others if other and not _within(other, self.own))

    def natural(self, words: Sequence[str]) -> bool:
        """The prior finds the prompt likely enough; where it gives no probabilities, each word was its proposal."""
        found = perplexity(self.prior, plain(words))
        return found is None or self.most_perplexity is None or found <= self.most_perplexity

    def search(self, rng: Randomness) -> PromptFind:
        """One search."""
        most, numbers = self.numbers.calls, self.numbers
        find, seen = PromptFind(" ".join(self.first)), {self.first}
        least = 3 * numbers.latents + (numbers.gradient_latents if numbers.rule == "gradient" else 0)
        if most < least:
            find.reason = f"{most} calls are too few: the first prompt, a check and a confirmation take {least}"
            return find
        if not self._first(rng, find):
            return find
        looked = self._latents(rng.child("searched"), numbers.latents)
        beam: list[_Words] = [self.first]
        turn = 0
        while find.calls + numbers.latents <= most and not find.invalid:
            turn += 1
            if numbers.rule == "random":
                ranked = self._random(rng.child("words", turn), seen)
            else:
                ranked = self._ranked(beam, seen, find, most, rng.child(turn))
            if not ranked:
                if not find.tried:
                    find.reason = self._why_none()
                break
            scored: list[tuple[float, _Words]] = []
            for words in ranked[: numbers.checked]:
                if find.calls + numbers.latents > most:
                    break
                seen.add(words)
                loss, share, valid = self._check(words, looked, find)
                if valid < 0.5:
                    find.invalid = True
                    break
                scored.append((loss, words))
                if share >= numbers.share and find.calls + numbers.latents <= most and self._confirm(words, rng, find):
                    return find
            beam = [words for _, words in sorted(scored)[: numbers.beam]] or beam
            if all(len(words) >= len(self.first) + numbers.most_words for words in beam):
                beam = [self.first]
        return find

    def _first(self, rng: Randomness, find: PromptFind) -> bool:
        """Draw the first prompt on fresh latents; whether there is something to search for."""
        count, prompt = self.numbers.latents, find.prompt
        made = self.drawing.draw(self._latents(rng.child("first"), count), self.drawing.condition([prompt] * count))
        find.calls += count
        verdict = self.discriminator.verdict(made, self.name)
        self._first_counts = int(verdict.failed.sum()), int(verdict.valid.sum())
        failed, valid = self._first_counts
        find.invalid = valid < 0.5 * count
        find.first_share = failed / valid if valid else None
        if not find.invalid and failed >= self.numbers.share * valid:
            find.class_fails = True
            find.reason = f"the class as such fails: {prompt!r} loses it on {failed / valid:.0%} of {valid} latents"
        return not find.invalid and not find.class_fails

    def _why_none(self) -> str:
        """Why no prompt can be drawn."""
        limit = "" if self.most_perplexity is None else f", of a perplexity of {self.most_perplexity:.1f} at most,"
        return f"{self.prior.name} proposes no prompt{limit} with {self.name!r} and no other class"

    def _ranked(
        self, beam: Sequence[_Words], seen: set[_Words], find: PromptFind, most: int, rng: Randomness
    ) -> list[_Words]:
        """Prompts one phrase longer than those of the beam, by their first-order score, best first."""
        scores: dict[_Words, float] = {}
        for number, words in enumerate(beam):
            for place in (self._place(words), len(words)):
                offers = self._offers(words, place, seen)
                if not offers:
                    continue
                slopes = dict.fromkeys(offers, 0.0)
                if self.numbers.rule == "gradient":
                    if find.calls + self.numbers.gradient_latents + self.numbers.latents > most:
                        continue
                    slopes = self._slopes(words, place, list(offers), find, rng.child(number, place))
                for longer, likely in offers.items():
                    score = slopes[longer] - self.numbers.likelihood * likely
                    scores[longer] = min(score, scores.get(longer, math.inf))
        return sorted(scores, key=lambda words: (scores[words], words))

    def _offers(self, words: _Words, place: int, seen: set[_Words]) -> dict[_Words, float]:
        """Longer prompts, by a word in front of the class or a phrase at the end, and log p of the word."""
        found: dict[_Words, float] = {}
        for word, likely in self.prior.propose(plain(words[:place]), self.numbers.proposals):
            if word == END:
                continue
            longer: _Words | None = (*words[:place], word, *words[place:])
            if place == len(words):
                longer = self._ended((*words, word))
            if longer is None or longer in seen or len(longer) > len(self.first) + self.numbers.most_words:
                continue
            if self.keeps_class(longer) and self.natural(longer):
                found[longer] = likely
        return found

    def _ended(self, words: _Words) -> _Words | None:
        """The words up to where the prior ends the prompt, as they are written; None where it does not end it."""
        whole = complete(self.prior, plain(words))
        return None if whole is None else (*words, *whole[len(words) :])

    def _slopes(
        self, words: _Words, place: int, offers: Sequence[_Words], find: PromptFind, rng: Randomness
    ) -> dict[_Words, float]:
        """(E[v] − e_i) · g_i of every offer: the change of the loss that the gradient promises."""
        drawing, count = self.drawing, self.numbers.gradient_latents
        filler = offers[0]  # the likeliest
        latents = self._latents(rng, count)
        with torch.enable_grad(), watched(drawing.generator) as deltas:
            condition = drawing.generator.encode_prompts([" ".join(filler)], gradients=True).select([0] * count)
            made = drawing.conditioned(latents, condition, taped=self.numbers.taped)
            finite = torch.nan_to_num(made)
            loss = self.discriminator.loss(as_image(finite), self.name, rng).mean()
            gradients = torch.autograd.grad(loss, [delta for delta, _ in deltas], allow_unused=True)
        find.calls += count
        added = len(filler) - len(words)
        slopes = dict.fromkeys(offers, 0.0)
        for (delta, tower), gradient in zip(deltas, gradients, strict=True):
            if gradient is None or not bool(torch.isfinite(gradient).all()):
                continue
            del delta
            table = tower.network.get_input_embeddings().weight.detach().float()
            at = span_of_words(tower.tokenizer, filler, place, added)
            slope = gradient[0, at].float()
            now = rows_of_words(tower.tokenizer, table, filler[place : place + added])
            for one in offers:
                new = rows_of_words(tower.tokenizer, table, one[place : place + len(one) - len(words)])
                # Of another number of tokens than the filler's, each position gets their mean.
                moved = new if len(new) == len(now) else new.mean(0, keepdim=True)
                slopes[one] += float(((moved - now) * slope).sum())
        return slopes

    def _random(self, rng: Randomness, seen: set[_Words]) -> list[_Words]:
        """Natural prompts that the prior is drawn from, with the class: what a search has to beat."""
        generator, found = rng.generator("prompts"), list[_Words]()
        for _ in range(50 * self.numbers.checked):
            words = self.first
            for place in ("front", "end"):
                for _ in range(int(torch.randint(0, 3, (), generator=generator))):
                    at = self._place(words) if place == "front" else len(words)
                    offers = [
                        pair for pair in self.prior.propose(plain(words[:at]), self.numbers.proposals) if pair[0] != END
                    ]
                    if not offers:
                        break
                    weights = torch.tensor([likely for _, likely in offers]).softmax(0)
                    word = offers[int(torch.multinomial(weights, 1, generator=generator))][0]
                    words = (*words[:at], word, *words[at:])
            whole = self._ended(words) if len(words) > self._place(words) + len(self.own) else words
            if (
                whole is None
                or whole in seen
                or whole in found
                or len(whole) > len(self.first) + self.numbers.most_words
            ):
                continue
            if self.keeps_class(whole) and self.natural(whole):
                found.append(whole)
            if len(found) == self.numbers.checked:
                break
        return found

    def _check(self, words: _Words, latents: Tensor, find: PromptFind) -> tuple[float, float, float]:
        """Loss, share of failures, and share of valid images, of a prompt on the latents of the search."""
        prompt = " ".join(words)
        made = self.drawing.draw(latents, self.drawing.condition([prompt] * len(latents)))
        find.calls += len(latents)
        find.tried.append(prompt)
        verdict = self.discriminator.verdict(made, self.name)
        count = int(verdict.valid.sum())
        if not count:
            return math.inf, 0.0, 0.0
        loss = verdict.probabilities[verdict.valid].clamp_min(1e-12).log().mean()
        return float(loss), int(verdict.failed.sum()) / count, count / len(latents)

    def _confirm(self, words: _Words, rng: Randomness, find: PromptFind) -> bool:
        """Draw fresh latents, which belong to this prompt alone."""
        prompt = " ".join(words)
        latents = self._latents(rng.child("fresh", prompt), self.numbers.latents)
        made = self.drawing.draw(latents, self.drawing.condition([prompt] * len(latents)))
        find.calls += len(latents)
        verdict = self.discriminator.verdict(made, self.name)
        count = int(verdict.valid.sum())
        find.prompt, find.share = prompt, int(verdict.failed.sum()) / count if count else None
        find.perplexity = perplexity(self.prior, plain(words))
        if find.share is None or find.share < self.numbers.share:
            return False
        find.above = newcombe_difference(int(verdict.failed.sum()), count, *self._first_counts).low
        if find.above <= 0:
            return False
        find.mode, find.latents, find.images, find.verdict = NATURAL, latents, made, verdict
        return True

    def _latents(self, rng: Randomness, count: int) -> Tensor:
        drawn = rng.for_examples([str(row) for row in range(count)]).normal("latents", self.drawing.shape)
        return drawn.to(self.drawing.generator.device)

    def _place(self, words: Sequence[str]) -> int:
        """Where the class word begins."""
        return _places(plain(words), self.own)[0]


def plain(words: Sequence[str]) -> _Words:
    """Words of a prompt as a prior reads them: in small letters, without the marks at their ends."""
    return tuple(words_of(word)[0] for word in words)


def _places(words: Sequence[str], part: Sequence[str]) -> list[int]:
    """Where some words stand within others, one behind the other."""
    wide = len(part)
    return [place for place in range(len(words) - wide + 1) if tuple(words[place : place + wide]) == tuple(part)]


def _within(part: Sequence[str], whole: Sequence[str]) -> bool:
    return bool(_places(whole, part))
