"""Short lists in words, one question for each class: concepts, prompts, descriptions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from snellen.models.language.protocol import LanguageModel, UnusableReplyError


class Phrases(BaseModel):
    """A list of phrases or sentences."""

    model_config = ConfigDict(frozen=True)

    items: tuple[str, ...] = Field(description="the phrases, in order")


def ask_for_phrases(
    model: LanguageModel,
    question: str,
    *,
    key: str | None = None,
    max_tokens: int = 512,
    temperature: float | None = 0.0,
    sample: int = 0,
) -> tuple[str, ...]:
    """Ask for a list: from a model by the question, from a file by the key.

    Blanks around phrases, empty ones and repetitions are dropped; the order stays.

    Args:
        model: whom to ask.
        question: in words, with all that a model must know.
        key: what it is about: a class name, in a file of lists; None for a file that is one list.
        max_tokens: most tokens of the reply.
        temperature: as in :meth:`LanguageModel.complete`.
        sample: as in :meth:`LanguageModel.complete`.

    Raises:
        InputError: a file has no list of that key.
        UnusableReplyError: the reply is not a list, or an empty one.
        ModelError: the model cannot be reached.
    """
    reply = model.complete(
        question, key=key, schema=Phrases, max_tokens=max_tokens, temperature=temperature, sample=sample
    )
    assert isinstance(reply.value, Phrases)
    phrases = tuple(dict.fromkeys(phrase.strip() for phrase in reply.value.items if phrase.strip()))
    if not phrases:
        raise UnusableReplyError(f"{model.name}: the list{f' for {key!r}' if key is not None else ''} is empty")
    return phrases
