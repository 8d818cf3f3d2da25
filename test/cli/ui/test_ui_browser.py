"""The page in Chromium: each view, live, at 10,000 tasks, with a connection that breaks, and under attack.

KUBETASK_SCREENSHOTS=DIR has the pictures of the documentation written there.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, CDPSession, Locator, async_playwright, expect
from playwright.async_api import Page as Tab

from support.cli import scenes
from support.cli.fakeapi import FakeApi, Log, failure, serving
from support.cli.pagekit import Page, opened, with_pods
from support.cli.scenes import done, made, waiting, working

CHROMIUM = os.environ.get("KUBETASK_CHROMIUM") or shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage"
    " --disable-background-networking --disable-component-update --disable-sync --mute-audio"
    " --host-resolver-rules=MAP rebound.example 127.0.0.1,MAP * ~NOTFOUND,EXCLUDE 127.0.0.1,"
    "EXCLUDE localhost"
)
LACKS = "Chromium is not installed (Debian's package chromium): the page is tested in no browser"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason=LACKS),
]
FRAMES = 90
DEMO = "update-requests-7xk2p"


@pytest.fixture(autouse=True)
def no_task_is_left_behind() -> None:
    """The browser's driver has tasks of its own in the loop of this module."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    flags = re.split(r" (?=--)", FLAGS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def api() -> AsyncIterator[FakeApi]:
    async with serving(FakeApi()) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="module")
async def page(api: FakeApi, tmp_path: Path, quick: None) -> AsyncIterator[Page]:
    async with opened(api, tmp_path) as page:
        yield page


class Problems(list[str]):
    """What a page complained about."""


@asynccontextmanager
async def looking(
    browser: Browser, page: Page, at: str = "#/", **options: Any
) -> AsyncIterator[Tab]:
    """A tab that has signed in; fails where the page threw or asked another host for something."""
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 860}} | options)
    tab = await context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    own = f"http://127.0.0.1:{page.server.port}/"
    tab.on("request", lambda x: None if x.url.startswith(own) else problems.append(x.url))
    try:
        await tab.goto(page.server.url)
        await expect(tab.locator(".topbar")).to_be_visible()
        if at != "#/":
            await tab.goto(own + at)
        yield tab
    except BaseException as error:
        error.add_note(f"the page at {tab.url} complained of {problems} and shows:")
        error.add_note(await tab.locator("body").inner_text(timeout=2000))
        raise
    finally:
        await context.close()
    assert problems == []


async def busy_seconds(devtools: CDPSession) -> float:
    """How long the page's main thread has worked."""
    found = await devtools.send("Performance.getMetrics")
    return float(next(x["value"] for x in found["metrics"] if x["name"] == "TaskDuration"))


def rows(tab: Tab) -> Locator:
    return tab.locator(".table .row")


