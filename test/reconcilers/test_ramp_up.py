import asyncio

from kubetask_controller.reconcilers.taskrun.jobs import ramp_up


class Requests:
    """Requests that end when a test says so."""

    def __init__(self):
        self.open: dict[int, asyncio.Future[str]] = {}
        self.begun: list[int] = []

    async def send(self, item):
        self.begun.append(item)
        self.open[item] = asyncio.get_running_loop().create_future()
        return await self.open[item]

    async def answer(self, *items, result="created"):
        for item in items:
            self.open.pop(item).set_result(result)
        for _ in range(5):
            await asyncio.sleep(0)


def start(requests, items, *, go_on=lambda: True, **options):
    return asyncio.create_task(
        ramp_up(items, requests.send, failed=lambda x: x == "refused", go_on=go_on, **options)
    )


async def begin(requests, items, **options):
    task = start(requests, items, **options)
    await requests.answer()
    return task


async def test_a_template_that_is_refused_costs_one_request():
    requests = Requests()
    task = await begin(requests, range(10_000), most=64)
    assert requests.begun == [0]
    await requests.answer(0, result="refused")
    assert await task == ["refused"]
    assert requests.begun == [0]


async def test_each_success_admits_one_more_at_once_up_to_the_most():
    requests = Requests()
    task = await begin(requests, range(10), most=4)
    await requests.answer(0)
    assert sorted(requests.open) == [1, 2]
    await requests.answer(1, 2)
    assert sorted(requests.open) == [3, 4, 5, 6]
    await requests.answer(3)
    assert sorted(requests.open) == [4, 5, 6, 7]
    await requests.answer(4, 5, 6, 7)
    await requests.answer(8, 9)
    assert await task == ["created"] * 10


async def test_a_slow_request_does_not_hold_up_the_others():
    requests = Requests()
    task = await begin(requests, range(20), most=2, first=2)
    for item in range(1, 20):
        await requests.answer(item)
    assert sorted(requests.open) == [0]
    await requests.answer(0)
    assert len(await task) == 20


async def test_nothing_begins_after_a_refusal_and_what_is_under_way_ends():
    requests = Requests()
    task = await begin(requests, range(100), most=8, first=8)
    await requests.answer(3, result="refused")
    await requests.answer(0, 1, 2, 4, 5, 6, 7)
    assert sorted(await task) == ["created"] * 7 + ["refused"]
    assert len(requests.begun) == 8


async def test_it_stops_when_it_is_not_to_go_on():
    requests = Requests()
    wanted = [True]
    task = await begin(requests, range(100), most=2, first=2, go_on=lambda: wanted[0])
    await requests.answer(0)
    assert len(requests.begun) == 3
    wanted[0] = False
    await requests.answer(1, 2)
    assert await task == ["created"] * 3
