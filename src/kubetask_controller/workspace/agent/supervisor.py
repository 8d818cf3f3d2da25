"""Process 1 of a container: it hands signals on, and reaps what agents leave behind.

The kernel gives every orphan to process 1. One that does not wait for them lets each keep its place in the Pod's limit of
processes. So the entry point, where it is process 1, does its work in a child.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def run_supervised(work: Callable[[], None]) -> None:
    """Do the work, in a child where this is process 1; exits with its exit code there."""
    if os.getpid() != 1:
        work()
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        work()
        sys.exit(0)

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            # The interpreter has nothing to clean up here that the child has not.
            os._exit(code if code >= 0 else 128 - code)


def kill_other_processes() -> None:
    """End every other process of this container, where process 1 is ours: what left the agent's process group."""
    if os.getppid() == 1 and os.getpid() != 1 and _is_ours(1):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)


def _is_ours(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as one, open("/proc/self/cmdline", "rb") as own:
            return one.read() == own.read()
    except OSError:
        return False
