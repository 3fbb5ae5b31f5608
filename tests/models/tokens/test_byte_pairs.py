"""Merges by hand, and what the library of tokenizers makes of them."""

import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from snellen.models.tokens.small_tokenizers import join, learn_merges

WORDS = st.lists(st.text("abcd", min_size=1, max_size=7), min_size=1, max_size=8)


def test_the_most_frequent_pair_is_joined_first() -> None:
    # ab: 3 times; then abc: twice; then the rest in alphabetical order.
    assert learn_merges(["abc", "abc", "abd"]) == [("a", "b"), ("ab", "c"), ("ab", "d")]
    assert learn_merges(["a"]) == []


@given(WORDS)
def test_every_word_becomes_one_piece_in_the_library_too(words: list[str]) -> None:
    pairs = learn_merges(words)
    pieces = dict.fromkeys([*"abcd", *("".join(pair) for pair in pairs)])
    model = tokenizers.models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=pairs)
    for word in words:
        assert [token.value for token in model.tokenize(word)] == [word]
        rest = list(word)
        for pair in pairs:
            rest = join(rest, pair)
        assert rest == [word]


@given(WORDS)
def test_the_order_of_words_does_not_matter(words: list[str]) -> None:
    assert learn_merges(words) == learn_merges(list(reversed(words)))
