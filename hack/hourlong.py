"""The picture of the dashboard, from an hour of real work on the development cluster.

    python -m hack.hourlong record DIR [--minutes 60]   # a cluster, the controller, a Prometheus; three teams' runs
    python -m hack.hourlong draw DIR docs/images/dashboard.svg

The recording stays in DIR, so that the picture can be drawn again when the dashboard changes. Needs Debian's prometheus.
"""

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from hack.dashboard import PANELS
from hack.demo.environment import Environment, environment
from hack.demo.processes import Program, launch, running
from hack.picture import Series, draw

SCRAPE_SECONDS = 5
POINTS = 240
"""Points of a line in the picture."""
TEAMS = {"platform": 0.0, "payments": 0.12, "search": 0.3}
"""Team → when its run starts, as a share of the time."""
TASKS = 36
AGENT = r"""#!/bin/sh
# Works for some minutes, reports a cost, and fails now and then: each task the same in each recording.
set -eu
draw() { echo $(( $(printf %s "$1$TASK_NAME" | cksum | cut -d' ' -f1) % 100 )); }
x=$(draw time)
sleep $(( (40 + x * x / 50) * $SECONDS / 3600 + 1 ))
tokens=$(( 20000 + 900 * x )) cents=$(( 10 + $(draw price) * 7 / 10 ))
printf '{"summary":"done","usage":{"inputTokens":%d,"outputTokens":%d,"costUSD":"%d.%02d"}}' \
    $tokens $(( tokens / 18 )) $(( cents / 100 )) $(( cents % 100 )) > /dev/termination-log
test $(draw fate) -ge 8
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hack.hourlong", description=__doc__)
    parser.add_argument("what", choices=("record", "draw"))
    parser.add_argument("dir", type=Path)
    parser.add_argument("picture", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    directory = options.dir.resolve()
    if options.what == "record":
        asyncio.run(record(directory, options.minutes * 60))
    else:
        options.picture.write_text(asyncio.run(picture(directory)))


async def record(directory: Path, seconds: float) -> None:
    """Run three teams' batches for so long, under a Prometheus."""
    metrics = _free_port()
    async with (
        environment(directory / "demo", metrics=f"127.0.0.1:{metrics}") as env,
        _cost_exporter(env) as costs,
    ):
        targets = {"kubetask-controller-metrics": metrics, "kube-state-metrics": costs}
        async with running(await _prometheus(directory, targets)):
            start = time.time()
            await _setup(env, seconds)
            for team, share in TEAMS.items():
                await asyncio.sleep(max(start + share * seconds - time.time(), 0))
                await env.kubectl.run("create", "-f", "-", stdin=yaml.safe_dump(_run(team)))
                print(f"{time.time() - start:6.0f} s  {team} has started", flush=True)
            while time.time() < start + seconds:
                await asyncio.sleep(min(60, max(start + seconds - time.time(), 0)))
                text = await env.kubectl.run("get", "batchruns", "--no-headers")
                print(f"{time.time() - start:6.0f} s\n{text}", flush=True)
            period = {"start": start, "end": time.time()}
            (directory / "period.json").write_text(json.dumps(period))


async def picture(directory: Path) -> str:
    """The picture of a recording."""
    period = json.loads((directory / "period.json").read_text())
    port = _free_port()
    async with running(await _prometheus(directory, {}, port)):
        return await asyncio.to_thread(_picture, port, period["start"], period["end"])


def _picture(port: int, start: float, end: float) -> str:
    step = (end - start) / POINTS
    found: dict[str, list[Series]] = {}
    for panel in PANELS:
        found[panel.title] = []
        for query in panel.queries:
            expr = query.expr.replace("$__rate_interval", "2m").replace("$namespace", ".*")
            parameters = {"query": expr, "start": start, "end": end, "step": step}
            for each in _ask(port, parameters):
                name = query.legend
                for key, value in each["metric"].items():
                    name = name.replace("{{" + key + "}}", value)
                points = [(at - start, float(value)) for at, value in each["values"]]
                found[panel.title].append(Series(name, points))
    return draw(found, seconds=end - start)


def _ask(port: int, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return list(json.load(answer)["data"]["result"])


async def _setup(env: Environment, seconds: float) -> None:
    """The agent, and the workspace that it works in."""
    script = AGENT.replace("$SECONDS", str(int(seconds)))
    files = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "agent"}}
    config = {
        "agentImage": "quay.io/kubetask/kubetask-agent:v0.1.0",
        "command": ["sh", "agent.sh"],
        "git": {"urlTemplate": f"{env.git_url}/{{org}}/{{repo}}.git"},
        "maxConcurrentTasks": 4,
    }
    documents = [
        {**files, "data": {"agent.sh": script}},
        {
            "apiVersion": "kubetask.io/v1alpha1",
            "kind": "WorkspaceConfig",
            "metadata": {"name": "default"},
            "spec": config,
        },
    ]
    await env.kubectl.run("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))


def _run(team: str) -> dict[str, Any]:
    chance = random.Random(team)
    names = ("billing", "catalog", "payments", "search", "storefront")
    source = {"configMapKeyRef": {"name": "agent", "key": "agent.sh"}}
    lists = [
        [{"type": "Repository", "repository": {"org": "acme", "repo": chance.choice(names)}}]
        for _ in range(TASKS)
    ]
    lists[chance.randrange(TASKS)] = [
        {"type": "Repository", "repository": {"org": "acme", "repo": "no-such-repository"}}
    ]
    return {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "metadata": {"name": f"{team}-update", "labels": {"team": team}},
        "spec": {
            "batchSpec": {
                "commonContext": [{"type": "File", "file": {"name": "agent.sh", "source": source}}],
                "variableContexts": lists,
            }
        },
    }


@contextlib.asynccontextmanager
async def _cost_exporter(env: Environment) -> AsyncIterator[int]:
    """Stands in for kube-state-metrics with config/prometheus/kube-state-metrics.yaml; its port."""

    async def metrics(_: web.Request) -> web.Response:
        lines = ["# TYPE kubetask_batchrun_cost_usd gauge"]
        for run in json.loads(await env.kubectl.run("get", "batchruns", "-o", "json"))["items"]:
            status, metadata = run.get("status") or {}, run["metadata"]
            cost = (status.get("usage") or {}).get("costUSD")
            if cost is None:
                results = [x.get("result") or {} for x in status.get("tasks") or []]
                cost = sum(float((x.get("usage") or {}).get("costUSD") or 0) for x in results)
            names = {
                "namespace": metadata["namespace"],
                "batchrun": metadata["name"],
                "team": metadata.get("labels", {}).get("team", ""),
            }
            labels = ",".join(f'{k}="{v}"' for k, v in names.items())
            lines.append(f"kubetask_batchrun_cost_usd{{{labels}}} {cost}")
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _prometheus(directory: Path, targets: dict[str, int], port: int = 0) -> Program:
    program = shutil.which("prometheus")
    if program is None:
        raise SystemExit("prometheus is not installed (Debian's package of that name)")
    jobs = [
        {
            "job_name": job,
            "honor_labels": True,
            "scrape_interval": f"{SCRAPE_SECONDS}s" if "controller" in job else "30s",
            "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
        }
        for job, target in targets.items()
    ]
    config = directory / "prometheus.yaml"
    config.write_text(yaml.safe_dump({"scrape_configs": jobs}))
    log = directory / "prometheus.log"
    log.unlink(missing_ok=True)
    started = await launch(
        "prometheus",
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{port or _free_port()}",
        ],
        log=log,
    )
    await started.wait_for("Server is ready")
    return started


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
