"""Streams of JSON messages for the page: the list of runs, one run, one log.

Each stream has its own lists and watches, which start and end with it; the server has no other state.
Guarantees: the first message contains the full state, later messages contain changes. Outages of the
API server do not end a stream: the page gets {"type": "link"} when an outage starts and ends.
Resources that the user cannot list are omitted and named, and do not end the stream.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.cli.exits import unwrapped
from kubetask_controller.cli.follow import LISTED, changes
from kubetask_controller.cli.logs.pods import TaskPod, newest_pods, selector, task_pod
from kubetask_controller.cli.logs.stream import LogOptions, log_lines
from kubetask_controller.cli.runview import BatchRunView, run_view, task_view
from kubetask_controller.cli.session import BATCH_RUN_RESOURCE, TASK_RESOURCE, Session, Target
from kubetask_controller.cli.targets import Targets, workspace_config
from kubetask_controller.cli.terminal import log_text
from kubetask_controller.cli.ui import views
from kubetask_controller.client import APIStatusError, ClientError, Resource
from kubetask_controller.client.errors import is_forbidden, is_not_found
from kubetask_controller.client.resources import CORE_EVENTS, NAMESPACES, PODS
from kubetask_controller.types import JSON

Send = Callable[[JSON], Awaitable[None]]

SETTLE = 0.2
"""Seconds for which changes are batched."""
TICK = 5.0
"""Interval in seconds of updates that depend on the time."""
MAX_NAMESPACES = 200
MAX_EVENTS = 100
TAIL = 5000
"""Maximum number of log lines for the page."""
MAX_LINE_CHARS = 20_000
"""Maximum length of a log line in characters."""
LOG_WAIT = 1.0
"""Poll interval in seconds for a container that has not started."""


class ServerConnection:
    """The state of the connection to the API server, and an event for changes."""

    def __init__(self) -> None:
        self.dirty = asyncio.Event()
        self.message: str | None = None
        self._sent: str | None = None

    def lost(self, error: ClientError) -> None:
        """Record an outage of the API server."""
        self.message = views.shown(error, 300)
        self.dirty.set()

    def back(self) -> None:
        """Record the end of an outage."""
        self.message = None
        self.dirty.set()

    async def send_state(self, send: Send) -> None:
        """Send the state if it changed."""
        if self.message != self._sent:
            self._sent = self.message
            lost = self.message is not None
            await send({"type": "link", "lost": lost, "message": self.message or ""})


class ObjectList:
    """The current objects of a list."""

    def __init__(self, link: ServerConnection) -> None:
        self.objects: dict[str, JSON] = {}
        self.listed = False
        self.refused = ""
        self._link = link
        self._seen: set[str] = set()

    async def follow(
        self,
        session: Session,
        resource: Resource,
        parameters: dict[str, str],
        keep: Callable[[JSON], JSON | None] = lambda x: x,
    ) -> None:
        """Keep `objects` up to date, by uid; returns if the user cannot list them."""
        self._seen.clear()
        try:
            async with aclosing(changes(session, resource, parameters, lost=self._lost)) as found:
                async for kind, item in found:
                    self._apply(kind, item, keep)
        except APIStatusError as error:
            if not (is_forbidden(error) or is_not_found(error)):
                raise
            self.refused = views.shown(error, 300)
            self.listed = True
            self._link.dirty.set()

    def _lost(self, error: ClientError) -> None:
        """Reset the observed uids: a new list follows, and objects that are not in it no longer exist."""
        self._seen.clear()
        self._link.lost(error)

    def _apply(self, kind: str, item: JSON, keep: Callable[[JSON], JSON | None]) -> None:
        if kind == LISTED:
            for uid in set(self.objects) - self._seen:
                del self.objects[uid]
            self._seen.clear()
            self.listed = True
            self._link.back()
            return
        uid = str((item.get("metadata") or {}).get("uid") or "")
        kept = None if kind == "DELETED" else keep(item)
        if kept is None:
            self.objects.pop(uid, None)
        else:
            self.objects[uid] = kept
            if kind == "ADDED":
                self._seen.add(uid)
        if self.listed:
            self._link.dirty.set()


async def visible_namespaces(session: Session) -> tuple[Sequence[str], str]:
    """The namespaces whose runs the user can list, ``[""]`` for all; and which are omitted, or an empty string.

    Raises:
        ClientError: a request failed.
    """
    try:
        await session.client.list(BATCH_RUN_RESOURCE, None, params={"limit": "1"})
        return [""], ""
    except APIStatusError as error:
        if not is_forbidden(error):
            raise
    try:
        answer = await session.client.list(NAMESPACES, None, params={"limit": str(MAX_NAMESPACES)})
    except APIStatusError as error:
        why = views.shown(error, 300)
        return [session.namespace], f"namespaces other than {session.namespace}: {why}"
    names = [str(x["metadata"]["name"]) for x in answer.get("items") or []]
    omitted = ""
    if answer["metadata"].get("continue"):
        omitted = (
            f"namespaces after the first {MAX_NAMESPACES}: start the page with -n for one of them"
        )
    slots = asyncio.Semaphore(8)

    async def allowed(name: str) -> bool:
        async with slots:
            try:
                await session.client.list(BATCH_RUN_RESOURCE, name, params={"limit": "1"})
            except APIStatusError:
                return False
            return True

    answers = await asyncio.gather(*(allowed(x) for x in names))
    visible = [name for name, good in zip(names, answers, strict=True) if good]
    return visible or [session.namespace], omitted


def _now() -> datetime:
    return datetime.now(UTC)


def _job_name(found: JSON) -> str:
    """The Job of a Task; empty if it has none yet, and for a run."""
    return str((found.get("status") or {}).get("jobName") or "")


def view_of(found: JSON) -> BatchRunView:
    """The view of a BatchRun or a Task."""
    task = found.get("kind") == c.KIND_TASK or "contexts" in (found.get("spec") or {})
    return task_view(found) if task else run_view(found)


async def _viewed(found: JSON, targets: Targets) -> BatchRunView:
    """The view, with the targets of the tasks of a large run."""
    if found.get("kind") == c.KIND_TASK:
        return task_view(found)
    return run_view(found, await targets.of(found))


async def _ticks(link: ServerConnection) -> AsyncGenerator[None, None]:
    """Yields after changes, and every TICK seconds."""
    while True:
        try:
            async with asyncio.timeout(TICK):
                await link.dirty.wait()
            await asyncio.sleep(SETTLE)
        except TimeoutError:
            pass
        link.dirty.clear()
        yield


async def overview(
    session: Session, namespaces: Sequence[str], send: Send, omitted: str = ""
) -> None:
    """Send all runs and Tasks: ``{"type": "runs", "set": […], "gone": [uid, …], "whole": bool}``.

    `refused` of the message contains `omitted` and the errors of lists that the user may not read.
    """
    link = ServerConnection()
    mirrors: list[tuple[str, ObjectList]] = []
    with unwrapped():
        async with asyncio.TaskGroup() as group:
            for namespace in namespaces:
                for resource in (BATCH_RUN_RESOURCE, TASK_RESOURCE):
                    mirror = ObjectList(link)
                    mirrors.append((resource.kind, mirror))
                    there = replace(session, namespace=namespace)
                    group.create_task(mirror.follow(there, resource, {}, _slim))
            sent: dict[str, JSON] = {}
            first = True
            async with aclosing(_ticks(link)) as ticks:
                async for _ in ticks:
                    await link.send_state(send)
                    if first and not all(x.listed for _, x in mirrors):
                        continue
                    message = _overview_message(mirrors, sent, first)
                    message["refused"] += [omitted] if omitted else []
                    if first or message["set"] or message["gone"]:
                        await send(message)
                    first = False


def _slim(item: JSON) -> JSON:
    """The part of a run to keep in memory: the whole object until it ends, then only its summary."""
    view = view_of(item)
    return {"line": views.run_summary(item, view, _now())} if view.ended else item


def _overview_message(
    mirrors: Sequence[tuple[str, ObjectList]], sent: dict[str, JSON], first: bool
) -> JSON:
    """The changes since `sent`."""
    now, found = _now(), {}
    for kind, mirror in mirrors:
        for uid, item in mirror.objects.items():
            line = item.get("line") or views.run_summary(item, view_of({**item, "kind": kind}), now)
            found[uid] = line | {"kind": kind}
    news = [x for uid, x in found.items() if sent.get(uid) != x]
    gone = [uid for uid in sent if uid not in found]
    sent.clear()
    sent.update(found)
    refused = sorted({x.refused for _, x in mirrors if x.refused})
    return {"type": "runs", "set": news, "gone": gone, "whole": first, "refused": refused}


async def one_run(session: Session, target: Target, send: Send) -> None:
    """Send a run or Task: ``{"type": "run", "run": {…}, "rows": […], "events": […], "whole": bool}``.

    `rows` contains the changed tasks, `events` is present if the Events changed. After the deletion of the
    run, the message is ``{"type": "gone"}``.
    """
    link = ServerConnection()
    run, pods, events = ObjectList(link), ObjectList(link), ObjectList(link)
    named = {"fieldSelector": f"metadata.name={target.name}"}
    about = {"fieldSelector": f"involvedObject.name={target.name}"}
    feed = _RunFeed(session, target, run, pods, events)
    with unwrapped():
        async with asyncio.TaskGroup() as group:
            group.create_task(run.follow(session, target.resource, named))
            group.create_task(events.follow(session, CORE_EVENTS, about))
            watched: dict[str, str] = {}
            watch: asyncio.Task[None] | None = None
            async with aclosing(_ticks(link)) as ticks:
                async for _ in ticks:
                    await link.send_state(send)
                    if not run.listed:
                        continue
                    found = next(iter(run.objects.values()), None)
                    if found is not None:
                        wanted = selector(target, _job_name(found))
                        if wanted != watched:
                            # The Job of a Task changes: its first one is created, or a new attempt starts.
                            if watch is not None:
                                watch.cancel()
                            watched = wanted
                            watch = group.create_task(
                                pods.follow(session, PODS, watched, feed.keep)
                            )
                    message = await feed.message(found)
                    if message is not None:
                        await send(message)


class _RunFeed:
    """The state that was sent for one run."""

    def __init__(
        self,
        session: Session,
        target: Target,
        run: ObjectList,
        pods: ObjectList,
        events: ObjectList,
    ) -> None:
        self._run = run
        self._pods = pods
        self._events = events
        self._target = target
        self._targets = Targets(session)
        self._uid = ""
        self._head: JSON | None = None
        self._rows: dict[int, list[Any]] = {}
        self._sent: list[JSON] | None = None
        self._gone = False

    def keep(self, pod: JSON) -> JSON | None:
        """The part of a Pod to keep in memory: its index and its times."""
        view = task_pod(pod, self._target, c.CONTAINER_AGENT)
        return None if view is None else {"index": view.index, "times": views.pod_times(pod)}

    async def message(self, found: JSON | None) -> JSON | None:
        """The changes; None if there are none."""
        if found is None:
            if self._gone:
                return None
            self._gone, self._head = True, None
            self._rows.clear()
            return {"type": "gone", "message": self._run.refused}
        self._gone = False
        found = {**found, "kind": self._target.resource.kind}
        view = await _viewed(found, self._targets)
        if view.uid != self._uid:
            # The run was deleted and created again since the last message.
            self._uid, self._head, self._sent = view.uid, None, None
            self._rows.clear()
        head = views.detail(found, view, _now())
        head["refused"] = sorted({x.refused for x in (self._pods, self._events) if x.refused})
        times: dict[int, views.PodTimes] = {}
        for each in self._pods.objects.values():
            known = times.get(each["index"])
            if known is None or each["times"].created >= known.created:
                times[each["index"]] = each["times"]
        rows = [views.row_cells(x, times.get(x.index)) for x in view.rows]
        news = [x for x in rows if self._rows.get(x[0]) != x]
        events = event_list(self._events.objects.values(), view.uid)
        message: JSON = {"type": "run", "whole": self._head is None}
        if head != self._head:
            message["run"] = head
        if news or self._head is None:
            message["rows"] = news
        if events != self._sent:
            message["events"] = events
        self._head, self._sent = head, events
        self._rows.update((x[0], x) for x in news)
        return message if len(message) > 2 else None


def event_list(found: Any, *uids: str) -> list[JSON]:
    """Events of the objects with these uids, newest first."""
    mine = [x for x in found if str((x.get("involvedObject") or {}).get("uid")) in uids]
    shown = sorted((views.event_json(x) for x in mine), key=lambda x: str(x["at"]), reverse=True)
    return shown[:MAX_EVENTS]


async def task(session: Session, target: Target, index: int) -> JSON:
    """The details of a task of a run, or of a Task with index 0.

    Raises:
        CliError: the run does not exist.
        LookupError: the run has no such task.
    """
    found = await session.get(target)
    found = {**found, "kind": target.resource.kind}
    view = await _viewed(found, Targets(session))
    row = next((x for x in view.rows if x.index == index), None)
    if row is None:
        raise LookupError(f"{target} has no task {index}")
    job = str(row.entry.get("jobName") or "")
    pods, events = await asyncio.gather(
        _pods(session, target, index, job), _events(session, job) if job else _nothing()
    )
    uid = {str((x.get("involvedObject") or {}).get("uid")) for x in events}
    more = await asyncio.gather(*(_events(session, x.name) for x in pods))
    every = [*events, *(x for each in more for x in each)]
    uid |= {str((x.get("involvedObject") or {}).get("uid")) for x in every}
    every.sort(key=lambda x: str(views.event_json(x)["at"]), reverse=True)
    web = views.web_template(await workspace_config(session, found))
    return views.task_detail(target, session.namespace, row, pods, every[:MAX_EVENTS], web)


async def _nothing() -> list[JSON]:
    return []


async def _events(session: Session, name: str) -> list[JSON]:
    parameters = {"fieldSelector": f"involvedObject.name={name}", "limit": str(MAX_EVENTS)}
    try:
        answer = await session.client.list(CORE_EVENTS, session.namespace, params=parameters)
    except ClientError:
        return []
    return list(answer.get("items") or [])


async def _pods(session: Session, target: Target, index: int, job: str) -> list[views.PodTimes]:
    """The Pods of one task, newest first."""
    parameters = dict(selector(target, job))
    if target.resource is BATCH_RUN_RESOURCE:
        parameters["labelSelector"] += f",{c.LABEL_TASK_INDEX}={index}"
    try:
        answer = await session.client.list(PODS, session.namespace, params=parameters)
    except ClientError:
        return []
    mine = [x for x in answer.get("items") or [] if task_pod(x, target, c.CONTAINER_AGENT)]
    return sorted((views.pod_times(x) for x in mine), key=lambda x: x.created, reverse=True)


async def log(session: Session, target: Target, index: int, container: str, send: Send) -> None:
    """Send the log of a task's container: ``{"type": "lines", "lines": […]}``, then ``{"type": "end"}``.

    Before the container has started, it sends ``{"type": "wait"}``.

    Raises:
        CliError: the run does not exist.
        ClientError: the server rejected a request.
    """
    pod = await _started_pod(session, target, index, container, send)
    if isinstance(pod, str):
        await send({"type": "end", "message": pod})
        return
    buffer: list[str] = []
    done = asyncio.Event()
    with unwrapped():
        async with asyncio.TaskGroup() as group:
            group.create_task(_deliver(buffer, done, send))
            options = LogOptions(container, TAIL, follow=True)
            async with aclosing(log_lines(session, pod.name, options)) as lines:
                async for line in lines:
                    buffer += (log_text(line, MAX_LINE_CHARS),)
            done.set()
    await send({"type": "end", "message": ""})


async def _started_pod(
    session: Session, target: Target, index: int, container: str, send: Send
) -> TaskPod | str:
    """Wait until the container of the task's newest Pod has started; text if it will never start.

    If the task has ended, the newest Pod whose container has started counts.
    """
    waiting = False
    while True:
        found = await session.get(target)
        parameters = dict(selector(target, _job_name(found)))
        if target.resource is BATCH_RUN_RESOURCE:
            parameters["labelSelector"] += f",{c.LABEL_TASK_INDEX}={index}"
        answer = await session.client.list(PODS, session.namespace, params=parameters)
        every = [task_pod(x, target, container) for x in answer.get("items") or []]
        pods = [x for x in every if x is not None and x.index == index]
        rows = view_of({**found, "kind": target.resource.kind}).rows
        ended = any(x.index == index and x.ended for x in rows)
        pod = (
            newest_pods(pods).get(index)
            if ended
            else max(pods, key=lambda x: (x.created, x.name), default=None)
        )
        if pod is not None and pod.began:
            return pod
        if ended and pod is None:
            return "The Pod of this task was deleted, and its log with it."
        if ended and pod is not None and pod.over:
            return f"The container {container} of this task did not start."
        if not waiting:
            waiting = True
            await send({"type": "wait", "message": "The container has not started."})
        await asyncio.sleep(LOG_WAIT)


async def _deliver(buffer: list[str], done: asyncio.Event, send: Send) -> None:
    """Send the buffer a few times per second, until `done` is set and the buffer is empty."""
    while not done.is_set() or buffer:
        try:
            async with asyncio.timeout(SETTLE / 2):
                await done.wait()
        except TimeoutError:
            pass
        if buffer:
            lines, buffer[:] = list(buffer), []
            await send({"type": "lines", "lines": lines})
