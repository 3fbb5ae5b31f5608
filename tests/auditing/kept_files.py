"""What a folder of a run holds: every byte as text, tables unpacked, and whatever is a picture."""

import base64
import re

import pyarrow.parquet as pq

#: What files of pictures begin with.
BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"PK\x03\x04": "ZIP",
    b"\x93NUMPY": "NumPy",
}

#: Sides of the smallest table of numbers that would show something of an image.
SMALLEST_PICTURE = 16 * 16


def texts(folder):
    """The content of each file, by name, as text; that of tables unpacked as well."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                found[f"{path.relative_to(folder)}, unpacked"] = f"{table.to_pylist()} {table.schema}"
    return found


def mentions(folder, names):
    """Names that a file, or the name of a file, holds, written out or in an escaped form: file → names."""
    found = {}
    for place, text in texts(folder).items():
        for name in names:
            forms = {name, name.encode("utf-8", "replace").decode("latin-1"), repr(name)[1:-1]}
            forms |= {ascii(name)[1:-1], name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
            if any(form in text or form in place for form in forms):
                found.setdefault(place, []).append(name)
    return found


def pictures(folder):
    """Everything in a folder that is a picture, or could be one: place and sort."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        name = str(path.relative_to(folder))
        found += [(name, sort) for beginning, sort in BEGINNINGS.items() if content.startswith(beginning)]
        found += [(name, "WebP")] * (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
        for inside in re.findall(rb"data:([a-z]+/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=]*)", content):
            base64.b64decode(inside[1], validate=True)
            found.append((name, f"data URL of {inside[0].decode()}"))
        found += [(name, "image element")] * len(re.findall(rb"<(?:img|image|canvas)\b", content))
        if path.suffix == ".parquet":
            found += [(name, f"column {column}") for column in _like_pictures(pq.read_table(path))]
    return found


def _like_pictures(table):
    """Columns of bytes, and of lists that are long enough to be a small picture of whole numbers."""
    for column in table.schema:
        kind = str(column.type)
        size = getattr(column.type, "list_size", 0)
        if "binary" in kind or (size >= SMALLEST_PICTURE and "int" in kind) or column.name.startswith("fingerprint."):
            yield column.name
