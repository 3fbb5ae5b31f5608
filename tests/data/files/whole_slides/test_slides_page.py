"""What docs/slides.md says runs, and its figures are those that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from snellen.data.files.whole_slides import loading, slide_file, tiling
from snellen.data.files.whole_slides.handles import Handles
from snellen.data.files.whole_slides.slide_file import SUFFIXES
from snellen.data.files.whole_slides.slide_list import NEGATIVES
from snellen.data.files.whole_slides.tiling import Tiling

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "slides.md").read_text(encoding="utf-8")


def test_the_block_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(block, "slides.md", "exec"), {})
    told = capsys.readouterr().out
    assert "2 classes" in told
    assert "['normal/0.tif', 'tumor/1.tif']" in told or "['normal/1.tif', 'tumor/0.tif']" in told
    assert not list(tmp_path.iterdir())


def test_figures_are_those_measured() -> None:
    record = json.loads((ROOT / "docs" / "measured" / "slide-memory.json").read_text(encoding="utf-8"))
    for row in record["slides"]:
        pixels, index, every = (row[name] / 2**20 for name in ("pixel_bytes", "index_bytes", "all_bytes"))
        assert f"| {row['side']:,} | {pixels:,.0f} | {row['tiles']:,} | {index:.0f} | {every:.0f} |" in PAGE
    # What the page says of the growth: 4 times the pixels, no more memory.
    larger, largest = record["slides"][-2:]
    assert largest["pixel_bytes"] == 4 * larger["pixel_bytes"]
    assert largest["all_bytes"] < 1.1 * larger["all_bytes"]


def test_pictures_of_labels_are_never_read() -> None:
    """They may show the name of a patient; the page says so."""
    assert not [
        path for path in (ROOT / "src").rglob("*.py") if "associated_images" in path.read_text(encoding="utf-8")
    ]
    assert "are never read" in PAGE


def test_parameters_are_those_of_the_code() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert told == {*Tiling.model_fields, "classes"}
    assert (Tiling().tile, Tiling().mpp, Tiling().tissue) == (256, 1.0, 0.5)
    for name in (*NEGATIVES, *(suffix[1:].upper() for suffix in SUFFIXES if suffix != ".tiff")):
        assert name.replace("TIF", "TIFF") in PAGE
    assert f"{loading._LONGEST:,} pixels" in PAGE
    assert f"at most {loading._ALONG_TILE} along a tile" in PAGE
    assert [round(one / 255, 2) for one in (tiling.LEAST_THRESHOLD, tiling.LARGEST_THRESHOLD)] == [0.07, 0.2]
    assert slide_file._CACHE_BYTES == 64 * 2**20
    assert Handles()._kept == 4
