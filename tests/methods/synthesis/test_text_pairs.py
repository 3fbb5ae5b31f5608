"""Pairs for two towers: the same texts for real and synthetic images, and two fair mixtures."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from snellen.core.errors import InputError
from snellen.data.files.arrays import load_arrays
from snellen.methods.synthesis.text_pairs import text_pairs


@pytest.mark.covers("14.10")
def test_two_towers_get_the_same_texts_and_two_fair_mixtures():
    def captioned(name, texts):
        images = load_arrays(np.zeros((len(texts), 8, 8, 3), dtype=np.uint8), name=name)
        return replace(images, table=images.table.append_column("caption", pa.array(texts)))

    texts = ["a", "b", "c", "d"]
    real, made = captioned("real", texts), captioned("made", texts[::-1])
    alone = {name: text_pairs(real, made, name) for name in ("real", "synthetic")}
    assert [pair.text for pair in alone["real"]] == [pair.text for pair in alone["synthetic"]] == texts
    assert [pair.image for pair in alone["synthetic"]] == [3, 2, 1, 0], "each text with the image of that text"
    at_pairs, at_updates = (text_pairs(real, made, name) for name in ("equal pairs", "equal updates"))
    assert [pair.text for pair in at_pairs] == texts
    assert [pair.synthetic for pair in at_pairs] == [False, True, False, True]
    assert sorted((pair.text, pair.synthetic) for pair in at_updates) == [
        (text, flag) for text in texts for flag in (False, True)
    ]
    with pytest.raises(InputError, match="'d' is in one of them alone"):
        text_pairs(real, captioned("made", ["a", "b", "c", "e"]), "real")
    with pytest.raises(InputError, match="image '000001' has no caption"):
        text_pairs(real, captioned("made", ["a", None, "c", "d"]), "real")
