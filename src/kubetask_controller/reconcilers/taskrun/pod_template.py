"""The Pod of a task: the parts that all tasks of a run share, as a pure function of the WorkspaceConfig.

The init container of this project's image prepares the workspace; the agent's image needs nothing of ours. No
ServiceAccount token is mounted, the root file system need not be writable, and no uid is assumed. Unless the
WorkspaceConfig sets other values, the restricted Pod Security Standard admits the Pod, and a quota finds requests and
limits on the init container.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal

from kubetask_controller.api import constants as c
from kubetask_controller.types import JSON

_HARDENED: JSON = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
"""The requirements of the ``restricted`` Pod Security Standard for a container, which no agent needs to override."""

_PREPARATION_RESOURCES: JSON = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}
"""Of the init container, each amount unless ``workspace.resources`` has one for it."""

_WORKSPACE_SIZE = "20Gi"
_SCRATCH_SIZE = "10Gi"
"""Of ``/tmp`` and of the home folder: a runaway task is evicted before the disk of its node is full."""

_HOME_FILE_MODE = 0o666

MAX_VARIABLE_BYTES = 130_000
"""Of an environment variable: Linux admits 131,072, its name included."""

_QUANTITY = re.compile(
    r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i))?"
)
_SUFFIXES = {
    **{x: Decimal(1000) ** power for power, x in enumerate(("n", "u", "m", "", *"kMGTPE"), -3)},
    **{f"{x}i": Decimal(1024) ** power for power, x in enumerate("KMGTPE", 1)},
}

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
class PodParts:
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


def pod_spec(config: JSON, images: Images, parts: PodParts) -> JSON:
    """The PodSpec of a task.

    Args:
        config: the spec of the WorkspaceConfig, empty where there is none.
        images: images from the controller's flags.
        parts: the data of this task.
    """
    spec: JSON = {
        "restartPolicy": "Never",
        "serviceAccountName": config.get("serviceAccountName") or c.DEFAULT_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            **(config.get("securityContext") or {}),
        },
        "initContainers": [
            *(_sidecar(each) for each in config.get("sidecars") or ()),
            _workspace_container(config, images, parts),
        ],
        "containers": [_agent_container(config, images, parts)],
        "volumes": _volumes(config, parts),
    }
    spec |= {key: config[key] for key in _PASSED_ON if config.get(key)}
    if parts.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = parts.active_deadline_seconds
    return spec


def secret_mode(config: JSON) -> int:
    """Permissions of a file from a Secret: 0400 where its reader can be expected to own or share it, else 0444.

    The kubelet writes such files as root and adds read permission for the group where the Pod has an fsGroup. Without
    one, any other uid could not read a file of mode 0400; the volume is not visible outside of the Pod either way.
    """
    context = config.get("securityContext") or {}
    return 0o400 if "fsGroup" in context or context.get("runAsUser") == 0 else 0o444


def _fitting(value: str, what: str) -> str:
    """The value of a variable, or ValueError if no process can be started with it."""
    size = len(value.encode())
    if size > MAX_VARIABLE_BYTES:
        raise ValueError(
            f"{what} have {size} bytes, at most {MAX_VARIABLE_BYTES} are possible: shorten them"
        )
    return value


def _workspace_container(config: JSON, images: Images, parts: PodParts) -> JSON:
    git = config.get("git") or {}
    mounts = _common_mounts(c.VOLUME_WORKSPACE_TMP)
    manifest = _fitting(parts.manifest, "the contexts and the pullRequest of the task")
    env = [*parts.env, {"name": c.ENV_TASK_SPEC, "value": manifest}]
    env += _proxy_env(config.get("proxy") or {})
    if config.get("homeFiles"):
        files = _home_files(config)
        text = literal(json.dumps(files, ensure_ascii=False))
        env.append({"name": c.ENV_HOME_FILES, "value": _fitting(text, "homeFiles")})
        mounts += [
            _mount(
                f"{c.VOLUME_HOME_FILE_PREFIX}{x['source']}",
                f"{c.MOUNT_HOME_FILES}/{x['source']}",
                read_only=True,
            )
            for x in files
            if "source" in x
        ]
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
        "resources": _preparation_resources(config.get("workspace") or {}),
        "securityContext": {**_HARDENED, "readOnlyRootFilesystem": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if images.workspace_pull_policy:
        container["imagePullPolicy"] = images.workspace_pull_policy
    return container


def _agent_container(config: JSON, images: Images, parts: PodParts) -> JSON:
    git = config.get("git") or {}
    mounts = _agent_mounts(config, parts)
    given = {x["name"] for x in config.get("env") or ()}
    env = [*parts.env, *_agent_proxies(config)]
    if (git.get("credentials") or {}).get("shareWithAgent"):
        mounts.append(_mount(c.VOLUME_GIT_CREDENTIALS, c.MOUNT_GIT_CREDENTIALS, read_only=True))
        env.append({"name": c.ENV_GIT_CREDENTIALS, "value": c.MOUNT_GIT_CREDENTIALS})
    mounts += _host_mounts(git, shared_only=True)
    if git.get("signing"):
        mounts.append(_mount(c.VOLUME_GIT_SIGNING, c.MOUNT_GIT_SIGNING, read_only=True))
    if git.get("caBundle"):
        mounts.append(_mount(c.VOLUME_CA_BUNDLE, c.MOUNT_CA_BUNDLE, read_only=True))
        env += [{"name": x, "value": c.CA_COMBINED_FILE} for x in c.CA_ENV if x not in given]
    for position, credential in enumerate(config.get("credentials") or ()):
        _give_credential(credential, position, env, mounts)
    mounts += config.get("volumeMounts") or ()
    if _needs_var_tmp(config):
        mounts.append(_mount(c.VOLUME_VAR_TMP, c.MOUNT_VAR_TMP))
    env += config.get("env") or ()
    container: JSON = {
        "name": c.CONTAINER_AGENT,
        "image": config.get("agentImage") or images.agent,
        "env": env,
        "workingDir": parts.task_dir,
        "volumeMounts": mounts,
        "securityContext": _container_security(config.get("containerSecurityContext") or {}),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    for key in ("command", "args", "envFrom", "resources", "imagePullPolicy"):
        if config.get(key):
            container[key] = config[key]
    return container


def _sidecar(sidecar: JSON) -> JSON:
    """A native sidecar: the kubelet starts it first, keeps it running, and stops it after the agent has ended."""
    return {
        **sidecar,
        "restartPolicy": "Always",
        "securityContext": _container_security(sidecar.get("securityContext") or {}),
    }


def _container_security(given: JSON) -> JSON:
    """A container's SecurityContext; the defaults meet the restricted standard."""
    capabilities = {**_HARDENED["capabilities"], **(given.get("capabilities") or {})}
    return {**_HARDENED, **given, "capabilities": capabilities}


