"""Every state of a run, and what the tools that wait for runs make of it.

The rules are those of kstatus (`status.Compute`), Argo CD (health Lua), Flux (health check expressions), Argo Workflows
(conditions of a resource template) and `kubectl wait`.
"""

from pathlib import Path
from typing import Any

import cel
import lupa
import yaml

from support.reconcilers import runs
from support.reconcilers.states import Row, every_state

INTEGRATIONS = Path(__file__).resolve().parents[2] / "config" / "integrations"
LUA = (INTEGRATIONS / "argocd" / "health.lua").read_text()
EXPRESSIONS = yaml.safe_load((INTEGRATIONS / "flux" / "healthcheckexprs.yaml").read_text())
CONDITIONS = ("Complete", "Failed", "Suspended", "Ready", "Reconciling", "Stalled")


def kstatus(found: dict[str, Any]) -> str:
    """`status.Compute` of cli-utils for a kind that it has no rules of its own for."""
    if "deletionTimestamp" in found["metadata"]:
        return "Terminating"
    status = found.get("status") or {}
    if (
        status.get("observedGeneration", found["metadata"]["generation"])
        != found["metadata"]["generation"]
    ):
        return "InProgress"
    conditions = status.get("conditions") or []
    for each in conditions:
        if each["type"] == "Reconciling" and each["status"] == "True":
            return "InProgress"
        if each["type"] == "Stalled" and each["status"] == "True":
            return "Failed"
    for each in conditions:
        if each["type"] == "Ready":
            return "Current" if each["status"] == "True" else "InProgress"
    return "Current"


def flux(found: dict[str, Any]) -> str:
    """The first expression that is true, in the order in which Flux asks."""
    (wanted,) = [x for x in EXPRESSIONS["healthCheckExprs"] if x["kind"] == found["kind"]]
    for verdict in ("inProgress", "failed", "current"):
        if cel.evaluate(wanted[verdict], {k: found[k] for k in ("metadata", "spec", "status")}):
            return {"inProgress": "InProgress", "failed": "Failed", "current": "Current"}[verdict]
    return "Unknown"


def argo_cd(found: dict[str, Any]) -> str:
    """What the health script says, run by a Lua without libraries."""
    runtime = lupa.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    for library in ("os", "io", "package", "debug", "string", "table", "math"):
        runtime.globals()[library] = None
    runtime.globals()["obj"] = runtime.table_from(found, recursive=True)
    return str(runtime.execute(LUA)["status"])


@every_state
def test_phase_reason_and_conditions_are_those_of_the_table(row: Row) -> None:
    status = row.status["status"]
    assert (status.get("phase", ""), status.get("reason", "")) == (row.phase, row.reason)
    conditions = {x["type"]: x["status"] for x in status.get("conditions", ())}
    if row.phase:
        # They persist as False: a tool that waits for one must find it.
        assert conditions == {x: str(x in row.true) for x in CONDITIONS}
        assert status["observedGeneration"] == row.status["metadata"]["generation"]
        assert ("completionTime" in status) == (row.phase in ("Succeeded", "Failed"))
        assert "\n" not in status["message"]


@every_state
def test_kstatus_and_flux_tell_an_end_from_a_wait(row: Row) -> None:
    assert kstatus(row.status) == row.kstatus
    assert flux(row.status) == row.kstatus


@every_state
def test_a_change_of_the_spec_is_in_progress_until_it_was_seen(row: Row) -> None:
    metadata = {**row.status["metadata"], "generation": 4}
    changed = {**row.status, "metadata": metadata}
    assert (kstatus(changed), flux(changed)) == ("InProgress", "InProgress")
    assert argo_cd(changed) == "Progressing"


@every_state
def test_argo_cd_shows_the_health(row: Row) -> None:
    assert argo_cd(row.status) == row.argo_cd


@every_state
def test_a_resource_template_of_argo_workflows_ends_when_the_run_does(row: Row) -> None:
    phase = row.status["status"].get("phase", "")
    assert (phase == "Succeeded") == (row.kstatus == "Current")
    assert (phase == "Failed") == (row.kstatus == "Failed")
    # It compares with label selectors: values are labels, and numbers must be there even when they are 0.
    if phase:
        assert phase.isalpha()
        assert all(isinstance(x, int) for x in row.status["status"]["progress"].values())


@every_state
def test_counters_sum_up_to_the_total(row: Row) -> None:
    progress = row.status["status"].get("progress")
    if progress is not None:
        parts = ("pending", "running", "completed", "failed")
        assert sum(progress[x] for x in parts) == progress["total"]
        ended = progress["completed"] + progress["failed"]
        assert row.status["status"]["done"] == f"{ended}/{progress['total']}"


def test_transition_times_move_only_with_the_status_of_a_condition() -> None:
    before = runs.status(runs.run(tasks=2), runs.RUNNING, runs.QUEUED)
    for each in before["conditions"]:
        each["lastTransitionTime"] = runs.START
    after = runs.status(runs.run(tasks=2, status=before), runs.SUCCEEDED, runs.SUCCEEDED)
    moved = {x["type"] for x in after["conditions"] if x["lastTransitionTime"] != runs.START}
    assert moved == {"Complete", "Ready", "Reconciling"}
