"""Names of files and folders from hostile text."""

import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.runs import safe_names
from snellen.runs.safe_names import UNLABELLED, file_names, folder_names

HOSTILE = [
    "../../etc/passwd",
    "/absolute",
    "..",
    ".",
    "",
    ".hidden",
    "C:\\Windows\\x",
    "con",
    "NUL.png",
    "a\0b",
    "new\nline",
    "\x1b[2J",
    "half\udce9",
    "x" * 5000,
    "日本" * 400,
    "trailing. ",
    "a/b",
    "a_b",
    "a:b",
    "-rf",
    "--help",
    "\u202egnp.exe",
]


def check(name):
    assert len(os.fsencode(name)) <= 200
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\:*?"<>|\0\n\r\x1b')
    assert not name.startswith((".", "-", " "))
    assert not name.endswith((".", " "))
    assert PurePosixPath(name).parts == (name,)
    assert PureWindowsPath(name).parts == (name,)
    assert name.split(".")[0].lower() not in {"con", "nul", "prn", "aux", "com1"}
    name.encode("utf-8")


@given(st.lists(st.text(st.characters(exclude_categories=[])), unique=True, max_size=8))
def test_any_text_becomes_a_safe_and_unique_name(texts):
    for names in (list(folder_names(texts).values()), file_names(texts, ".png")):
        assert len({name.casefold() for name in names}) == len(texts)
        for name in names:
            check(name)
            assert name != UNLABELLED


def test_hostile_names():
    for names in (list(folder_names(HOSTILE).values()), file_names(HOSTILE, ".png")):
        assert len({name.casefold() for name in names}) == len(HOSTILE)
        for name in names:
            check(name)


def test_plain_class_names_stay_and_others_stay_readable():
    plain = ["cat", "Ankle boot", "T-shirt", "0", "v1.5", "fade+amount=0.5"]
    assert folder_names(plain) == {name: name for name in plain}
    found = folder_names(["T-shirt/top", "x.png", "Käfer", "unlabelled"])
    stems = [name.rpartition("-")[0] for name in found.values()]
    assert stems == ["T-shirt_top", "x", "Käfer", "unlabelled"]
    assert file_names(["cats/IMG 1.JPG"], ".png")[0].startswith("cats_IMG_1-")


def test_a_name_does_not_depend_on_the_others():
    assert file_names(["a/b", "c"], ".png")[1] == file_names(["c"], ".png")[0]


def test_colliding_hashes_are_distinguished(monkeypatch):
    class Same:
        def __init__(self, text):
            self.text = text

        def hexdigest(self):
            return "0" * 8 + self.text.hex()

    monkeypatch.setattr(safe_names.hashlib, "sha256", Same)
    names = file_names(["a/b", "a:b", "a|b"], ".png")
    assert len(set(names)) == 3


@pytest.mark.parametrize("pair", [("Bag", "bag"), ("straße", "STRASSE")])
def test_names_that_differ_in_case_alone_are_two(pair):
    assert len({name.casefold() for name in folder_names(pair).values()}) == 2