def _needs_var_tmp(config: JSON) -> bool:
    """Whether programs would find ``/var/tmp`` read-only."""
    context = config.get("containerSecurityContext") or {}
    taken = {x["mountPath"] for x in config.get("volumeMounts") or ()}
    taken |= {x["mountPath"] for x in config.get("credentials") or () if x.get("mountPath")}
    return bool(context.get("readOnlyRootFilesystem")) and c.MOUNT_VAR_TMP not in taken


def _preparation_resources(workspace: JSON) -> JSON:
    """The defaults, overridden by the given values; a default never contradicts a given value."""
    given = workspace.get("resources") or {}
    requests = {**_PREPARATION_RESOURCES["requests"], **(given.get("requests") or {})}
    limits = {**_PREPARATION_RESOURCES["limits"], **(given.get("limits") or {})}
    for name in requests.keys() & limits.keys():
        field = f"workspace.resources.%s.{name}"
        if amount(requests[name], field % "requests") > amount(limits[name], field % "limits"):
            if name in (given.get("requests") or {}):
                limits[name] = requests[name]
            else:
                requests[name] = limits[name]
    return {"requests": requests, "limits": limits}


def amount(quantity: int | str, field: str) -> Decimal:
    """The number that a Kubernetes quantity such as 500m, 1Gi or 1e3 stands for.

    Raises:
        ValueError: it is no quantity; the message names the field.
    """
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{field}: {quantity} is not a quantity: use one such as 500m or 2Gi")
    number, exponent, suffix = found.groups("")
    return Decimal(number + exponent) * _SUFFIXES[suffix]


def secret_proxies(config: JSON) -> set[str]:
    """The variables of the agent that contain the URLs of a proxy from a Secret."""
    return {x["name"] for x in _agent_proxies(config) if "valueFrom" in x}


def _agent_proxies(config: JSON) -> list[JSON]:
    """A variable in the WorkspaceConfig replaces both spellings of that of the proxy."""
    given = {x["name"].upper() for x in config.get("env") or ()}
    proxies = _proxy_env(config.get("proxy") or {})
    return [x for x in proxies if x["name"].upper() not in given]


