"""Run ``snellen`` with its arguments, and write every path that Python opens or lists into the file given first."""

from __future__ import annotations

import os
import sys

WATCHED = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link"}


def main() -> None:
    log, sys.argv = sys.argv[1], ["snellen", *sys.argv[2:]]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in WATCHED and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsencode(arguments[0])
            # Links are followed here, at the moment of the opening.
            os.write(descriptor, os.path.realpath(path).replace(b"\n", b"\\n") + b"\n")

    sys.addaudithook(watch)
    from snellen.cli import main as run

    run()


if __name__ == "__main__":
    main()
