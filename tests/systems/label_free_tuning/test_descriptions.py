"""Sentences of classes, and the vectors made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from snellen.core.budget import Spent
from snellen.core.errors import InputError
from snellen.models.language.protocol import Reply
from snellen.models.language.references import load_language_model
from snellen.models.random_folders import write_random_clip
from snellen.models.references import load_two_tower
from snellen.systems.label_free_tuning.descriptions import (
    NoSentencesWarning,
    class_matrix,
    class_texts,
    count_described,
    matrix_key,
)


class Talker:
    """A language model that says what it was asked, another way each time."""

    name, sees_images, spent = "talker", False, Spent()

    def __init__(self) -> None:
        self.requested: list[tuple[str, float | None, int, int]] = []

    def complete(self, prompt: str, *, key: str | None = None, schema: object = None, max_tokens: int = 512,
                 temperature: float | None = 0.0, sample: int = 0) -> Reply:  # fmt: skip
        self.requested.append((prompt, temperature, sample, max_tokens))
        return Reply(text=f"{key} number {sample % 2} of {prompt[:1]}. And more. ")


def listed(folder: Path, text: str) -> str:
    path = folder / "sentences.toml"
    path.write_text(text, encoding="utf-8")
    return f"file:{path}"


def test_sentences_of_a_file_stand_beside_the_templates(tmp_path: Path) -> None:
    source = load_language_model(listed(tmp_path, 'cat = ["it has whiskers", "a tail", "a tail"]\ndog = ["it barks"]'))
    texts = class_texts(["dog", "cat"], source, templates=["a {}"])
    assert texts == {"dog": ("it barks", "a dog"), "cat": ("it has whiskers", "a tail", "a cat")}
    alone = class_texts(["dog"], source, templates=["a {}"], beside_templates=False)
    assert alone == {"dog": ("it barks",)}
    assert class_texts(["dog"], None, templates=["a {}"]) == {"dog": ("a dog",)}
    assert count_described(texts, ["a {}"]) == 2


def test_a_class_without_sentences_has_the_templates_and_is_named(tmp_path: Path) -> None:
    source = load_language_model(listed(tmp_path, 'cat = ["it has whiskers"]'))
    with pytest.warns(NoSentencesWarning, match=r"sentences\.toml has no sentences for the class 'dog'"):
        texts = class_texts(["cat", "dog"], source, templates=["a {}", "the {}"], beside_templates=False)
    assert texts == {"cat": ("it has whiskers",), "dog": ("a dog", "the dog")}
    assert count_described(texts, ["a {}", "the {}"]) == 1


def test_one_list_for_all_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sentences.json"
    path.write_text('["it has whiskers", "it barks"]', encoding="utf-8")
    with pytest.raises(InputError, match=r"is one list, without keys; it has none for 'cat'"):
        class_texts(["cat", "dog"], load_language_model(f"file:{path}"))


def test_a_language_model_is_queried_each_question_several_times_and_its_first_sentences_count() -> None:
    talker = Talker()
    texts = class_texts(["ring"], talker, templates=["a {}"], questions=["Is {} round?", "What is {}?"], samples=3)
    assert len(talker.requested) == 6
    assert {asked[1:] for asked in talker.requested} == {(0.99, sample, 50) for sample in range(3)}
    assert talker.requested[0][0] == "Is ring round?"
    assert texts == {
        "ring": ("ring number 0 of I.", "ring number 1 of I.", "ring number 0 of W.", "ring number 1 of W.", "a ring")
    }
    with pytest.raises(InputError, match=r"exactly one \{\} for the class name"):
        class_texts(["ring"], talker, questions=["What?"])


def by_hand(encoded: Sequence[torch.Tensor]) -> torch.Tensor:
    summed = sum(vector / vector.norm() for vector in encoded) / len(encoded)
    assert isinstance(summed, torch.Tensor)
    return summed / summed.norm()


@pytest.mark.covers("35.2")
def test_each_sentence_is_normalised_then_averaged_then_normalised_again(tmp_path: Path) -> None:
    tower = load_two_tower(f"hf:{write_random_clip(tmp_path / 'clip')}")
    texts = {"cat": ("a cat", "a tail"), "dog": ("a dog", "x", "it")}
    vectors = class_matrix(tower, texts)
    for row, of in zip(vectors, texts.values(), strict=True):
        raw = tower.encode_texts(list(of), normalised=False)
        assert torch.allclose(row, by_hand(list(raw)), atol=1e-6)
        # The lengths of raw vectors differ, so that leaving a step out would be seen.
        assert float((row - normalize(raw.mean(0), dim=0)).abs().max()) > 1e-5
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2))


def test_vectors_are_kept_by_tower_and_texts(tmp_path: Path) -> None:
    first = load_two_tower(f"hf:{write_random_clip(tmp_path / 'first')}")
    second = load_two_tower(f"hf:{write_random_clip(tmp_path / 'second', seed=1)}")
    texts, kept = {"cat": ("a cat",), "dog": ("a dog",)}, tmp_path / "kept"
    made = class_matrix(first, texts, folder=kept)
    assert torch.equal(class_matrix(first, texts, folder=kept), made)
    assert len(list(kept.iterdir())) == 1
    other = class_matrix(second, texts, folder=kept)
    assert not torch.allclose(other, made, atol=1e-3), "another model has vectors of its own"
    class_matrix(first, {"cat": ("a tabby",), "dog": ("a dog",)}, folder=kept)
    assert len(list(kept.iterdir())) == 3
    swapped = {"dog": ("a dog",), "cat": ("a cat",)}
    assert matrix_key("t", texts) != matrix_key("t", swapped)
    assert torch.allclose(class_matrix(first, swapped, folder=kept), made.flip(0))
    for path in kept.iterdir():
        path.write_bytes(b"damaged")
    assert torch.equal(class_matrix(first, texts, folder=kept), made)
