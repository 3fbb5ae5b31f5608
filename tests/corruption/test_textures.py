"""Folders of textures: what is read, in which order, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.corruption.textures import load_textures
from snellen.errors import InputError


def save(folder, name, value, size=(6, 4), mode="RGB"):
    Image.new(mode, size, value).save(folder / name)


def test_images_come_in_the_order_of_their_names(tmp_path):
    for name, value in (("b.png", 20), ("a.png", 10), ("c.png", 30)):
        save(tmp_path, name, (value, 0, 255))
    loaded = load_textures(str(tmp_path))
    assert [tuple(texture.shape) for texture in loaded] == [(3, 4, 6)] * 3
    assert all(texture.dtype == torch.float32 for texture in loaded)
    assert [round(float(texture[0, 0, 0]) * 255) for texture in loaded] == [10, 20, 30]
    assert all(float(texture[2].min()) == 1 and not texture[1].any() for texture in loaded)


def test_pixels_keep_their_place_and_any_format_is_read(tmp_path):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    save(tmp_path, "2.jpg", (128, 128, 128), size=(8, 8))
    save(tmp_path, "3.gif", 200, size=(1, 1), mode="L")
    first, second, third = load_textures(str(tmp_path))
    assert torch.equal(first, torch.from_numpy(pixels).permute(2, 0, 1) / 255)
    assert second.shape == (3, 8, 8)
    assert torch.equal(third, torch.full((3, 1, 1), 200 / 255))


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    save(tmp_path, "frost.png", (1, 2, 3))
    (tmp_path / ".thumbnails").write_bytes(b"no image")
    (tmp_path / "folder").mkdir()
    assert len(load_textures(str(tmp_path))) == 1


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_is_named(tmp_path, content):
    save(tmp_path, "a.png", (1, 2, 3))
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"textures: notes\.txt in .* cannot be read"):
        load_textures(str(tmp_path))


def test_no_folder_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder; give one that holds the images"):
        load_textures(str(tmp_path / "nowhere"))
    save(tmp_path, "file.png", (1, 2, 3))
    with pytest.raises(InputError, match=r"file\.png is not a folder"):
        load_textures(str(tmp_path / "file.png"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").write_bytes(b"")
    with pytest.raises(InputError, match="holds no file"):
        load_textures(str(tmp_path / "empty"))


def test_a_folder_that_failed_is_read_again_once_it_is_mended(tmp_path):
    with pytest.raises(InputError):
        load_textures(str(tmp_path))
    save(tmp_path, "a.png", (1, 2, 3))
    assert len(load_textures(str(tmp_path))) == 1
