"""A worker process of the engine ``local``: ``python -m snellen.runs.engines.worker``, frames on standard input and
output.

It ends as soon as its input ends, also in the middle of a job: so it never outlives the process that started it,
however that one ended. It writes nothing but its answers.
"""

from __future__ import annotations

import json
import os
import signal
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO

from snellen.core.process_start import begin_start, end_start
from snellen.runs.engines.engine import Work, open_work
from snellen.runs.engines.frames import Frame, Kind, error_frame, read_frame, write_frame


def main() -> None:
    """Answer frames until there are no more."""
    begin_start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Output and input of libraries must not come between the frames.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    frames: SimpleQueue[Frame] = SimpleQueue()
    Thread(target=_listen, args=(incoming, frames), daemon=True).start()
    try:
        work = _opened(frames.get(), outgoing)
        end_start()
        while work is not None:
            write_frame(outgoing, answer(work, frames.get().content))
    except BrokenPipeError:
        pass  # nobody listens any more
    os._exit(0)


def _listen(incoming: BinaryIO, frames: SimpleQueue[Frame]) -> None:
    while (frame := read_frame(incoming)) is not None:
        frames.put(frame)
    os._exit(0)


def _opened(setup: Frame, outgoing: BinaryIO) -> Work | None:
    described = json.loads(setup.content)
    try:
        work = open_work(described["work"], described["setup"])
    except Exception as error:  # any error goes to the other side
        write_frame(outgoing, error_frame(error))
        return None
    write_frame(outgoing, Frame(Kind.READY))
    return work


def answer(work: Work, job: bytes) -> Frame:
    """The result of a job, or the error that it ended in."""
    try:
        return Frame(Kind.RESULT, work(job))
    except Exception as error:  # as above
        return error_frame(error)


if __name__ == "__main__":
    main()
