"""Requests to a language model whose replies are checked, repaired at most twice, kept, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from pydantic import BaseModel

from snellen.core.errors import InputError, ModelError, UnreachableError
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import LanguageModel, Message, UnusableReplyError, WrongFormError, read_form
from snellen.systems.language_model_annotation.ledger import Cost, PaidError, Store, key_of

Form = TypeVar("Form", bound=BaseModel)

#: Requests for one reply at most: a first one and two repairs (the language model itself repairs the form once each).
MOST_REQUESTS = 3

#: Letters of a tool's output that a prompt quotes.
QUOTED = 500

#: Where replies about concepts are kept; those about images are kept with their labels.
_ABOUT = "concepts"


@dataclass
class Conversation:
    """A language model, and what was spent on it.

    Args:
        model: see :class:`snellen.models.language.protocol.LanguageModel`.
        store: of replies about concepts.
        spent: requests and tokens so far, those of kept replies included.
    """

    model: LanguageModel
    store: Store
    spent: Cost = field(default_factory=Cost)

    def request(self, prompt: str, form: type[Form], *, key: str, check: Callable[[Form], object]) -> Form:
        """A reply about the concept, in a form, that passes a check.

        Args:
            prompt: in words.
            form: of the reply.
            key: what lists in files find it by.
            check: raises an InputError that says what is wrong with the content.

        Raises:
            UnusableReplyError: no reply passed.
            ModelError, InputError: as :meth:`LanguageModel.complete`.
        """
        place = key_of(self.model.name, prompt, key, form.model_json_schema())
        # A list in a file costs nothing, and may have been edited since.
        held = None if isinstance(self.model, ListedAnswers) else self.store.get(_ABOUT, place)
        if held is not None:
            value, cost = _read(held, form)
        else:
            value, cost = checked_reply(self.model, (Message("user", prompt),), form, key=key, check=check)
            self.store.put(_ABOUT, place, json.dumps([value.model_dump_json(), cost.tokens, cost.judgements]))
        self.spent += Cost(texts=cost.judgements, tokens=cost.tokens)
        return value


def _read(held: str, form: type[Form]) -> tuple[Form, Cost]:
    text, tokens, requests = json.loads(held)
    try:
        return cast(Form, read_form(text, form)), Cost(judgements=requests, tokens=tokens)
    except WrongFormError as error:
        raise InputError(f"a kept reply is damaged ({error}); remove the file of kept labels") from error


def checked_reply(
    model: LanguageModel,
    messages: Sequence[Message],
    form: type[Form],
    *,
    key: str,
    check: Callable[[Form], object],
    max_tokens: int = 1024,
) -> tuple[Form, Cost]:
    """A reply that passes a check, and its cost as ``judgements`` and ``tokens``; at most two repairs.

    A list in a file gives the same reply again, so it is requested once.

    Raises:
        UnusableReplyError: none passed; the message holds the last fault, and the error what the replies cost.
        PaidError: the model failed; it holds what was spent until then.
        UnreachableError: the model cannot be reached.
    """
    conversation, cost, fault = tuple(messages), Cost(), ""
    for _ in range(MOST_REQUESTS):
        try:
            reply = model.complete(conversation, key=key, schema=form, max_tokens=max_tokens)
        except UnusableReplyError as error:
            whole = cost + Cost(judgements=error.requests, tokens=error.tokens)
            raise UnusableReplyError(str(error), requests=whole.judgements, tokens=whole.tokens) from error
        except UnreachableError:
            raise
        except ModelError as error:
            raise PaidError(str(error), cost + Cost(judgements=1)) from error
        cost += Cost(judgements=1 + reply.repaired, tokens=reply.prompt_tokens + reply.completion_tokens)
        value = cast(Form, reply.value)
        try:
            check(value)
            return value, cost
        except InputError as error:
            if str(error) == fault:
                break
            fault = str(error)
            conversation = (
                *messages,
                Message("assistant", reply.text),
                Message("user", f"That reply cannot be used: {fault}\nReply again with the corrected JSON alone."),
            )
    raise UnusableReplyError(
        f"{model.name}: no usable {form.__name__.strip('_')}: {fault}", requests=cost.judgements, tokens=cost.tokens
    )
