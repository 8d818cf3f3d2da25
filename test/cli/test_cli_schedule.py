"""``schedule``: the CronJob of a Batch, with the rights that it needs and no more."""

import json
from pathlib import Path

import pytest
import yaml

from support.cli.cliobjects import BATCH, Cli

SAMPLE = Path(__file__).resolve().parents[2] / "config/integrations/cronjob/nightly.yaml"


async def written(cli: Cli, *options: str) -> dict[str, dict]:
    """The manifests, by kind."""
    end = await cli("schedule", "deps", *options)
    assert (end.code, end.err) == (0, "")
    return {x["kind"]: x for x in yaml.safe_load_all(end.out)}


async def test_it_prints_what_starts_the_batch_and_changes_nothing(api, cli: Cli):
    await api.put("batches", BATCH)
    found = await written(cli, "--at", "0 2 * * *", "--canary", "3", "--max-cost", "40")
    assert not [x for x in api.requests if x[0] != "GET"]
    cron = found["CronJob"]["spec"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("0 2 * * *", "Forbid")
    assert (cron["successfulJobsHistoryLimit"], cron["failedJobsHistoryLimit"]) == (7, 7)
    run = yaml.safe_load(found["ConfigMap"]["data"]["batchrun.yaml"])
    assert run["metadata"] == {"generateName": "deps-", "labels": {"kubetask.io/schedule": "deps"}}
    assert run["spec"] == {
        "batchRef": "deps",
        "ttlSecondsAfterFinished": 14 * 24 * 3600,
        "ttlPolicy": "All",
        "taskLimit": 3,
        "maxCostUSD": "40",
    }
    assert {x["metadata"]["namespace"] for x in found.values()} == {"team"}


async def test_its_account_may_create_and_see_runs_alone(api, cli: Cli):
    await api.put("batches", BATCH)
    found = await written(cli, "--at", "@weekly", "--name", "weekly")
    assert found["Role"]["rules"] == [
        {
            "apiGroups": ["kubetask.io"],
            "resources": ["batchruns"],
            "verbs": ["create", "get", "list", "watch"],
        }
    ]
    pod = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    assert (pod["restartPolicy"], found["CronJob"]["metadata"]["name"]) == ("Never", "weekly")
    (container,) = pod["containers"]
    assert "--selector=kubetask.io/schedule=weekly" in container["command"]
    assert json.dumps(pod).count('"drop": ["ALL"]') == 2


async def test_the_sample_is_what_it_prints(api, cli: Cli):
    await api.put("batches", {**BATCH, "metadata": {"name": "update-dependencies"}})
    end = await cli("schedule", "update-dependencies", "--at", "0 2 * * *", "--name", "nightly")
    printed = list(yaml.safe_load_all(end.out.replace("  namespace: team\n", "")))
    assert printed == list(yaml.safe_load_all(SAMPLE.read_text()))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--at", "0 2 * *"), "--at: '0 2 * *' does not have the five fields of cron"),
        (("--at", "@sometimes"), "does not have the five fields of cron"),
        (("--at", "@daily", "--name", "Nightly"), "--name: 'Nightly' is not a name"),
        (("--at", "@daily", "--name", "x" * 53), "of at most 52"),
        (("--at", "@daily", "--keep", "long"), "--keep: 'long' is not a duration"),
    ],
)
async def test_what_cannot_be_a_schedule_is_a_usage_error(
    api, cli: Cli, options: tuple[str, ...], says: str
):
    await api.put("batches", BATCH)
    end = await cli("schedule", "deps", *options)
    assert (end.code, end.out) == (2, "")
    assert says in end.err


async def test_a_batch_that_does_not_exist_has_no_schedule(cli: Cli):
    end = await cli("schedule", "nope", "--at", "@daily")
    assert (end.code, end.err) == (4, "error: batch/nope not found in namespace team\n")
