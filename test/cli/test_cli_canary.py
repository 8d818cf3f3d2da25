"""A run that starts small: --canary, --max-cost, promote, and what status says about both."""

import pytest

from support.cli.cliobjects import BATCH, Cli, entry, failed, run, succeeded


def spec(api, name: str) -> dict:
    return api.objects["batchruns", "team", name]["spec"]


def held(index: int) -> dict:
    return entry(index, "Pending", "TaskLimit", message="taskLimit is 2")


def canary(**more: object) -> dict:
    tasks = [succeeded(0, usage={"costUSD": "1.50"}), succeeded(1, usage={"costUSD": "0.50"})]
    return run("nightly", *tasks, *(held(i) for i in range(2, 10)), taskLimit=2, **more)


async def test_run_starts_a_canary_with_a_budget(api, cli: Cli):
    await api.put("batches", BATCH)
    end = await cli("run", "deps", "--canary", "3", "--max-cost", "7.50", "--name", "r")
    assert (end.code, spec(api, "r")) == (
        0,
        {"batchRef": "deps", "taskLimit": 3, "maxCostUSD": "7.50"},
    )


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--max-cost", "0"), "'0' is not an amount of US dollars such as 25 or 2.50"),
        (("--max-cost", "-1"), "is not an amount of US dollars"),
        (("--max-cost", "NaN"), "is not an amount of US dollars"),
        (("--canary", "0"), "must be at least 1"),
    ],
)
async def test_a_canary_of_nothing_and_no_budget_are_usage_errors(
    cli: Cli, capsys, option: tuple[str, str], says: str
):
    assert (await cli("run", "deps", *option)).code == 2
    assert says in capsys.readouterr().err


async def test_promote_lets_some_more_or_all_start_and_says_what_they_will_cost(api, cli: Cli):
    await api.put("batchruns", canary())
    end = await cli("promote", "nightly", "3")
    assert (end.code, end.out) == (0, "batchrun/nightly promoted\n")
    assert end.err.splitlines() == [
        "3 more tasks may start: 5 of 10 in all.",
        "At the mean cost so far ($1.00 a task) they cost about $3.00; $2.00 is spent.",
    ]
    assert spec(api, "nightly")["taskLimit"] == 5
    await cli("promote", "nightly", "--all")
    assert "taskLimit" not in spec(api, "nightly")


async def test_promote_beyond_the_last_task_removes_the_limit(api, cli: Cli):
    await api.put("batchruns", canary())
    end = await cli("promote", "nightly", "100")
    assert "8 more tasks may start: all 10 of the run." in end.err
    assert "taskLimit" not in spec(api, "nightly")


async def test_promote_with_a_dry_run_changes_nothing(api, cli: Cli):
    await api.put("batchruns", canary())
    end = await cli("promote", "nightly", "--all", "--dry-run")
    assert (end.code, end.out) == (0, "")
    assert "all 10 of the run" in end.err
    assert not [x for x in api.requests if x[0] != "GET"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nightly",), 2, "promote needs either a number of tasks or --all"),
        (("nightly", "3", "--all"), 2, "promote needs either a number of tasks or --all"),
        (("task/x", "--all"), 4, "task/x not found"),
        (("done", "--all"), 1, "batchrun/done has already ended: Failed"),
        (("whole", "--all"), 1, "batchrun/whole has no taskLimit"),
    ],
)
async def test_promote_says_what_cannot_be_promoted(
    api, cli: Cli, arguments: tuple[str, ...], code: int, says: str
):
    await api.put("batchruns", canary())
    await api.put("batchruns", run("done", failed(0), taskLimit=1))
    await api.put("batchruns", run("whole", succeeded(0), held(1)))
    end = await cli("promote", *arguments)
    assert end.code == code
    assert says in end.err


async def test_status_shows_what_is_spent_and_projected_and_what_to_do(api, cli: Cli):
    await api.put("batchruns", canary(maxCostUSD="12"))
    end = await cli("status", "nightly")
    assert "spent $2.00, projected $10.00 of at most $12.00" in end.out.splitlines()[0]
    assert "8 tasks wait: taskLimit allows only the first 2 tasks to start." in end.err
    assert "kubectl kubetask -n team promote nightly --all" in end.err


async def test_status_explains_a_run_that_ended_over_its_budget(api, cli: Cli):
    over = run(
        "r", succeeded(0, usage={"costUSD": "5"}), failed(1, "BudgetExceeded"), maxCostUSD="5"
    )
    over["status"] |= {"reason": "BudgetExceeded", "message": "the tasks cost $5.00 of $5.00"}
    await api.put("batchruns", over)
    end = await cli("status", "r")
    assert end.code == 1
    assert "the cost of the tasks has reached maxCostUSD" in end.err
