"""The Pod of a task: what is the same for every task of a run, as a pure function of the WorkspaceConfig.

The init container of this project's image prepares the workspace; the agent's image needs nothing of ours. No
ServiceAccount token is mounted, the root file system need not be writable, and no uid is assumed.
"""

from dataclasses import dataclass
from typing import Any

from kubetask_controller.api import constants as c

JSON = dict[str, Any]

_HARDENED: JSON = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
"""What the ``restricted`` Pod Security Standard asks of a container and no agent needs."""

_PASSED_ON = (
    "nodeSelector",
    "tolerations",
    "affinity",
    "imagePullSecrets",
    "runtimeClassName",
    "priorityClassName",
)


@dataclass(frozen=True, slots=True)
class Images:
    """Images that the controller's flags name.

    Attributes:
        workspace: image of the init container.
        agent: image of the agent where no WorkspaceConfig names one.
        workspace_pull_policy: imagePullPolicy of the init container, empty for Kubernetes' own default.
    """

    workspace: str
    agent: str = c.DEFAULT_AGENT_IMAGE
    workspace_pull_policy: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What differs from one task to the next in its Pod.

    Attributes:
        env: variables of both containers.
        manifest: the TaskManifest as JSON, for the init container.
        files: sources of the projected volume.
        task_dir: the agent's working directory.
        active_deadline_seconds: how long the Pod may run, None for no limit.
    """

    env: list[JSON]
    manifest: str
    files: list[JSON]
    task_dir: str
    active_deadline_seconds: int | None = None


def pod_spec(config: JSON, images: Images, work: Work) -> JSON:
    """The PodSpec of a task.

    Args:
        config: the spec of the WorkspaceConfig, empty where there is none.
        images: images from the controller's flags.
        work: what is this task's own.
    """
    git = config.get("git") or {}
    spec: JSON = {
        "restartPolicy": "Never",
        "serviceAccountName": config.get("serviceAccountName") or c.DEFAULT_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}
        | (config.get("securityContext") or {}),
        "initContainers": [_workspace_container(git, images, work)],
        "containers": [_agent_container(config, images, work)],
        "volumes": _volumes(config, work),
    }
    spec |= {key: config[key] for key in _PASSED_ON if config.get(key)}
    if work.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = work.active_deadline_seconds
    return spec


def secret_mode(config: JSON) -> int:
    """Permissions of a file from a Secret: 0400 where its reader can be expected to own or share it, else 0444.

    The kubelet writes such files as root and adds read permission for the group where the Pod has an fsGroup. Without
    one, any other uid could not read a file of mode 0400; nobody outside of the Pod sees the volume either way.
    """
    context = config.get("securityContext") or {}
    return 0o400 if "fsGroup" in context or context.get("runAsUser") == 0 else 0o444


def _workspace_container(git: JSON, images: Images, work: Work) -> JSON:
    mounts = _common_mounts()
    env = [*work.env, {"name": c.ENV_TASK_SPEC, "value": work.manifest}]
    if git.get("credentials"):
        mounts.append(_mount(c.VOLUME_GIT_CREDENTIALS, c.MOUNT_GIT_CREDENTIALS, read_only=True))
        env.append({"name": c.ENV_GIT_CREDENTIALS, "value": c.MOUNT_GIT_CREDENTIALS})
    mounts += _host_mounts(git, shared_only=False)
    if git.get("signing"):
        mounts.append(_mount(c.VOLUME_GIT_SIGNING, c.MOUNT_GIT_SIGNING, read_only=True))
    if git.get("caBundle"):
        mounts.append(_mount(c.VOLUME_CA_BUNDLE, c.MOUNT_CA_BUNDLE, read_only=True))
    container: JSON = {
        "name": c.CONTAINER_WORKSPACE,
        "image": images.workspace,
        "command": list(c.WORKSPACE_COMMAND),
        "env": env,
        "volumeMounts": mounts,
        "securityContext": {**_HARDENED, "readOnlyRootFilesystem": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if images.workspace_pull_policy:
        container["imagePullPolicy"] = images.workspace_pull_policy
    return container


def _agent_container(config: JSON, images: Images, work: Work) -> JSON:
    git = config.get("git") or {}
    mounts = _agent_mounts(config, work)
    env = list(work.env)
    if (git.get("credentials") or {}).get("shareWithAgent"):
        mounts.append(_mount(c.VOLUME_GIT_CREDENTIALS, c.MOUNT_GIT_CREDENTIALS, read_only=True))
        env.append({"name": c.ENV_GIT_CREDENTIALS, "value": c.MOUNT_GIT_CREDENTIALS})
    mounts += _host_mounts(git, shared_only=True)
    if git.get("signing"):
        mounts.append(_mount(c.VOLUME_GIT_SIGNING, c.MOUNT_GIT_SIGNING, read_only=True))
    if git.get("caBundle"):
        mounts.append(_mount(c.VOLUME_CA_BUNDLE, c.MOUNT_CA_BUNDLE, read_only=True))
        given = {x["name"] for x in config.get("env") or ()}
        env += [{"name": x, "value": c.CA_COMBINED_FILE} for x in c.CA_ENV if x not in given]
    for position, credential in enumerate(config.get("credentials") or ()):
        _give_credential(credential, position, env, mounts)
    env += config.get("env") or ()
    container: JSON = {
        "name": c.CONTAINER_AGENT,
        "image": config.get("agentImage") or images.agent,
        "env": env,
        "workingDir": work.task_dir,
        "volumeMounts": mounts,
        "securityContext": dict(_HARDENED),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    for key in ("command", "args", "envFrom", "resources", "imagePullPolicy"):
        if config.get(key):
            container[key] = config[key]
    return container


def _host_mounts(git: JSON, *, shared_only: bool) -> list[JSON]:
    """The credentials of further git hosts: all of them, or those that the agent gets too."""
    return [
        _mount(
            f"{c.VOLUME_GIT_HOST_PREFIX}{position}",
            f"{c.MOUNT_GIT_HOSTS}/{host['name']}",
            read_only=True,
        )
        for position, host in enumerate(git.get("hosts") or ())
        if (credentials := host.get("credentials"))
        and (credentials.get("shareWithAgent") or not shared_only)
    ]


def _give_credential(credential: JSON, position: int, env: list[JSON], mounts: list[JSON]) -> None:
    ref = credential["secretRef"]
    if credential.get("env"):
        source = {"secretKeyRef": {"name": ref["name"], "key": ref["key"]}}
        env.append({"name": credential["env"], "valueFrom": source})
    if credential.get("mountPath"):
        mount = _mount(
            f"{c.VOLUME_CREDENTIAL_PREFIX}{position}", credential["mountPath"], read_only=True
        )
        if ref.get("key"):
            mount["subPath"] = ref["key"]
        mounts.append(mount)


def _volumes(config: JSON, work: Work) -> list[JSON]:
    git, mode = config.get("git") or {}, secret_mode(config)
    volumes: list[JSON] = [
        {"name": c.VOLUME_WORKSPACE} | _workspace_source(config.get("workspace") or {}),
        {"name": c.VOLUME_FILES, "projected": {"defaultMode": 0o444, "sources": work.files}},
        {"name": c.VOLUME_TMP, "emptyDir": {}},
        {"name": c.VOLUME_HOME, "emptyDir": {}},
    ]
    if git.get("credentials"):
        secret = {"secretName": git["credentials"]["secretRef"]["name"], "defaultMode": mode}
        volumes.append({"name": c.VOLUME_GIT_CREDENTIALS, "secret": secret})
    for position, host in enumerate(git.get("hosts") or ()):
        if host.get("credentials"):
            secret = {"secretName": host["credentials"]["secretRef"]["name"], "defaultMode": mode}
            volumes.append({"name": f"{c.VOLUME_GIT_HOST_PREFIX}{position}", "secret": secret})
    if git.get("signing"):
        secret = {"secretName": git["signing"]["secretRef"]["name"], "defaultMode": mode}
        volumes.append({"name": c.VOLUME_GIT_SIGNING, "secret": secret})
    if git.get("caBundle"):
        volumes.append(
            {"name": c.VOLUME_CA_BUNDLE, "projected": {"sources": [_ca_source(git["caBundle"])]}}
        )
    for position, credential in enumerate(config.get("credentials") or ()):
        if credential.get("mountPath"):
            ref = credential["secretRef"]
            volume: JSON = {
                "secretName": ref["name"],
                "defaultMode": credential.get("fileMode", mode),
            }
            if ref.get("key"):
                volume["items"] = [{"key": ref["key"], "path": ref["key"]}]
            volumes.append({"name": f"{c.VOLUME_CREDENTIAL_PREFIX}{position}", "secret": volume})
    return volumes


def _workspace_source(workspace: JSON) -> JSON:
    claim = workspace.get("persistentVolumeClaim")
    if claim:
        return {"persistentVolumeClaim": {"claimName": claim["claimName"]}}
    limit = (workspace.get("emptyDir") or {}).get("sizeLimit")
    return {"emptyDir": {"sizeLimit": limit} if limit else {}}


def _ca_source(bundle: JSON) -> JSON:
    kind, ref = next(
        (kind, bundle[key])
        for key, kind in (("configMapKeyRef", "configMap"), ("secretKeyRef", "secret"))
        if bundle.get(key)
    )
    path = c.CA_BUNDLE_FILE.rpartition("/")[2]
    return {kind: {"name": ref["name"], "items": [{"key": ref["key"], "path": path}]}}


def _common_mounts() -> list[JSON]:
    return [
        _mount(c.VOLUME_WORKSPACE, c.MOUNT_WORKSPACE),
        _mount(c.VOLUME_FILES, c.MOUNT_FILES, read_only=True),
        _mount(c.VOLUME_TMP, c.MOUNT_TMP),
        _mount(c.VOLUME_HOME, c.MOUNT_HOME),
    ]


def _agent_mounts(config: JSON, work: Work) -> list[JSON]:
    """On a claim that tasks share, an agent gets its own folder, and the repositories only to read from."""
    mounts = _common_mounts()
    if not _is_shared(config):
        return mounts
    repos, own = _mount(c.VOLUME_WORKSPACE, f"{c.MOUNT_WORKSPACE}/{c.REPOS_DIR}"), work.task_dir
    return [
        _mount(c.VOLUME_WORKSPACE, own) | {"subPath": own.removeprefix(f"{c.MOUNT_WORKSPACE}/")},
        repos | {"subPath": c.REPOS_DIR, "readOnly": True},
        *(x for x in mounts if x["name"] != c.VOLUME_WORKSPACE),
    ]


def _is_shared(config: JSON) -> bool:
    return bool((config.get("workspace") or {}).get("persistentVolumeClaim"))


def _mount(name: str, path: str, *, read_only: bool = False) -> JSON:
    mount: JSON = {"name": name, "mountPath": path}
    if read_only:
        mount["readOnly"] = True
    return mount
