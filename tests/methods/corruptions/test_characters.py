"""Characters: the font, and numbers, sizes, places and colours of the words."""

import random

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.characters import ALPHABET, STEP, advance, characters, word_opacity

SETTING = {"words": 6, "letters": 10, "scale": 0.18}

#: Sum of opacities and of their squares per letter, over 600 words of five random letters that OpenCV 4.11 wrote with
#: putText in FONT_HERSHEY_DUPLEX, thickness 1, LINE_AA, by font scale.
INK = {0.14: (8.27, 7.00), 0.16: (10.01, 8.16), 0.18: (11.75, 9.64)}


def test_font_has_every_letter_once():
    assert ALPHABET == "abcdefghijklmnopqrstuvwxyz"
    drawn = [word_opacity([letter], 4.0)[0] for letter in ALPHABET]
    for first in range(26):
        for second in range(first):
            same_shape = drawn[first].shape == drawn[second].shape
            assert not (same_shape and torch.allclose(drawn[first], drawn[second], atol=0.5))


def test_heights_of_letters():
    for letter, up, down in (("x", 14, 0), ("l", 21, 0), ("p", 14, 7), ("g", 14, 7), ("d", 21, 0)):
        opacity, row, _ = word_opacity([letter], 4 * STEP)
        rows = (opacity > 0.45).any(1).nonzero().flatten()
        assert row - rows[0].item() == pytest.approx(4 * up, abs=3)
        assert rows[-1].item() - row == pytest.approx(4 * down, abs=3)


def test_a_word_is_its_letters_side_by_side():
    step = 4.0
    word, row, column = word_opacity("oh", step)
    first, second = word_opacity("o", step)[0], word_opacity("h", step)[0]
    shift = round(advance("o") * step)
    assert torch.allclose(word[:, : first.shape[1] - 8], first[:, : first.shape[1] - 8], atol=1e-5)
    assert torch.allclose(word[:, shift + 8 :], second[:, 8:], atol=1e-5)
    assert (row, column) == word_opacity("o", step)[1:]


@pytest.mark.parametrize("scale", INK)
def test_ink_is_that_of_the_published_font(scale):
    chooser = random.Random(0)
    words = [word_opacity(chooser.choices(ALPHABET, k=5), STEP * scale)[0] for _ in range(300)]
    ink, squares = INK[scale]
    assert sum(word.sum().item() for word in words) / 1500 == pytest.approx(ink, rel=0.05)
    assert sum(word.square().sum().item() for word in words) / 1500 == pytest.approx(squares, rel=0.07)


@pytest.mark.parametrize("step", [0.04, 0.4, 30.0])
def test_opacity_is_a_share_and_ends_before_the_box(step):
    opacity = word_opacity("jfgdp", step)[0]
    assert opacity.min() >= 0
    assert 0.5 < opacity.max() <= 1
    for edge in (opacity[0], opacity[-1], opacity[:, 0], opacity[:, -1]):
        assert edge.max() < 0.12


def test_one_word_has_one_colour_and_keeps_its_distance():
    black = characters(torch.zeros(80, 3, 224, 224), Randomness(0).bind(80), words=1, letters=6, scale=0.14)
    white = characters(torch.ones(80, 3, 224, 224), Randomness(0).bind(80), words=1, letters=6, scale=0.14)
    opacity = 1 - (white - black)  # what is left of the image is the difference
    assert torch.allclose(opacity[:, :1].expand_as(opacity), opacity, atol=1e-5)
    peak = opacity[:, 0].flatten(1).max(1)
    colours = black.flatten(2)[torch.arange(80), :, peak.indices] / peak.values[:, None]
    assert torch.allclose(colours[:, :, None, None] * opacity, black, atol=1e-4)
    assert torch.allclose(colours * 255, (colours * 255).round(), atol=0.02)
    assert colours.std(0).min() > 0.2
    assert colours.mean().item() == pytest.approx(0.5, abs=0.08)
    written = (opacity[:, 0] > 0.3).any(0)
    rows, columns = written.any(1).nonzero().flatten().tolist(), written.any(0).nonzero().flatten().tolist()
    assert 6 <= rows[0] < rows[-1] <= 216
    assert 9 <= columns[0] < columns[-1] <= 222


def test_number_of_words_and_letters():
    black = torch.zeros(150, 3, 224, 224)

    def change(words, letters):
        changed = characters(black, Randomness(0).bind(150), words=words, letters=letters, scale=0.14)
        return changed.mean().item()

    # Ink by the mean number of words, and of letters (3, 3..9).
    assert change(5, 3) / change(1, 3) == pytest.approx(3, rel=0.2)
    assert change(1, 9) / change(1, 3) == pytest.approx(2, rel=0.15)


def test_words_below_one_are_a_probability():
    images = torch.full((200, 3, 32, 32), 0.5)
    changed = characters(images, Randomness(0).bind(200), words=0.4, letters=5, scale=0.03)
    assert (changed != images).flatten(1).any(1).float().mean().item() == pytest.approx(0.4, abs=0.1)
    assert torch.equal(characters(images, Randomness(0).bind(200), words=0, letters=5, scale=0.03), images)


@pytest.mark.parametrize("words", [1.0, 1.6, 3.0])
def test_more_words_only_add(words):
    images = torch.full((20, 3, 224, 224), 0.5)
    fewer, more = (
        characters(images, Randomness(0).bind(20), words=number, letters=7, scale=0.15) != images
        for number in (words, words + 2)
    )
    assert (more | ~fewer).float().mean() > 0.99999  # a later word may bring back the grey of a few pixels
    assert more.sum() > fewer.sum()


def test_more_letters_than_a_block():
    black = torch.zeros(4, 3, 224, 1200)
    change = [
        characters(black, Randomness(0).bind(4), words=1, letters=letters, scale=0.14).sum().item()
        for letters in (16, 40)
    ]
    assert change[1] > 1.3 * change[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (28, 28), (40, 300)])
@pytest.mark.parametrize("scale", [0.0, 0.02, 0.18, 2.0])
def test_any_size(size, scale):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    changed = characters(images, Randomness(0).bind(3), words=2.5, letters=6.5, scale=scale)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(changed, images) == (scale == 0)


def test_batch_is_single_and_input_is_kept():
    images = torch.rand(4, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    kept, rng = images.clone(), Randomness(1).bind(4)
    changed = characters(images, rng, **SETTING)
    assert torch.equal(images, kept)
    for row in range(4):
        assert torch.equal(characters(images[[row]], rng[[row]], **SETTING)[0], changed[row])
    assert characters(images[:0], Randomness(1).bind(0), **SETTING).shape == (0, 3, 60, 80)
