"""The tree of a run, its lines in a pipe, and the picture on a terminal."""

import asyncio
import io
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from rich.console import Console

from kubetask_controller.api.indexes import format_indexes, parse_indexes
from kubetask_controller.cli.logs.output import LogOutput
from kubetask_controller.cli.progress import MANY, ChangeLines, _Picture
from kubetask_controller.cli.runview import run_view
from kubetask_controller.cli.terminal import Terminal
from kubetask_controller.cli.times import human, parse_duration
from kubetask_controller.cli.tree import DRAWN, PLAIN, render_tree
from support.cli.cliobjects import failed, queued, run, running, succeeded

NOW = datetime(2026, 1, 1, 10, 1, 5, tzinfo=UTC)


def tree(run: dict, **options) -> list[str]:
    return [line.plain for line in render_tree(run_view(run), now=NOW, **options)]


def test_the_tree_is_drawn_with_the_last_branch_closed():
    lines = tree(run("nightly", failed(0), running(1), running(2)), glyphs=DRAWN)
    assert lines == [
        "batchrun/nightly  Running  TasksRunning  1/3 done  1 failed  1m5s",
        "│  1/3 done",
        "├─ Failed (1)",
        "│  └─ 0  myorg/service-0  AgentError  4m12s  exit code 1",
        "└─ Running (2)",
        "   ├─ 1  myorg/service-1  TaskRunning  1m5s",
        "   └─ 2  myorg/service-2  TaskRunning  1m5s",
    ]


def test_columns_are_aligned_by_the_width_of_characters_on_a_terminal():
    wide, narrow = failed(0), failed(1)
    wide["contexts"][0]["repository"]["repo"] = "日本"
    lines = tree(run("nightly", wide, narrow), glyphs=PLAIN)
    (first, second) = [x for x in lines if "AgentError" in x]
    assert cell_len(first.partition("AgentError")[0]) == len(second.partition("AgentError")[0])
    out = io.StringIO()
    Terminal(out).table(["NAME", "STATE"], [["日本", "x"], ["service", "y"]])
    assert out.getvalue() == "NAME      STATE\n日本      x\nservice   y\n"


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_logs_on_a_terminal_have_colours_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    out = Screen()
    LogOutput(Terminal(out), {0: "o/r"}).write(0, b"hello")
    assert ("\x1b[" in out.getvalue()) is coloured


@pytest.mark.parametrize("read", [Terminal.read, Terminal.read_line])
def test_ctrl_c_interrupts_a_command_that_reads_its_input(read: Callable[[Terminal], str]):
    class Keyboard(io.StringIO):
        def read(self, *_: object) -> str:
            signal.raise_signal(signal.SIGINT)
            return ""

        readline = read

    went_on = False

    async def command() -> None:
        nonlocal went_on
        read(Terminal(stdin=Keyboard()))
        went_on = True

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(command())
    assert not went_on


def test_many_that_say_the_same_are_one_line_and_failures_never_are():
    tasks = [failed(i) for i in range(15)] + [queued(i) for i in range(15, 40)]
    lines = tree(run("nightly", *tasks), glyphs=PLAIN)
    assert "    15-39  Queued  25 tasks  waiting for a place" in lines
    assert sum("AgentError" in x for x in lines) == 15
    whole = tree(run("nightly", *tasks), glyphs=PLAIN, everything=True)
    assert sum("Queued" in x for x in whole) == 25


def test_many_that_succeeded_are_one_line_whatever_each_did():
    tasks = [{**succeeded(i), "message": f"did {i}"} for i in range(11)]
    lines = tree(run("nightly", *tasks), glyphs=PLAIN)
    assert lines[-1] == "    0-10  TaskSucceeded  11 tasks"
    few = tree(run("nightly", succeeded(0, pullRequest="https://h/1")), glyphs=PLAIN)
    assert few[-1] == "    0  myorg/service-0  TaskSucceeded  4m12s  https://h/1"


def test_many_that_wait_for_pods_of_their_own_are_one_line():
    tasks = [
        {**queued(i), "reason": "Starting", "jobName": f"j-{i}", "message": f"Pod j-{i}-x starts"}
        for i in range(11)
    ]
    assert tree(run("nightly", *tasks), glyphs=PLAIN)[-1] == "    0-10  Starting  11 tasks"


