"""What each verb writes when nothing interrupts it: made once, when it is asked for."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.verbs.disk import Disk
from tests.verbs.every_verb import VERBS
from tests.verbs.stepwise_verbs import STEPWISE, Steps
from tests.verbs.stopping import contents

#: Every verb, those too whose steps need each other: nothing cuts these into parts.
RESUMED = {**VERBS, **STEPWISE}


@dataclass(frozen=True)
class WholeCall:
    """A call that nothing interrupted: its files by name, and how it changed the disk, in order."""

    files: dict[str, bytes]
    changes: tuple[str, ...]


def promised(name: str, folder: Path) -> dict[str, bytes]:
    """The files of a call without those that hold clock readings, wherever the folder lies."""
    timed = RESUMED[name].timed if isinstance(RESUMED[name], Steps) else ()
    place = str(folder).encode()
    return {
        path: content.replace(place, b"OUT")
        for path, content in contents(folder).items()
        if Path(path).name not in timed
    }


@cache
def whole_call(name: str) -> WholeCall:
    """Call a verb; its folder is ``out`` in a new one."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        disk, out = Disk(Path(place), patch), Path(place) / "out"
        RESUMED[name](out=out)
        return WholeCall(promised(name, out), tuple(disk.made))
