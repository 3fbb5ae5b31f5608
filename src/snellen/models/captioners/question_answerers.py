"""``hf:FOLDER``: BLIP for questions about images (``BlipForQuestionAnswering`` of transformers).

The question reads the image, the answer reads the question. In the library an answer also reads the padding of its
question, and so depends on the questions beside it. Here questions of one length go through the model together, without
padding, and each gets the answer that the library gives to it alone.
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
from snellen.models.captioners import llava
from snellen.models.captioners.captioner import CrossAttentionDecoder, WordPieces
from snellen.models.captioners.greedy import decode_greedily, ignored_settings, sequence_log_probabilities
from snellen.models.captioners.hugging_face_captioners import blip_pieces
from snellen.models.captioners.protocol import QuestionAnswerer
from snellen.models.classifiers.hugging_face_models import translate
from snellen.models.classifiers.prepared_images import check_prepared
from snellen.models.tokens.token_rows import check_texts, fit, pad, rows_alike
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    import_transformers,
    load_config,
    load_image_processor,
    load_network,
    load_tokenizer,
)
from snellen.models.weights.state_dict_file import WeightsIdentity

#: Images with their questions that go through the model at a time.
BATCH = 32


class BlipAnswerer:
    """A :class:`~snellen.models.captioners.protocol.QuestionAnswerer`; its network is frozen.

    Args:
        transformers: the library.
        model: a ``BlipForQuestionAnswering``.
        tokenizer: the tokenizer that belongs to it.
        name: shown in reports and messages.
        preparation: the model's own resize and crop.
        normalization: mean and std that the model wants.
        device: where the model runs.
    """

    def __init__(
        self,
        transformers: ModuleType,
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
        self.notes = ignored_settings(model.text_decoder.generation_config)
        self._pieces: WordPieces = blip_pieces(model.config.text_config, tokenizer, name=name)
        self._tokenizer = tokenizer
        self._decoder = CrossAttentionDecoder(transformers, model.text_decoder)
        self._identity = WeightsIdentity(self.module)
        self._scale = tuple(torch.tensor(values, device=device).view(-1, 1, 1) for values in normalization)

    def __repr__(self) -> str:
        return f"BlipAnswerer({self.name!r}, {'x'.join(map(str, self.preparation.size or ()))})"

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""
        return self._identity()

    def answer(self, images: Tensor, questions: Sequence[str], *, max_tokens: int = 10) -> tuple[str, ...]:
        """Prepared images (n, 3, h, w) in [0, 1] and n questions → n answers, decoded greedily.

        Raises:
            InputError: another number of questions than images, or a question that is too long.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is at least 1, got {max_tokens}")
        rows = self._questions(images, questions)
        answers = [""] * len(rows)
        for chosen in rows_alike(rows, BATCH):
            states = self._read(images[chosen], [rows[index] for index in chosen])
            decoded = decode_greedily(
                lambda tokens, cache, states=states: self._decoder.logits(tokens, states, cache),  # type: ignore[misc]
                torch.full((len(states), 1), self._pieces.begin, device=self.device),
                end=self._pieces.end,
                filler=self._pieces.filler,
                max_tokens=min(max_tokens, self._pieces.context_length - 1),
            )
            for index, answer in zip(chosen, self._pieces.texts(decoded.tokens), strict=True):
                answers[index] = answer
        return tuple(answers)

    @torch.no_grad()
    def score(self, images: Tensor, questions: Sequence[str], answers: Sequence[str]) -> Tensor:
        """Log-probability of each of k answers for each image with its question, end mark included: (n, k).

        Raises:
            InputError: another number of questions than images, no answers, or a text that is too long.
        """
        rows = self._questions(images, questions)
        words = [row.tolist() for row in self._pieces.tokenise(answers)]
        tokens, counts = (part.to(self.device) for part in pad(words, filler=self._pieces.filler))
        scores = []
        for image, row in zip(images.split(1), rows, strict=True):
            states = self._read(image, [row])
            logits = self._decoder.sequence_logits(tokens, states.expand(len(words), *states.shape[1:]))
            scores.append(sequence_log_probabilities(logits, tokens, counts))
        return torch.stack(scores)

    def _questions(self, images: Tensor, questions: Sequence[str]) -> list[list[int]]:
        check_prepared(images, self.preparation.size, name=self.name)
        check_texts(questions, name=self.name)
        if len(questions) != len(images):
            raise InputError(f"{self.name} takes one question for each image; got {len(images)} and {len(questions)}")
        rows = self._tokenizer(list(questions), truncation=False, padding=False, verbose=False)["input_ids"]
        return fit(rows, questions, context=self._pieces.context_length, truncate=False, name=self.name)

    @torch.no_grad()
    def _read(self, images: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
        """States (n, t, w) of questions of one length, after they have read their images."""
        mean, std = self._scale
        seen = self.module.vision_model(pixel_values=(images.to(self.device) - mean) / std).last_hidden_state
        states: Tensor = self.module.text_encoder(
            input_ids=torch.tensor(rows, device=self.device), encoder_hidden_states=seen
        ).last_hidden_state
        return states


def load(rest: str, device: torch.device, *, name: str | None = None) -> QuestionAnswerer:
    """Load a folder as ``save_pretrained`` of a BLIP for questions, or of a LLaVA, and its processor writes it.

    Raises:
        InputError: a hub id, missing files, another kind of model, or weights that do not fit.
    """
    folder = Path(rest)
    check_folder(folder, tokenizer=True)
    transformers = import_transformers(f"hf:{rest}")
    config = load_config(transformers, folder)
    if config.model_type == "llava":
        return llava.build(transformers, folder, device, name=name)
    if config.model_type != "blip":
        raise InputError(
            f"{folder} holds a model of type {config.model_type!r}, not a BLIP for questions (blip) or LLaVA"
        )
    model = load_network(transformers.BlipForQuestionAnswering, folder, what="a model that answers questions")
    preparation, normalization = translate(load_image_processor(transformers, folder), name=folder.name)
    return BlipAnswerer(
        transformers,
        model,
        load_tokenizer(transformers, folder),
        name=name or f"hf:{folder.name}",
        preparation=preparation,
        normalization=normalization,
        device=device,
    )
