import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from snellen.core.preprocessing import Preprocessing


@given(width=st.integers(1, 12), height=st.integers(1, 12), crop=st.integers(1, 12))
def test_a_floored_crop_and_its_placement_agree_with_the_formula(width: int, height: int, crop: int) -> None:
    """Pixel (x, y) of the original has red x + 1 and green y + 1, so that every pixel tells where it came from."""
    y, x = np.mgrid[:height, :width]
    image = Image.fromarray(np.stack([x + 1, y + 1, 0 * x], -1).astype(np.uint8))
    preparation = Preprocessing(size=(crop, crop), crop_start="floor")
    pixels = preparation.pixels(image)
    left, top = preparation.placement(width, height).offset
    assert (left, top) == ((width - crop) // 2, (height - crop) // 2)
    for row in range(crop):
        for column in range(crop):
            inside = 0 <= column + left < width and 0 <= row + top < height
            expected = [column + left + 1, row + top + 1, 0] if inside else [0, 0, 0]
            assert pixels[:, row, column].tolist() == expected