async def test_the_list_is_live_filtered_and_used_by_keyboard(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    await api.put("batchruns", made("first", [working(0, 5), waiting(1, "Queued", "")]))
    await api.put("batchruns", made("second", [done(0, 50, 5)], created=900), "other")
    async with looking(browser, page) as tab:
        assert "token" not in tab.url
        await expect(rows(tab)).to_have_count(2)
        await expect(tab.locator(".live")).to_have_text("live")
        first = rows(tab).filter(has_text="first")
        await expect(first).to_contain_text("0/2")
        await api.status("batchruns", "first", made("x", [done(0, 9, 5), working(1, 2)])["status"])
        await expect(first).to_contain_text("1/2")
        await api.put("batchruns", made("third", [working(0, 5)], created=1))
        await expect(rows(tab)).to_have_count(3)
        await expect(rows(tab).first).to_contain_text("third")
        await api.remove("batchruns", "third")
        await expect(rows(tab)).to_have_count(2)
        await tab.keyboard.press("/")
        await tab.keyboard.type("second")
        await expect(rows(tab)).to_have_count(1)
        await tab.keyboard.press("Control+a")
        await tab.keyboard.press("Delete")
        await tab.get_by_role("button", name="Succeeded").click()
        await expect(rows(tab)).to_have_count(1)
        await tab.get_by_role("button", name="Succeeded").click()
        await tab.get_by_label("Namespace").select_option("team")
        await expect(rows(tab)).to_have_count(1)
        await tab.locator(".table").focus()
        await tab.keyboard.press("Enter")
        await expect(tab.locator("h1")).to_contain_text("first")
        await tab.go_back()
        await expect(tab.locator(".overview")).to_be_visible()


async def test_a_run_shows_its_tasks_over_time_and_its_table_is_filtered_and_sorted(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    run = await api.put("batchruns", scenes.demonstration())
    await with_pods(api, run, range(20, 34))
    await api.put("events", scenes.event(run, "BatchRun", "Queued", "40 tasks", 3050))
    async with looking(browser, page, f"#/run/team/{DEMO}") as tab:
        await expect(tab.locator("h1")).to_contain_text("Running")
        facts = tab.locator(".run > .facts")
        await expect(facts).to_contain_text("28 of 40 ended")
        await expect(facts).to_contain_text(re.compile(r"Spent \$\d+\.\d\d, projected .* \$25\.00"))
        await expect(tab.locator(".findings")).to_contain_text("1 task cannot start")
        await expect(tab.locator("figure")).to_have_count(3)
        await expect(tab.locator(".below .events")).to_contain_text("The work was accepted")
        bands = tab.locator("polygon.band")
        for band in ("Succeeded", "Failed", "Working", "Waiting"):
            assert await bands.and_(tab.locator(f".{band}")).get_attribute("points")
        working_row = rows(tab).nth(0)
        await tab.get_by_label("Filter tasks").fill("service-30")
        await expect(rows(tab)).to_have_count(1)
        for part in ("Waiting", "Preparing", "Working"):
            await expect(working_row.locator(f".part.{part}")).to_have_count(1)
        await tab.get_by_label("Filter tasks").fill("")
        await tab.get_by_label("Reason").select_option("AgentError")
        await expect(rows(tab)).to_have_count(2)
        await tab.get_by_role("button", name="Clear", exact=True).click()
        await tab.get_by_role("button", name="With a pull request").click()
        await expect(tab.locator(".tasks .sum")).to_have_text("25 of 40")
        await tab.get_by_role("button", name="Cost", exact=True).click()
        costs = await rows(tab).locator(".col-cost").all_text_contents()
        assert costs == sorted(costs, reverse=True)
        assert costs[0] > "$0.60"
        await tab.get_by_role("button", name="Clear", exact=True).click()
        await tab.locator(".finding.act").get_by_role("button", name="Show these tasks").click()
        await expect(rows(tab)).to_have_count(1)
        await expect(rows(tab)).to_contain_text("ContextNotFound")


async def test_the_page_alone_says_why_each_of_ten_runs_is_not_finished(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    cases = scenes.unfinished()
    for run, _ in cases.values():
        await api.put("batchruns", run)
    assert len(cases) == 10
    async with looking(browser, page) as tab:
        await expect(rows(tab)).to_have_count(10)
        for name, (_, says) in cases.items():
            await tab.evaluate("address => { location.hash = address }", f"#/run/team/{name}")
            await expect(tab.locator("h1")).to_contain_text(name)
            found = tab.get_by_role("region", name="Why it is not finished")
            for part in says:
                await expect(found).to_contain_text(part)


async def test_the_log_of_a_second_attempt_replaces_that_of_the_first(
    api: FakeApi, browser: Browser, page: Page
) -> None:
    await api.put("batchruns", made("r", [working(0, 50)]))
    await api.put("pods", scenes.pod("r", 0, prepare=60, work=50, end=30))
    api.logs["r-task-0-abcde/agent"] = Log([(0, "first attempt")], open=False)
    async with looking(browser, page, "#/run/team/r/task/0") as tab:
        shown = tab.locator(".panel .log")
        await expect(shown).to_contain_text("first attempt")
        second = scenes.pod("r", 0, prepare=20, work=10)
        second["metadata"]["name"] = "second"
        api.logs["second/agent"] = Log([(0, "second attempt")])
        await api.put("pods", second)
        again = waiting(0, "Starting", "")
        await api.status("batchruns", "r", made("r", [again])["status"])
        await expect(shown).to_have_text("second attempt\n")


async def test_a_task_shows_its_log_live_with_its_result_events_and_commands(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    run = await api.put("batchruns", scenes.demonstration())
    await with_pods(api, run, range(25, 34))
    log = api.logs[f"{DEMO}-task-30-abcde/agent"]
    async with looking(browser, page, f"#/run/team/{DEMO}") as tab:
        await tab.get_by_label("Filter tasks").fill("service-30")
        await tab.locator(".table").focus()
        await tab.keyboard.press("Enter")
        panel = tab.locator(".panel")
        await expect(panel.locator(".log")).to_contain_text("step 49 of service-30")
        assert "\x1b" not in (await panel.locator(".log").text_content() or "")
        await log.write("tests are green", second=2)
        await expect(panel.locator(".log")).to_contain_text("tests are green")
        await expect(panel.locator(".events")).to_contain_text("A volume cannot be mounted")
        await expect(panel).to_contain_text("kubectl -n team logs job/j-30 -c agent -f")
        await panel.get_by_role("button", name="preparation").click()
        await expect(panel.locator(".log")).to_contain_text("cloned in 2.1 s")
        await tab.keyboard.press("Escape")
        await expect(panel).to_have_count(0)
        await tab.get_by_label("Filter tasks").fill("service-25")
        await rows(tab).first.locator(".col-target").click()
        await expect(panel).to_contain_text("requests is at 2.32.4 in service-25")
        pull = panel.get_by_role("link", name="Pull request")
        await expect(pull).to_have_attribute("href", scenes.PULL.format(25, 65))
        await expect(pull).to_have_attribute("rel", "noopener noreferrer")
        await expect(panel.get_by_role("link", name="Diff of")).to_have_count(1)


async def test_a_change_is_confirmed_with_what_it_will_do(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    tasks = [done(0, 99, 9), *(waiting(i, "TaskLimit", "") for i in range(1, 30))]
    await api.put("batchruns", made("canary", tasks, spec={"taskLimit": 1}))
    spec = lambda: api.objects["batchruns", "team", "canary"]["spec"]  # noqa: E731
    async with looking(browser, page, "#/run/team/canary") as tab:
        dialog = tab.get_by_role("dialog")
        await tab.get_by_role("button", name="Promote …").click()
        await expect(dialog).to_contain_text("10 more tasks may start: 11 of 30 in all.")
        await expect(dialog).to_contain_text("they cost about $4.00")
        await dialog.get_by_label("Number of tasks").fill("5")
        await expect(dialog).to_contain_text("5 more tasks may start: 6 of 30 in all.")
        await expect(dialog).to_contain_text("kubectl kubetask -n team promote canary 5")
        assert spec()["taskLimit"] == 1
        await dialog.get_by_role("button", name="Promote", exact=True).click()
        await expect(dialog).to_have_count(0)
        assert spec()["taskLimit"] == 6
        await tab.get_by_role("button", name="Suspend …").click()
        await expect(dialog).to_be_visible()
        await tab.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        assert "suspend" not in spec()
        await tab.get_by_role("button", name="Suspend …").click()
        await dialog.get_by_role("button", name="Suspend", exact=True).click()
        await expect(tab.get_by_role("button", name="Resume …")).to_be_visible()
        await tab.get_by_role("button", name="Resume …").click()
        await dialog.get_by_role("button", name="Resume", exact=True).click()
        await expect(tab.get_by_role("button", name="Suspend …")).to_be_visible()
        await rows(tab).first.get_by_role("checkbox").click()
        await tab.get_by_role("button", name="Retry selection").click()
        await expect(dialog).to_contain_text("1 task of them succeeded before")
        await dialog.get_by_role("button", name="Create the run").click()
        await expect(tab.locator("h1")).to_contain_text("canary-retry-x7k2p")
        await tab.go_back()
        api.refuse = lambda request: (
            failure(403, "you may not patch batchruns", reason="Forbidden")
            if request.method == "PATCH"
            else None
        )
        await tab.get_by_role("button", name="Cancel …").click()
        await expect(dialog).to_contain_text("This cannot be undone.")
        await expect(dialog).to_contain_text("you may not patch batchruns")
        await expect(dialog.get_by_role("button", name="Cancel the run")).to_be_disabled()
        assert "cancel" not in spec()


@pytest.mark.long
async def test_ten_thousand_tasks_scroll_filter_and_update_without_stutter(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    run = scenes.large()
    await api.put("batchruns", run)
    async with looking(browser, page, "#/run/team/large") as tab:
        await expect(tab.locator(".tasks .sum")).to_have_text("10,000 of 10,000", timeout=20_000)
        assert await rows(tab).count() < 80
        await tab.locator(".table").focus()
        await tab.keyboard.press("End")
        await expect(rows(tab).last).to_contain_text("service-9999")
        # The processor's time and not the clock's: others use this machine too.
        devtools = await tab.context.new_cdp_session(tab)
        await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = await busy_seconds(devtools)
        await tab.evaluate(
            """steps => new Promise(done => {
              const box = document.querySelector('.table');
              let step = 0;
              const next = () => {
                box.scrollTop = (step * 7) % 60 * 5900;
                step++ < steps ? requestAnimationFrame(next) : done();
              };
              requestAnimationFrame(next);
            })""",
            FRAMES,
        )
        a_frame = (await busy_seconds(devtools) - before) / FRAMES
        assert a_frame < 1 / 40, f"{a_frame * 1000:.1f} ms of processor time for a frame"
        await tab.get_by_label("Filter tasks").fill("service-4242")
        await expect(rows(tab)).to_have_count(1)
        status = dict(run["status"], startedIndexes="0-9999")
        status["progress"] = dict(status["progress"], running=40, pending=0)
        await tab.get_by_label("Filter tasks").fill("service-9999")
        await expect(rows(tab)).to_contain_text("Pending")
        await api.status("batchruns", "large", status)
        await expect(rows(tab)).to_contain_text("Started")


async def test_a_connection_that_is_lost_comes_back(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    await api.put("batchruns", made("r", [working(0, 50)]))
    async with looking(browser, page, "#/run/team/r") as tab:
        await expect(rows(tab)).to_contain_text("Running")
        # The cluster goes.
        api.refuse = lambda _: failure(503, "the server is restarting")
        await api.cut_watches()
        lost = tab.locator(".lost")
        await expect(lost).to_contain_text("No connection to the cluster.")
        await expect(lost).to_contain_text("the server is restarting")
        await expect(tab.locator(".live")).to_have_text("not live")
        await api.status("batchruns", "r", made("r", [done(0, 50, 40)])["status"])
        api.refuse = lambda _: None
        await expect(lost).to_have_count(0)
        await expect(rows(tab)).to_contain_text("Succeeded")
    # The local server goes, as a laptop that sleeps has it.
    async with looking(browser, page) as tab:
        await expect(rows(tab)).to_have_count(1)
        await tab.context.set_offline(True)
        await tab.evaluate("() => dispatchEvent(new Event('offline'))")
        port = page.server.port
        await page.stop()
        await expect(tab.locator(".lost")).to_contain_text("No connection to kubectl kubetask ui.")
        await api.put("batchruns", made("new", [working(0, 5)]))
        await tab.context.set_offline(False)
        async with page.server.serving(port):
            await expect(tab.locator(".lost")).to_have_count(0, timeout=15_000)
            await expect(rows(tab)).to_have_count(2)


async def test_hostile_text_in_every_field_is_text(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    run = await api.put("batchruns", scenes.hostile())
    await with_pods(api, run, range(2))
    for name in ("agent", "workspace"):
        log = api.logs[f"hostile-task-1-abcde/{name}"]
        log.lines = [(0, scenes.HOSTILE), (0, "\x1b[2J\x1b[H\x1b]52;c;b3duZWQ=\x07end of the log")]
    text = scenes.HOSTILE
    await api.put("events", scenes.event(run, "BatchRun", text[:100], text, 10, True))
    async with looking(browser, page) as tab:
        await expect(rows(tab)).to_contain_text("hostile")
        await tab.evaluate("address => { location.hash = address }", "#/run/team/hostile/task/1")
        await expect(tab.locator(".panel .log")).to_contain_text("end of the log")
        await expect(tab.locator(".panel .summary")).to_contain_text("<img src=x")
        await tab.keyboard.press("Escape")
        await tab.locator(".tasks .row").first.locator(".col-target").click()
        await expect(tab.locator(".panel")).to_contain_text("<script>document.title='owned'")
        assert (
            await tab.locator("img:not([src='/icon.svg']), script:not([src='/app.js'])").count()
            == 0
        )
        everything = await tab.locator("body").inner_text()
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", everything)
        targets = await tab.locator("a").evaluate_all("found => found.map(x => x.href)")
        assert [x for x in targets if not x.startswith("http")] == []
        assert "owned" not in await tab.title()


@asynccontextmanager
async def foreign_site(target: int) -> AsyncIterator[tuple[str, list[str], asyncio.Event]]:
    """A page on another port that tries to read and to change; its address, what it got, and its end."""
    got: list[str] = []
    finished = asyncio.Event()
    html = f"""<!doctype html><title>foreign</title><body><script type="module">
    const own = "http://127.0.0.1:{target}";
    const tried = async (name, what) => {{
      let said; try {{ said = await what(); }} catch (error) {{ said = "refused"; }}
      await fetch("/report", {{method: "POST", body: name + "=" + said}});
    }};
    const text = (path, options) => () => fetch(own + path, options).then(x => x.text());
    await tried("read", text("/"));
    await tried("about", text("/api/about"));
    await tried("header", text("/api/about", {{headers: {{Authorization: "Bearer x"}}}}));
    await tried("credentials", text("/api/runs", {{credentials: "include"}}));
    const headers = {{"Content-Type": "application/json"}};
    await tried("json", text("/api/act", {{method: "POST", headers, body: "{{}}"}}));
    const blind = {{method: "POST", mode: "no-cors", body: "{{}}"}};
    await tried("opaque", () => fetch(own + "/api/act", blind).then(x => x.type + x.status));
    await tried("frame", () => new Promise(done => {{
      const frame = document.createElement("iframe"); frame.src = own + "/";
      frame.onload = () => {{ try {{ done(frame.contentWindow.document.title); }} catch (error) {{ done("refused"); }} }};
      document.body.append(frame);
    }}));
    await tried("script", () => new Promise(done => {{
      const script = document.createElement("script"); script.src = own + "/app.js";
      script.onload = () => done("loaded"); script.onerror = () => done("refused");
      document.body.append(script);
    }}));
    await tried("window", async () => {{
      const opened = open(own + "/");
      await new Promise(done => setTimeout(done, 500));
      return opened.document.title.includes("KubeTask") ? "read" : "refused";
    }});
    const form = document.createElement("form");
    form.method = "POST"; form.action = own + "/api/act"; form.enctype = "text/plain"; form.target = "_blank";
    document.body.append(form); form.submit();
    await fetch("/report", {{method: "POST", body: "end="}});
    </script>"""

    async def report(request: web.Request) -> web.Response:
        got.append(await request.text())
        if got[-1].startswith("end="):
            finished.set()
        return web.Response()

    async def site(_: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", site)
    app.router.add_post("/report", report)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}/", got, finished
    finally:
        await runner.cleanup()


async def test_a_foreign_origin_reads_nothing_and_changes_nothing(
    api: FakeApi, page: Page, browser: Browser
) -> None:
    await api.put("batchruns", made("r", [working(0, 5)]))
    async with foreign_site(page.server.port) as (address, got, finished):
        context = await browser.new_context()
        # Somebody who is signed in looks at the foreign site in another tab.
        own = await context.new_page()
        await own.goto(page.server.url)
        await expect(rows(own)).to_have_count(1)
        tab = await context.new_page()
        await tab.goto(address)
        async with asyncio.timeout(20):
            await finished.wait()
        await expect(rows(own)).to_have_count(1)
        # A name of a foreign site that leads to this machine.
        await tab.goto(f"http://rebound.example:{page.server.port}/")
        assert "does not name this server" in await tab.locator("body").inner_text()
        await context.close()
    said = dict(x.split("=", 1) for x in got)
    assert said.pop("end") == ""
    assert set(said.values()) == {"refused"}, said
    assert not [x for x in api.requests if x[0] != "GET"]


async def test_a_tab_without_the_token_says_where_to_get_it(page: Page, browser: Browser) -> None:
    context = await browser.new_context()
    tab = await context.new_page()
    once = page.server.one_time_url()
    await tab.goto(once)
    await expect(tab.locator(".overview")).to_be_visible()
    assert "code" not in tab.url
    await tab.reload()
    await expect(tab.locator(".overview")).to_be_visible()
    other = await context.new_page()
    for address in (once, f"http://127.0.0.1:{page.server.port}/"):
        await other.goto("about:blank")
        await other.goto(address)
        await expect(other.locator(".problem")).to_contain_text(
            "Open the URL that kubectl kubetask ui printed."
        )
    await context.close()


VIEWS = {
    "list": ("#/", ".table .row"),
    "run": (f"#/run/team/{DEMO}", ".tasks .row"),
    "task": (f"#/run/team/{DEMO}/task/27", ".panel .events li"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_fits_a_narrow_window_in_light_and_dark(
    api: FakeApi, page: Page, browser: Browser, scheme: Any
) -> None:
    run = await api.put("batchruns", scenes.demonstration())
    await with_pods(api, run, range(20, 34))
    await api.put("events", scenes.event(run, "BatchRun", "Queued", "40 tasks were accepted", 3050))
    for each, _ in scenes.unfinished().values():
        await api.put("batchruns", each)
    folder = os.environ.get("KUBETASK_SCREENSHOTS")
    for width in (360, 1280):
        size = {"width": width, "height": 860}
        async with looking(browser, page, viewport=size, color_scheme=scheme) as tab:
            for name, (address, shown) in VIEWS.items():
                await tab.evaluate("address => { location.hash = address }", address)
                await expect(tab.locator(shown).first).to_be_visible()
                assert await tab.evaluate("() => document.documentElement.scrollWidth") <= width
                if folder:
                    await tab.wait_for_timeout(600)
                    kind = "" if width == 1280 else "-narrow"
                    await tab.screenshot(path=Path(folder) / f"ui-{name}-{scheme}{kind}.png")
            back = await tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
            shade = sum(int(x) for x in re.findall(r"\d+", back)[:3])
            assert (shade < 150) == (scheme == "dark")
