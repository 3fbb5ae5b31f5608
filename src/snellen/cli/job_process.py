"""A command as a child of the desk: it stops, as after Ctrl-C, once the desk that started it is gone."""

from __future__ import annotations

import _thread
import os
import threading
import time

#: Seconds in which a command that was interrupted may write down how far it is.
_PATIENCE = 8.0

#: Exit code of a process that was interrupted.
_INTERRUPTED = 130


def watch(parent: int) -> None:
    """Wait for the end of the input, which the starting process holds open; then stop this process."""
    while os.read(parent, 1024):
        pass
    _thread.interrupt_main()
    time.sleep(_PATIENCE)
    os._exit(_INTERRUPTED)


def main() -> None:
    """Run the command line with the input watched."""
    parent = os.dup(0)
    threading.Thread(target=watch, args=(parent,), daemon=True).start()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what runs here reads no input, and holds the other end of nothing
    os.close(nothing)
    from snellen.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
