"""One step of guided decoding: every side that a rule needs reads the same prefix, each with its cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.captioners.captioner import KeyValueCache
from snellen.models.captioners.protocol import Captioner, DecoderCache
from snellen.models.language.causal import CausalLanguageModel
from snellen.systems.guided_captions.caption_rules import Rule
from snellen.systems.guided_captions.caption_scores import check_finite, plausible_only


class StepScores(NamedTuple):
    """What is known of the next token.

    Attributes:
        scores: by which it is chosen, (n, v).
        conditional: log p with the image, (n, v).
        unconditional: log p under the null condition, (n, v); None where it was not asked.
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
        plausible: see :func:`snellen.systems.guided_captions.caption_scores.plausible_only`.

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
