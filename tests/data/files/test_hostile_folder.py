"""Folders that were put together to do harm: links, loops, pipes, odd names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.file_source import FileSource
from snellen.data.files.folder import load_folder


def put(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value,) * 3).save(path)
    return path


def reason(images: ImageSet, example_id: str) -> str:
    """Why an image of the set is rejected."""
    with pytest.raises(RejectedImageError) as caught:
        images.read(images.ids.index(example_id))
    return str(caught.value)


def skipped(images: ImageSet) -> int:
    assert isinstance(images.source, FileSource)
    return images.source.skipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "data" / "cat" / "1.png")
    put(tmp_path / "data" / "dog" / "2.png")
    put(tmp_path / "outside" / "secret.png")
    return tmp_path / "data"


def test_link_to_a_file_outside_is_rejected_by_name(folder: Path) -> None:
    (folder / "cat" / "link.png").symlink_to(folder.parent / "outside" / "secret.png")
    images = load_folder(folder)
    assert reason(images, "cat/link.png") == "a link that leads out of the folder"
    assert len(images) == 3
    assert images[0].image.size == (4, 3)


def test_link_to_a_folder_outside_is_rejected_by_name(folder: Path) -> None:
    (folder / "bird").symlink_to(folder.parent / "outside")
    images = load_folder(folder)
    assert reason(images, "bird") == "a link that leads out of the folder"
    assert images.class_names == ("cat", "dog")


def test_folder_beside_with_the_same_beginning_is_outside(folder: Path) -> None:
    put(folder.parent / "data-secret" / "3.png")
    (folder / "cat" / "link.png").symlink_to(folder.parent / "data-secret" / "3.png")
    assert reason(load_folder(folder), "cat/link.png") == "a link that leads out of the folder"


def test_link_to_a_file_inside_is_read(folder: Path) -> None:
    (folder / "cat" / "link.png").symlink_to("../dog/2.png")
    images = load_folder(folder)
    assert images.ids == ["cat/1.png", "cat/link.png", "dog/2.png"]
    assert images.content_hash(1) == images.content_hash(2)
    assert images[1].label == 0


def test_link_to_a_folder_inside_is_followed(folder: Path) -> None:
    put(folder / ".store" / "x" / "3.png")
    (folder / "bird").symlink_to(".store/x")
    images = load_folder(folder)
    assert images.class_names == ("bird", "cat", "dog")
    assert images[0].image.size == (4, 3)


def test_a_linked_folder_may_be_the_root(folder: Path) -> None:
    link = folder.parent / "latest"
    link.symlink_to(folder)
    images = load_folder(link)
    assert images.ids == ["cat/1.png", "dog/2.png"]
    assert images.name == "latest"
    assert images[0].image.size == (4, 3)


def test_loops_of_links_end(folder: Path) -> None:
    (folder / "cat" / "up").symlink_to("..")
    (folder / "cat" / "self").symlink_to(".")
    (folder / "cat" / "itself.png").symlink_to("itself.png")
    (folder / "cat" / "there").symlink_to("../dog")
    (folder / "dog" / "back").symlink_to("../cat")
    images = load_folder(folder)
    for example_id in ("cat/up", "cat/self"):
        assert reason(images, example_id) == "a link that leads back to a folder above it"
    assert reason(images, "cat/itself.png").startswith("a link that leads nowhere")
    assert {"cat/1.png", "dog/2.png", "cat/there/2.png"} <= set(images.ids)
    assert len(images) < 20


def test_links_do_not_multiply(tmp_path: Path) -> None:
    for level in range(25):
        put(tmp_path / f"level{level}" / "1.png")
        for name in ("x", "y"):
            (tmp_path / f"level{level}" / name).symlink_to(f"../level{level + 1}")
    put(tmp_path / "level25" / "1.png")
    images = load_folder(tmp_path)  # 2^25 paths lead to the last level
    assert len(images) < 200
    assert "level0/x/1.png" in images.ids
    assert "another link" in reason(images, "level0/y")


def test_link_to_nothing_is_rejected_by_name(folder: Path) -> None:
    (folder / "cat" / "gone.png").symlink_to("nowhere.png")
    (folder / "bird").symlink_to("nowhere")
    (folder / "notes.txt").symlink_to("nowhere.txt")
    images = load_folder(folder)
    assert reason(images, "cat/gone.png").startswith("a link that leads nowhere")
    assert reason(images, "bird").startswith("a link that leads nowhere")
    assert skipped(images) == 1


def test_pipes_and_folders_called_like_images_are_rejected_unopened(folder: Path) -> None:
    os.mkfifo(folder / "cat" / "pipe.png")
    put(folder / "dog" / "folder.png" / "inner.png")
    (folder / "dog" / "linked.png").symlink_to("../dog")
    (folder / "dog" / "to-pipe.png").symlink_to("../cat/pipe.png")
    images = load_folder(folder)
    assert reason(images, "cat/pipe.png") == "not a file but a named pipe"
    assert reason(images, "dog/folder.png") == "not a file but a folder"
    assert reason(images, "dog/linked.png") == "not a file but a folder"
    assert reason(images, "dog/to-pipe.png") == "not a file but a named pipe"
    assert "dog/folder.png/inner.png" not in images.ids
    assert len({images.content_hash(index) for index in range(len(images))}) == 3  # two equal pictures, two reasons


SWAPS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (os.mkfifo, "not a file but a named pipe"),
    "a folder": (Path.mkdir, "not a file but a folder"),
    "a link that leads out": (
        lambda path: path.symlink_to(path.parents[2] / "outside" / "secret.png"),
        "the path leads out of its folder",
    ),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_what_a_file_was_exchanged_for_after_listing_is_rejected(folder: Path, swap: str) -> None:
    images = load_folder(folder)
    (folder / "cat" / "1.png").unlink()
    make, expected = SWAPS[swap]
    make(folder / "cat" / "1.png")
    assert reason(images, "cat/1.png") == expected


def test_file_names_are_data(folder: Path) -> None:
    put(folder / "cat" / "<script>alert(1)<&>.png")
    put(folder / "cat" / "new\nline.png")
    (Path(os.fsdecode(os.fsencode(folder) + b"/cat/\xff.png"))).write_bytes((folder / "cat" / "1.png").read_bytes())
    images = load_folder(folder)
    assert "cat/<script>alert(1)<&>.png" in images.ids
    assert "cat/new\nline.png" in images.ids
    assert images[images.ids.index("cat/\\xff.png")].image.size == (4, 3)


def test_names_that_are_written_alike_stay_apart(folder: Path) -> None:
    put(folder / "cat" / "\\xff.png", 1)
    put(Path(os.fsdecode(os.fsencode(folder) + b"/cat/\xff.png")), 2)
    images = load_folder(folder)
    assert images.ids == ["cat/1.png", "cat/\\xff.png", "cat/\\xff.png (2)", "dog/2.png"]
    assert [images.read(index).getpixel((0, 0))[0] for index in (1, 2)] == [1, 2]


# -- no images ---------------------------------------------------------------------------------------------------------


def test_empty_folder_is_an_error_that_lists_the_endings(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no images.*\.png \.jpg .*\.pgm.*1 other files were skipped"):
        load_folder(tmp_path)


def test_folder_of_refused_files_only_is_an_error_that_names_them(folder: Path) -> None:
    hostile = folder.parent / "hostile"
    hostile.mkdir()
    (hostile / "x.png").symlink_to(folder / "cat" / "1.png")
    with pytest.raises(InputError, match=r"holds no images.*refused 'x.png': a link that leads out of the folder"):
        load_folder(hostile)
