"""A file of an older version is migrated step by step; one of a newer version is refused in words."""

from pathlib import Path

import pytest

from snellen.core import formats
from snellen.core.errors import InputError
from snellen.core.formats import CARD, FORMATS, Format, writer_of
from snellen.version import __version__


def rename(value):
    return {"title" if key == "name" else key: member for key, member in value.items()}


def split(value):
    first, _, last = value["title"].partition(" ")
    return {"first": first, "last": last}


DEMO = Format("demo.json", "demonstration", (rename, split))


def test_the_version_is_one_more_than_the_migrations():
    assert (Format("demo.json", "demonstration").version, DEMO.version) == (1, 3)


@pytest.mark.parametrize(
    "written",
    [
        {"name": "Ada Lovelace"},
        {"schema_version": 1, "written_by": "0.1.0", "name": "Ada Lovelace"},
        {"schema_version": 2, "written_by": "0.2.0", "title": "Ada Lovelace"},
        {"schema_version": 3, "written_by": "0.3.0", "first": "Ada", "last": "Lovelace"},
        DEMO.stamped({"first": "Ada", "last": "Lovelace"}),
    ],
)
def test_every_version_is_read_as_todays_and_stays_as_it_is(written):
    before = dict(written)
    assert DEMO.read(written, "demo.json") == {"first": "Ada", "last": "Lovelace"}
    assert written == before


def test_what_is_written_begins_with_its_version_and_writer():
    assert list(DEMO.stamped({"a": 1}).items()) == [("schema_version", 3), ("written_by", __version__), ("a", 1)]


def test_a_newer_version_is_refused_and_its_writer_named():
    with pytest.raises(InputError) as refused:
        DEMO.read({"schema_version": 4, "written_by": "2.7.1"}, "here/demo.json")
    told = str(refused.value)
    assert "here/demo.json is a demonstration of format version 4, written by Snellen 2.7.1" in told
    assert f"Snellen {__version__} reads versions up to 3: upgrade with 'pip install --upgrade snellen'" in told


@pytest.mark.parametrize("writer", [None, 3, "", "\x1b[31m1.0", "0.1.0\nerror: run this", "0" * 80])
def test_a_writer_that_is_no_version_is_not_shown(writer):
    assert writer_of({"written_by": writer}) is None
    with pytest.raises(InputError, match="written by a newer Snellen; "):
        DEMO.read({"schema_version": 4, "written_by": writer}, "demo.json")


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None, [1]])
def test_a_version_that_cannot_be_is_refused(version):
    with pytest.raises(InputError, match=r"demo\.json: schema_version is an integer of at least 1, got "):
        DEMO.read({"schema_version": version, "name": "Ada"}, "demo.json")


@pytest.mark.parametrize("value", [[], "text", 3, None])
def test_what_has_no_named_members_is_refused(value):
    with pytest.raises(InputError, match=r"demo\.json: not a demonstration"):
        DEMO.read(value, "demo.json")


def test_formats_are_listed_by_their_file():
    assert {name: each.file for name, each in FORMATS.items()} == {name: name for name in FORMATS}
    assert all(each in FORMATS.values() for each in (formats.REPORT, formats.CARD, formats.MANIFEST, formats.SYSTEM))


def test_two_figures_that_would_get_one_name_both_stay():
    card = {"schema_version": 1, "metrics": {"tune.accuracy": 0.5, "val.accuracy": 0.9, "tune.loss": 1.0}}
    read = CARD.read(card, Path("card.json"))
    assert read["metrics"] == {"tune.accuracy": 0.5, "val.accuracy": 0.9, "val.loss": 1.0}
