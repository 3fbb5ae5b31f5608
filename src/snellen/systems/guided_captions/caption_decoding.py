"""Guided decoding: every side of a rule reads the same prefix; greedy as the paper's, by sampling, or by beams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.captioners.captioner import KeyValueCache
from snellen.models.captioners.protocol import Captioner, DecoderCache
from snellen.models.language.causal import CausalLanguageModel
from snellen.systems.guided_captions.caption_rules import Rule, check_finite, plausible_only


class StepScores(NamedTuple):
    """What is known of the next token.

    Attributes:
        scores: by which it is chosen, (n, v).
        conditional: log p with the image, (n, v).
        unconditional: log p under the null condition, (n, v); None where it was not needed.
    """

    scores: Tensor
    conditional: Tensor
    unconditional: Tensor | None


class GuidedSteps:
    """Scores of the next token for the rows of a batch, which may leave it, come twice, or change places.

    With and without the image are one batch of 2n rows. The null condition is the captioner's own: zeros of the shape
    of an image's states, which is also what fine-tuning puts in place of dropped ones, and not a black image.

    Args:
        captioner: p.
        states: of the images, a set for each row (n, s, w).
        rule: how the sides are combined, for n rows.
        language: q, where the rule needs one.
        prompt: tokens that the language model reads first, its beginning mark included (t,); None is that mark alone.
        plausible: see :func:`snellen.systems.guided_captions.caption_rules.plausible_only`.

    Raises:
        InputError: a rule that needs a language model without one, or one with other tokens than the captioner's.
    """

    def __init__(
        self,
        captioner: Captioner,
        states: Tensor,
        rule: Rule,
        *,
        language: CausalLanguageModel | None = None,
        prompt: Tensor | None = None,
        plausible: float = 0.0,
    ) -> None:
        if rule.needs_language:
            if language is None:
                raise InputError("this guidance asks a language model; name one")
            check_same_vocabulary(captioner, language)
        self.captioner, self.states, self.rule = captioner, states, rule
        self.language = language if rule.needs_language else None
        self.plausible = plausible
        self._begin = prompt if prompt is not None or language is None else torch.tensor([language.begin_token])
        self._both: DecoderCache | None = None
        self._language_cache: KeyValueCache | None = None
        self._paired = rule.needs_null

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> StepScores:
        """The whole prefix int64 (n, t), from the captioner's beginning mark on.

        Raises:
            ModelError: logits that are not finite.
        """
        conditional, null = self._captioner_sides(tokens)
        language = self._language_side(tokens)
        scores = plausible_only(self.rule.scores(conditional, null, language), conditional, self.plausible)
        return StepScores(scores, conditional, null)

    def select(self, rows: Tensor) -> None:
        """Go on with these rows (m,), in this order."""
        count = len(self.states)
        if self._both is not None:
            self._both = self._both.select(torch.cat([rows, rows + count]) if self._paired else rows)
        if self._language_cache is not None:
            self._language_cache = self._language_cache.select(rows)
        self.states, self.rule = self.states[rows], self.rule.select(rows)

    def _captioner_sides(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        count, states = len(tokens), self.states
        if self._paired:
            # Both sides see the same tokens in the same call.
            states = torch.cat([states, self.captioner.null_condition(count)])
            tokens = tokens.repeat(2, 1)
        logits, self._both = self.captioner.logits(tokens, states, self._both)
        logged = check_finite(logits, self.captioner.name).float().log_softmax(1)
        return logged[:count], logged[count:] if self._paired else None

    def _language_side(self, tokens: Tensor) -> Tensor | None:
        if self.language is None:
            return None
        assert self._begin is not None
        begun = self._begin.to(tokens.device).expand(len(tokens), -1)
        prefix = torch.cat([begun, tokens[:, 1:]], 1).to(self.language.device)
        logits, self._language_cache = self.language.logits(prefix, self._language_cache)
        return check_finite(logits, self.language.name).float().log_softmax(1).to(self.states.device)


def check_same_vocabulary(captioner: Captioner, language: CausalLanguageModel) -> None:
    """See that a number stands for the same piece of text in both models.

    Raises:
        InputError: it does not; the message names the first token that differs.
    """
    ours, theirs = captioner.vocabulary, language.vocabulary
    if ours == theirs and captioner.end_token == language.end_token:
        return
    if len(ours) != len(theirs):
        differs = f"they have {len(ours)} and {len(theirs)} tokens"
    elif ours != theirs:
        place = next(n for n, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        differs = f"token {place} is {ours[place]!r} in one and {theirs[place]!r} in the other"
    else:
        differs = f"a text ends with token {captioner.end_token} in one and {language.end_token} in the other"
    raise InputError(
        f"{captioner.name} and {language.name} do not share their tokens: {differs}; guidance needs a language model "
        f"with the captioner's own tokenizer"
    )


def prompt_tokens(language: CausalLanguageModel, captions: list[str] | tuple[str, ...], *, newline: bool) -> Tensor:
    """A prompt of captions for the language model: int64 (t,), its beginning mark first.

    Captions are joined by two newlines, and two newlines stand before what comes next. A vocabulary without a newline
    parts them by the end mark instead.

    Raises:
        InputError: a prompt that is longer than the model's context.
    """
    if not captions:
        return torch.tensor([language.begin_token])
    if newline:
        joined = language.tokenise(["\n\n".join([*captions, ""])], ended=False)[0]
    else:
        rows = language.tokenise(list(captions))
        joined = torch.cat([torch.tensor([language.begin_token]), *(row[1:] for row in rows)])
    if len(joined) >= language.context_length:
        raise InputError(
            f"{len(captions)} captions are {len(joined)} tokens, and {language.name} reads "
            f"{language.context_length}; give fewer"
        )
    return joined


#: Scores (m, v), the rows of the batch that they are of (m,), and the number of the step → tokens (m,).
Choose = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Decoded:
    """Sequences with the log-probabilities of both sides.

    Attributes:
        tokens: what was given, then what was decoded, int64 (n, t); padded on the right.
        lengths: number of decoded tokens, end mark included, int64 (n,).
        conditional: log p of each decoded token with the image, float32 (n, l); 0 behind the end.
        unconditional: the same under the null condition; None where no row was guided by it.
    """

    tokens: Tensor
    lengths: Tensor
    conditional: Tensor
    unconditional: Tensor | None


def greedy(scores: Tensor, rows: Tensor, step: int) -> Tensor:
    """The token with the highest score."""
    return scores.argmax(1)


def sampling(rng: Randomness, *, temperature: float = 1.0) -> Choose:
    """Draw from softmax(scores / temperature): an extra; the paper decodes greedily.

    Args:
        rng: bound to the rows of the batch; a draw belongs to a row and a step, in any batch.
        temperature: above 0.
    """

    def choose(scores: Tensor, rows: Tensor, step: int) -> Tensor:
        shares = (scores.double() / temperature).softmax(1).cumsum(1)
        draws = rng[rows.cpu()].uniform(f"token {step}", (1,), like=scores).double()
        # The last share may be a little below 1.
        return (shares <= draws * shares[:, -1:]).sum(1).clamp(max=scores.shape[1] - 1)

    return choose


@torch.no_grad()
def decode(
    steps: GuidedSteps, start: Tensor, *, end: int, filler: int, max_tokens: int, choose: Choose = greedy
) -> Decoded:
    """Choose token after token until each row's end mark, or until ``max_tokens`` were decoded.

    Args:
        steps: the scores, for n rows.
        start: tokens that are given, int64 (n, t) with t ≥ 1.
        end: the token that ends a row.
        filler: the token that pads rows that have ended.
        max_tokens: most tokens that are decoded.
        choose: greedy, or :func:`sampling`.
    """
    count, device = len(start), start.device
    alive, tokens = torch.arange(count, device=device), start
    chosen = torch.full((count, max_tokens), filler, dtype=torch.long, device=device)
    lengths = torch.zeros(count, dtype=torch.long, device=device)
    told = {name: torch.zeros(count, max_tokens, device=device) for name in ("conditional", "unconditional")}
    asked = False
    for step in range(max_tokens):
        found = steps(tokens)
        best = choose(found.scores, alive, step)
        chosen[alive, step] = best
        lengths[alive] += 1
        told["conditional"][alive, step] = found.conditional.gather(1, best[:, None])[:, 0]
        if found.unconditional is not None:
            asked = True
            told["unconditional"][alive, step] = found.unconditional.gather(1, best[:, None])[:, 0]
        going = (best != end).nonzero().flatten()
        if not len(going):
            break
        tokens = torch.cat([tokens, best[:, None]], 1)
        if len(going) < len(alive):
            steps.select(going)
            tokens, alive = tokens[going], alive[going]
    longest = int(lengths.max())
    return Decoded(
        tokens=torch.cat([start, chosen[:, :longest]], 1),
        lengths=lengths,
        conditional=told["conditional"][:, :longest],
        unconditional=told["unconditional"][:, :longest] if asked else None,
    )


@torch.no_grad()
def beam_search(
    steps: GuidedSteps,
    start: Tensor,
    *,
    beams: int,
    end: int,
    filler: int,
    max_tokens: int,
    length_penalty: float = 1.0,
) -> Tensor:
    """The best sequences by the sum of normalised scores over length ** ``length_penalty``.

    Guided scores are brought to log-probabilities by a softmax at each step, because sums of unnormalised ones would
    compare steps with each other. A row searches until no beam can overtake its best ended one.

    Args:
        steps: scores for n · ``beams`` rows, the beams of a row side by side.
        start: tokens that are given, int64 (n, t) with t ≥ 1.
        beams: hypotheses that are kept for each row.
        end: the token that ends a row.
        filler: the token that pads.
        max_tokens: most tokens that are decoded.
        length_penalty: 0 compares sums, 1 means.

    Returns:
        Tokens int64 (n, t + l), padded on the right.
    """
    count = len(start)
    tokens = start.repeat_interleave(beams, 0)
    sums = torch.full((count, beams), -torch.inf, device=start.device)
    sums[:, 0] = 0.0  # all beams begin alike: only one of them may
    best_score = [-float("inf")] * count
    best: list[Tensor] = list(start)
    for step in range(1, max_tokens + 1):
        scores = steps(tokens).scores.float().log_softmax(1).view(count, beams, -1)
        size = scores.shape[2]
        values, places = (sums[:, :, None] + scores).flatten(1).topk(min(2 * beams, beams * size), dim=1)
        parents, words = places // size, places % size
        last = step == max_tokens
        ended = (words == end) | last
        rows, following, next_sums = [], [], torch.full_like(sums, -torch.inf)
        for row in range(count):
            for place in ended[row].nonzero().flatten().tolist():
                # An end mark counts where it is among the first beams; else a longer sentence may still be better.
                score = float(values[row, place]) / step**length_penalty
                if (place < beams or last) and score > best_score[row]:
                    best_score[row] = score
                    parent = tokens[row * beams + int(parents[row, place])]
                    best[row] = torch.cat([parent, words[row, place, None]])
            going = (~ended[row]).nonzero().flatten()[:beams]
            going = going if len(going) else torch.zeros(1, dtype=torch.long, device=start.device)
            filled = torch.cat([going, going[:1].expand(beams - len(going))])
            kept = values[row, going].masked_fill(ended[row, going], -torch.inf)
            next_sums[row, : len(going)] = kept
            rows.append(row * beams + parents[row, filled])
            following.append(words[row, filled])
        sums = next_sums
        # What follows can only lower a sum, and the longest sentence is divided by the most.
        reachable = sums.amax(1) / max_tokens**length_penalty
        if last or bool((reachable <= torch.tensor(best_score, device=start.device)).all()):
            break
        order = torch.cat(rows)
        steps.select(order)
        tokens = torch.cat([tokens[order], torch.cat(following)[:, None]], 1)
    longest = max(len(row) for row in best)
    found = torch.full((count, longest), filler, dtype=torch.long, device=start.device)
    for row, sequence in enumerate(best):
        found[row, : len(sequence)] = sequence
    return found
