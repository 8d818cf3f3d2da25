"""What an exception that left a reconciler means: a pure function."""

from collections.abc import Iterator
from enum import Enum

from kubetask_controller.client import ClientError
from kubetask_controller.runtime.consistency import StaleCacheError
from kubetask_controller.runtime.reconcile import TerminalError


class Verdict(Enum):
    """What follows from a failed reconcile."""

    STALE = "repeat with a delay, and say nothing: the cache is behind our own writes"
    TERMINAL = "report, and wait for a change"
    ERROR = "report, and repeat with a growing delay: the API said no, or nothing"
    PANIC = "as ERROR, with the traceback: the program is wrong"


def judge(error: BaseException, *, timed_out: bool) -> Verdict:
    """The verdict on what a reconciler raised.

    Of a group (parallel calls in a TaskGroup) the worst member counts, and one that asks for
    another try goes before a terminal one.

    Args:
        error: what it raised.
        timed_out: whether it was cancelled at its time limit, so that the error is not its own.
    """
    if timed_out:
        return Verdict.ERROR
    verdicts = {_judge_one(leaf) for leaf in _leaves(error)}
    for verdict in (Verdict.PANIC, Verdict.ERROR, Verdict.STALE):
        if verdict in verdicts:
            return verdict
    return Verdict.TERMINAL


def _judge_one(error: BaseException) -> Verdict:
    if isinstance(error, StaleCacheError):
        return Verdict.STALE
    if isinstance(error, TerminalError):
        return Verdict.TERMINAL
    return Verdict.ERROR if isinstance(error, (ClientError, TimeoutError)) else Verdict.PANIC


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error
