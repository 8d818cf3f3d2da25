"""What pipelines ask of a run's status, in every state of the table: the conditions of files in config/integrations."""

import json
from pathlib import Path
from typing import Any

import yaml

from support.reconcilers.states import Row, every_state

INTEGRATIONS = Path(__file__).resolve().parents[2] / "config" / "integrations"
LUA = (INTEGRATIONS / "argocd" / "health.lua").read_text()
(RUN,) = yaml.safe_load((INTEGRATIONS / "argo-workflows" / "workflow-template.yaml").read_text())[
    "spec"
]["templates"]


def matches(condition: str, found: dict[str, Any]) -> bool:
    """As Argo Workflows evaluates it: a label selector, each key a path whose value is compared as text."""
    for requirement in condition.split(","):
        path, operator, wanted = requirement.split()
        value: Any = found
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        if (text == wanted) != (operator in ("==", "=")):
            return False
    return True


def argo_workflows(found: dict[str, Any]) -> str:
    """Failure is asked for first."""
    if matches(RUN["resource"]["failureCondition"], found):
        return "Failed"
    return "Succeeded" if matches(RUN["resource"]["successCondition"], found) else "Running"


@every_state
def test_a_step_of_argo_workflows_ends_as_the_run_does(row: Row) -> None:
    verdict = {"Current": "Succeeded", "Failed": "Failed", "InProgress": "Running"}
    assert argo_workflows(row.status) == verdict[row.kstatus]


@every_state
def test_what_a_tekton_step_waits_for_comes_with_the_end_alone(row: Row) -> None:
    ended = "completionTime" in row.status["status"]
    assert ended == (row.kstatus in ("Current", "Failed"))
    assert not ended or (row.status["status"]["phase"] == "Succeeded") == (row.kstatus == "Current")


def test_argo_cds_own_config_map_has_the_script_that_is_tested() -> None:
    data = yaml.safe_load((INTEGRATIONS / "argocd" / "argocd-cm.yaml").read_text())["data"]
    kinds = ("BatchRun", "Task")
    assert data == {f"resource.customizations.health.kubetask.io_{x}": LUA for x in kinds}
