import asyncio

import pytest


async def test_timers_go_off_in_order_while_time_is_advanced(clock):
    seen = []

    async def wait(seconds):
        await clock.sleep(seconds)
        seen.append((seconds, clock.monotonic() - start))

    start = clock.monotonic()
    tasks = [asyncio.create_task(wait(s)) for s in (3, 1, 2)]
    await clock.advance(2)
    assert seen == [(1, 1.0), (2, 2.0)]
    await clock.advance(1)
    assert len(seen) == 3
    await asyncio.gather(*tasks)


async def test_a_timeout_of_asyncio_obeys_the_clock(clock):
    async def hang():
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await clock.run(hang())


async def test_a_wait_that_cannot_end_fails(clock):
    with pytest.raises(AssertionError, match="nothing"):
        await clock.run(asyncio.Event().wait())
