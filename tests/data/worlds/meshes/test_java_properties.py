"""Java's property files, against what their documentation says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.data.worlds.meshes.furniture_catalogue import read_properties


@pytest.mark.parametrize("line", ["Truth=Beauty", " Truth:Beauty", "Truth                    :Beauty", "Truth Beauty"])
def test_ways_to_write_a_pair(line: str) -> None:
    assert read_properties(line.encode()) == {"Truth": "Beauty"}


def test_the_examples_of_the_documentation() -> None:
    text = b"""fruits                           apple, banana, pear, \\
                                  cantaloupe, watermelon, \\
                                  kiwi, mango
cheeses
! a comment
   # another, that ends with \\
target=c:\\\\temp
"""
    assert read_properties(text) == {
        "fruits": "apple, banana, pear, cantaloupe, watermelon, kiwi, mango",
        "cheeses": "",
        "target": "c:\\temp",
    }


def test_escapes_and_ends_of_lines() -> None:
    text = rb"a\ key\:\=1=\tx\ty\q" + b"\r\nb=2\rc=\\ud83d\\ude00\nd=\\u00e9 \\\\u00e9\na=1\na=2"
    assert read_properties(text) == {
        "a key:=1": "\tx\tyq",
        "b": "2",
        "c": "😀",
        "d": "é \\u00e9",
        "a": "2",
    }


def test_bytes_are_utf8_or_else_latin1() -> None:
    assert read_properties("name=café".encode()) == {"name": "café"}
    assert read_properties("name=café °".encode("latin-1")) == {"name": "café °"}
    assert read_properties(b"\xef\xbb\xbfname=x") == {"name": "x"}


def test_a_half_escape_is_an_error() -> None:
    with pytest.raises(InputError, match="four hexadecimal digits"):
        read_properties(b"a=\\u12")


def escaped(text: str) -> str:
    halves = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[place]:02x}{halves[place + 1]:02x}" for place in range(0, len(halves), 2))


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=20), max_size=5))
def test_what_is_written_in_escapes_is_read_back(pairs: dict[str, str]) -> None:
    text = "\n".join(f"{escaped(key)}={escaped(value)}" for key, value in pairs.items())
    assert read_properties(text.encode()) == pairs


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        properties = read_properties(content)
    except InputError:
        return
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in properties.items())
