"""What to change where an agent cannot start: the field of the WorkspaceConfig that a message of the cluster is about.

Messages of the cluster name the object that is missing or too small; they never name the field that requires it. The
patterns are those of Kubernetes 1.31 to 1.36: scheduler, Job controller, admission, kubelet and the common runtimes. A
message that fits none of them is shown as it is.
"""

import re
from collections.abc import Sequence

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason

_CONFIG = "of the WorkspaceConfig"

_CREDENTIALS = re.compile(
    r"unauthorized|access denied|authentication required|authorization failed|no basic auth|40[13] |forbidden",
    re.I,
)
_NO_SUCH_IMAGE = re.compile(r"not found|manifest unknown|name unknown|does not exist", re.I)
_WRONG_USER = re.compile(r"runAsNonRoot|non-?root policy|verify user is non-root", re.I)
_RUNTIME_CLASS = re.compile(r"RuntimeClass|RuntimeHandler|no runtime for|runtime handler", re.I)

# Reason, pattern, field. What fits is named in this order.
_FIELDS: Sequence[tuple[Reason, re.Pattern[str], str]] = (
    (Reason.UNSCHEDULABLE, re.compile(r"Insufficient"), "resources"),
    (Reason.UNSCHEDULABLE, re.compile(r"node affinity|node selector|NodeAffinity"), "nodeSelector"),
    (Reason.UNSCHEDULABLE, re.compile(r"affinity", re.I), "affinity"),
    (Reason.UNSCHEDULABLE, re.compile(r"taint"), "tolerations"),
    (Reason.ADMISSION_DENIED, re.compile(r"PriorityClass"), "priorityClassName"),
    (Reason.ADMISSION_DENIED, _RUNTIME_CLASS, "runtimeClassName"),
    (Reason.CREATE_CONTAINER_CONFIG_ERROR, _RUNTIME_CLASS, "runtimeClassName"),
    (
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        re.compile(r"seccomp|apparmor|selinux", re.I),
        "securityContext",
    ),
    (Reason.CREATE_CONTAINER_CONFIG_ERROR, re.compile(r"subPath", re.I), "volumeMounts"),
    (
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        re.compile(r"exec:|executable file|no command", re.I),
        "command",
    ),
)
_SENTENCES: Sequence[tuple[Reason, re.Pattern[str], str]] = (
    (
        Reason.QUOTA_EXCEEDED,
        re.compile(r"must specify"),
        f"set resources (agent), workspace.resources (workspace) or those of sidecars {_CONFIG}, or give the"
        " namespace a LimitRange with defaults",
    ),
    (
        Reason.QUOTA_EXCEEDED,
        re.compile(r"usage per|request ratio"),
        f"a LimitRange refuses what resources, workspace.resources or those of sidecars {_CONFIG} ask for",
    ),
    (
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        re.compile(r"not found"),
        f"create the ServiceAccount, or set serviceAccountName {_CONFIG}",
    ),
    (
        Reason.VOLUME_NOT_READY,
        re.compile(r"multi-attach|already exclusively attached|ReadWriteOncePod", re.I),
        "another node or Pod has the volume of the claim: a claim that tasks share needs ReadWriteMany",
    ),
    (
        Reason.VOLUME_NOT_READY,
        re.compile(r'persistentvolumeclaim "[^"]*" not found', re.I),
        f"create the claim, or correct workspace.persistentVolumeClaim or volumes {_CONFIG}",
    ),
    (
        Reason.VOLUME_NOT_READY,
        re.compile(r"unbound immediate|binding volumes|non-existent p|provision", re.I),
        "the claim has no volume; kubectl describe pvc shows why",
    ),
)


def remedy(reason: str, text: str, *, container: str = "", pod: str = "") -> str:
    """What to do about a reason, as a clause after the message of the cluster; empty if the message is sufficient.

    Args:
        reason: of a task that waits.
        text: the message of the cluster.
        container: the container that it is about, empty where it is about the whole Pod or Job.
        pod: the name of the Pod.
    """
    if reason in (Reason.IMAGE_PULL_BACK_OFF, Reason.INVALID_IMAGE_NAME):
        return _of_image(reason, text, container)
    if reason == Reason.CREATE_CONTAINER_CONFIG_ERROR:
        if _WRONG_USER.search(text):
            return _of_user(container)
        if "restarting failed container" in text:
            return f"it ends again and again; kubectl logs {pod} -c {container} shows why"
    for about, pattern, sentence in _SENTENCES:
        if about == reason and pattern.search(text):
            return sentence
    fields = [
        field for about, pattern, field in _FIELDS if about == reason and pattern.search(text)
    ]
    return f"see {' and '.join(fields)} {_CONFIG}" if fields else ""


def _of_image(reason: str, text: str, container: str) -> str:
    field = {
        c.CONTAINER_AGENT: f"agentImage {_CONFIG}",
        c.CONTAINER_WORKSPACE: "--workspace-image of the controller",
        "": "the image",
    }.get(container, f"the image of sidecar {container}")
    if reason == Reason.INVALID_IMAGE_NAME:
        return f"correct {field}"
    if "policy of Never" in text or "ErrImageNeverPull" in text:
        return f"the node does not have the image, and must not pull it: see imagePullPolicy and {field}"
    if "signature" in text.lower():
        return f"the node does not trust the image: see {field}"
    if _CREDENTIALS.search(text):
        return f"the registry wants a login: see imagePullSecrets {_CONFIG} and {field}"
    return f"no such image: correct {field}" if _NO_SUCH_IMAGE.search(text) else f"see {field}"


def _of_user(container: str) -> str:
    if container in (c.CONTAINER_AGENT, ""):
        return (
            f"set securityContext.runAsUser {_CONFIG} to the number of a user of the image, or"
            " securityContext.runAsNonRoot to false"
        )
    return (
        f"set securityContext.runAsUser of sidecar {container} to the number of a user of its image"
    )
