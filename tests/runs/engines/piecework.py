"""Work for the engines' tests, found by its name in a worker."""

import os
import signal
import sys
import time
from pathlib import Path

from snellen.core.errors import ModelError


def shouting(setup):
    """Upper case with a mark, and noise that must not come between the frames."""

    def shout(job):
        print("noise on standard output")
        print("noise on standard error", file=sys.stderr)
        assert not setup.get("alone") or sys.stdin.read() == ""
        return job.upper() + setup["mark"].encode()

    return shout


def placed(_setup):
    """Where a job is done."""
    return lambda _job: f"{os.getpid()} {os.getcwd()} {os.environ.get('OMP_WAIT_POLICY')}".encode()


def interrupted(_setup):
    """What Ctrl-C in a terminal does here: the process group that it is sent to, and what is done then."""
    return lambda _job: f"{os.getpgrp()} {signal.getsignal(signal.SIGINT) is signal.SIG_IGN}".encode()


def dying(setup):
    """Ends the process at each job that begins with ``die``, as often as the setup says."""

    def work(job):
        deaths = [Path(setup["folder"]) / f"{job.decode()}-{time}" for time in range(setup["times"])]
        fresh = [death for death in deaths if not death.exists()]
        if job.startswith(b"die") and fresh:
            fresh[0].touch()
            print("the last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return job

    return work


def failing(_setup):
    """Raises an error of ours, or another one."""

    def work(job):
        if job == b"ours":
            raise ModelError("scores are wrong")
        if job == b"other":
            raise ZeroDivisionError("not ours")
        return job

    return work


def unopenable(setup):
    """Cannot be opened: raises, or ends the process."""
    if setup.get("end"):
        os._exit(7)
    raise ModelError("there is no such model")


def hanging(setup):
    """Says that it began, and never ends; but for the job ``a``."""

    def work(job):
        if job == b"a":
            return job
        Path(setup["folder"], f"began-{os.getpid()}").touch()
        signal.pause()
        return job

    return work


def large(_setup):
    """More bytes than a pipe takes at once, there and back."""
    return lambda job: job * 2


def surroundings(_setup):
    """What Ray is told about guarding itself: mode, length of the token, statistics of use."""

    def work(_job):
        token = os.environ.get("RAY_AUTH_TOKEN", "")
        return f"{os.environ.get('RAY_AUTH_MODE')} {len(token)} {os.environ.get('RAY_USAGE_STATS_ENABLED')}".encode()

    return work


def slow(setup):
    """Takes its time, and gives the job and the node that it was done on."""

    def work(job):
        import ray

        time.sleep(setup["seconds"])
        return job + b" " + ray.get_runtime_context().get_node_id().encode()

    return work
