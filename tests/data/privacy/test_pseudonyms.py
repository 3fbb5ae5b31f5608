"""Pseudonyms: a function of key and name, a file for the owner alone, and no collision unnoticed."""

import base64
import errno
import hashlib
import hmac
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError, UnwritableError
from snellen.data.privacy import pseudonyms as module
from snellen.data.privacy.pseudonyms import KEY_BYTES, Pseudonyms


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@given(st.text(), st.text())
def test_equal_names_are_equal_and_others_are_not(first, second):
    names = Pseudonyms(bytes(KEY_BYTES))
    assert (names.of(first) == names.of(second)) == (first == second)
    assert names.names[names.of(first)] == first


def test_a_pseudonym_is_the_beginning_of_the_keyed_hash():
    key = bytes(range(KEY_BYTES))
    code = hmac.new(key, "Müller/1.png".encode(), hashlib.sha256).digest()
    assert Pseudonyms(key).of("Müller/1.png") == "p-" + base64.b32encode(code[:10]).decode().lower()
    assert Pseudonyms(key).of("x") != Pseudonyms(bytes(KEY_BYTES)).of("x"), "another key gives other pseudonyms"


def test_a_name_that_is_no_unicode_has_one_too():
    names = Pseudonyms(bytes(KEY_BYTES))
    assert names.of("\udcff.png") != names.of("\udcfe.png")


def test_two_names_of_one_pseudonym_are_refused(monkeypatch):
    monkeypatch.setattr(module, "PSEUDONYM_BYTES", 1)
    names = Pseudonyms(bytes(KEY_BYTES))
    with pytest.raises(InputError, match=r"two names have the same pseudonym p-.*another key"):
        names.all_of(range(257))


def test_models_lose_what_may_be_the_name_of_a_file():
    names = Pseudonyms(bytes(KEY_BYTES))
    for public in ("bundled:fashion-cnn", "timm:resnet50", "torchvision:resnet18"):
        assert names.of_model(public) == public
    assert not names.names
    for name in (
        "onnx:Doe.onnx",
        "hf:Doe",
        "artifact:Doe",
        "timm:resnet50@Doe.safetensors",
        "Doe",
        "C:\\Doe",
        "a b:Doe",
    ):
        hidden = names.of_model(name)
        assert "Doe" not in hidden
        assert "p-" in hidden
    assert names.of_model("timm:resnet50@Doe.safetensors").startswith("timm:resnet50@p-")


# -- the file --------------------------------------------------------------------------------------------------------


def test_a_new_file_holds_a_key_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        names = Pseudonyms.open(tmp_path / "names.json")
        assert mode(tmp_path / "names.json") == 0o600
        names.of("Doe")
        names.write()
        assert mode(tmp_path / "names.json") == 0o600
    finally:
        os.umask(before)
    record = json.loads((tmp_path / "names.json").read_text())
    assert record == {"key": names.key.hex(), "names": {names.of("Doe"): "Doe"}}
    assert len(names.key) == 32
    assert names.key != Pseudonyms.open(tmp_path / "other.json").key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names.json", "other.json"], "nothing temporary is left"


def test_given_again_the_same_pseudonyms_come_out_and_names_add_up(tmp_path):
    first, second = Pseudonyms.open(tmp_path / "names.json"), Pseudonyms.open(tmp_path / "names.json")
    assert first.of("a") == second.of("a")
    assert first.key_id == second.key_id
    assert first.key.hex()[:8] not in first.key_id
    first.of("only in the first")
    second.of("only in the second")
    first.write()
    second.write()
    again = Pseudonyms.open(tmp_path / "names.json")
    assert set(again.names.values()) == {"a", "only in the first", "only in the second"}


def test_names_of_any_characters_come_back(tmp_path):
    hostile = ["<b>&\"'", "a\nb", "\x00", "ü\u202e", "\udcff", "p-ebwk5l6rnyjnkilq", ""]
    names = Pseudonyms.open(tmp_path / "names.json")
    told = names.all_of(hostile)
    names.write()
    assert [Pseudonyms.open(tmp_path / "names.json").names[one] for one in told] == hostile


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"key": "00", "names": {}}', b'{"key": "zz", "names": {}}', b'"key"', b"\xff"],
)
def test_another_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no file of pseudonyms"):
        Pseudonyms.open(path)
    assert path.read_bytes() == content


