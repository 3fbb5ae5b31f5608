"""A language model that says what a test wrote down: for systems that ask one, never for the library."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from snellen.core.budget import Spent
from snellen.models.language.protocol import Message, Reply, as_messages, read_form


@dataclass
class ScriptedReplies:
    """Replies in order; ``asked`` keeps what was asked. One question too many is a failure of the test."""

    replies: Sequence[str]
    requested: list[tuple[Message, ...]] = field(default_factory=list)
    name: str = "scripted"
    sees_images: bool = True
    spent: Spent = field(default_factory=Spent)

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        key: str | None = None,
        schema: type[BaseModel] | None = None,
        max_tokens: int = 512,
        temperature: float | None = 0.0,
        sample: int = 0,
    ) -> Reply:
        assert len(self.requested) < len(self.replies), f"asked more than {len(self.replies)} times"
        text = self.replies[len(self.requested)]
        self.requested.append(as_messages(prompt, name=self.name))
        return Reply(text, None if schema is None else read_form(text, schema))
