"""``hf:FOLDER``: LLaVA for questions about images (``LlavaForConditionalGeneration`` of transformers).

The image becomes tokens in the place of its mark in the prompt "USER: <image> … ASSISTANT:" (Liu et al., "Improved
Baselines with Visual Instruction Tuning", CVPR 2024, arXiv 2310.03744). Prompts of one length go through the model
together, without padding, so an answer does not depend on the questions beside it. Decoding is greedy and ends at a
line break.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.models.captioners.greedy import ignored_settings, sequence_log_probabilities
from snellen.models.captioners.protocol import QuestionAnswerer
from snellen.models.classifiers.hugging_face_models import translate
from snellen.models.classifiers.prepared_images import check_prepared
from snellen.models.tokens.token_rows import check_texts, rows_alike
from snellen.models.weights.hugging_face_folder import (
    check_vocabulary,
    load_image_processor,
    load_network,
    load_tokenizer,
)
from snellen.models.weights.state_dict_file import WeightsIdentity

#: Images with their prompts that go through the model at a time.
BATCH = 8

#: What surrounds image and question.
BEFORE, AFTER = "USER: ", "\n{} ASSISTANT:"


class LlavaAnswerer:
    """A :class:`~snellen.models.captioners.protocol.QuestionAnswerer`; its network is frozen.

    Args:
        model: a ``LlavaForConditionalGeneration``.
        tokenizer: the tokenizer that belongs to it.
        name: shown in reports and messages.
        preparation: the model's own resize and crop.
        normalization: mean and std that the model wants.
        device: where the model runs.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - of an extra
        tokenizer: Any,  # noqa: ANN401 - of an extra
        *,
        name: str,
        preparation: Preprocessing,
        normalization: Normalization,
        device: str | torch.device = "cpu",
    ) -> None:
        self.name, self.preparation, self.normalization = name, preparation, normalization
        self.device = torch.device(device)
        self.module = model.eval().requires_grad_(False).to(device)
        self.notes = ignored_settings(model.generation_config)
        check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings, name=name)
        self._tokenizer, self._config = tokenizer, model.config
        self._mark = int(model.config.image_token_id)
        self._identity = WeightsIdentity(self.module)

    def __repr__(self) -> str:
        return f"LlavaAnswerer({self.name!r}, {'x'.join(map(str, self.preparation.size or ()))})"

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""
        return self._identity()

    @property
    def image_tokens(self) -> int:
        """Tokens that stand for an image."""
        vision = self._config.vision_config
        whole = (int(vision.image_size) // int(vision.patch_size)) ** 2
        return whole + (self._config.vision_feature_select_strategy == "full")

    @torch.no_grad()
    def answer(self, images: Tensor, questions: Sequence[str], *, max_tokens: int = 10) -> tuple[str, ...]:
        """Prepared images (n, 3, h, w) in [0, 1] and n questions → the first line of each of n answers.

        Raises:
            InputError: another number of questions than images, or a question that is too long.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is at least 1, got {max_tokens}")
        rows = self.prompts(images, questions, room=max_tokens)
        answers = [""] * len(rows)
        for chosen in rows_alike(rows, BATCH):
            tokens = torch.tensor([rows[at] for at in chosen], device=self.device)
            made = self.module.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                pixel_values=self.normalised(images[chosen]),
                do_sample=False,
                num_beams=1,
                max_new_tokens=max_tokens,
                pad_token_id=self._filler,
            )
            for at, row in zip(chosen, made[:, tokens.shape[1] :].tolist(), strict=True):
                text = str(self._tokenizer.decode(row, skip_special_tokens=True))
                answers[at] = text.strip().partition("\n")[0].strip()
        return tuple(answers)

    @torch.no_grad()
    def score(self, images: Tensor, questions: Sequence[str], answers: Sequence[str]) -> Tensor:
        """Log-probability of each of k answers for each image with its question, end mark included: (n, k)."""
        columns = [self.log_probabilities(images, questions, [one] * len(images)) for one in answers]
        return torch.stack(columns, dim=1)

    def log_probabilities(self, images: Tensor, questions: Sequence[str], answers: Sequence[str]) -> Tensor:
        """Log-probability of each image's answer, end mark included: (n,). Differentiable, for training and attacks.

        Raises:
            InputError: another number of questions or answers than images, or a text that is too long.
        """
        check_texts(answers, name=self.name)
        if len(answers) != len(images):
            raise InputError(f"{self.name} takes one answer for each image; got {len(images)} and {len(answers)}")
        said = [[*self.tokens(f" {one}"), int(self._tokenizer.eos_token_id)] for one in answers]
        prompts = self.prompts(images, questions, room=max((len(one) for one in said), default=1))
        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, said, strict=True)]
        longest = max((len(row) for row in rows), default=0)
        tokens = torch.full((len(rows), longest), self._filler, device=self.device)
        there, counted = torch.zeros_like(tokens), torch.zeros(len(rows), longest, device=self.device)
        for at, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            tokens[at, : len(row)] = torch.tensor(row, device=self.device)
            there[at, : len(row)] = 1
            counted[at, len(prompt) : len(row)] = 1
        logits = self.module(input_ids=tokens, attention_mask=there, pixel_values=self.normalised(images)).logits
        return sequence_log_probabilities(logits, tokens, counted)

    @property
    def _filler(self) -> int:
        filler = self._tokenizer.pad_token_id
        return int(self._tokenizer.eos_token_id if filler is None else filler)

    def normalised(self, images: Tensor) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] as the network wants them."""
        mean, std = (torch.tensor(values, device=self.device).view(-1, 1, 1) for values in self.normalization)
        kind = next(self.module.parameters()).dtype
        return ((images.to(self.device) - mean) / std).to(kind)

    def tokens(self, text: str, *, marks: bool = False) -> list[int]:
        """Tokens of a text, with the tokenizer's own marks or without."""
        found: list[int] = self._tokenizer(text, add_special_tokens=marks, verbose=False)["input_ids"]
        return found

    def prompts(self, images: Tensor, questions: Sequence[str], *, room: int) -> list[list[int]]:
        """Tokens of each image's prompt, with the image's own mark as often as it has tokens.

        Raises:
            InputError: another number of questions than images, or a question that leaves no room for an answer.
        """
        check_prepared(images, self.preparation.size, name=self.name)
        check_texts(questions, name=self.name)
        if len(questions) != len(images):
            raise InputError(f"{self.name} takes one question for each image; got {len(images)} and {len(questions)}")
        begin = self.tokens(BEFORE, marks=True)
        if begin and begin[-1] == self._tokenizer.eos_token_id:
            begin = begin[:-1]
        image, rows = [self._mark] * self.image_tokens, []
        for question in questions:
            asked = self.tokens(AFTER.format(question))
            # The mark in a question would be taken for a second image.
            rows.append([*begin, *image, *(one for one in asked if one != self._mark)])
        most = int(self._config.text_config.max_position_embeddings)
        longest = max((len(row) for row in rows), default=0) + room
        if longest > most:
            raise InputError(
                f"{self.name} reads {most} tokens, of which an image takes {self.image_tokens}; question and answer "
                f"need {longest} in all: shorten the policy"
            )
        return rows


def build(transformers: ModuleType, folder: Path, device: torch.device, *, name: str | None = None) -> QuestionAnswerer:
    """Load a folder as ``save_pretrained`` of a ``LlavaForConditionalGeneration`` and its processor writes it.

    Raises:
        InputError: missing files, or weights that do not fit.
    """
    model = load_network(transformers.LlavaForConditionalGeneration, folder, what="a model that answers questions")
    preparation, normalization = translate(load_image_processor(transformers, folder), name=folder.name)
    return LlavaAnswerer(
        model,
        load_tokenizer(transformers, folder),
        name=name or f"hf:{folder.name}",
        preparation=preparation,
        normalization=normalization,
        device=device,
    )
