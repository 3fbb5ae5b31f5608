"""Permission: exact names of hosts, for one call or for a block, and never more than was given."""

import pytest

from snellen.core.errors import InputError
from snellen.models.classifiers.references import load_classifier
from snellen.models.language.references import load_language_model
from snellen.models.remote.permission import ask_permission, hosts_of, may_reach, permitted, permitting, read_url


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ((), ()),
        (False, ()),
        (True, True),
        ("models.example", ("models.example",)),
        (["Models.EXAMPLE", "10.0.0.1"], ("models.example", "10.0.0.1")),
        (["2001:DB8::1", "[2001:db8::1]"], ("[2001:db8::1]", "[2001:db8::1]")),
        (["bücher.example"], ("xn--bcher-kva.example",)),
        (["0x7f000001"], ("127.0.0.1",)),
    ],
)
def test_names_in_normal_form(given: object, hosts: object) -> None:
    assert hosts_of(given) == hosts  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "*",
        "*.example",
        "models.example:80",
        "http://models.example",
        "models.example/",
        "a@b",
        "a b",
        "a?b",
        "a#b",
        "http:",
        "%6d.example",
        "a\\b",
        None,
        5,
    ],
)
def test_what_is_no_name_of_one_host(name: object) -> None:
    for given in ([name], ["models.example", name]):
        with pytest.raises(InputError, match="is not the name of one host"):
            hosts_of(given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is not the name of one host"):
        load_classifier("bundled:fashion-cnn", allow_remote=[name])  # type: ignore[list-item]


def test_permission_is_for_a_block_and_adds_up() -> None:
    assert permitted() == ()
    with permitting(["a.example"]), permitting("b.example"):
        assert may_reach("a.example")
        assert may_reach("B.Example")
        assert not may_reach("c.example")
        assert not may_reach("example")
        assert not may_reach("x.a.example")
        with permitting(True):
            assert may_reach("c.example")
            with permitting(()):
                assert may_reach("c.example")
        assert not may_reach("c.example")
    assert permitted() == ()
    with pytest.raises(ZeroDivisionError), permitting(True):
        raise ZeroDivisionError
    assert not may_reach("a.example")


def test_this_machine_needs_no_permission() -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        ask_permission(read_url(f"http://{host}/v2", form=""), "images")
    with pytest.raises(
        InputError, match=r"allow it with --allow-remote a\.example \(in Python: allow_remote=\['a\.example'\]"
    ):
        ask_permission(read_url("http://a.example/v2", form=""), "images")


def test_a_block_reaches_what_is_loaded_inside_it() -> None:
    with permitting(["models.example"]):
        assert load_language_model("https://models.example/v1#large").name.endswith("#large")
        with pytest.raises(InputError, match="is another machine"):
            load_language_model("https://models.other/v1#large")
    assert load_language_model("https://models.example/v1#large", allow_remote="models.example").name.endswith("#large")
    with pytest.raises(InputError, match="is another machine"):
        load_language_model("https://models.example/v1#large", allow_remote=["models.other"])


def test_a_reference_remembers_what_was_allowed() -> None:
    with permitting(["a.example"]):
        classifier = load_classifier("bundled:fashion-cnn", allow_remote=["b.example"])
    assert classifier.reference is not None
    assert classifier.reference["allow_remote"] == ["a.example", "b.example"]
    assert load_classifier("bundled:fashion-cnn").reference["allow_remote"] == []  # type: ignore[index]