def test_names_that_are_no_texts_are_refused(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"key": "00" * KEY_BYTES, "names": {"p-x": 3}}))
    with pytest.raises(InputError, match="is no file of pseudonyms"):
        Pseudonyms.open(path)


@pytest.mark.parametrize(
    "place", ["run/names.json", "run/deep/names.json", "run", "run/../run/names.json", "link.json"]
)
def test_a_file_in_the_folder_that_is_given_away_is_refused(tmp_path, place):
    (tmp_path / "run").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "run" / "names.json")
    with pytest.raises(InputError, match="is to hold no names; name a file of pseudonyms outside of it"):
        Pseudonyms.open(tmp_path / place, outside=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    assert Pseudonyms.open(tmp_path / "running.json", outside=tmp_path / "run").key


def test_a_link_out_of_that_folder_is_refused_too(tmp_path):
    """Written through it, the key would lie in the folder; and whoever packs the folder may follow it."""
    (tmp_path / "run").mkdir()
    Pseudonyms.open(tmp_path / "names.json")
    (tmp_path / "run" / "names.json").symlink_to(tmp_path / "names.json")
    with pytest.raises(InputError, match="is to hold no names"):
        Pseudonyms.open(tmp_path / "run" / "names.json", outside=tmp_path / "run")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_the_file_that_it_leads_to_is_written(tmp_path, there):
    (tmp_path / "safe").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "safe" / "names.json")
    if there:
        Pseudonyms.open(tmp_path / "safe" / "names.json")
    names = Pseudonyms.open(tmp_path / "link.json", outside=tmp_path / "run")
    names.of("Doe")
    names.write()
    assert (tmp_path / "link.json").is_symlink()
    assert list(Pseudonyms.open(tmp_path / "safe" / "names.json").names.values()) == ["Doe"]
    assert {path.name for path in tmp_path.rglob("*")} == {"safe", "link.json", "names.json"}


def test_a_file_that_holds_all_names_is_left_as_it_is(tmp_path):
    path = tmp_path / "names.json"
    names = Pseudonyms.open(path)
    names.of("Doe")
    names.write()
    before = path.stat().st_ino
    again = Pseudonyms.open(path)
    again.of("Doe")
    again.write()
    assert path.stat().st_ino == before
    path.chmod(0o644)
    again.write()
    assert mode(path) == 0o600, "unless others may read it"
    again.of("Roe")
    again.write()
    assert set(Pseudonyms.open(path).names.values()) == {"Doe", "Roe"}


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no regular file"):
        Pseudonyms.open(tmp_path / "pipe")


def test_a_file_that_cannot_be_written_or_read_is_reported(tmp_path):
    with pytest.raises(UnwritableError, match=r"cannot write to .*names\.json"):
        Pseudonyms.open(tmp_path / "missing" / "names.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be read: it is no regular file"):
        Pseudonyms.open(tmp_path / "folder")


def test_a_place_that_may_not_be_written_is_reported_whatever_fails(tmp_path, monkeypatch):
    def refused(*arguments, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))

    for name in ("open", "unlink"):
        monkeypatch.setattr(os, name, refused)
    with pytest.raises(
        UnwritableError, match=r"Read-only file system.*choose another place, and give the same call again"
    ):
        Pseudonyms.open(tmp_path / "names.json")


def test_a_file_that_another_process_made_first_is_taken(tmp_path, monkeypatch):
    path, real = tmp_path / "names.json", os.link
    other = Pseudonyms.open(tmp_path / "other.json")

    def first(source, target):
        real(other.path, target)
        real(source, target)

    monkeypatch.setattr(os, "link", first)
    assert Pseudonyms.open(path).key == other.key


def test_a_disk_without_links_will_do(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unknown)
    assert Pseudonyms.open(tmp_path / "names.json").key == Pseudonyms.open(tmp_path / "names.json").key


def test_the_key_and_the_names_are_not_shown():
    names = Pseudonyms(bytes(range(KEY_BYTES)))
    names.of("Doe")
    assert "Doe" not in repr(names)
    assert names.key.hex() not in repr(names)
    assert "\\x01" not in repr(names)
