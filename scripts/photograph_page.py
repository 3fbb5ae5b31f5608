"""Photograph a page of this package with headless Chromium: the pictures of reports in the documentation.

    python scripts/photograph_page.py RUN/report.html docs/pictures/report.webp [--dark] [--width 1100] [--height 900]

Chromium must be installed (Debian: chromium). Nothing is fetched: the page is a file, and its pictures are in it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

#: Quality of WebP at which text stays sharp.
QUALITY = 60


def photograph(page: Path, picture: Path, *, width: int, height: int, dark: bool) -> None:
    """Write the top of a page as a picture."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("there is no Chromium here; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        colours = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", colours]
        size = [f"--window-size={width},{height}", "--force-device-scale-factor=1.25"]
        called = [browser, *options, *size, f"--screenshot={shot}", page.resolve().as_uri()]
        subprocess.run(called, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as taken:
            taken.convert("RGB").save(picture, quality=QUALITY, method=6)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=900)
    given = parser.parse_args()
    photograph(given.page, given.picture, width=given.width, height=given.height, dark=given.dark)
    print(f"{given.picture}: {given.picture.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
