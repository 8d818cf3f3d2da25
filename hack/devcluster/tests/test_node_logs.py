"""`GET …/pods/<name>/log` in all its forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from node_lab import IMAGE, PODS, NodeLab, open_lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[NodeLab]:
    async with open_lab(tmp_path) as lab:
        yield lab


async def test_a_log_is_cut_as_asked(lab: NodeLab) -> None:
    await lab.output("p", "for i in 1 2 3 4 5; do echo line $i; done; printf end")
    assert await lab.get_log("p") == (200, "line 1\nline 2\nline 3\nline 4\nline 5\nend")
    assert await lab.get_log("p", tailLines="2") == (200, "line 5\nend")
    assert await lab.get_log("p", tailLines="0") == (200, "")
    assert await lab.get_log("p", limitBytes="9") == (200, "line 1\nli")
    assert await lab.get_log("p", tailLines="2", limitBytes="3") == (200, "lin")


async def test_timestamps_are_those_of_the_lines(lab: NodeLab) -> None:
    await lab.output("p", "echo one; sleep 1.2; echo two")
    code, text = await lab.get_log("p", timestamps="true")
    stamps = [line.split(" ")[0] for line in text.splitlines()]
    assert code == 200
    assert [line.split(" ")[1] for line in text.splitlines()] == ["one", "two"]
    assert stamps == sorted(stamps)
    assert await lab.get_log("p", sinceTime=stamps[1]) == (200, "two\n")
    assert await lab.get_log("p", sinceSeconds="1") == (200, "two\n")


async def test_a_long_line_is_one_line(lab: NodeLab) -> None:
    await lab.output("p", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short")
    assert await lab.get_log("p") == (200, "x" * 40000 + "\nshort\n")
    assert await lab.get_log("p", tailLines="2") == (200, "x" * 40000 + "\nshort\n")


async def test_a_followed_log_ends_with_its_container(lab: NodeLab) -> None:
    lab.run("p", "echo one; sleep 0.3; echo two")
    await lab.running("p")
    assert await lab.get_log("p", follow="true") == (200, "one\ntwo\n")
    await lab.ended("p")
    assert await lab.get_log("p", follow="true") == (200, "one\ntwo\n")


async def test_a_followed_log_can_be_left(lab: NodeLab) -> None:
    lab.run("p", "echo one; sleep 30")
    await lab.running("p")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await lab.get_log("p", follow="true")


async def test_a_container_must_be_named_where_there_are_several(lab: NodeLab) -> None:
    def container(name: str) -> dict[str, object]:
        return {"name": name, "image": IMAGE, "command": ["echo", name]}

    spec = {
        "restartPolicy": "Never",
        "initContainers": [container("init")],
        "containers": [container("one"), container("two")],
    }
    lab.create(PODS, "p", spec=spec)
    await lab.ended("p")
    assert await lab.get_log("p") == (
        400,
        "a container name must be specified for pod p, choose one of: [init one two]",
    )
    assert await lab.get_log("p", container="none") == (
        400,
        "container none is not valid for pod p",
    )
    assert await lab.get_log("p", container="two") == (200, "two\n")
    assert await lab.get_log("p", container="init") == (200, "init\n")


async def test_without_a_former_run_there_is_no_previous_log(lab: NodeLab) -> None:
    await lab.output("p", "true")
    assert await lab.get_log("p", previous="true") == (
        400,
        'previous terminated container "agent" in pod "p" not found',
    )


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({"tailLines": "x"}, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            {"tailLines": "-1"},
            422,
            'PodLogOptions "" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
        ),
    ],
)
async def test_options_that_make_no_sense_are_refused(
    lab: NodeLab, query: dict[str, str], code: int, message: str
) -> None:
    await lab.output("p", "true")
    assert await lab.get_log("p", **query) == (code, message)
