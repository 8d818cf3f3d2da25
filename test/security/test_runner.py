"""What somebody may try who may run and not configure: the role kubetask-run, by a token of its own.

The same rows are tried with the roles that may read alone and that may configure, so that docs/threat-model.md is true.
"""

from collections.abc import Iterator

import pytest
from devcluster.base import Cluster

from kubetask_controller.api.context import secret_refusal
from support.integration.kubectl import Kubectl
from support.integration.objects import batch, config, run, task
from support.security.holders import (
    BESIDE,
    CONFIGURES,
    NOBODY,
    READS,
    RUNS,
    Holder,
    config_map,
    holder,
    secret,
)

pytestmark = pytest.mark.integration

ROLES = {
    "viewer": (("kubetask-view",), READS),
    "runner": (("kubetask-run",), READS | RUNS),
    "editor": (("kubetask-view", "kubetask-edit"), READS | RUNS | CONFIGURES),
    "agent": ((), {}),
}
ROWS = READS | RUNS | CONFIGURES | NOBODY | BESIDE


@pytest.fixture(scope="module")
def holders(cluster: Cluster, installed: Kubectl) -> Iterator[dict[str, Holder]]:
    """A holder for each role, in a namespace where what they reach for exists."""
    with cluster.namespace("roles") as namespace:
        admin = Kubectl(cluster.admin_kubeconfig, namespace)
        admin.apply(
            secret(),
            config_map(),
            config("default", allowedSecrets=[]),
            batch("b"),
            run("r", suspend=True),
            task("t", suspend=True),
        )
        found = {
            name: holder(cluster, namespace, f"kubetask-{name}", *roles)
            for name, (roles, _) in ROLES.items()
        }
        yield found


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("who", ROLES)
def test_each_role_may_do_its_own_part_and_no_other(
    holders: dict[str, Holder], who: str, row: str
) -> None:
    _, allowed = ROLES[who]
    method, path, *body = ROWS[row]
    code = holders[who].code(method, path, *body)
    assert code == 200 if row in allowed else code == 403


def _file(source: str, name: str) -> dict[str, object]:
    return {"type": "File", "file": {"name": "f", "source": {source: {"name": name, "key": "k"}}}}


@pytest.mark.parametrize(
    ("contexts", "allowed", "refused"),
    [
        ([_file("secretKeyRef", "db-admin")], [], True),
        ([_file("secretKeyRef", "db-admin")], ["private-credentials"], True),
        ([_file("secretKeyRef", "db")], ["db-admin"], True),
        ([_file("secretKeyRef", "a"), _file("secretKeyRef", "b")], ["a"], True),
        ([_file("secretKeyRef", "a"), _file("secretKeyRef", "b")], ["a", "b"], False),
        ([_file("configMapKeyRef", "db-admin")], [], False),
        ([_file("secretKeyRef", "db-admin")], None, False),
    ],
)
def test_a_secret_that_is_not_listed_is_no_file(
    contexts: list[dict[str, object]], allowed: list[str] | None, refused: bool
) -> None:
    settings = {} if allowed is None else {"allowedSecrets": allowed}
    said = secret_refusal(contexts, settings, config_name="default")
    assert (said is not None) == refused
    if said:
        assert "not in allowedSecrets of WorkspaceConfig default" in said


def test_a_task_that_names_a_secret_beside_the_list_never_runs(kubectl: Kubectl) -> None:
    kubectl.apply(config("default", allowedSecrets=["model"]), secret("db-admin"))
    kubectl.apply(task("t", _file("secretKeyRef", "db-admin")))
    status = kubectl.wait_phase("task/t", "Failed")["status"]
    assert status["reason"] == "SecretNotAllowed"
    assert "Secret db-admin" in status["message"]
    assert kubectl.items("jobs") == []
