"""List sentences of the documents with more than 25 words, by page: ``python scripts/long_sentences.py [PAGE ...]``.

Code, tables, generated blocks and addresses are no sentences. Without a page, all pages are counted, the worst first.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Words that a sentence has at most.
MOST = 25

#: Pages that nobody reads from beginning to end, and histories.
LEFT_OUT = ("CHANGELOG.md",)

_BLOCKS = re.compile(r"^<!-- (.+?):begin -->.*?^<!-- \1:end -->|^```.*?^```|^<!--.*?-->", re.MULTILINE | re.DOTALL)
_END = re.compile(r"(?<=[.!?:;])[\"”)*]*\s+(?=[A-Z`*\[\"“(0-9])")


def sentences(text: str) -> Iterator[str]:
    """Sentences of a page of Markdown; items of lists and paragraphs end one."""
    text = _BLOCKS.sub("\n\n", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=#)", text):
        plain = re.sub(r"\s+", " ", paragraph.strip())
        if plain and not plain.startswith(("|", "#")):
            yield from (one for one in _END.split(plain) if one)


def long_ones(text: str, most: int = MOST) -> list[str]:
    """Sentences with more words than that; what stands in code marks is one word."""
    return [one for one in sentences(text) if len(re.findall(r"\S*\w\S*", re.sub(r"`[^`]*`", "x", one))) > most]


def documents() -> list[Path]:
    """All pages that people read."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(page for page in pages if page.name not in LEFT_OUT)


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, help="pages whose sentences are printed")
    pages = parser.parse_args().pages
    if pages:
        for page in pages:
            for one in long_ones(page.read_text(encoding="utf-8")):
                print(f"{page}: {len(one.split())}: {one}")
        return
    counted = sorted(
        ((len(long_ones(page.read_text(encoding="utf-8"))), page) for page in documents()), key=lambda pair: -pair[0]
    )
    for count, page in counted:
        if count:
            print(f"{count:>4}  {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
