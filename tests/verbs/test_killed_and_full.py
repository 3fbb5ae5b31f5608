"""Every verb is killed at random moments, and each of its writes fails: the same call goes on to the same bytes."""

import random

import pytest

from snellen.core.errors import UnwritableError
from tests.verbs.disk import Disk, Killed, full
from tests.verbs.every_verb import VERBS
from tests.verbs.stopping import contents
from tests.verbs.whole_calls import RESUMED, promised, whole_call


@pytest.fixture
def disk(monkeypatch, tmp_path):
    return Disk(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", RESUMED)
def test_a_call_that_is_killed_at_random_moments_ends_with_the_same_bytes(tmp_path, disk, name):
    whole, verb, out = whole_call(name), RESUMED[name], tmp_path / "out"
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


@pytest.mark.parametrize("name", RESUMED)
def test_each_write_fails_once_and_the_same_call_goes_on(tmp_path, disk, name):
    """Each write of the whole call, one after the other: a call goes on where the one before it found the disk full."""
    whole, verb, out = whole_call(name), RESUMED[name], tmp_path / "out"
    left = list(whole.changes)
    refused = []

    def stop(_, change):
        if change in left and change not in refused:
            refused.append(change)
            return full()
        return None

    for _ in left:
        disk.begin(stop)
        with pytest.raises(UnwritableError, match=r"No space left on device.*give the same call again"):
            verb(out=out)
        partial = [path for path in contents(out) if "partial" in path] if out.exists() else []
        assert not partial, "what is half written takes room"
    disk.begin()
    verb(out=out)
    assert promised(name, out) == whole.files
    assert set(refused) == set(left)
