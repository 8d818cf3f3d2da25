"""The Pod and the Job of a task, from the fields of a WorkspaceConfig."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from kubetask_controller.api.pod import QUANTITY_PATTERN
from kubetask_controller.reconcilers.taskrun.files import Owner
from kubetask_controller.reconcilers.taskrun.job_template import Template
from kubetask_controller.reconcilers.taskrun.pod_template import Images, amount

JSON = dict[str, Any]
CONFIG = Path(__file__).parents[2] / "config"
OWNER = Owner("BatchRun", "team", "run", "5a9e0b1c-0000-4000-8000-000000000001")


def job(spec: JSON | None = None, *, backoff_limit: int | None = None, **config: Any) -> JSON:
    template = Template(OWNER, {}, spec or {}, config, "default", Images("workspace:1"), {})
    return template.job([], 0, backoff_limit=backoff_limit)


def pod(**config: Any) -> JSON:
    return dict(job(**config)["spec"]["template"]["spec"])


def agent(**config: Any) -> JSON:
    (container,) = pod(**config)["containers"]
    return dict(container)


def preparation(**config: Any) -> JSON:
    return dict(pod(**config)["initContainers"][-1])


def environment(container: JSON) -> dict[str, Any]:
    names = [x["name"] for x in container["env"]]
    assert len(names) == len(set(names))
    return {x["name"]: x.get("value", x.get("valueFrom")) for x in container["env"]}


def mounts(container: JSON) -> dict[str, str]:
    paths = [x["mountPath"] for x in container["volumeMounts"]]
    assert len(paths) == len(set(paths))
    return {x["mountPath"]: x["name"] for x in container["volumeMounts"]}


# --- restricted by default


def test_the_restricted_standard_admits_a_pod_of_which_nothing_is_said() -> None:
    spec = pod(sidecars=[{"name": "db", "image": "postgres:18"}])
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in (*spec["initContainers"], *spec["containers"]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_one_field_lets_an_image_run_as_root() -> None:
    context = pod(securityContext={"runAsNonRoot": False})["securityContext"]
    assert context == {"runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}}


def test_the_agents_own_security_settings_reach_its_container_alone() -> None:
    own = {
        "readOnlyRootFilesystem": True,
        "runAsUser": 1000,
        "capabilities": {"add": ["NET_BIND_SERVICE"]},
    }
    spec = pod(containerSecurityContext=own)
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsUser": 1000,
        "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
    }
    assert "runAsUser" not in spec["initContainers"][0]["securityContext"]


def test_folders_that_tools_need_stay_writable_below_a_read_only_root() -> None:
    read_only = {"readOnlyRootFilesystem": True}
    writable = mounts(agent(containerSecurityContext=read_only))
    assert {"/tmp", "/var/tmp", "/home/agent", "/workspace"} <= set(writable)
    assert "/var/tmp" not in mounts(agent())
    own = {"volumes": [{"name": "x", "emptyDir": {}}]}
    given = agent(
        containerSecurityContext=read_only,
        volumeMounts=[{"name": "x", "mountPath": "/var/tmp"}],
        **own,
    )
    assert mounts(given)["/var/tmp"] == "x"


def test_the_preparation_and_the_agent_each_have_a_tmp_of_their_own() -> None:
    assert mounts(preparation())["/tmp"] != mounts(agent())["/tmp"]


def test_volumes_of_a_task_cannot_fill_the_disk_of_its_node() -> None:
    volumes = pod(containerSecurityContext={"readOnlyRootFilesystem": True})["volumes"]
    for volume in volumes:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"], volume["name"]
    limit = {"emptyDir": {"sizeLimit": "50Gi"}}
    (workspace,) = (x for x in pod(workspace=limit)["volumes"] if x["name"] == "workspace")
    assert workspace["emptyDir"] == {"sizeLimit": "50Gi"}


# --- resources of the preparation

DEFAULT = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, DEFAULT),
        (
            {"limits": {"memory": "4Gi"}},
            {"requests": DEFAULT["requests"], "limits": {"cpu": "1", "memory": "4Gi"}},
        ),
        # A default never contradicts what is given: the Pod would be refused.
        (
            {"limits": {"memory": "64Mi", "cpu": "50m"}},
            {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"cpu": "50m", "memory": "64Mi"},
            },
        ),
        (
            {"requests": {"memory": "2Gi", "ephemeral-storage": "1Gi"}},
            {
                "requests": {"cpu": "100m", "memory": "2Gi", "ephemeral-storage": "1Gi"},
                "limits": {"cpu": "1", "memory": "2Gi"},
            },
        ),
    ],
)
def test_the_preparation_has_requests_and_limits(given: JSON, expected: JSON) -> None:
    assert preparation(workspace={"resources": given})["resources"] == expected


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        *((2, 2), ("500m", 0.5), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 1.5 * 1024**3)),
        *(("1e3", 1000), ("2E", 2 * 10**18), ("1Ei", 2**60), (".5", 0.5), ("100n", 1e-7)),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(quantity: int | str, number: float) -> None:
    assert float(amount(quantity, "limits.cpu")) == pytest.approx(number)


@given(st.from_regex(QUANTITY_PATTERN, fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_every_quantity_that_is_admitted_is_read(quantity: str) -> None:
    assume(len(quantity) <= 64)
    assert amount(quantity, "limits.cpu") >= 0


@pytest.mark.parametrize("quantity", ["1e5.5", "9e999999999", "1e5Ki", "-1", "", "1.2.3", "1\n"])
def test_what_is_no_quantity_is_an_error_that_names_its_field(quantity: str) -> None:
    assert not re.fullmatch(QUANTITY_PATTERN, quantity)
    with pytest.raises(
        ValueError, match=r"(?s)^workspace\.resources\.limits\.cpu: .* is not a quantity"
    ):
        preparation(workspace={"resources": {"limits": {"cpu": quantity}}})


# --- labels

SELECTING = {
    "manager/pod_disruption_budget.yaml": lambda x: x["selector"]["matchLabels"],
    "manager/metrics_service.yaml": lambda x: x["selector"],
    "network-policy/network_policy.yaml": lambda x: x["podSelector"]["matchLabels"],
    "components/network-policy/network_policy.yaml": lambda x: x["podSelector"]["matchLabels"],
}


@pytest.mark.parametrize("file", SELECTING)
def test_no_labels_make_a_task_a_pod_of_the_controller(file: str) -> None:
    made = yaml.safe_load((CONFIG / file).read_text())
    wanted = SELECTING[file](made["spec"])
    labels = job(podLabels=wanted)["spec"]["template"]["metadata"]["labels"]
    assert not wanted.items() <= labels.items()


# --- proxy

PROXY = {"http": "http://proxy.example.com:3128", "https": "http://proxy.example.com:3129"}


def test_a_proxy_reaches_both_containers_in_upper_and_lower_case() -> None:
    for container in (preparation(proxy=PROXY), agent(proxy=PROXY)):
        env = environment(container)
        assert env["HTTP_PROXY"] == env["http_proxy"] == PROXY["http"]
        assert env["HTTPS_PROXY"] == env["https_proxy"] == PROXY["https"]
        assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,::1,.svc,.cluster.local"
    assert environment(agent(proxy={**PROXY, "noProxy": ".corp"}))["no_proxy"] == ".corp"


def test_a_proxy_with_a_password_comes_from_a_secret() -> None:
    env = environment(preparation(proxy={"secretRef": {"name": "proxy"}}))
    for name, key in (("HTTP_PROXY", "http"), ("https_proxy", "https")):
        assert env[name] == {"secretKeyRef": {"name": "proxy", "key": key, "optional": True}}


def test_a_proxy_that_env_names_goes_before() -> None:
    env = environment(agent(proxy=PROXY, env=[{"name": "https_proxy", "value": "http://other"}]))
    assert env["https_proxy"] == "http://other"
    assert "HTTPS_PROXY" not in env
    assert env["HTTP_PROXY"] == PROXY["http"]


def test_without_a_proxy_no_variable_says_so() -> None:
    assert not [x for x in environment(agent()) if "proxy" in x.lower()]


# --- volumes, sidecars, files below HOME


def test_volumes_of_a_config_are_mounted_where_it_says() -> None:
    volumes = [{"name": "cache", "persistentVolumeClaim": {"claimName": "npm"}}]
    found = pod(volumes=volumes, volumeMounts=[{"name": "cache", "mountPath": "/cache"}])
    assert volumes[0] in found["volumes"]
    assert mounts(found["containers"][0])["/cache"] == "cache"
    assert "/cache" not in mounts(found["initContainers"][0])


def test_sidecars_start_before_the_preparation_and_end_after_the_agent() -> None:
    database = {
        "name": "db",
        "image": "postgres:18",
        "startupProbe": {"tcpSocket": {"port": 5432}},
        "securityContext": {"runAsUser": 999},
    }
    first, last = pod(sidecars=[database])["initContainers"]
    assert last["name"] == "workspace"
    assert first["name"] == "db"
    assert first["restartPolicy"] == "Always"
    assert first["startupProbe"] == database["startupProbe"]
    assert first["securityContext"]["runAsUser"] == 999


def test_files_below_home_come_from_text_and_from_objects() -> None:
    files = [
        {"path": ".claude/settings.json", "inline": "{$(HOME)}"},
        {"path": ".codex/config.toml", "configMapKeyRef": {"name": "agents", "key": "codex"}},
        {"path": ".netrc", "secretKeyRef": {"name": "netrc", "key": "netrc"}, "mode": 0o600},
        {"path": ".claude/skills/review", "configMapRef": {"name": "review"}},
    ]
    spec = pod(homeFiles=files)
    container = spec["initContainers"][0]
    text = environment(container)["KUBETASK_HOME_FILES"]
    # Kubernetes would expand $(HOME), and reads $$ as $.
    assert json.loads(text.replace("$$", "$")) == [
        {"path": ".claude/settings.json", "mode": 0o666, "inline": "{$(HOME)}"},
        {"path": ".codex/config.toml", "mode": 0o666, "source": 1, "key": "codex"},
        {"path": ".netrc", "mode": 0o600, "source": 2, "key": "netrc"},
        {"path": ".claude/skills/review", "mode": 0o666, "source": 3},
    ]
    volumes = {x["name"]: x for x in spec["volumes"]}
    assert volumes["home-file-1"]["configMap"] == {
        "name": "agents",
        "items": [{"key": "codex", "path": "codex"}],
    }
    assert volumes["home-file-2"]["secret"]["secretName"] == "netrc"
    assert volumes["home-file-3"]["configMap"] == {"name": "review"}
    assert "/kubetask/home/3" in mounts(container)
    assert not [x for x in mounts(spec["containers"][0]) if x.startswith("/kubetask/home")]


# --- the Job

DISRUPTED = {
    "action": "FailJob",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}


def test_a_disruption_ends_the_job_whatever_its_backoff_limit() -> None:
    assert job()["spec"]["podFailurePolicy"]["rules"] == [DISRUPTED]
    retried = job({"backoffLimit": 2})["spec"]["podFailurePolicy"]["rules"]
    assert retried[0] == DISRUPTED


def test_a_sidecar_that_fails_alone_never_starts_a_second_agent() -> None:
    _, agent_rule, workspace_rule, others = job({"backoffLimit": 2})["spec"]["podFailurePolicy"][
        "rules"
    ]
    for rule, name in ((agent_rule, "agent"), (workspace_rule, "workspace")):
        assert rule["action"] == "Count"
        assert rule["onExitCodes"]["containerName"] == name
    assert others == {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}}


def test_a_job_in_place_of_a_disrupted_one_has_the_tries_that_are_left() -> None:
    assert job({"backoffLimit": 2}, backoff_limit=1)["spec"]["backoffLimit"] == 1
    assert job({"backoffLimit": 2}, backoff_limit=0)["spec"]["podFailurePolicy"]["rules"] == [
        DISRUPTED
    ]


def test_home_files_in_any_script_fit_into_the_environment_of_a_process() -> None:
    files = [{"path": f".claude/skills/{x}.md", "inline": "本" * 8000} for x in "abc"]
    found = environment(preparation(homeFiles=files))["KUBETASK_HOME_FILES"]
    assert len(found.encode()) < 131_072
    assert [x["inline"] for x in json.loads(found)] == ["本" * 8000] * 3
    with pytest.raises(ValueError, match=r"homeFiles have 1.* bytes, at most 130000"):
        pod(homeFiles=[{"path": "a", "inline": "𝄞" * 32_768}])
