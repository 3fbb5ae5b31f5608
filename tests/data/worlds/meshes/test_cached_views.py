"""Views on disk: rendered once, found again, damaged ones made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.data.worlds.meshes.cached_views import CachedViews
from tests.data.worlds.meshes.small_meshes import ColouredSquares

VIEWS = torch.tensor([[0.0, 30.0 * turn, 10.0, 4.0, 0.1, -0.1] for turn in range(5)])


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_the_second_run_renders_nothing(tmp_path: Path) -> None:
    first, second = ColouredSquares(), ColouredSquares()
    images, coverage = CachedViews(first, tmp_path).render("cup", VIEWS)
    again = CachedViews(second, tmp_path).render("cup", VIEWS)
    assert (first.rendered, second.rendered) == (5, 0)
    assert torch.equal(images, again[0])
    assert torch.equal(coverage, again[1])
    exact = first.render("cup", VIEWS)
    assert (images - exact[0]).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(coverage, exact[1])
    assert len(files(tmp_path)) == 5


def test_only_what_is_missing_is_rendered_in_one_call_and_once(tmp_path: Path) -> None:
    renderer = ColouredSquares()
    cached = CachedViews(renderer, tmp_path)
    cached.render("cup", VIEWS[1:3])
    images, _ = cached.render("cup", VIEWS[[4, 1, 0, 2, 4, 0]])
    assert renderer.calls == [("cup", 2), ("cup", 2)]
    whole, _ = cached.render("cup", VIEWS)
    assert torch.equal(images, whole[[4, 1, 0, 2, 4, 0]])
    assert cached.render("cup", VIEWS[:0])[0].shape == (0, 3, 8, 8)


def test_views_are_rounded_before_they_are_rendered(tmp_path: Path) -> None:
    renderer = ColouredSquares()
    cached = CachedViews(renderer, tmp_path)
    rounded, _ = cached.render("cup", VIEWS)
    near, _ = CachedViews(ColouredSquares(), tmp_path / "other").render("cup", VIEWS + 4e-5)
    assert torch.equal(rounded, near)  # whichever came first
    cached.render("cup", VIEWS - 4e-5)
    assert renderer.rendered == 5
    cached.render("cup", VIEWS + torch.tensor([0, 2e-4, 0, 0, 0, 0]))
    assert renderer.rendered == 10
    cached.render("cup", torch.tensor([[-0.0, 0, 0, 4, 0, 0], [0.0, 0, 0, 4, 0, 0]]))
    assert renderer.calls[-1] == ("cup", 1)  # −0 is 0


def test_other_recipes_objects_contents_and_sizes_are_other_views(tmp_path: Path) -> None:
    CachedViews(ColouredSquares(), tmp_path).render("cup", VIEWS)
    changed = ColouredSquares()
    changed.contents["cup"] = "repainted"
    for renderer, name in (
        (ColouredSquares(version="2"), "cup"),
        (ColouredSquares(), "lamp"),
        (ColouredSquares(size=10), "cup"),
        (changed, "cup"),
    ):
        CachedViews(renderer, tmp_path).render(name, VIEWS)
        assert renderer.rendered == 5


@pytest.mark.parametrize("harm", ["cut", "empty", "flipped", "text", "folder", "other view", "other size", "no alpha"])
def test_damaged_views_are_made_anew(tmp_path: Path, harm: str) -> None:
    whole, _ = CachedViews(ColouredSquares(), tmp_path).render("cup", VIEWS)
    path, other = files(tmp_path)[:2]
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[:-20])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "flipped":
        middle = content.index(b"IDAT") + 8
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif harm == "text":
        path.write_text("not a picture")
    elif harm == "folder":
        path.unlink()
    elif harm == "other view":
        path.write_bytes(other.read_bytes())
    elif harm == "other size":
        Image.new("RGBA", (9, 9)).save(path, "PNG")
    else:
        Image.new("RGB", (8, 8)).save(path, "PNG")
    renderer = ColouredSquares()
    assert torch.equal(CachedViews(renderer, tmp_path).render("cup", VIEWS)[0], whole)
    assert renderer.rendered == 1
    assert path.read_bytes() == content
    assert not list(tmp_path.rglob("*.part"))


def test_the_bound_takes_away_what_was_used_longest_ago(tmp_path: Path) -> None:
    CachedViews(ColouredSquares(), tmp_path / "free").render("cup", VIEWS)
    each = max(path.stat().st_size for path in files(tmp_path / "free"))
    cached = CachedViews(renderer := ColouredSquares(), tmp_path / "bound", max_bytes=4 * each)
    for turn in range(4):
        cached.render("cup", VIEWS[turn : turn + 1])
    cached.render("cup", VIEWS[:1])  # used again: the second is now the oldest
    cached.render("cup", VIEWS[4:])
    held = sum(path.stat().st_size for path in files(tmp_path / "bound"))
    assert held <= 4 * each
    before = renderer.rendered
    cached.render("cup", VIEWS[[0, 4]])
    assert renderer.rendered == before
    cached.render("cup", VIEWS[1:2])
    assert renderer.rendered == before + 1


def test_what_is_handed_on_and_what_is_refused(tmp_path: Path) -> None:
    cached = CachedViews(ColouredSquares(("cup1", "lamp2")), tmp_path)
    assert (cached.objects, cached.class_of("lamp2"), cached.size) == (("cup1", "lamp2"), "lamp", 8)
    assert cached.recipe.startswith("ColouredSquares 1; viewpoints rounded")
    assert cached.content_hash("cup1") == "content of cup1"
    with pytest.raises(InputError, match=r"viewpoints must be \(n, 6\)"):
        cached.render("cup1", torch.zeros(2, 5))
    with pytest.raises(InputError, match="not finite"):
        cached.render("cup1", torch.full((1, 6), float("nan")))
    with pytest.raises(InputError, match="max_bytes must be at least 1"):
        CachedViews(ColouredSquares(), tmp_path, max_bytes=0)
    liar = ColouredSquares()
    cached = CachedViews(liar, tmp_path / "liar")
    liar.size = 8
    liar.render = lambda name, views: (torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4))  # type: ignore[method-assign]
    with pytest.raises(InputError, match="the renderer returned images"):
        cached.render("cup", VIEWS)
    assert not (tmp_path / "liar").exists()


def test_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        CachedViews(ColouredSquares(), tmp_path / folder).render("cup", VIEWS)
    assert [path.read_bytes() for path in files(tmp_path / "a")] == [
        path.read_bytes() for path in files(tmp_path / "b")
    ]
