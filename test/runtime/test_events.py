import asyncio
from contextlib import asynccontextmanager

import pytest

from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.client.resources import EVENTS
from kubetask_controller.runtime.events import EventBroadcaster, ObjectReference
from support.runtime.memoryapi import MemoryAPI

RUN = ObjectReference("sample.example.com/v1", "Run", "r", "ns", "uid-r")
OTHER = ObjectReference("sample.example.com/v1", "Run", "other", "ns", "uid-o")
BUSY = APIStatusError(code=500, reason="InternalError")
DOWN = TransportError("unreachable", refused=True)


class EventHarness:
    """A broadcaster that runs, and the Events that have come of it."""

    def __init__(self, clock):
        self.clock = clock
        self.api = MemoryAPI()
        self.client = self.api.client()
        self.connection = self.client.connection
        self.broadcaster = EventBroadcaster(self.client, clock)
        self.recorder = self.broadcaster.recorder("kubetask-controller")
        self.stop = asyncio.Event()
        self.task = None

    def say(self, note="hello", *, regarding=RUN, type="Normal", reason="Started", recorder=None):
        (recorder or self.recorder).event(
            regarding, type=type, reason=reason, action="Reconcile", note=note
        )

    @asynccontextmanager
    async def running(self):
        self.task = asyncio.create_task(self.broadcaster.run(self.stop))
        await self.clock.settle()
        try:
            yield self
        finally:
            self.stop.set()
            await self.clock.advance(60)
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    @property
    def events(self):
        return self.api.all(EVENTS)

    @property
    def notes(self):
        return [event["note"] for event in self.events]

    @property
    def counts(self):
        return {e["note"]: e.get("series", {}).get("count", 1) for e in self.events}

    def writes(self):
        calls, self.api.calls = [verb for _, verb, _ in self.api.calls], []
        return calls


@pytest.fixture
def rig(clock):
    return EventHarness(clock)


async def test_an_event_is_what_the_api_server_asks_for(rig, clock):
    async with rig.running():
        rig.say("task 3 has started")
        await clock.settle()
        (event,) = rig.events
        metadata = event.pop("metadata")
        assert metadata["namespace"] == "ns"
        assert metadata["name"].startswith("r.")
        instance = event.pop("reportingInstance")
        assert instance.startswith("kubetask-controller-")
        assert len(instance) <= 128
        assert event == {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "type": "Normal",
            "reason": "Started",
            "action": "Reconcile",
            "note": "task 3 has started",
            "regarding": {
                "apiVersion": "sample.example.com/v1",
                "kind": "Run",
                "namespace": "ns",
                "name": "r",
                "uid": "uid-r",
            },
            "reportingController": "kubetask-controller",
        }


async def test_events_about_what_has_no_namespace_go_to_the_default_one(rig, clock):
    async with rig.running():
        rig.say(regarding=ObjectReference("v1", "Node", "n1"))
        await clock.settle()
        assert rig.events[0]["metadata"]["namespace"] == "default"


async def test_names_are_unique_and_valid_even_for_the_longest_object(rig, clock):
    long = ObjectReference("v1", "Run", "a" * 229 + "." + "b" * 23, "ns")
    async with rig.running():
        for number in range(5):
            rig.say(str(number), regarding=long)
        await clock.settle()
        names = {event["metadata"]["name"] for event in rig.events}
        assert len(names) == 5
        assert all(len(name) <= 253 and ".." not in name for name in names)


@pytest.mark.parametrize(
    ("note", "size"), [("x" * 5000, 1024), ("ä" * 5000, 1024), ("€" * 5000, 1023)]
)
async def test_a_note_is_cut_to_the_bytes_that_the_api_server_takes(rig, clock, note, size):
    async with rig.running():
        rig.say(note)
        await clock.settle()
        assert len(rig.notes[0].encode()) == size
        assert note.startswith(rig.notes[0])


