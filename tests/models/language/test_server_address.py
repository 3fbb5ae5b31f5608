"""Addresses: what is this machine, and what is not, in every spelling."""

import pytest

from snellen.core.errors import InputError
from snellen.models.language.server_requests import read_address

HERE = [
    "http://127.0.0.1:8000/v1",
    "http://localhost:8000/v1",
    "http://LOCALHOST/v1",
    "https://127.0.0.1/v1",
    "http://[::1]:8000/v1",
    "http://127.9.8.7:8000/v1",
    "http://127.1:8000/v1",
    "http://0x7f000001/v1",
    "http://2130706433/v1",
]
ELSEWHERE = [
    "https://models.example/v1",
    "http://0.0.0.0:8000/v1",
    "http://192.168.1.7/v1",
    "http://10.0.0.1/v1",
    "http://[2001:db8::1]/v1",
    "http://localhost.models.example/v1",
    "http://127.0.0.1.models.example/v1",
    "http://localhost./v1",
    "http://sub.localhost/v1",
    "http://128.0.0.1/v1",
    "http://127.0.0.1。models.example/v1",
    "http://models.example\\@127.0.0.1/v1",
    "http:models.example/v1",
]


@pytest.mark.parametrize("url", HERE)
def test_this_machine(url):
    address = read_address(f"{url}#small")
    assert address.loopback
    assert address.model == "small"
    assert address.encrypted == url.startswith("https")


@pytest.mark.parametrize("url", ELSEWHERE)
def test_other_machines_need_permission(url):
    with pytest.raises(
        InputError, match=r"is another machine: prompts and pictures would leave this one.*allow_remote"
    ):
        read_address(f"{url}#small")
    assert not read_address(f"{url}#small", allow_remote=True).loopback


def test_addresses_are_brought_into_normal_form():
    assert read_address("http://127.1:80/v1/#a").url == "http://127.0.0.1/v1"
    assert read_address("HTTP://LocalHost:8000/v1#org/model:7b#q4").url == "http://localhost:8000/v1"
    assert read_address("HTTP://LocalHost:8000/v1#org/model:7b#q4").model == "org/model:7b#q4"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("http://127.0.0.1:8000/v1", r"names no model; write http://127.0.0.1:8000/v1#MODEL"),
        ("http://127.0.0.1:8000/v1# ", "names no model"),
        ("http://#small", "is not the address of a server"),
        ("ftp://127.0.0.1/v1#small", "is not the address of a server: URL scheme should be 'http' or 'https'"),
        ("http://127.0.0.1:99999/v1#small", "is not the address of a server"),
        ("http://me:secret@127.0.0.1/v1#small", "a user or password in the address of a server would be recorded"),
        ("http://127.0.0.1@models.example/v1#small", "a user or password"),
        ("http://127.0.0.1/v1?key=secret#small", "has no query"),
    ],
)
def test_what_is_no_address(reference, message):
    for allowed in (False, True):
        with pytest.raises(InputError, match=message) as caught:
            read_address(reference, allow_remote=allowed)
        assert "secret" not in str(caught.value)
