"""Check a built site: ``python scripts/check_site.py FOLDER``. Fails with a line for each problem.

Every internal link leads to a file, and to an anchor in it. External links are whole addresses. Nothing that a page
needs is fetched from elsewhere. The site is smaller than 20 MB. Needs no network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Bytes that the site has at most.
MOST = 20_000_000

#: Tags and attributes that a page fetches, and those that a reader follows.
FETCHED = {("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("video", "src")}
FETCHED_RELATIONS = {"stylesheet", "icon", "preload", "manifest"}


class Page(HTMLParser):
    """Links, anchors and what is fetched of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.fetched = {"", "top"}, list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Gather what one tag names."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and set(found.get("rel", "").split()) & FETCHED_RELATIONS:
            self.fetched.append(found.get("href", ""))
        self.fetched += [found[name] for of, name in FETCHED if of == tag and name in found]


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with a site, one line each."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size >= MOST:
        yield f"the site has {size:,} bytes, and {MOST:,} are too many"
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    if not pages:
        yield f"{folder} holds no page"
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        for link in dict.fromkeys(page.links):
            why = _link_problem(link, path, folder, pages)
            if why:
                yield f"{name}: {link}: {why}"
        for link in dict.fromkeys(page.fetched):
            parts = urlsplit(link)
            if parts.scheme not in ("", "data") or parts.netloc:
                yield f"{name}: {link}: fetched from elsewhere"
            elif not parts.scheme and not (path.parent / unquote(parts.path)).is_file():
                yield f"{name}: {link}: no such file"


def _link_problem(link: str, path: Path, folder: Path, pages: Mapping[Path, Page]) -> str | None:
    try:
        parts = urlsplit(link)
    except ValueError as error:
        return str(error)
    if parts.scheme in ("http", "https"):
        return None if "." in (parts.hostname or "") and " " not in link else "not a whole address"
    if parts.scheme == "mailto":
        return None if "@" in parts.path else "not an address"
    if parts.scheme or parts.netloc:
        return "not an address that a browser opens"
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(folder) or not target.is_file():
        return "no such file"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "no such anchor"
    return None


def main() -> None:
    """Check, and fail with what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a built site")
    found = list(problems(parser.parse_args().folder.resolve()))
    if found:
        raise SystemExit("\n".join([*found, f"{len(found)} problems"]))


if __name__ == "__main__":
    main()