async def test_what_repeats_is_one_event_with_a_count(rig, clock):
    async with rig.running():
        rig.say()
        await clock.settle()
        assert rig.writes() == ["create"]
        await clock.advance(1)
        rig.say()
        await clock.settle()
        assert rig.writes() == ["patch"]
        assert rig.events[0]["series"] == {
            "count": 2,
            "lastObservedTime": "2026-01-01T00:00:01.000000Z",
        }
        for _ in range(100):
            rig.say()
        await clock.settle()
        assert rig.writes() == [], "further repeats are counted, not sent"


async def test_a_series_that_goes_on_is_written_every_half_hour(rig, clock):
    async with rig.running():
        rig.say()
        await clock.settle()
        for _ in range(70):
            await clock.advance(60)
            rig.say()
        assert rig.writes().count("patch") == 3
        assert rig.events[0]["series"]["count"] > 60


async def test_a_series_that_has_gone_quiet_is_closed_with_its_last_count(rig, clock):
    async with rig.running():
        for _ in range(7):
            rig.say()
            await clock.settle()
        assert rig.counts == {"hello": 2}
        await clock.advance(10 * 60)
        assert rig.counts == {"hello": 7}
        rig.say()
        await clock.settle()
        assert len(rig.events) == 2, "a new one begins"


async def test_the_status_of_an_object_may_move_and_its_series_goes_on(rig, clock):
    raw = {"apiVersion": "v1", "kind": "Run", "metadata": {"name": "r", "namespace": "ns"}}
    async with rig.running():
        for version in ("1", "2"):
            raw["metadata"]["resourceVersion"] = version
            rig.say(regarding=ObjectReference.to(raw))
            await clock.settle()
        assert rig.counts == {"hello": 2}


async def test_what_differs_is_another_event(rig, clock):
    async with rig.running():
        rig.say()
        rig.say("else")
        rig.say(reason="Failed")
        rig.say(type="Warning")
        rig.say(regarding=OTHER)
        rig.say(recorder=rig.broadcaster.recorder("another"))
        await clock.settle()
        assert len(rig.events) == 6


async def test_repeats_that_come_before_the_first_was_sent_are_in_its_count(rig, clock):
    rig.say()
    rig.say()
    rig.say()
    async with rig.running():
        await clock.settle()
        assert rig.counts == {"hello": 3}
        assert rig.writes() == ["create"]


async def test_repeats_that_come_while_the_first_is_sent_follow_it(rig, clock):
    rig.connection.latency = 5
    async with rig.running():
        rig.say()
        await clock.advance(1)
        rig.say()
        rig.say()
        await clock.advance(10)
        assert rig.counts == {"hello": 3}
        assert rig.writes() == ["create", "patch"]


async def test_many_notes_of_one_kind_are_combined(rig, clock):
    async with rig.running():
        for number in range(500):
            rig.say(f"task {number} failed", type="Warning", reason="Failed")
            await clock.settle()
        await clock.advance(10 * 60)
        assert rig.notes[:10] == [f"task {number} failed" for number in range(10)]
        assert rig.notes[10:] == ["(combined from similar events): task 10 failed"]
        assert rig.counts[rig.notes[-1]] == 490
        assert rig.broadcaster.dropped == 0


async def test_notes_are_told_one_by_one_again_after_a_quiet_time(rig, clock):
    async with rig.running():
        for number in range(12):
            rig.say(f"first {number}")
        await clock.advance(11 * 60)
        rig.say("second")
        await clock.settle()
        assert rig.notes[-1] == "second"


async def test_an_object_that_floods_is_held_back_and_others_are_not(rig, clock):
    async with rig.running():
        for number in range(40):
            rig.say(reason=f"Reason{number}")
        rig.say(regarding=OTHER)
        rig.say(type="Warning")
        await clock.settle()
        assert len(rig.events) == 27
        assert rig.broadcaster.dropped == 15
        await clock.advance(300)
        rig.say(reason="Later")
        rig.say(reason="TooSoon")
        await clock.settle()
        assert rig.events[-1]["reason"] == "Later"


async def test_recording_never_waits_whatever_the_api_server_does(rig, clock):
    rig.connection.latency = 1000
    before = clock.monotonic()
    async with rig.running():
        for number in range(3000):
            rig.say(regarding=ObjectReference("v1", "Run", f"r{number}", "ns"))
        assert clock.monotonic() == before
        assert rig.broadcaster.dropped == 2000


