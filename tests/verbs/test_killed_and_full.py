"""Every verb is killed at random moments, and its writes fail: the same call goes on to the same bytes."""

import random
import re

import pytest

from snellen.core.errors import UnwritableError
from tests.verbs.disk import Disk, Killed, full
from tests.verbs.every_verb import VERBS
from tests.verbs.stopping import contents
from tests.verbs.whole_calls import RESUMED, promised, whole_call

#: Verbs of which every call does seconds of work again: two writes fail, and with ``--every-write`` all of them. Each
#: write of an audit fails in ``tests/auditing/test_full_disk.py``.
SAMPLED = {
    "audit", "nuisance", "forgotten prompts", "label", "treat", "synthesis plan", "robustness study",
    "generator failures",
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
def test_a_call_that_is_killed_at_random_moments_ends_with_the_same_bytes(tmp_path, monkeypatch, name):
    whole, verb, out, disk = whole_call(name), RESUMED[name], tmp_path / "out", Disk(tmp_path, monkeypatch)
    total = len(whole.changes)
    assert total > 8
    moments = random.Random(f"kills of {name}").sample(range(1, total + 1), 4 if name in VERBS else 2)
    kills, finished = 0, False
    for moment in sorted(moments):
        disk.begin(lambda before, _, moment=moment: Killed() if before == moment else None)
        try:
            verb(out=out)
        except Killed:
            kills += 1
        else:
            finished = True
            break
    assert kills
    disk.begin()
    if not finished or name in VERBS or verb.again:
        verb(out=out)
    assert promised(name, out) == whole.files


def finds_no_room(disk, verb, out, left):
    """Call a verb; the first of the writes that are left fails, and is left no more. Whether one of them came."""
    refused = []

    def stop(_, change):
        if change not in left:
            return None
        left.remove(change)
        refused.append(change)
        return full()

    disk.begin(stop)
    said = None
    try:
        verb(out=out)
    except UnwritableError as error:
        said = str(error)
    assert (said is not None) == bool(refused)
    if said is not None:
        assert re.search(r"No space left on device.*give the same call again", said)
        partial = [path for path in contents(out) if "partial" in path] if out.exists() else []
        assert not partial, "what is half written takes room"
    return bool(refused)


@pytest.mark.parametrize("name", RESUMED)
def test_each_write_fails_once_and_the_same_call_goes_on(tmp_path, monkeypatch, pytestconfig, name):
    """The same call goes on after each of them; writes that it passes over fail in further folders."""
    whole, verb = whole_call(name), RESUMED[name]
    left = set(whole.changes)
    if name in SAMPLED and not pytestconfig.getoption("--every-write"):
        left = set(random.Random(f"full disk of {name}").sample(whole.changes, 2))
    while left:
        place, before = tmp_path / str(len(left)), len(left)
        place.mkdir()
        with monkeypatch.context() as patch:
            disk = Disk(place, patch)
            while finds_no_room(disk, verb, place / "out", left):
                pass
        assert promised(name, place / "out") == whole.files
        assert len(left) < before, f"these writes never came: {left}"
