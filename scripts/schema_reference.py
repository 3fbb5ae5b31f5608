"""Pages about the files that Snellen writes: each field with its type and meaning, made of their schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from format_schemas import schemas

from snellen.core.formats import FORMATS

#: Meanings of fields that are the same in every file, where the object itself says nothing else.
SHARED = {
    "schema_version": "version of the format, an integer",
    "written_by": "version of Snellen that wrote the file",
    "plan": "everything that could change a byte of the result: model, images, parameters, seed",
    "files": "what was written beside this file, relative to its folder",
    "kind": "which command began the run",
}

#: Tables of system.toml, whose rows the program reads.
OF_SYSTEM = {
    "architectures": "networks that an artifact may name",
    "checks": "checks of an audit",
    "commands": "commands of its own, by verb",
    "forms": "other kinds of data that a verb takes",
    "heads": "heads on frozen encoders that an artifact may name",
    "methods": "its methods, by area",
    "uses": "textbook methods that it is made of, as AREA.METHOD",
}


def record_pages() -> dict[str, str]:
    """The page of each file, by the first part of the file's name; and ``index``, the list of them."""
    found = {file.partition(".")[0]: schema_page(file, schema) for file, schema in schemas().items()}
    listed = "\n".join(f"- [`{file}`]({file.partition('.')[0]}.md): {FORMATS[file].content}" for file in schemas())
    return {"index": f"# Fields of files\n\n{listed}\n\n{_toctree(found)}", **found}


def _toctree(names: Mapping[str, str]) -> str:
    return "```{toctree}\n:hidden:\n" + "\n".join(names) + "\n```\n"


def schema_page(file: str, schema: Mapping[str, Any]) -> str:
    """The page of one file: its own fields, then those of the objects in it."""
    return "\n".join(_page(file, schema))


def _page(file: str, schema: Mapping[str, Any]) -> Iterator[str]:
    form = FORMATS[file]
    yield f"# `{file}`: {form.content}\n"
    yield f"Version {form.version} of the format. [How versions are read](../../schemas/README.md).\n"
    parts = schema.get("$defs", {})
    if "properties" in schema:
        yield from _part(schema, parts)
    else:
        choices = [one["$ref"].rpartition("/")[2] for one in schema["anyOf"]]
        yield f"The file is one of: {', '.join(_link(name) for name in choices)}.\n"
    for name, part in sorted(parts.items()):
        yield f"## {name}\n"
        yield from _part(part, parts)


def _part(part: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[str]:
    about = first_part(part.get("description", ""))
    if about:
        yield f"{about}\n"
    if "enum" in part:
        yield f"One of {', '.join(f'`{one}`' for one in part['enum'])}.\n"
    if "properties" not in part:
        return
    yield "| field | type | meaning |\n|---|---|---|"
    for name, field in part["properties"].items():
        yield f"| `{name}` | {type_of(field)} | {_cell(meaning(name, field, part))} |"
    yield ""


def meaning(name: str, field: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """What a field is: its own description, else what the object's description says of it; empty where neither does."""
    if field.get("description") and name not in OF_SYSTEM:
        return str(field["description"])
    said = attributes(part.get("description", "")).get(name, "")
    return said or SHARED.get(name, "") or (OF_SYSTEM.get(name, "") if "acceptance" in part["properties"] else "")


def attributes(docstring: str) -> dict[str, str]:
    """What a docstring says of each field below ``Attributes:``; one line may name several."""
    _, _, listed = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    for line in re.sub(r"\n {5,}", " ", listed).splitlines():
        parts = re.split(r"(?:^\s+|(?<=\. ))((?:\w+, )*\w+): ", line)
        for names, text in zip(parts[1::2], parts[2::2], strict=True):
            found |= dict.fromkeys(names.split(", "), text.strip().removesuffix("."))
    return found


def first_part(docstring: str) -> str:
    """A docstring without its list of attributes and its examples, as one paragraph of Markdown."""
    text = re.split(r"\n\s*(?:Attributes:|>>> )", docstring)[0].strip()
    return plain(text)


def type_of(field: Mapping[str, Any]) -> str:
    """The type of a field in words, with links to the objects of the page."""
    if "$ref" in field:
        return _link(field["$ref"].rpartition("/")[2])
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(type_of(one) for one in field[several]))
    kind = field.get("type", "any value")
    if kind == "array":
        items = field.get("items") or next(iter(field.get("prefixItems", [])), {})
        return f"list of {type_of(items)}" if items else "list"
    if kind == "object":
        rest = field.get("additionalProperties")
        return f"object, name → {type_of(rest)}" if isinstance(rest, Mapping) and rest else "object"
    return str(kind) + _bounds(field)


def _bounds(field: Mapping[str, Any]) -> str:
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    found = [f"{sign} {field[name]:g}" for name, sign in signs if name in field]
    return f" {', '.join(found)}" if found else ""


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def plain(text: str) -> str:
    """A docstring's marks as Markdown: names in backticks, without the paths of references."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def _cell(text: str) -> str:
    return re.sub(r"\bNone\b", "null", plain(text)).replace("|", "\\|").replace("<", "&lt;")
