"""The columns of built-in resources."""

from __future__ import annotations

from typing import Any

from .gotime import parse_time
from .printers import (
    AGE,
    APPS,
    BATCH,
    CONTAINERS,
    CORE,
    IMAGES,
    NAME,
    NONE,
    UNKNOWN,
    Cells,
    Column,
    Object,
    age,
    format_selector,
    get,
    human_duration,
    layout,
    name,
    since,
)
from .printers_pods import pod_cells


def _job_cells(job: Object, now: float) -> list[Any]:
    spec, status = job.get("spec") or {}, job.get("status") or {}
    succeeded = status.get("succeeded", 0)
    if "completions" in spec:
        completions = f"{succeeded}/{spec['completions']}"
    elif spec.get("parallelism", 0) > 1:
        completions = f"{succeeded}/1 of {spec['parallelism']}"
    else:
        completions = f"{succeeded}/1"
    took = ""
    if status.get("startTime"):
        end = (
            parse_time(status["completionTime"]).timestamp()
            if status.get("completionTime")
            else now
        )
        took = human_duration(end - parse_time(status["startTime"]).timestamp())
    selector = format_selector(spec.get("selector"))
    return [
        name(job),
        _job_status(job),
        completions,
        took,
        age(job, now),
        *layout(spec.get("template") or {}),
        selector,
    ]


def _job_status(job: Object) -> str:
    true = {
        each["type"]
        for each in get(job, "status", "conditions", default=[])
        if each.get("status") == "True"
    }
    for condition, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if condition in true:
            return shown
    if "deletionTimestamp" in job["metadata"]:
        return "Terminating"
    for condition in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if condition in true:
            return condition
    return "Running"


