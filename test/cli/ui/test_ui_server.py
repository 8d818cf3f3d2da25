"""The server of the page: who may use it, what it streams, and what it changes."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from kubetask_controller.cli.exits import UsageError
from kubetask_controller.cli.ui.server import ASSETS, ServerSettings
from support.cli import scenes
from support.cli.fakeapi import FakeApi, Log, failure
from support.cli.pagekit import Page, opened, with_pods
from support.cli.scenes import done, failed, made, waiting, working

RUN = "/api/run?kind=BatchRun&namespace=team&name="
PREPARE = 14
"""The cell of a row with the start of the workspace container."""


@pytest.mark.parametrize("path", ["/api/runs", "/api/run", "/api/log", "/api/about", "/api/task"])
async def test_without_the_token_there_is_no_data(page: Page, path: str) -> None:
    for given in ({}, {"Authorization": "Bearer x"}, {"Authorization": page.token}):
        async with page.http.get(page.url(path), headers=given) as answer:
            assert answer.status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:1234"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ],
)
async def test_another_site_is_refused_even_with_the_token(
    page: Page, headers: dict[str, str], status: int
) -> None:
    assert (await page.get("/api/about", **headers))[0] == status
    assert (await page.get("/", **headers))[0] == status


async def test_a_form_of_another_site_changes_nothing(api: FakeApi, page: Page) -> None:
    await api.put("batchruns", made("r", [working(0, 5)]))
    body = '{"action":"cancel"}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {"Authorization": f"Bearer {page.token}", "Content-Type": content_type}
        async with page.http.post(page.url("/api/act"), data=body, headers=headers) as answer:
            assert answer.status == 415


async def test_every_answer_forbids_other_hosts_frames_and_caches(page: Page) -> None:
    for path in (*ASSETS, "/api/about", "/nothing"):
        async with page.http.get(page.url(path)) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "http" not in policy.replace("http-equiv", "")
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert not [x for x in answer.headers if x.lower().startswith("access-control")]
            assert "Set-Cookie" not in answer.headers


async def test_the_page_asks_no_other_host_for_anything(page: Page) -> None:
    for path in ASSETS:
        text = (await page.get(path))[1].replace("http://www.w3.org/", "")
        assert "//cdn" not in text
        assert "https://" not in text or path == "/app.js"


async def test_the_link_for_a_browsers_command_line_works_once(page: Page) -> None:
    code = page.server.one_time_url().partition("code=")[2]
    assert page.token not in page.server.one_time_url()
    status, answer = await page.post("/api/session", {"code": code}, Authorization="")
    assert (status, answer) == (200, {"token": page.token})
    for other in (code, "x", ""):
        assert (await page.post("/api/session", {"code": other}, Authorization=""))[0] == 401


async def test_the_list_has_all_namespaces_and_follows_changes(api: FakeApi, page: Page) -> None:
    await api.put("batchruns", made("a", [working(0, 5)]), "team")
    await api.put("batchruns", made("b", [done(0, 50, 5)]), "other")
    task = {"metadata": {"name": "t"}, "spec": {"contexts": []}, "status": {"phase": "Running"}}
    await api.put("tasks", task, "team")
    async with page.stream("/api/runs") as messages:
        first = await anext(messages)
        assert first["whole"]
        assert {(x["kind"], x["namespace"], x["name"]) for x in first["set"]} == {
            ("BatchRun", "team", "a"),
            ("BatchRun", "other", "b"),
            ("Task", "team", "t"),
        }
        ended = made("a", [done(0, 5, 5)])
        await api.status("batchruns", "a", ended["status"])
        change = await anext(messages)
        assert not change["whole"]
        assert [(x["name"], x["phase"]) for x in change["set"]] == [("a", "Succeeded")]
        uid = change["set"][0]["uid"]
        await api.remove("batchruns", "a")
        assert (await anext(messages))["gone"] == [uid]


async def test_somebody_with_rights_in_some_namespaces_sees_those(api: FakeApi, page: Page) -> None:
    for name in ("team", "mine", "theirs"):
        await api.put("namespaces", {"metadata": {"name": name}}, "")
        await api.put("batchruns", made(f"in-{name}", [working(0, 5)]), name)

    def refuse(request: web.Request) -> web.StreamResponse | None:
        everywhere = request.path in (
            "/apis/kubetask.io/v1alpha1/batchruns",
            "/apis/kubetask.io/v1alpha1/tasks",
        )
        if everywhere or "/namespaces/theirs/" in request.path:
            return failure(403, "forbidden", reason="Forbidden")
        return None

    api.refuse = refuse
    async with page.stream("/api/runs") as messages:
        first = await anext(messages)
        assert sorted(x["name"] for x in first["set"]) == ["in-mine", "in-team"]
        assert first["refused"] == []


@pytest.mark.parametrize(
    ("listable", "names", "omitted"),
    [
        (True, ["in-mine"], "namespaces after the first 1: start the page with -n"),
        (False, ["in-team"], "namespaces other than team: "),
    ],
)
async def test_the_page_says_which_namespaces_it_omits(
    api: FakeApi,
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
    listable: bool,
    names: list[str],
    omitted: str,
) -> None:
    monkeypatch.setattr("kubetask_controller.cli.ui.streams.MAX_NAMESPACES", 1)
    for name in ("team", "mine"):
        await api.put("namespaces", {"metadata": {"name": name}}, "")
        await api.put("batchruns", made(f"in-{name}", [working(0, 5)]), name)
    hidden = ["/apis/kubetask.io/v1alpha1/batchruns"]
    hidden += [] if listable else ["/api/v1/namespaces"]
    api.refuse = lambda x: failure(403, "no", reason="Forbidden") if x.path in hidden else None
    async with page.stream("/api/runs") as messages:
        first = await anext(messages)
        assert [x["name"] for x in first["set"]] == names
        (note,) = first["refused"]
        assert note.startswith(omitted)


async def test_with_a_namespace_nothing_of_another_one_is_shown(
    api: FakeApi, tmp_path: Path, quick: None
) -> None:
    await api.put("batchruns", made("a", [working(0, 5)]), "team")
    await api.put("batchruns", made("b", [working(0, 5)]), "other")
    async with opened(api, tmp_path, ServerSettings(namespace="other")) as page:
        async with page.stream("/api/runs") as messages:
            assert [x["name"] for x in (await anext(messages))["set"]] == ["b"]
        assert (await page.get(RUN + "a"))[0] == 403


async def test_a_run_is_sent_whole_once_and_then_what_changed(api: FakeApi, page: Page) -> None:
    tasks = [done(0, 100, 10), working(1, 50), waiting(2, "Queued", "")]
    run = await api.put("batchruns", made("r", tasks))
    await api.put("events", scenes.event(run, "BatchRun", "Started", "the first task runs", 90))
    async with page.stream(RUN + "r") as messages:
        first = await anext(messages)
        while "events" not in first or not first["events"]:
            first |= await anext(messages)
        assert len(first["rows"]) == 3
        assert first["events"][0]["words"] == "The first task started"
        tasks[1] = done(1, 50, 40)
        await api.status("batchruns", "r", made("r", tasks)["status"])
        change = await anext(messages)
        assert [(x[0], x[1]) for x in change["rows"]] == [(1, "Succeeded")]
        await api.remove("batchruns", "r")
        assert (await anext(messages))["type"] == "gone"


async def test_a_run_that_is_created_again_replaces_the_rows_of_the_old_one(
    api: FakeApi, page: Page
) -> None:
    await api.put("batchruns", made("r", [done(0, 100, 10), working(1, 50)]))
    async with page.stream(RUN + "r") as messages:
        assert len((await anext(messages))["rows"]) == 2
        await api.remove("batchruns", "r")
        await api.put("batchruns", made("r", [done(0, 100, 10)]))
        change = await anext(messages)
        assert change["whole"]
        assert [x[0] for x in change["rows"]] == [0]


async def test_the_page_of_a_task_without_a_job_shows_it_and_then_its_pod(
    api: FakeApi, page: Page
) -> None:
    place = "kind=Task&namespace=team&name=one"
    body = {"metadata": {"name": "one"}, "spec": {"contexts": []}}
    await api.put("tasks", body | {"status": {"phase": "Pending", "reason": "Queued"}})
    assert (await page.get(f"/api/task?{place}&index=0"))[0] == 200
    async with page.stream(f"/api/log?{place}&index=0") as messages:
        assert (await anext(messages))["type"] == "wait"
    async with page.stream(f"/api/run?{place}") as messages:
        assert (await anext(messages))["run"]["refused"] == []
        pod = scenes.pod("one", 0, prepare=60, work=40)
        await api.put("pods", pod)
        status = {"phase": "Running", "reason": "TaskRunning", "jobName": "j-0"}
        await api.status("tasks", "one", status)
        rows: list = []
        while not (rows and rows[0][PREPARE]):
            rows = (await anext(messages)).get("rows") or rows


async def test_the_page_gets_pings_while_the_cluster_does_not_answer(
    api: FakeApi, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubetask_controller.cli.ui.server.PING_SECONDS", 0.01)
    api.answering.clear()
    headers = {"Authorization": f"Bearer {page.token}"}
    for path in ("/api/runs", RUN + "r", "/api/log?kind=BatchRun&namespace=team&name=r&index=0"):
        async with page.http.get(page.url(path), headers=headers) as answer:
            assert await answer.content.readline() == b'{"type":"ping"}\n'


async def test_a_cluster_that_goes_away_is_told_and_waited_for(api: FakeApi, page: Page) -> None:
    await api.put("batchruns", made("r", [working(0, 50)]))
    async with page.stream(RUN + "r") as messages:
        await anext(messages)
        await api.watched()
        api.refuse = lambda _: failure(503, "the server is restarting")
        await api.cut_watches()
        message = await anext(messages)
        while message["type"] != "link":
            message = await anext(messages)
        assert message["lost"] is True
        await api.status("batchruns", "r", made("r", [done(0, 50, 40)])["status"])
        api.refuse = lambda _: None
        seen = {}
        while not (seen.get("lost") is False and seen.get("rows")):
            seen |= await anext(messages)
        assert seen["rows"][0][1] == "Succeeded"


async def test_a_log_is_live_and_plain(api: FakeApi, page: Page) -> None:
    run = await api.put("batchruns", made("r", [working(0, 50)]))
    await with_pods(api, run, range(1))
    log = api.logs["r-task-0-abcde/agent"] = Log([(0, "\x1b[1mone\x1b[0m\x1b]0;owned\x07")])
    async with page.stream("/api/log?kind=BatchRun&namespace=team&name=r&index=0") as messages:
        assert await anext(messages) == {"type": "lines", "lines": ["one"]}
        await log.write("two\tcells \u202ereversed", second=1)
        assert await anext(messages) == {"type": "lines", "lines": ["two\tcells reversed"]}
        pod = api.objects["pods", "team", "r-task-0-abcde"]
        await api.put("pods", {**pod, "status": {"phase": "Succeeded"}})
        await log.close()
        assert (await anext(messages))["type"] == "end"


async def test_a_log_waits_for_its_container_and_says_when_the_pod_is_gone(
    api: FakeApi, page: Page
) -> None:
    await api.put("batchruns", made("r", [waiting(0, "Queued", ""), done(1, 50, 5)]))
    async with page.stream("/api/log?kind=BatchRun&namespace=team&name=r&index=0") as messages:
        assert (await anext(messages))["type"] == "wait"
    async with page.stream("/api/log?kind=BatchRun&namespace=team&name=r&index=1") as messages:
        end = await anext(messages)
        assert (end["type"], end["message"]) == (
            "end",
            "The Pod of this task was deleted, and its log with it.",
        )


async def test_the_log_of_a_second_attempt_follows_that_of_the_first(
    api: FakeApi, page: Page
) -> None:
    await api.put("batchruns", made("r", [working(0, 50)]))
    first = scenes.pod("r", 0, prepare=60, work=50, end=30)
    await api.put("pods", first)
    api.logs["r-task-0-abcde/agent"] = Log([(0, "first")], open=False)
    log = "/api/log?kind=BatchRun&namespace=team&name=r&index=0"
    async with page.stream(log) as messages:
        assert (await anext(messages))["lines"] == ["first"]
    second = scenes.pod("r", 0, prepare=20, work=None)
    second["metadata"]["name"] = "second"
    api.logs["second/agent"] = Log([(0, "second")])
    await api.put("pods", second)
    async with page.stream(log) as messages:
        assert (await anext(messages))["type"] == "wait"
        status = scenes.pod("r", 0, prepare=20, work=10)["status"]
        await api.status("pods", "second", status)
        assert (await anext(messages))["lines"] == ["second"]
    # After the end, the log of an agent that worked counts more than a Pod whose agent never started.
    await api.status("batchruns", "r", made("r", [done(0, 50, 10)])["status"])
    await api.put("pods", {**second, "status": {"phase": "Failed"}})
    async with page.stream(log) as messages:
        assert (await anext(messages))["lines"] == ["first"]


async def test_the_log_of_an_agent_after_a_failed_preparation_ends(
    api: FakeApi, page: Page
) -> None:
    await api.put("batchruns", made("r", [failed(0, 50, 5, "CloneFailed", "no branch")]))
    pod = scenes.pod("r", 0, prepare=60, work=None)
    await api.put("pods", {**pod, "status": {**pod["status"], "phase": "Failed"}})
    async with page.stream("/api/log?kind=BatchRun&namespace=team&name=r&index=0") as messages:
        assert await anext(messages) == {
            "type": "end",
            "message": "The container agent of this task did not start.",
        }


async def test_a_task_has_its_result_links_events_and_commands(api: FakeApi, page: Page) -> None:
    run = await api.put("batchruns", made("r", [done(0, 100, 10)]))
    await with_pods(api, run, range(1))
    status, text = await page.get("/api/task?kind=BatchRun&namespace=team&name=r&index=0")
    assert status == 200
    for part in (
        "requests is at 2.32.4 in service-0",
        "https://git.example/acme/service-0/pull/40",
        "https://github.com/myorg/service-0/compare/main...kubetask/nightly-0",
        "A volume cannot be mounted",
        "kubectl -n team logs job/j-0 -c agent -f",
    ):
        assert part in text
    assert (await page.get("/api/task?kind=BatchRun&namespace=team&name=r&index=7"))[0] == 404
    assert (await page.get("/api/task?kind=BatchRun&namespace=team&name=no&index=0"))[0] == 404


def ask(run: dict, action: str, **more: object) -> dict:
    metadata = run["metadata"]
    return {
        "kind": "BatchRun",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "action": action,
        **more,
    }


@pytest.mark.parametrize(
    ("action", "more", "says", "becomes"),
    [
        ("suspend", {}, "2 tasks will not start until the run is resumed.", {"suspend": True}),
        (
            "cancel",
            {},
            "Stops 1 running task, which counts as failed. Logs remain.",
            {"cancel": True},
        ),
        ("promote", {"more": 1}, "1 more task may start: 3 of 4 in all.", {"taskLimit": 3}),
        ("promote", {"more": None}, "2 more tasks may start: all 4 of the run.", {}),
    ],
)
async def test_a_change_says_what_it_will_do_and_then_does_that(
    api: FakeApi, page: Page, action: str, more: dict, says: str, becomes: dict
) -> None:
    tasks = [done(0, 100, 10), working(1, 5), *(waiting(i, "TaskLimit", "") for i in (2, 3))]
    run = await api.put("batchruns", made("r", tasks, spec={"taskLimit": 2}))
    asked = ask(run, action, **more)
    status, plan = await page.post("/api/plan", asked)
    assert status == 200
    assert says in " ".join(plan["effects"])
    assert plan["command"].startswith(f"kubectl kubetask -n team {action}")
    assert api.objects["batchruns", "team", "r"]["spec"] == run["spec"]
    status, _ = await page.post("/api/act", asked | {"fields": plan["fields"]})
    assert status == 200
    spec = api.objects["batchruns", "team", "r"]["spec"]
    assert {k: spec[k] for k in becomes} == becomes
    assert ("taskLimit" in spec) == (action != "promote" or more["more"] is not None)


async def test_a_retry_of_a_selection_is_a_new_run(api: FakeApi, page: Page) -> None:
    tasks = [done(0, 100, 10), failed(1, 100, 10, "AgentError", "x"), done(2, 100, 10)]
    run = await api.put("batchruns", made("r", tasks))
    asked = ask(run, "retry", indexes="1-2")
    _, plan = await page.post("/api/plan", asked)
    assert "1 task of them succeeded before" in " ".join(plan["effects"])
    assert len(api.objects) == 1
    status, answer = await page.post("/api/act", asked | {"fields": plan["fields"]})
    assert (status, answer) == (200, {"name": "r-retry-x7k2p"})
    assert api.objects["batchruns", "team", "r-retry-x7k2p"]["spec"] == {
        "retryOf": "r",
        "select": "1-2",
    }


async def test_what_was_confirmed_is_done_or_nothing(api: FakeApi, page: Page) -> None:
    tasks = [done(0, 100, 10), *(waiting(i, "TaskLimit", "") for i in range(1, 40))]
    run = await api.put("batchruns", made("r", tasks, spec={"taskLimit": 1}))
    asked = ask(run, "promote", more=5)
    _, plan = await page.post("/api/plan", asked)
    # Somebody else promotes the run meanwhile.
    await api.put("batchruns", made("r", tasks, spec={"taskLimit": 20}))
    status, answer = await page.post("/api/act", asked | {"fields": plan["fields"]})
    assert (status, answer["error"]) == (409, "The run has changed. Reload the page and try again.")
    assert (await page.post("/api/act", asked))[0] == 409
    await api.remove("batchruns", "r")
    await api.put("batchruns", made("r", tasks, metadata={"uid": "another"}))
    status, answer = await page.post("/api/plan", asked)
    assert status == 409
    assert "deleted and created again" in answer["error"]


async def test_what_the_user_may_not_do_is_known_before_it_is_confirmed(
    api: FakeApi, page: Page
) -> None:
    run = await api.put("batchruns", made("r", [working(0, 5)]))
    api.refuse = lambda request: (
        failure(403, "batchruns is forbidden: no patch", reason="Forbidden")
        if request.method == "PATCH"
        else None
    )
    _, plan = await page.post("/api/plan", ask(run, "cancel"))
    assert "no patch" in plan["refused"]


async def test_a_read_only_page_changes_nothing(api: FakeApi, tmp_path: Path, quick: None) -> None:
    run = await api.put("batchruns", made("r", [working(0, 5)]))
    async with opened(api, tmp_path, ServerSettings(read_only=True)) as page:
        _, plan = await page.post("/api/plan", ask(run, "cancel"))
        assert "--read-only" in plan["refused"]
        status, _ = await page.post("/api/act", ask(run, "cancel") | {"fields": plan["fields"]})
        assert status == 403
    assert not [x for x in api.requests if x[0] != "GET"]


@pytest.mark.parametrize(
    "path", ["/api/../../etc/passwd", "/static/../server.py", "/api/v1/secrets"]
)
async def test_it_is_no_proxy_and_serves_no_files(page: Page, path: str) -> None:
    assert (await page.get(path))[0] == 404


@pytest.mark.processes
async def test_it_listens_on_loopback_alone_and_a_port_that_is_taken_is_told(page: Page) -> None:
    sockets = await asyncio.create_subprocess_exec(
        "cat", "/proc/net/tcp", stdout=asyncio.subprocess.PIPE
    )
    text = (await sockets.communicate())[0].decode()
    listening = [x.split()[1] for x in text.splitlines()[1:] if x.split()[3] == "0A"]
    mine = [x for x in listening if x.endswith(f":{page.server.port:04X}")]
    assert mine == [f"0100007F:{page.server.port:04X}"]
    with pytest.raises(UsageError, match=f"port {page.server.port} of 127.0.0.1 is not available"):
        async with page.server.serving(page.server.port):
            pass
