"""What scrolls sideways on a page is reached by the keyboard, and has a name there."""

import re

from snellen.core import package

PART = re.compile(r'<\w+ class="(?:[\w-]+ )*scroll(?: [\w-]+)*"([^>]*)>')


def test_every_part_that_scrolls_can_be_scrolled_by_keys():
    parts = {
        f"{path.name}: {found[0]}": found[1]
        for path in package.root().rglob("*.j2")
        for found in PART.finditer(path.read_text(encoding="utf-8"))
    }
    assert len(parts) > 15
    mute = [
        name
        for name, rest in parts.items()
        if 'tabindex="0"' not in rest or 'role="region"' not in rest or not re.search(r'aria-label="[^"]', rest)
    ]
    assert not mute, "give it role=region, aria-label and tabindex=0: " + "; ".join(mute)
