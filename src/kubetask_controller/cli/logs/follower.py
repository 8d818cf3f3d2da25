"""Follows the logs of a run: that of each Pod from its first line.

Guarantees: the log of each Pod that started is printed once and completely; following ends when the
run has ended and all logs are read. At most MAX_STREAMS logs are read at the same time; others wait,
and none of their lines are lost.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing

from kubetask_controller.cli.exits import unwrapped
from kubetask_controller.cli.follow import changes, states
from kubetask_controller.cli.logs.output import LogOutput
from kubetask_controller.cli.logs.pods import TaskPod, selector, task_pod
from kubetask_controller.cli.logs.stream import LogOptions, log_lines
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.client import ClientError
from kubetask_controller.client.resources import PODS
from kubetask_controller.types import JSON

MAX_STREAMS = 64
FLUSH_SECONDS = 0.1

IndexSelector = Callable[[JSON], "set[int] | None"]
"""Returns the indexes of the selected tasks for the run's state; None for all tasks."""


class LogFollower:
    """Follows one run or Task."""

    def __init__(
        self, session: Session, target: Target, output: LogOutput, options: LogOptions
    ) -> None:
        self._session = session
        self._target = target
        self._output = output
        self._options = options
        self._slots = asyncio.Semaphore(MAX_STREAMS)
        self._pods: dict[str, TaskPod] = {}
        self._begun: set[str] = set()
        self._wanted: set[int] | None = set()
        self.problems: dict[int, str] = {}
        """By index: the error of a log that could not be read."""

    async def follow(self, wanted: IndexSelector) -> JSON:
        """Write logs until the run has ended and all logs are read; returns the run's last state.

        Raises:
            CliError: the run does not exist or was deleted, or the server rejected a request.
            BrokenPipeError: the reader of the output closed the pipe.
        """
        with unwrapped():
            async with asyncio.TaskGroup() as group:
                side = [group.create_task(self._flush())]
                watched: dict[str, str] = {}
                async with aclosing(states(self._session, self._target)) as found:
                    async for run in found:
                        status = run.get("status") or {}
                        self._wanted = wanted(run)
                        # The Pods of a Task are selected by its Job, which may not exist yet.
                        pods = selector(self._target, str(status.get("jobName") or ""))
                        if pods != watched:
                            watched = pods
                            side.append(group.create_task(self._watch(group, pods)))
                        self._begin(group)
                        if status.get("phase") in ("Succeeded", "Failed"):
                            break
                await self._look(group, watched)
                for task in side:
                    task.cancel()
        self._output.flush()
        return run

    @property
    def read(self) -> Mapping[int, TaskPod]:
        """The Pods whose logs are being read or were read, by index."""
        return {x.index: x for x in self._pods.values() if x.uid in self._begun}

    async def _watch(self, group: asyncio.TaskGroup, pods: dict[str, str]) -> None:
        async with aclosing(changes(self._session, PODS, pods)) as events:
            async for kind, pod in events:
                if kind in ("ADDED", "MODIFIED"):
                    self._learn(pod)
                    self._begin(group)

    async def _look(self, group: asyncio.TaskGroup, pods: dict[str, str]) -> None:
        """List all Pods again: the end of the run may be observed before the end of its Pods."""
        async with aclosing(changes(self._session, PODS, pods)) as events:
            async for kind, pod in events:
                if kind != "ADDED":
                    break
                self._learn(pod)
        self._begin(group)

    def _learn(self, pod: JSON) -> None:
        view = task_pod(pod, self._target, self._options.container)
        if view is not None:
            self._pods[view.uid] = view

    def _begin(self, group: asyncio.TaskGroup) -> None:
        for pod in self._pods.values():
            wanted = self._wanted is None or pod.index in self._wanted
            if wanted and pod.began and pod.uid not in self._begun:
                self._begun.add(pod.uid)
                group.create_task(self._stream(pod))

    async def _stream(self, pod: TaskPod) -> None:
        async with self._slots:
            try:
                async with aclosing(log_lines(self._session, pod.name, self._options)) as found:
                    async for line in found:
                        self._output.write(pod.index, line)
            except ClientError as error:
                self.problems[pod.index] = str(error)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self._output.flush()
