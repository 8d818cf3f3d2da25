"""Process 1 of a container: forwards signals, and reaps orphaned processes.

Process 1 is the parent of all orphans in the container. If it does not reap them, each zombie counts towards the Pod's limit
of processes. So the entry point runs its work in a child process if it is process 1.
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
    """Run `work`; if this is process 1, in a child, whose exit code becomes that of this process."""
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
            # The child has cleaned up; this interpreter has nothing to clean up.
            os._exit(code if code >= 0 else 128 - code)


def kill_other_processes() -> None:
    """Kill all other processes of this container, which left the agent's process group, if process 1 is ours."""
    if os.getppid() == 1 and os.getpid() != 1 and _is_ours(1):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)


def _is_ours(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as one, open("/proc/self/cmdline", "rb") as own:
            return one.read() == own.read()
    except OSError:
        return False