def _cronjob_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    last = since(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE
    template = get(spec, "jobTemplate", "spec", default={})
    return [
        name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(spec.get("suspend", False)).capitalize(),
        len(status.get("active") or ()),
        last,
        age(obj, now),
        *layout(template.get("template") or {}),
        format_selector(template.get("selector")),
    ]


def _event_cells(event: Object, now: float) -> list[Any]:
    first = since(
        event.get("firstTimestamp")
        or event.get("deprecatedFirstTimestamp")
        or event.get("eventTime"),
        now,
    )
    last_time = event.get("lastTimestamp") or event.get("deprecatedLastTimestamp")
    last = since(last_time, now) if last_time else first
    count = event.get("count") or event.get("deprecatedCount") or 1
    if event.get("series"):
        last = since(event["series"].get("lastObservedTime"), now)
        count = event["series"].get("count", 1)
    about = event.get("involvedObject") or event.get("regarding") or {}
    kind = about.get("kind", "").lower()
    source = event.get("source") or event.get("deprecatedSource") or {}
    reporter = (
        source.get("component")
        or event.get("reportingComponent")
        or event.get("reportingController")
        or ""
    )
    host = source.get("host") or event.get("reportingInstance") or ""
    return [
        last,
        event.get("type", ""),
        event.get("reason", ""),
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath", ""),
        f"{reporter}, {host}" if host else reporter,
        (event.get("message") or event.get("note") or "").strip(),
        first,
        count,
        name(event),
    ]


def _node_cells(node: Object, now: float) -> list[Any]:
    status = node.get("status") or {}
    ready = [
        each.get("status") for each in status.get("conditions") or () if each["type"] == "Ready"
    ]
    shown = "Unknown" if not ready else "Ready" if ready[0] == "True" else "NotReady"
    if get(node, "spec", "unschedulable"):
        shown += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    roles = ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix)))
    addresses = {each["type"]: each["address"] for each in status.get("addresses") or ()}
    info = status.get("nodeInfo") or {}
    return [
        name(node),
        shown,
        roles or NONE,
        age(node, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _claim_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    modes = ",".join(short.get(each, each) for each in status.get("accessModes") or ())
    phase = "Terminating" if "deletionTimestamp" in obj["metadata"] else status.get("phase", "")
    return [
        name(obj),
        phase,
        spec.get("volumeName", ""),
        get(status, "capacity", "storage", default=""),
        modes,
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or "<unset>",
        age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _quota_cells(obj: Object, now: float) -> list[Any]:
    hard, used = get(obj, "status", "hard", default={}), get(obj, "status", "used", default={})
    parts: dict[bool, list[str]] = {False: [], True: []}
    for key in sorted(hard):
        parts[key.startswith("limits.")].append(f"{key}: {used.get(key, '0')}/{hard[key]}")
    return [name(obj), ", ".join(parts[False]), ", ".join(parts[True]), age(obj, now)]


def _revision_cells(obj: Object, now: float) -> list[Any]:
    owner = next(
        (each for each in obj["metadata"].get("ownerReferences") or () if each.get("controller")),
        None,
    )
    shown = NONE
    if owner is not None:
        group = owner["apiVersion"].rpartition("/")[0]
        kind = owner["kind"].lower()
        shown = f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
    return [name(obj), shown, str(obj.get("revision", 0)), age(obj, now)]


_SELECTOR = Column("Selector", description=(BATCH + "JobSpec", "selector"), priority=1)


def _plain(*paths: tuple[str, ...]) -> Cells:
    return lambda obj, now: [
        name(obj),
        *(get(obj, *path, default="") for path in paths),
        age(obj, now),
    ]


PRINTERS: dict[str, tuple[list[Column], Cells]] = {
    "pods": (
        [
            NAME,
            Column(
                "Ready",
                description="The aggregate readiness state of this pod for accepting traffic.",
            ),
            Column("Status", description="The aggregate status of the containers in this pod."),
            Column(
                "Restarts",
                description="The number of times the containers in this pod have been restarted and when the last container "
                "in this pod has restarted.",
            ),
            AGE,
            Column("IP", description=(CORE + "PodStatus", "podIP"), priority=1),
            Column("Node", description=(CORE + "PodSpec", "nodeName"), priority=1),
            Column(
                "Nominated Node", description=(CORE + "PodStatus", "nominatedNodeName"), priority=1
            ),
            Column("Readiness Gates", description=(CORE + "PodSpec", "readinessGates"), priority=1),
        ],
        pod_cells,
    ),
    "jobs.batch": (
        [
            NAME,
            Column("Status", description="Status of the job."),
            Column("Completions", description=(BATCH + "JobStatus", "succeeded")),
            Column("Duration", description="Time required to complete the job."),
            AGE,
            CONTAINERS,
            IMAGES,
            _SELECTOR,
        ],
        _job_cells,
    ),
    "cronjobs.batch": (
        [
            NAME,
            Column("Schedule", description=(BATCH + "CronJobSpec", "schedule")),
            Column("Timezone", description=(BATCH + "CronJobSpec", "timeZone")),
            Column("Suspend", "boolean", (BATCH + "CronJobSpec", "suspend")),
            Column("Active", "integer", (BATCH + "CronJobStatus", "active")),
            Column("Last Schedule", description=(BATCH + "CronJobStatus", "lastScheduleTime")),
            AGE,
            CONTAINERS,
            IMAGES,
            _SELECTOR,
        ],
        _cronjob_cells,
    ),
    "events": (
        [
            Column("Last Seen", description=(CORE + "Event", "lastTimestamp")),
            Column("Type", description=(CORE + "Event", "type")),
            Column("Reason", description=(CORE + "Event", "reason")),
            Column("Object", description=(CORE + "Event", "involvedObject")),
            Column("Subobject", description=(CORE + "ObjectReference", "fieldPath"), priority=1),
            Column("Source", description=(CORE + "Event", "source"), priority=1),
            Column("Message", description=(CORE + "Event", "message")),
            Column("First Seen", description=(CORE + "Event", "firstTimestamp"), priority=1),
            Column("Count", description=(CORE + "Event", "count"), priority=1),
            Column("Name", description=NAME.description, format="name", priority=1),
        ],
        _event_cells,
    ),
    "nodes": (
        [
            NAME,
            Column("Status", description="The status of the node"),
            Column("Roles", description="The roles of the node"),
            AGE,
            Column("Version", description=(CORE + "NodeSystemInfo", "kubeletVersion")),
            Column("Internal-IP", description=(CORE + "NodeStatus", "addresses"), priority=1),
            Column("External-IP", description=(CORE + "NodeStatus", "addresses"), priority=1),
            Column("OS-Image", description=(CORE + "NodeSystemInfo", "osImage"), priority=1),
            Column(
                "Kernel-Version", description=(CORE + "NodeSystemInfo", "kernelVersion"), priority=1
            ),
            Column(
                "Container-Runtime",
                description=(CORE + "NodeSystemInfo", "containerRuntimeVersion"),
                priority=1,
            ),
        ],
        _node_cells,
    ),
    "namespaces": (
        [NAME, Column("Status", description="The status of the namespace"), AGE],
        _plain(("status", "phase")),
    ),
    "configmaps": (
        [NAME, Column("Data", description=(CORE + "ConfigMap", "data")), AGE],
        lambda obj, now: [
            name(obj),
            len(obj.get("data") or ()) + len(obj.get("binaryData") or ()),
            age(obj, now),
        ],
    ),
    "secrets": (
        [
            NAME,
            Column("Type", description=(CORE + "Secret", "type")),
            Column("Data", description=(CORE + "Secret", "data")),
            AGE,
        ],
        lambda obj, now: [
            name(obj),
            obj.get("type", ""),
            len(obj.get("data") or ()),
            age(obj, now),
        ],
    ),
    "serviceaccounts": ([NAME, AGE], lambda obj, now: [name(obj), age(obj, now)]),
    "persistentvolumeclaims": (
        [
            NAME,
            Column("Status", description=(CORE + "PersistentVolumeClaimStatus", "phase")),
            Column("Volume", description=(CORE + "PersistentVolumeClaimSpec", "volumeName")),
            Column("Capacity", description=(CORE + "PersistentVolumeClaimStatus", "capacity")),
            Column(
                "Access Modes", description=(CORE + "PersistentVolumeClaimStatus", "accessModes")
            ),
            Column("StorageClass", description="StorageClass of the pvc"),
            Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
            AGE,
            Column(
                "VolumeMode",
                description=(CORE + "PersistentVolumeClaimSpec", "volumeMode"),
                priority=1,
            ),
        ],
        _claim_cells,
    ),
    "resourcequotas": (
        [
            NAME,
            Column(
                "Request",
                description="Request represents a minimum amount of cpu/memory that a container may consume.",
            ),
            Column(
                "Limit",
                description="Limits control the maximum amount of cpu/memory that a container may use independent of "
                "contention on the node.",
            ),
            AGE,
        ],
        _quota_cells,
    ),
    "leases.coordination.k8s.io": (
        [
            NAME,
            Column(
                "Holder", description=("io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity")
            ),
            AGE,
        ],
        _plain(("spec", "holderIdentity")),
    ),
    "controllerrevisions.apps": (
        [
            NAME,
            Column("Controller", description="Controller of the object"),
            Column("Revision", description=(APPS + "ControllerRevision", "revision")),
            AGE,
        ],
        _revision_cells,
    ),
}


def _default_cells(obj: Object, now: float) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp")]


_DEFAULT: tuple[list[Column], Cells] = (
    [NAME, Column("Created At", "date", AGE.description)],
    _default_cells,
)


def builtin(storage_key: str) -> tuple[list[Column], Cells]:
    """Columns and cells of a built-in resource; others show name and creation time."""
    return PRINTERS.get(storage_key, _DEFAULT)
