"""results as a table, JSON and CSV, and for runs whose status gave them up."""

import csv
import io
import json

from support.cli.cliobjects import Cli, ended_pod, entry, failed, run, running, succeeded
from support.cli.fakeapi import failure

RESULT = {
    "summary": "Bumped 3 packages,\nall tests pass",
    "outcome": "Changed",
    "pullRequest": "https://github.com/myorg/service-0/pull/7",
    "branch": "kubetask/nightly-0",
    "commits": ["abc", "def"],
    "usage": {"inputTokens": 1200, "outputTokens": 34, "costUSD": "0.10"},
    "model": "own field",
}


async def test_the_table_shows_columns_that_say_something_and_the_cost_in_all(api, cli: Cli):
    other = succeeded(1, outcome="NoChanges", usage={"costUSD": "0.20"})
    await api.put("batchruns", run("nightly", succeeded(0, **RESULT), other, running(2)))
    end = await cli("results", "nightly")
    lines = end.out.splitlines()
    assert lines[0].split() == [
        "INDEX",
        "TARGET",
        "STATUS",
        "REASON",
        "OUTCOME",
        "PULL",
        "REQUEST",
        "COST",
        "USD",
    ]
    assert lines[1].split() == [
        "0",
        "myorg/service-0",
        "Succeeded",
        "TaskSucceeded",
        "Changed",
        RESULT["pullRequest"],
        "0.10",
    ]
    assert len(lines) == 4
    assert end.err == "2/3 done, 0.30 USD in all\n"


async def test_json_has_the_whole_result_and_fields_of_its_own(api, cli: Cli):
    await api.put("batchruns", run("nightly", succeeded(0, **RESULT), failed(1)))
    first, second = json.loads((await cli("results", "nightly", "-o", "json")).out)
    assert first["result"] == RESULT
    assert first["target"] == "myorg/service-0"
    assert (second["status"], second["result"]) == ("Failed", None)


async def test_csv_is_read_back_whole_and_holds_no_formula(api, cli: Cli):
    evil = succeeded(1, summary='=HYPERLINK("http://evil")')
    await api.put("batchruns", run("nightly", succeeded(0, **RESULT), evil))
    end = await cli("results", "nightly", "-o", "csv")
    first, second = csv.DictReader(io.StringIO(end.out))
    assert first["summary"] == RESULT["summary"]
    assert (first["commits"], first["inputTokens"], first["seconds"]) == ("abc def", "1200", "252")
    assert second["summary"] == '\'=HYPERLINK("http://evil")'
    assert second["costUSD"] == ""


async def test_a_large_run_gets_targets_from_its_snapshot_and_results_from_its_pods(api, cli: Cli):
    large = run("nightly")
    large["status"] |= {
        "phase": "Failed",
        "progress": {"total": 4, "pending": 0, "running": 0, "completed": 3, "failed": 1},
        "omitted": ["Contexts", "Times", "Tasks"],
        "completedIndexes": "0-1,3",
        "failedIndexes": "2",
        "startedIndexes": "0-3",
        "batchSnapshot": "nightly-snapshot",
        "tasks": [{"index": 2, "status": "Failed", "reason": "AgentError", "message": "exit 1"}],
    }
    await api.put("batchruns", large)
    lists = [
        [{"type": "Repository", "repository": {"org": "o", "repo": f"r{i}", "branch": "main"}}]
        for i in range(4)
    ]
    snapshot = {"metadata": {"name": "nightly-snapshot"}, "data": {"variableContexts": lists}}
    await api.put("controllerrevisions", snapshot)
    await api.put("pods", ended_pod(0, message=json.dumps(RESULT)))
    await api.put("pods", ended_pod(1, message="no JSON"))
    end = await cli("results", "nightly", "-o", "json")
    rows = json.loads(end.out)
    assert [x["target"] for x in rows] == [f"o/r{i}@main" for i in range(4)]
    assert [x["status"] for x in rows] == ["Succeeded", "Succeeded", "Failed", "Succeeded"]
    assert rows[0]["result"] == RESULT
    assert rows[0]["jobName"] == "nightly-task-0"
    omits = "task 3: the status of this large run omits their results, and their Pods"
    assert end.err == f"{omits} were deleted\n"
    api.refuse = lambda x: failure(403, "no pods") if x.path.endswith("/pods") else None
    end = await cli("results", "nightly", "-o", "json")
    assert end.err == f"{omits.replace('3', '0-1,3')} cannot be read: no pods\n"
    api.refuse = lambda _: None
    tree = (await cli("status", "nightly")).out
    assert "2  o/r2@main  AgentError  exit 1" in tree


async def test_a_task_that_never_started_lacks_no_result(api, cli: Cli):
    large = run("nightly", failed(0), entry(1, "Failed", "Cancelled"))
    large["status"]["omitted"] = ["Contexts", "Times", "Tasks", "Details"]
    await api.put("batchruns", large)
    end = await cli("results", "nightly", "-o", "json")
    assert end.err.startswith("task 0: the status of this large run omits")
