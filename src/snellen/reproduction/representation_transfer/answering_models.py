"""LLaVA cut behind its projector: images → visual tokens → "says the target" to one question."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.models.captioners.llava import LlavaAnswerer
from snellen.models.layers.layer_edits import reading
from snellen.reproduction.representation_transfer.speaking_figures import Speaker
from snellen.reproduction.representation_transfer.suffix_attack import target_losses
from snellen.reproduction.representation_transfer.token_targets import as_classifier

#: The layer whose output is the visual tokens, by the end of its full name.
PROJECTOR = "*multi_modal_projector"


class ShownImages(nn.Module):
    """A LLaVA that reads visual tokens in the places of the image mark; called as a causal transformer is.

    Args:
        model: a ``LlavaForConditionalGeneration``.
        visual: visual tokens (m, s, d); rows of a multiple of m prompts read them in turn, each several times.
        place: where the first image mark of a prompt stands.
    """

    def __init__(self, model: nn.Module, visual: Tensor, place: int) -> None:
        super().__init__()
        self.model, self.visual, self.place = model, visual, place

    def get_input_embeddings(self) -> nn.Module:
        """The table of tokens."""
        table: nn.Module = self.model.get_input_embeddings()  # type: ignore[operator]
        return table

    def forward(self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None) -> object:
        """Tokens int64 (n, t), or their vectors (n, t, d) → the model's output with logits (n, t, v)."""
        vectors = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        visual = self.visual.repeat_interleave(len(vectors) // len(self.visual), 0).to(vectors.dtype)
        end = self.place + visual.shape[1]
        return self.model(inputs_embeds=torch.cat([vectors[:, : self.place], visual, vectors[:, end:]], 1))


class AnswerSplit:
    """One question about images, cut behind the projector.

    Args:
        answerer: LLaVA.
        question: the same for every image.
        target: int64 (t,), what the answer is to begin with.
        room: tokens that may stand behind the prompt.
    """

    def __init__(self, answerer: LlavaAnswerer, question: str, target: Tensor, *, room: int) -> None:
        self.answerer, self.target = answerer, target.to(answerer.device)
        self.layer, self.place = "projected", "visual tokens behind the projector"
        self.classifier = as_classifier(answerer.name, lambda images: self.decode(self.encode(images)))
        assert answerer.preparation.size is not None
        blank = torch.zeros(1, 3, *answerer.preparation.size)
        (row,) = answerer.prompts(blank, [question], room=room)
        (template,) = answerer.prompts(blank, [""], room=room)
        #: The prompt up to the question's last word, and what the template puts behind it.
        tail = len(_common_end(row, template))
        self.prompt = torch.tensor(row[: len(row) - tail], device=answerer.device)
        self.tail = torch.tensor(row[len(row) - tail :], device=answerer.device)
        self.first = row.index(int(answerer.module.config.image_token_id))

    def encode(self, images: Tensor) -> Tensor:
        """Prepared images (n, 3, h, w) → visual tokens (n, s, d)."""
        whole = torch.cat([self.prompt, self.tail]).expand(len(images), -1)
        with reading(self.answerer.module, PROJECTOR) as states:
            self.answerer.module(input_ids=whole, pixel_values=self.answerer.normalised(images))
        (found,) = states.values()
        return found[0].view(len(images), -1, found[0].shape[-1])

    def decode(self, representations: Tensor, images: Tensor | None = None) -> Tensor:
        """Visual tokens (n, s, d) → scores of the two classes (n, 2)."""
        whole = torch.cat([self.prompt, self.tail]).expand(len(representations), -1)
        return target_losses(self.shown(representations), whole, self.target)[1]

    def shown(self, visual: Tensor) -> ShownImages:
        """The model with these visual tokens (n, s, d)."""
        return ShownImages(self.answerer.module, visual, self.first)


@dataclass(frozen=True, eq=False)
class ShownSpeaker(Speaker):
    """A LLaVA whose prompts each have an image.

    Attributes:
        split: the model.
        visual: visual tokens (n, s, d) of the images, without an attack.
    """

    split: AnswerSplit
    visual: Tensor

    def behind(self, rows: Tensor) -> nn.Module:
        """The model with the images of these prompts."""
        return self.split.shown(self.visual[rows])


def _common_end(first: list[int], second: list[int]) -> list[int]:
    """The longest end that two rows share."""
    count = 0
    while count < min(len(first), len(second)) and first[-1 - count] == second[-1 - count]:
        count += 1
    return first[len(first) - count :]
