"""Jobs of every kind, compared with the recorded behaviour of a real control plane."""

from collections import Counter
from typing import Any

import job_scenarios as scenarios
import pytest
from controllers_lab import EVENTS, JOBS, PODS, ControllersLab, follow, load, open_lab

Object = dict[str, Any]
RECORDED = {line["note"]: line for line in load("job-scenarios.jsonl")}


def do(lab: ControllersLab, namespace: str, what: str, details: list[Any]) -> None:
    if what == "patch":
        lab.client.patch(JOBS, namespace, "j", details[0])
        return
    if what == "remove":
        lab.client.delete(JOBS, namespace, "j", propagation=details[0])
        return
    pod = scenarios.nth(lab.pods(namespace), details[0])
    now = lab.stamp()
    if what == "bind":
        lab.bind(pod)
    elif what == "delete":
        lab.client.delete(PODS, namespace, pod["metadata"]["name"])
    elif what == "run":
        lab.set_pod(pod, scenarios.running(now))
    elif what == "end":
        lab.set_pod(pod, scenarios.ended(details[1], now))
    else:
        lab.set_pod(pod, scenarios.restarted(details[1], now))


def counted(events: list[Object]) -> list[Any]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        message = scenarios.nameless(event["message"])
        counts[event["type"], event["reason"], message] += event["count"]
    return sorted([*key, count] for key, count in counts.items())


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
async def test_job_becomes_what_the_real_controller_makes_of_it(name: str) -> None:
    namespace = scenarios.namespace_of(name)
    async with open_lab(namespace) as lab:
        watch = follow(lab)
        lab.client.create(JOBS, namespace, scenarios.job_of(name))
        for when, what, *details in scenarios.SCENARIOS[name][1]:
            await lab.pass_time(when - lab.elapsed)
            do(lab, namespace, what, details)
        await lab.pass_time(scenarios.length_of(name) - lab.elapsed)
        states = [scenarios.job_state(event.type, event.current.object) for event in watch.drain()]
        recorded = RECORDED[name]
        assert states == recorded["states"]
        assert scenarios.sorted_pods(lab.pods(namespace)) == recorded["pods"]
        assert counted(lab.client.list(EVENTS, namespace)) == recorded["events"]
