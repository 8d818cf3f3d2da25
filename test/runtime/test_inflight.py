import asyncio

import pytest

from kubetask_controller.runtime.inflight import InFlightLimit


class Server:
    """Answers after a time that grows with what it has to do, and counts how much that was."""

    def __init__(self, clock, *, seconds, capacity):
        self.clock, self.seconds, self.capacity = clock, seconds, capacity
        self.under_way = self.highest = self.answered = 0

    async def request(self, limit):
        async with limit.attempt():
            self.under_way += 1
            self.highest = max(self.highest, self.under_way)
            await self.clock.sleep(self.seconds * max(1.0, self.under_way / self.capacity))
            self.under_way -= 1
            self.answered += 1


async def send(clock, server, limit, count):
    await clock.run(_send(server, limit, count))


async def _send(server, limit, count):
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(server.request(limit))


async def refused(clock, limit):
    async with limit.attempt() as attempt:
        await clock.sleep(0.01)
        attempt.overloaded()


async def test_a_server_that_answers_quickly_is_given_more_until_the_limit(clock):
    limit = InFlightLimit(clock, most=32)
    server = Server(clock, seconds=0.01, capacity=1000)
    await send(clock, server, limit, 10)
    assert server.highest < 16
    await send(clock, server, limit, 1000)
    assert server.highest == 32


async def test_a_server_that_becomes_slow_is_given_less(clock):
    limit = InFlightLimit(clock, most=64)
    fast = Server(clock, seconds=0.01, capacity=1000)
    await send(clock, fast, limit, 1000)
    assert limit.limit == 64
    # Eight at once take 0.4 s, sixty-four take 3.2 s.
    slow = Server(clock, seconds=0.4, capacity=8)
    await send(clock, slow, limit, 500)
    assert limit.limit == 32


async def test_slow_answers_alone_leave_a_share(clock):
    # However few requests there are, somebody else keeps the server busy.
    limit = InFlightLimit(clock, most=64)
    await send(clock, Server(clock, seconds=2.0, capacity=1000), limit, 500)
    assert limit.limit == 32


async def test_a_server_that_refuses_is_given_half(clock):
    limit = InFlightLimit(clock, most=64)
    await send(clock, Server(clock, seconds=0.01, capacity=1000), limit, 1000)
    await clock.advance(1)
    await clock.run(refused(clock, limit))
    assert limit.limit == 32


async def test_answers_of_one_round_shrink_the_limit_once(clock):
    limit = InFlightLimit(clock, most=64)
    await send(clock, Server(clock, seconds=0.01, capacity=1000), limit, 1000)
    await clock.run(asyncio.gather(*(refused(clock, limit) for _ in range(40))))
    assert limit.limit == 32


async def test_it_never_falls_below_one_and_recovers(clock):
    limit = InFlightLimit(clock, most=8)

    async def broken():
        async with limit.attempt():
            await clock.sleep(0.1)
            raise OSError("broken")

    for _ in range(20):
        with pytest.raises(OSError, match="broken"):
            await clock.run(broken())
    assert limit.limit == 1
    # After a refusal it grows by one a round, and as at first after a while without requests.
    await send(clock, Server(clock, seconds=0.01, capacity=1000), limit, 4)
    assert 1 < limit.limit < 4
    await clock.advance(60)
    await send(clock, Server(clock, seconds=0.01, capacity=1000), limit, 20)
    assert limit.limit >= 8
    await send(clock, Server(clock, seconds=0.01, capacity=1000), limit, 300)
    assert limit.limit == 8


async def test_one_that_stops_waiting_leaves_its_place_to_the_next(clock):
    limit = InFlightLimit(clock, most=1)
    order = []

    async def request(name):
        async with limit.attempt():
            order.append(name)
            await clock.sleep(1)

    first = asyncio.create_task(request("first"))
    await asyncio.sleep(0)
    second = asyncio.create_task(request("second"))
    third = asyncio.create_task(request("third"))
    await asyncio.sleep(0)
    second.cancel()
    await clock.run(asyncio.gather(first, third))
    assert order == ["first", "third"]
