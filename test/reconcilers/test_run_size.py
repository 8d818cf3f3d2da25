"""What a status gives up as a run grows, in which order, and what remains."""

import json
from typing import Any

import pytest

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.taskrun.state import TaskState
from support.reconcilers import runs

TASKS = 10_000


def _state(
    index: int, *, fails: bool, message: str = "", result: dict[str, Any] | None = None
) -> TaskState:
    return TaskState(
        Phase.FAILED if fails else Phase.SUCCEEDED,
        Reason.AGENT_ERROR if fails else Reason.TASK_SUCCEEDED,
        message,
        f"a-run-with-a-rather-long-name-task-{index}",
        runs.START,
        runs.END,
        result,
    )


def _size(status: dict[str, Any], spec: Any = None) -> int:
    return len(json.dumps([status, spec], separators=(",", ":")))


def test_a_small_run_gives_up_nothing() -> None:
    status = runs.status(runs.run(tasks=500), *(_state(i, fails=False) for i in range(500)))
    assert "omitted" not in status
    assert len(status["tasks"]) == 500
    assert status["tasks"][7]["contexts"][0]["repository"] == {"org": "acme", "repo": "service"}


@pytest.mark.parametrize(
    ("failures", "result"), [(0, {}), (50, {}), (TASKS, {}), (TASKS, {"summary": "x" * 3000})]
)
def test_ten_thousand_tasks_fit(failures: int, result: dict[str, Any]) -> None:
    found = runs.run(tasks=TASKS)
    states = [
        _state(i, fails=i < failures, message="m" * 400, result=result or None)
        for i in range(TASKS)
    ]
    status = runs.status(found, *states)
    assert _size(status, dict(found.spec)) < c.MAX_OBJECT_BYTES
    assert status["progress"]["failed"] == failures
    assert status["progress"]["completed"] == TASKS - failures
    # What was given up is named, in the documented order and without a gap.
    order = [x.value for x in c.Omitted]
    assert status["omitted"] == order[: len(status["omitted"])]
    # Whoever looks for failures finds them.
    shown = [x["index"] for x in status["tasks"] if x["status"] == "Failed"]
    assert shown == list(range(min(failures, 1000) if failures == TASKS else failures))


def test_every_other_task_failed_is_still_told_by_ranges() -> None:
    states = [_state(i, fails=bool(i % 2)) for i in range(TASKS)]
    status = runs.status(runs.run(tasks=TASKS), *states)
    assert status["failedIndexes"].split(",") == [str(i) for i in range(1, TASKS, 2)]
    assert status["completedIndexes"].split(",") == [str(i) for i in range(0, TASKS, 2)]
    assert _size(status) < c.MAX_OBJECT_BYTES
