"""The controller has every right that it needs, and no right that it does not: each one is taken away in turn."""

import asyncio
from contextlib import ExitStack
from functools import partial

import pytest
from devcluster.base import Cluster

from kubetask_controller.client import Client, load_config
from kubetask_controller.reconcilers.taskrun import pending_reasons
from kubetask_controller.runtime import cache
from kubetask_controller.runtime.reflector import ReflectorOptions
from support.integration.controller import ControllerProcess
from support.integration.kubectl import Kubectl
from support.integration.rights import (
    ACCOUNT,
    ACCOUNTS,
    CLUSTER_ROLE_BINDINGS,
    Bench,
    Right,
    cases,
    every_right,
)

pytestmark = pytest.mark.timeout(420)

PATIENCE_SECONDS = 240.0


@pytest.fixture
def alone(_controller: ControllerProcess) -> None:
    """Nobody else acts: the controller that other tests share has every right, in every namespace."""
    if _controller.running:
        _controller.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks for Events early; and lists in pages, as with a server that cannot stream lists."""
    monkeypatch.setattr(pending_reasons, "PATIENCE", 0.5)

    monkeypatch.setattr(cache, "ReflectorOptions", partial(ReflectorOptions, streaming=False))


@pytest.mark.slow(10)
async def test_the_rights_are_those_that_requests_need(
    cluster: Cluster, installed: Kubectl, alone: None, quick: None
) -> None:
    cluster.require("scripted-pods", "job-controller")
    played = await _all_played(cluster, [(None, True), (None, False)])
    for whole, facts in played:
        assert whole.failure is None
        assert [x for x, true in facts.items() if not true] == []
        assert whole.refused == 0
    # The API server requires these for an owner reference with blockOwnerDeletion; no request is sent for them.
    checked = {str(x) for x in every_right() if x.resource.endswith("/finalizers")}
    needed = {x for bench, _ in played for x in bench.needed}
    assert needed == {str(x) for x in every_right()} - checked


@pytest.mark.slow(70)
@pytest.mark.long
async def test_each_right_is_needed_and_all_are_enough(
    cluster: Cluster, installed: Kubectl, alone: None, quick: None
) -> None:
    cluster.require("scripted-pods", "job-controller")
    whole, *others = await _all_played(cluster, list(cases()))
    assert whole[0].failure is None
    assert [x for x, true in whole[1].items() if not true] == []
    assert whole[0].refused == 0
    needless = [str(bench.right) for bench, found in others if all(found.values())]
    assert not needless, f"nothing fails without {needless}"
    unasked = [str(bench.right) for bench, _ in others if not bench.refused]
    assert not unasked, f"never asked for: {unasked}"


async def _all_played(
    cluster: Cluster, wanted: list[tuple[Right | None, bool]]
) -> list[tuple[Bench, dict[str, bool]]]:
    """Benches that lack a right or none, as a standby or not, and their facts once the scenario has ended."""
    config = await load_config(kubeconfig=str(cluster.admin_kubeconfig))
    with ExitStack() as stack:
        namespaces = [stack.enter_context(cluster.namespace("rights")) for _ in wanted]
        async with Client(config, user_agent="test") as admin:
            benches = [
                Bench(right, name, admin, standby)
                for (right, standby), name in zip(wanted, namespaces, strict=True)
            ]
            token = await _scraper(admin, benches[0])
            await _all(x.grant() for x in benches)
            async with asyncio.TaskGroup() as running:
                for bench in benches:
                    kubeconfig = cluster.service_account_kubeconfig(bench.namespace, ACCOUNT)
                    running.create_task(bench.run(kubeconfig))
                try:
                    facts = await _played(benches, token)
                finally:
                    for bench in benches:
                        bench.stop.set()
            await _all(x.revoke() for x in benches)
    return list(zip(benches, facts, strict=True))


async def _played(benches: list[Bench], token: str) -> list[dict[str, bool]]:
    """The facts of all, once they are all true of those that lack no right."""
    await _all(x.play() for x in benches)
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE_SECONDS
    whole = [x for x in benches if x.right is None]
    others = [x for x in benches if x.right is not None]
    while clock() < deadline:
        await _all(x.steer() for x in benches)
        if all(
            true for found in await _all(x.facts(token) for x in whole) for true in found.values()
        ):
            break
        await asyncio.sleep(0.5)
    if others:
        # What has all it needs is as far as the first by now, or soon.
        await asyncio.sleep(3)
    facts = await _all(x.facts(token) for x in benches)
    # On a busy machine a controller may need a right later.
    while clock() < deadline and not all(x.refused for x in others):
        await _all(x.steer() for x in benches)
        await asyncio.sleep(0.5)
    return facts


async def _all(coroutines):  # type: ignore[no-untyped-def]
    """The results; some at once, as many as a server likes."""
    gate = asyncio.Semaphore(16)

    async def one(coroutine):  # type: ignore[no-untyped-def]
        async with gate:
            return await coroutine

    return await asyncio.gather(*(one(x) for x in coroutines))


async def _scraper(admin: Client, bench: Bench) -> str:
    """A token of somebody who may scrape, with the role that is made for it."""
    metadata = {"name": "prometheus"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    await admin.create(ACCOUNTS, bench.namespace, account)
    subject = {"kind": "ServiceAccount", "name": "prometheus", "namespace": bench.namespace}
    name = f"scraper-{bench.namespace}"
    await bench.bind(CLUSTER_ROLE_BINDINGS, name, "kubetask-metrics-reader", [subject])
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await admin.create(
        ACCOUNTS, bench.namespace, request, subresource="token", name="prometheus"
    )
    return str(answer["status"]["token"])
