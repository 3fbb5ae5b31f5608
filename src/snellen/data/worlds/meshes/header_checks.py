"""Looks at the headers of STL, PLY and GLB files before VTK does, which believes what they say."""

from __future__ import annotations

import json
import re
import struct

from snellen.core.errors import RejectedImageError

_ELEMENT = re.compile(rb"^[ \t]*element[ \t]+(\S+)[ \t]+(\S+)", re.MULTILINE)


def check_header(suffix: str, content: bytes) -> None:
    """Raise RejectedImageError for a file that announces more than it holds, or that names other files.

    Args:
        suffix: ".stl", ".ply" or ".glb".
        content: the whole file.
    """
    {".stl": _check_stl, ".ply": _check_ply, ".glb": _check_glb}[suffix](content)


def _check_stl(content: bytes) -> None:
    binary = len(content) >= 84 and len(content) == 84 + 50 * struct.unpack_from("<I", content, 80)[0]
    if not binary and not (content.lstrip()[:5].lower() == b"solid" and b"facet" in content[:65536].lower()):
        raise RejectedImageError("damaged: neither a text STL nor a binary one whose size fits its number of triangles")


def _check_ply(content: bytes) -> None:
    head, end, body = content.partition(b"end_header")
    if not content.startswith(b"ply") or not end:
        raise RejectedImageError("damaged: a PLY file begins with 'ply' and a header that ends with 'end_header'")
    for name, count in _ELEMENT.findall(head):
        # Each element takes at least one byte, however it is written.
        if not count.isdigit() or len(count) > 12 or int(count) > len(body):
            raise RejectedImageError(f"damaged: {count[:20]!r} elements {name[:20]!r} in {len(body)} bytes")


def _check_glb(content: bytes) -> None:
    if len(content) < 20 or content[:4] != b"glTF" or content[16:20] != b"JSON":
        raise RejectedImageError("damaged: a GLB file begins with 'glTF' and a part 'JSON'")
    length = struct.unpack_from("<I", content, 12)[0]
    try:
        described = json.loads(content[20 : 20 + length].decode("utf-8"))
        links = [part["uri"] for kind in ("buffers", "images") for part in described.get(kind, []) if "uri" in part]
        counts = [int(part["count"]) for part in described.get("accessors", [])]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise RejectedImageError(f"damaged: its part 'JSON' cannot be read ({str(error)[:80]})") from error
    if any(not str(link).startswith("data:") for link in links):
        raise RejectedImageError("it names other files; store everything in the GLB file")
    if min(counts, default=0) < 0 or sum(counts) > 64 * len(content):
        # Each on its own too: a negative count would make up for one that is too large.
        odd = min(counts) if min(counts) < 0 else sum(counts)
        raise RejectedImageError(f"damaged: it announces {odd} elements in {len(content)} bytes")
