"""Threats in words."""

import pytest

from snellen.auditing.checks import resolve_checks
from snellen.auditing.threat import Threat, parse_threat
from snellen.core.errors import InputError


@pytest.mark.parametrize(
    ("words", "threat"),
    [
        ("linf:8/255", Threat(norm="linf", size=8)),
        ("linf:0.5", Threat(norm="linf", size=127.5)),
        ("l2:0.5", Threat(norm="l2", size=0.5)),
        ("l2:3", Threat(norm="l2", size=3)),
    ],
)
def test_words(words, threat):
    assert parse_threat(words) == threat
    assert parse_threat(threat) is threat


@pytest.mark.parametrize(
    "words", ["", "linf", "linf:", "linf:8", "linf:0/255", "l1:0.5", "linf:x", "linf:1/0", "l2:-1", "l2:nan"]
)
def test_other_words(words):
    with pytest.raises(ValueError, match=r"a threat is written as linf:8/255 or l2:0\.5"):
        parse_threat(words)


def test_declared_threats_reach_the_check():
    check = resolve_checks(None, ["linf:4/255"])[-1]
    assert check.declared == (Threat(norm="linf", size=4),)
    assert check.tried[0] == check.declared[0]
    with pytest.raises(InputError, match="but the check 'adversarial' does not run"):
        resolve_checks(["clean"], ["linf:4/255"])
    with pytest.raises(InputError, match="a threat is written as linf:8/255"):
        resolve_checks(None, ["linf:8"])
