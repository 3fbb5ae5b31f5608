"""Memory against the size of a slide: index its tissue, read tiles, make a thumbnail; a process for each size.

    python benchmarks/slides/memory.py [--tiles 400] [--record docs/measured/slide-memory.json]

Three slides are drawn and written as pyramidal TIFF (1,024 to 4,096 pixels along a side); larger ones are mosaics of
the last, whose packed tiles are repeated (16,384 to 65,536 pixels). What is told is how far the resident memory of the
process rises above what it was when everything was imported and one small slide had been read. Linux only.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from snellen.core.run import canonical_json
from snellen.data.references import load_images
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.slides.writing import write_slide

TILE, DRAWN, REPEATED = 256, (4, 8, 16), (4, 8, 16)


def resident(which: str) -> int:
    """Resident memory of this process, bytes: VmRSS now, VmHWM its largest since the last reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    """Forget the largest resident memory so far; returns what is resident now, bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def mosaic(source: Path, path: Path, times: int) -> Path:
    """The same slide beside itself, ``times`` along each side; its packed tiles are copied as they are."""
    with tifffile.TiffFile(source) as opened, tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level, page in enumerate(opened.pages):
            across = page.imagewidth // TILE
            packed = []
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                opened.filehandle.seek(offset)
                packed.append(opened.filehandle.read(length))

            def repeated(packed: list[bytes] = packed, across: int = across) -> Iterator[bytes]:
                for row in range(across * times):
                    for column in range(across * times):
                        yield packed[row % across * across + column % across]

            side = page.imagewidth * times
            writer.write(
                repeated(),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=1 if level else 0,
                resolution=(1e4 / 2**level,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def measure(warm: Path, path: Path, tiles: int) -> dict[str, float]:
    """What this process needs for one slide."""
    small = load_images(f"slides:{warm}?tile={TILE}")
    small.read(0)
    small.source.close()
    before = reset_peak()
    start = time.perf_counter()
    images = load_images(f"slides:{path}?tile={TILE}")
    indexed, after_index = time.perf_counter() - start, resident("VmHWM") - before
    start = time.perf_counter()
    chosen = np.unique(np.linspace(0, len(images) - 1, min(tiles, len(images))).astype(int))
    for position in chosen.tolist():
        images.read(position)
    read = time.perf_counter() - start
    images.source.bag_thumbnail(path.name, 512)
    return {
        "side": images.source.slides[0].file.size[0],
        "tiles": len(images),
        "tiles_read": len(chosen),
        "index_bytes": after_index,
        "all_bytes": resident("VmHWM") - before,
        "index_seconds": round(indexed, 2),
        "milliseconds_a_tile": round(1e3 * read / len(chosen), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiles", type=int, default=400)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--of", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.of:
        print(json.dumps(measure(*arguments.of, arguments.tiles)))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for across in DRAWN:
            slide = Slides(count=1, tiles_across=across, tile_size=TILE, positive_slides=1.0, seed=1).slide(0)
            paths.append(Path(folder) / f"{across}.tif")
            write_slide(slide, paths[-1])
        paths += [mosaic(paths[len(DRAWN) - 1], Path(folder) / f"mosaic-{times}.tif", times) for times in REPEATED]
        rows = []
        for path in paths:
            called = [sys.executable, __file__, "--tiles", str(arguments.tiles), "--of", str(paths[0]), str(path)]
            done = subprocess.run(called, capture_output=True, text=True, check=True)
            row = {**json.loads(done.stdout), "file_bytes": path.stat().st_size}
            row["pixel_bytes"] = 3 * row["side"] ** 2
            rows.append(row)
            print(
                f"{row['side']:6d} pixels, {row['pixel_bytes'] / 2**20:6.0f} MiB of pixels, {row['tiles']:6d} tiles: "
                f"index {row['index_bytes'] / 2**20:5.1f} MiB in {row['index_seconds']:.1f} s, in all "
                f"{row['all_bytes'] / 2**20:5.1f} MiB, {row['milliseconds_a_tile']:.1f} ms a tile"
            )
        if arguments.record:
            told = {"tile": TILE, "microns_per_pixel": 1.0, "machine": platform.machine(), "slides": rows}
            arguments.record.write_bytes(canonical_json(told))


if __name__ == "__main__":
    main()
