"""Which other machines may be reached: none, unless the user names them.

A permission is a host by its exact name. It is given to one call (``allow_remote=["models.example"]``), or to all that
happens inside a ``with`` block (:func:`permitting`), which is what the command line does: methods and checks load
models by reference, deep inside a run, and must reach what their user allowed and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

from snellen.core.errors import InputError

#: What callers may give: names of hosts, or True for any host.
AllowRemote = bool | str | Sequence[str]
#: Names of hosts in normal form, or True.
Permitted = bool | tuple[str, ...]

_permitted: ContextVar[Permitted] = ContextVar("permitted", default=())


@contextmanager
def permitting(allow_remote: AllowRemote) -> Iterator[None]:
    """Inside a ``with`` block, these hosts may be reached, beside those that are allowed already.

    >>> with permitting(["Models.Example"]):
    ...     may_reach("models.example"), may_reach("other.example")
    (True, False)
    >>> may_reach("models.example")
    False

    Raises:
        InputError: a name that is not that of one host.
    """
    token = _permitted.set(_joined(_permitted.get(), hosts_of(allow_remote)))
    try:
        yield
    finally:
        _permitted.reset(token)


def permitted() -> Permitted:
    """What may be reached here: hosts, or True for all."""
    return _permitted.get()


def may_reach(host: str) -> bool:
    """Whether a host, by its name in an address, may be reached."""
    given = _permitted.get()
    return given is True or (isinstance(given, tuple) and host.lower() in given)


def hosts_of(allow_remote: AllowRemote) -> Permitted:
    """Names of hosts in the spelling that addresses have in normal form.

    >>> hosts_of(["Models.Example", "2001:db8::1"])
    ('models.example', '[2001:db8::1]')
    >>> hosts_of("*.example")
    Traceback (most recent call last):
    snellen.core.errors.InputError: '*.example' is not the name of one host; ...

    Raises:
        InputError: an address, a port, a wildcard, or something else that is no name.
    """
    if isinstance(allow_remote, bool):
        return allow_remote or ()
    return tuple(_host(name) for name in ([allow_remote] if isinstance(allow_remote, str) else allow_remote))


def _joined(one: Permitted, other: Permitted) -> Permitted:
    if isinstance(one, bool) or isinstance(other, bool):
        return True  # False has become () before
    return tuple(dict.fromkeys((*one, *other)))


def _host(name: object) -> str:
    wrong = InputError(
        f"{name!r} is not the name of one host; allow each by its name alone, without scheme, port or wildcard: "
        f"models.example"
    )
    # A colon is a port, but for addresses of IPv6, which have at least two.
    if not isinstance(name, str) or not name or set(name) & set("*/@?#\\% \t\r\n") or name.count(":") == 1:
        raise wrong
    written = f"[{name}]" if ":" in name and not name.startswith("[") else name
    try:
        url = TypeAdapter(AnyHttpUrl).validate_python(f"http://{written}/")
    except ValidationError:
        raise wrong from None
    if not url.host or url.port != 80:
        raise wrong
    return url.host