def _proxy_env(proxy: JSON) -> list[JSON]:
    """The variables by which programs find a proxy, in upper and lower case."""
    if not proxy:
        return []
    secret = proxy.get("secretRef")
    values: list[JSON] = []
    for key in ("http", "https"):
        if secret:
            ref = {"name": secret["name"], "key": key, "optional": True}
            values.append({"valueFrom": {"secretKeyRef": ref}})
        else:
            values.append({"value": literal(proxy[key])} if proxy.get(key) else {})
    values.append({"value": literal(proxy.get("noProxy") or c.DEFAULT_NO_PROXY)})
    return [
        {"name": name, **value}
        for upper, value in zip(c.PROXY_ENV, values, strict=True)
        for name in (upper, upper.lower())
        if value
    ]


def literal(value: str) -> str:
    """A variable's value that Kubernetes leaves as it is: it would expand ``$(NAME)``, and reads ``$$`` as ``$``."""
    return value.replace("$", "$$")


def _home_files(config: JSON) -> list[JSON]:
    """What the init container makes below HOME: paths, modes, and a content or where its volume is mounted."""
    files: list[JSON] = []
    for position, each in enumerate(config.get("homeFiles") or ()):
        file: JSON = {"path": each["path"], "mode": each.get("mode", _HOME_FILE_MODE)}
        if "inline" in each:
            file["inline"] = each["inline"]
        else:
            file["source"] = position
            ref = each.get("configMapKeyRef") or each.get("secretKeyRef")
            if ref:
                file["key"] = ref["key"]
        files.append(file)
    return files


def _home_file_volumes(config: JSON) -> list[JSON]:
    volumes: list[JSON] = []
    for position, each in enumerate(config.get("homeFiles") or ()):
        name = f"{c.VOLUME_HOME_FILE_PREFIX}{position}"
        secret = each.get("secretKeyRef") or each.get("secretRef")
        config_map = each.get("configMapKeyRef") or each.get("configMapRef")
        if secret:
            source: JSON = {"secretName": secret["name"], "defaultMode": secret_mode(config)}
            volumes.append({"name": name, "secret": source | _only_key(secret)})
        elif config_map:
            volumes.append(
                {"name": name, "configMap": {"name": config_map["name"]} | _only_key(config_map)}
            )
    return volumes


def _only_key(ref: JSON) -> JSON:
    return {"items": [{"key": ref["key"], "path": ref["key"]}]} if "key" in ref else {}


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


def _volumes(config: JSON, parts: PodParts) -> list[JSON]:
    git, mode = config.get("git") or {}, secret_mode(config)
    volumes: list[JSON] = [
        {"name": c.VOLUME_WORKSPACE} | _workspace_source(config.get("workspace") or {}),
        {"name": c.VOLUME_FILES, "projected": {"defaultMode": 0o444, "sources": parts.files}},
        {"name": c.VOLUME_WORKSPACE_TMP, "emptyDir": {"sizeLimit": _SCRATCH_SIZE}},
        {"name": c.VOLUME_TMP, "emptyDir": {"sizeLimit": _SCRATCH_SIZE}},
        {"name": c.VOLUME_HOME, "emptyDir": {"sizeLimit": _SCRATCH_SIZE}},
        *_home_file_volumes(config),
        *(config.get("volumes") or ()),
    ]
    if _needs_var_tmp(config):
        volumes.append({"name": c.VOLUME_VAR_TMP, "emptyDir": {"sizeLimit": _SCRATCH_SIZE}})
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
    return {"emptyDir": {"sizeLimit": limit or _WORKSPACE_SIZE}}


def _ca_source(bundle: JSON) -> JSON:
    kind, ref = next(
        (kind, bundle[key])
        for key, kind in (("configMapKeyRef", "configMap"), ("secretKeyRef", "secret"))
        if bundle.get(key)
    )
    path = c.CA_BUNDLE_FILE.rpartition("/")[2]
    return {kind: {"name": ref["name"], "items": [{"key": ref["key"], "path": path}]}}


def _common_mounts(tmp: str = c.VOLUME_TMP) -> list[JSON]:
    """What both containers see; ``tmp`` is the volume at ``/tmp``, of which each has its own."""
    return [
        _mount(c.VOLUME_WORKSPACE, c.MOUNT_WORKSPACE),
        _mount(c.VOLUME_FILES, c.MOUNT_FILES, read_only=True),
        _mount(tmp, c.MOUNT_TMP),
        _mount(c.VOLUME_HOME, c.MOUNT_HOME),
    ]


def _agent_mounts(config: JSON, parts: PodParts) -> list[JSON]:
    """On a claim that tasks share, an agent gets its own folder, and the repositories only to read from."""
    mounts = _common_mounts()
    if not _is_shared(config):
        return mounts
    repos, own = _mount(c.VOLUME_WORKSPACE, f"{c.MOUNT_WORKSPACE}/{c.REPOS_DIR}"), parts.task_dir
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
