"""Folders of textures: what is read, in which order, what is refused, and which count as the published ones."""

import hashlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions import textures
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.marks import stain_deposit
from snellen.methods.corruptions.textures import load_textures, texture_hashes


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


# -- which are the published ones --------------------------------------------------------------------------------------


def published(folder, name, kind, hashes=None, **options):
    """Whether a setting counts as published with the textures of a folder; ``hashes`` in place of the real ones."""
    chosen = benchmark(name)
    if hashes is not None:
        operator = replace(chosen.operator(kind), textures=tuple(hashes))
        chosen = replace(chosen, operators={**chosen.operators, kind: operator})
    return chosen.strength(kind, 3, 224, 224, textures=str(folder), **options).published


@pytest.mark.parametrize(("name", "kind"), [("imagenet-c", "frost"), ("bloodmnist", "stain_deposit")])
def test_only_exactly_the_published_files_are_published(tmp_path, name, kind):
    for file, value in (("frost1.png", (255, 0, 0)), ("frost2.png", (0, 255, 0))):
        save(tmp_path, file, value)
    hashes = [hashlib.sha256((tmp_path / f"frost{number}.png").read_bytes()).hexdigest() for number in (1, 2)]
    assert texture_hashes(str(tmp_path)) == tuple(hashes)
    assert not published(tmp_path, name, kind, parity=True), "a red picture is not the published one"
    assert published(tmp_path, name, kind, hashes, parity=True)
    assert not published(tmp_path, name, kind, hashes[::-1], parity=True), "the order decides which are drawn"
    for others in (hashes[:1], [*hashes, "0" * 64], ["0" * 64] * 2):
        assert not published(tmp_path, name, kind, others, parity=True)
    assert not benchmark(name).strength(kind, 3, 224, 224, parity=True, textures=True).published
    with pytest.raises(InputError, match="nowhere is not a folder"):
        published(tmp_path / "nowhere", name, kind, parity=True)


def test_frost_is_published_with_parity_alone(tmp_path):
    save(tmp_path, "frost1.png", (255, 0, 0))
    hashes = texture_hashes(str(tmp_path))
    assert published(tmp_path, "imagenet-c", "frost", hashes, parity=True)
    assert not published(tmp_path, "imagenet-c", "frost", hashes), "the sixth photograph is drawn too"
    assert published(tmp_path, "bloodmnist", "stain_deposit", hashes)


@pytest.mark.skipif(find_spec("imagecorruptions") is None, reason="needs imagecorruptions-imaug")
def test_the_photographs_that_the_peer_ships_are_the_published_ones():
    folder = Path(find_spec("imagecorruptions").origin).parent / "frost"
    assert texture_hashes(str(folder)) == textures.FROST
    assert len(load_textures(str(folder))) == 6
    assert published(folder, "imagenet-c", "frost", parity=True)


def test_the_archive_of_inks_is_read_as_its_shapes_of_the_two_sizes_in_use(tmp_path, monkeypatch):
    shapes = np.random.default_rng(0).integers(0, 2, (10, 32, 32)).astype(np.uint64)
    sizes = {"1": 12, "2": 16, "3": 24, "4": 32, "5": 42}
    arrays = {key: np.resize(shapes, (10, side, side)) for key, side in sizes.items()}
    np.savez(tmp_path / "inks.npz", **arrays)
    with pytest.raises(InputError, match=r"inks\.npz in .* cannot be read"):
        load_textures(str(tmp_path))
    found = hashlib.sha256((tmp_path / "inks.npz").read_bytes()).hexdigest()
    monkeypatch.setattr(textures, "INKS", (found,))
    inks = load_textures(str(tmp_path))
    assert [tuple(ink.shape) for ink in inks] == [(3, 24, 24)] * 10 + [(3, 32, 32)] * 10
    assert torch.equal(inks[3][1], 1 - torch.from_numpy(arrays["3"][3].astype(np.float32)))
    assert published(tmp_path, "bloodmnist", "stain_deposit", [found])
    # Of each size only the shapes that have it are drawn, as they are.
    white = torch.ones(20, 3, 224, 224)
    for key, side in (("3", 24), ("4", 32)):
        stained = stain_deposit(white, Randomness(0).bind(20), marks=1, side=side, textures=inks)
        for image in stained:
            rows, columns = (image[0] == 0).nonzero(as_tuple=True)
            crops = {
                image[0, top : top + side, left : left + side].numpy().tobytes()
                for top in range(max(int(rows.max()) - side + 1, 0), int(rows.min()) + 1)
                for left in range(max(int(columns.max()) - side + 1, 0), int(columns.min()) + 1)
            }
            assert crops & {(1 - shape.astype(np.float32)).tobytes() for shape in arrays[key]}
