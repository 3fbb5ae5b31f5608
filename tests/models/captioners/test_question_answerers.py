"""BLIP for questions: the answers of the library, whatever other questions are asked beside them."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snellen.core.errors import InputError, MissingExtraError
from snellen.models.references import load_captioner, load_question_answerer
from snellen.models.weights.quiet_loading import quiet_loading

QUESTIONS = ["is it red", "how many dogs are there on the grass", "what", "is this a cat or a dog ?", "which"]

Library = Callable[[Path, str], tuple[torch.nn.Module, object]]


def generated(model: torch.nn.Module, tokenizer: object, pixels: torch.Tensor, questions: list[str]) -> list[str]:
    tokens = tokenizer(questions, padding=True, return_tensors="pt")
    with quiet_loading():
        ids = model.generate(
            pixel_values=pixels,
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            max_new_tokens=8,
            do_sample=False,
            num_beams=1,
        )
    return [text.strip() for text in tokenizer.batch_decode(ids[:, 1:], skip_special_tokens=True)]


@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_answers_are_those_of_the_library(
    answerer: Path, tmp_path: Path, images: torch.Tensor, library: Library, eager: Callable, bias: float
) -> None:
    folder = eager(answerer, tmp_path, bias)
    ours = load_question_answerer(f"hf:{folder}")
    model, tokenizer = library(folder, "BlipForQuestionAnswering")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in ours.normalization)
    pixels = (images - mean) / std
    # One question at a time: the library lets the answer read a question's padding.
    expected = [generated(model, tokenizer, pixels[i : i + 1], [QUESTIONS[i]])[0] for i in range(5)]
    assert list(ours.answer(images, QUESTIONS, max_tokens=8)) == expected
    assert len(set(expected)) > 1
    assert generated(model, tokenizer, pixels, QUESTIONS) != expected
    same = ["is it red"] * 5
    assert list(ours.answer(images, same, max_tokens=8)) == generated(model, tokenizer, pixels, same)


def test_scores_are_the_losses_of_the_library(answerer: Path, images: torch.Tensor, library: Library) -> None:
    ours = load_question_answerer(f"hf:{answerer}")
    model, tokenizer = library(answerer, "BlipForQuestionAnswering")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in ours.normalization)
    answers = ["yes", "no", "two red dogs"]
    scores = ours.score(images, QUESTIONS, answers)
    assert scores.shape == (5, 3)
    begin = model.config.text_config.bos_token_id
    for row, question in enumerate(QUESTIONS):
        asked = tokenizer([question], return_tensors="pt")
        for column, answer in enumerate(answers):
            words = tokenizer(answer, add_special_tokens=False)["input_ids"]
            tokens = torch.tensor([[begin, *words, tokenizer.sep_token_id]])
            with torch.no_grad():
                loss = model(
                    input_ids=asked["input_ids"],
                    attention_mask=asked["attention_mask"],
                    pixel_values=(images[row : row + 1] - mean) / std,
                    labels=tokens,
                ).loss
            assert float(scores[row, column]) == pytest.approx(float(-loss * (tokens.shape[1] - 1)), abs=1e-3)
    assert torch.allclose(ours.score(images[2:3], QUESTIONS[2:3], answers), scores[2:3], atol=1e-4)


def test_image_and_question_matter(answerer: Path, images: torch.Tensor) -> None:
    ours = load_question_answerer(f"hf:{answerer}")
    base = ours.score(images[:1], ["is it red"], ["yes", "no"])
    assert not torch.allclose(ours.score(images[1:2], ["is it red"], ["yes", "no"]), base, atol=1e-2)
    assert not torch.allclose(ours.score(images[:1], ["is it blue"], ["yes", "no"]), base, atol=1e-2)


def test_what_cannot_be_queried_is_reported(answerer: Path, images: torch.Tensor) -> None:
    ours = load_question_answerer(f"hf:{answerer}")
    with pytest.raises(InputError, match="one question for each image; got 5 and 1"):
        ours.answer(images, ["what"])
    with pytest.raises(InputError, match="a list of texts"):
        ours.answer(images, "what")
    with pytest.raises(InputError, match="has 42 tokens, and at most 32 fit"):
        ours.answer(images[:1], [" ".join(["what"] * 40)])
    with pytest.raises(InputError, match="max_tokens is at least 1"):
        ours.answer(images[:1], ["what"], max_tokens=0)
    with pytest.raises(InputError, match="no texts"):
        ours.score(images[:1], ["what"], [])
    with pytest.raises(InputError, match="takes images of 32x32"):
        ours.answer(torch.rand(1, 3, 16, 16), ["what"])


@pytest.mark.parametrize("load", [load_captioner, load_question_answerer])
def test_without_the_library(load: Callable, blip: Path, answerer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    folder = blip if load is load_captioner else answerer
    with pytest.raises(MissingExtraError, match=r"needs the package 'transformers'.*snellen\[vlm\]"):
        load(f"hf:{folder}")


def test_folders_that_hold_something_else(answerer: Path, blip: Path, vit_gpt2: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights lack .* tensors of a model that answers questions"):
        load_question_answerer(f"hf:{blip}")
    with pytest.raises(InputError, match=r"'vision-encoder-decoder', not a BLIP for questions \(blip\)"):
        load_question_answerer(f"hf:{vit_gpt2}")
    with pytest.raises(InputError, match="is not a model that answers questions"):
        load_question_answerer("blip")
    folder = shutil.copytree(answerer, tmp_path / "marks")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["sep_token_id"] = 102
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="ends a sentence with token 102"):
        load_question_answerer(f"hf:{folder}")