async def test_what_was_dropped_is_told_when_it_happens_again(rig, clock):
    async with rig.running():
        rig.connection.failure = APIStatusError(code=403, reason="Forbidden")
        rig.say()
        await clock.settle()
        assert rig.broadcaster.dropped == 1
        rig.connection.failure = None
        rig.say()
        await clock.settle()
        assert rig.counts == {"hello": 1}


@pytest.mark.parametrize("failure", [BUSY, DOWN, APIStatusError(code=429)])
async def test_a_failure_that_may_pass_is_tried_again(rig, clock, failure):
    async with rig.running():
        rig.connection.failure = failure
        rig.say()
        await clock.advance(25)
        rig.connection.failure = None
        await clock.advance(13)
        assert rig.notes == ["hello"]


async def test_an_outage_ends_the_tries_after_some_minutes(rig, clock):
    async with rig.running():
        rig.connection.failure = DOWN
        rig.say()
        await clock.advance(200)
        assert rig.writes() == ["create"] * 12
        assert rig.broadcaster.dropped == 1


async def test_an_event_whose_answer_was_lost_is_not_told_twice(rig, clock):
    async with rig.running():
        rig.connection.deaf = True
        rig.say()
        await clock.settle()
        rig.connection.deaf = False
        await clock.advance(13)
        assert rig.counts == {"hello": 1}
        assert rig.broadcaster.dropped == 0


async def test_an_event_that_the_api_server_has_forgotten_is_made_anew(rig, clock):
    async with rig.running():
        rig.say()
        await clock.settle()
        name = rig.events[0]["metadata"]["name"]
        rig.api.remove(EVENTS, "ns", name)
        rig.say()
        await clock.settle()
        assert rig.counts == {"hello": 2}


async def test_a_bug_in_sending_one_does_not_silence_the_others(rig, clock, monkeypatch):
    create = rig.client.create

    async def broken(resource, namespace, body):
        if body["note"] == "bad":
            raise KeyError("bug")
        return await create(resource, namespace, body)

    monkeypatch.setattr(rig.client, "create", broken)
    async with rig.running():
        for _ in range(5):
            rig.say("bad")
            await clock.settle()
        rig.say("good")
        await clock.settle()
        assert rig.notes == ["good"]


async def test_a_slow_object_does_not_hold_up_the_others(rig, clock):
    async with rig.running():
        rig.connection.failure = BUSY
        rig.say("stuck")
        await clock.settle()
        rig.connection.failure = None
        rig.say("quick", regarding=OTHER)
        await clock.settle()
        assert rig.notes == ["quick"]


async def test_at_the_end_everything_is_sent_with_its_count(rig, clock):
    async with rig.running():
        for _ in range(9):
            rig.say("again")
            await clock.settle()
        rig.say("last")
        rig.stop.set()
        await clock.settle()
        assert rig.task.done()
        assert rig.counts == {"again": 9, "last": 1}


async def test_the_end_does_not_wait_for_another_try(rig, clock):
    async with rig.running():
        rig.connection.failure = DOWN
        rig.say()
        await clock.advance(1)
        rig.stop.set()
        await clock.settle()
        assert rig.task.done()


async def test_what_is_remembered_is_bounded(rig, clock):
    async with rig.running():
        for batch in range(6):
            for number in range(900):
                rig.say(regarding=ObjectReference("v1", "Run", f"r{batch}-{number}", "ns"))
            await clock.settle()
        assert len(rig.events) == 5400
        correlator = rig.broadcaster._correlator
        for table in (correlator._series, correlator._notes, correlator._buckets):
            assert len(table) <= 4096


async def test_a_series_that_goes_on_is_not_forgotten_for_newer_ones(rig, clock):
    async with rig.running():
        for batch in range(10):
            rig.say("busy")
            for number in range(900):
                rig.say(regarding=ObjectReference("v1", "Run", f"r{batch}-{number}", "ns"))
            await clock.settle()
        assert rig.notes.count("busy") == 1
