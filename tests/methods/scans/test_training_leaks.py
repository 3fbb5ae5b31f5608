"""Test images that were trained on, or nearly."""

import numpy as np
import pytest

from snellen.data.files.arrays import load_arrays
from snellen.methods.scans.training_leaks import find_leaks
from snellen.reproduction.unsafe_content.symbols import draw_symbols


@pytest.mark.covers("29.10")
@pytest.mark.covers("29.12")
def test_near_copies_of_training_images_are_found():
    drawn = draw_symbols(60, "real", 0).images.permute(0, 2, 3, 1).numpy()
    training = load_arrays(drawn[:40])
    brighter = (drawn[30:].astype(float) * 0.9).astype(np.uint8)
    leaks = find_leaks(training, {"copies": load_arrays(brighter), "others": load_arrays(drawn[40:])})
    assert {(one.test, one.training) for one in leaks["copies"]} == {
        (load_arrays(brighter).ids[at], training.ids[30 + at]) for at in range(10)
    }
    assert leaks["others"] == ()
