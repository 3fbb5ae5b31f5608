"""Greedy decoding and log-probabilities on logits that are written down."""

import itertools

import pytest
import torch
from torch import Tensor

from snellen.models.captioners.greedy import decode_greedily, sequence_log_probabilities

#: Logits of the next token by the last one; 3 ends a sentence.
TABLE = torch.tensor(
    [[0.0, 2.0, 1.0, -1.0], [0.0, 0.0, 1.0, 0.5], [1.0, 0.0, 0.0, 3.0], [9.0, 0.0, 0.0, 0.0]], dtype=torch.float32
)


def step(tokens: Tensor, cache: int | None) -> tuple[Tensor, int]:
    # The cache counts how often it was handed on.
    assert (cache or 0) == tokens.shape[1] - 1
    return TABLE[tokens[:, -1]], (cache or 0) + 1


def test_the_likeliest_token_is_taken_until_the_end() -> None:
    decoded = decode_greedily(step, torch.tensor([[0], [2], [1]]), end=3, filler=0, max_tokens=9)
    assert decoded.tokens.tolist() == [[0, 1, 2, 3], [2, 3, 0, 0], [1, 2, 3, 0]]
    assert decoded.lengths.tolist() == [3, 1, 2]
    chances = TABLE.log_softmax(1)
    expected = [chances[0, 1] + chances[1, 2] + chances[2, 3], chances[2, 3], chances[1, 2] + chances[2, 3]]
    assert decoded.log_probabilities.tolist() == pytest.approx([float(value) for value in expected])


def test_a_sentence_that_is_cut_has_no_end() -> None:
    decoded = decode_greedily(step, torch.tensor([[0], [2]]), end=3, filler=0, max_tokens=2)
    assert decoded.tokens.tolist() == [[0, 1, 2], [2, 3, 0]]
    assert decoded.lengths.tolist() == [2, 1]


def test_probabilities_of_all_sentences_sum_to_one() -> None:
    """All sequences of three tokens after a beginning: each counts once, whatever the first token is."""
    rows = torch.tensor([[0, *rest] for rest in itertools.product(range(4), repeat=3)])
    logits = TABLE[rows]
    scores = sequence_log_probabilities(logits, rows, torch.ones_like(rows))
    assert float(scores.exp().sum()) == pytest.approx(1.0)
    fixed = rows[rows[:, 1] == 2]
    given = sequence_log_probabilities(TABLE[fixed], fixed, torch.ones_like(fixed), given=2)
    assert float(given.exp().sum()) == pytest.approx(1.0)


def test_what_is_padding_does_not_count() -> None:
    rows = torch.tensor([[0, 1, 3, 0, 0], [0, 1, 3, 2, 1]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]])
    scores = sequence_log_probabilities(TABLE[rows], rows, mask)
    chances = TABLE.log_softmax(1)
    assert scores.tolist() == pytest.approx([float(chances[0, 1] + chances[1, 3])] * 2)