def test_a_run_that_nobody_has_taken_up():
    fresh = {"metadata": {"name": "new"}, "spec": {}, "status": {"observedGeneration": -1}}
    assert tree(fresh) == ["batchrun/new  not yet processed by a controller"]


def test_a_run_of_ten_thousand_whose_entries_were_given_up():
    large = run("big")
    large["status"] = {
        "phase": "Running",
        "reason": "TasksRunning",
        "progress": {"total": 10000, "pending": 4994, "running": 3, "completed": 5000, "failed": 1},
        "omitted": ["Contexts", "Times", "Tasks"],
        "completedIndexes": "0-4999",
        "failedIndexes": "5003",
        "startedIndexes": "0-5005",
        "tasks": [{"index": 5003, "status": "Failed", "reason": "OOMKilled"}],
    }
    lines = tree(large, glyphs=PLAIN)
    assert lines[0] == "batchrun/big  Running  TasksRunning  5001/10000 done  1 failed"
    assert lines[1:] == [
        "  Failed (1)",
        "    5003  OOMKilled",
        "  Started (5)",
        *(f"    {i}" for i in (5000, 5001, 5002, 5004, 5005)),
        "  Pending (4994)",
        "    5006-9999  4994 tasks",
        "  Succeeded (5000)",
        "    0-4999  5000 tasks",
    ]


def test_control_characters_of_others_do_not_reach_the_terminal():
    text = "\n".join(tree(run("nightly", failed(0, message="a\x1b[31m\r\nb\u202e"))))
    assert text.endswith("  a b")
    assert "\x1b" not in text


async def test_a_pipe_gets_a_line_for_each_change_and_none_twice():
    lines: list[str] = []
    show = ChangeLines(lambda text: lines.append(text.plain))
    for state in (
        run("nightly", running(0), queued(1)),
        run("nightly", running(0), queued(1)),
        run("nightly", succeeded(0), running(1)),
        run("nightly", succeeded(0), failed(1)),
    ):
        show(run_view(state))
    times = re.compile(r"^ *[0-9.]+s +")
    assert [times.sub("", line) for line in lines] == [
        "0/2  task 0  myorg/service-0  Running TaskRunning",
        "0/2  task 1  myorg/service-1  Pending Queued",
        "0/2  Running TasksRunning: 0/2 done",
        "1/2  task 0  myorg/service-0  Succeeded TaskSucceeded",
        "1/2  task 1  myorg/service-1  Running TaskRunning",
        "2/2  task 1  myorg/service-1  Failed AgentError: exit code 1",
        "batchrun/nightly Failed: 2/2 done (4m12s)",
    ]


async def test_a_run_of_many_tasks_gets_failures_and_counts_alone():
    lines: list[str] = []
    show = ChangeLines(lambda text: lines.append(text.plain))
    show(run_view(run("nightly", failed(0), *(running(i) for i in range(1, MANY + 2)))))
    assert len(lines) == 3
    assert "task 0" in lines[0]
    assert lines[2].endswith("201 running, 0 pending, 1 failed")


def test_the_picture_fits_the_terminal_and_shows_a_bar():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, height=20)
    picture = _Picture(lambda: console.height - 6)
    console.print(picture.draw())
    picture.show(run_view(run("nightly", *(failed(i) for i in range(100)))))
    console.print(picture.draw())
    text = stream.getvalue()
    assert "100 failed" in text
    assert len(text.splitlines()) <= 17


def test_indexes_as_text_and_back():
    assert format_indexes([5, 0, 1, 2, 39, 38, 5]) == "0-2,5,38-39"
    assert parse_indexes("0-2, 5") == {0, 1, 2, 5}
    assert format_indexes([]) == ""
    for wrong in ("a", "3-", "-1", "5-2", "1--2"):
        with pytest.raises(ValueError, match=r"index|begins"):
            parse_indexes(wrong)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (252, "4m12s"), (7500, "2h5m"), (273600, "3d4h")],
)
def test_durations_as_people_read_them(seconds: float, text: str):
    assert human(seconds) == text


def test_durations_as_people_write_them():
    assert [parse_duration(x) for x in ("90", "1.5s", "2m", "1h30m")] == [90, 1.5, 120, 5400]
    for wrong in ("", "s", "1d", "1h30"):
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(wrong)
