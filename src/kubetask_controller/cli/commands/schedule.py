"""``schedule``: prints a CronJob that starts a run of a Batch, with its ServiceAccount and Role."""

import argparse
import re
from typing import Any

import yaml

from kubetask_controller.api import constants as c
from kubetask_controller.cli.exits import Exit, UsageError
from kubetask_controller.cli.manifests import BlockDumper
from kubetask_controller.cli.session import BATCH_RESOURCE, Session, Target
from kubetask_controller.cli.settings import add_execution, chosen
from kubetask_controller.cli.terminal import Terminal
from kubetask_controller.cli.times import parse_duration
from kubetask_controller.types import JSON

KUBECTL_IMAGE = "registry.k8s.io/kubectl:v1.36.2"
MAX_NAME = 52
"""Maximum length of a CronJob's name."""
KEEP = "336h"
"""Time for which a run is kept after its end: two weeks."""
WAIT = "168h"
"""Maximum time that a Job of the CronJob waits for the end of its run."""
_HISTORY = 7
"""Number of succeeded and of failed Jobs that the CronJob keeps."""
_FIELDS = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( \S+){4}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class Schedule:
    """Write the CronJob of a Batch."""

    name = "schedule"
    help = "print a CronJob that starts runs of a Batch on a schedule"
    description = """\
Print the manifests that start runs of a Batch on a schedule: a CronJob, the manifest of the run, and
a ServiceAccount that can only create and watch runs. The command does not change the cluster.

The next run does not start before the previous one has ended (concurrencyPolicy Forbid, and the Job
of the CronJob waits for the end of its run).

  kubectl kubetask schedule update-dependencies --at "0 2 * * *" | kubectl apply -f -
  kubectl kubetask schedule update-dependencies --at @weekly --canary 5 --max-cost 40
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the Batch, the schedule, and the settings."""
        parser.add_argument("batch", metavar="BATCH", help="a Batch of the namespace")
        parser.add_argument(
            "--at",
            required=True,
            metavar="CRON",
            help='schedule in the five fields of cron, such as "0 2 * * *", or @daily, @weekly',
        )
        parser.add_argument(
            "--time-zone", default="Etc/UTC", metavar="NAME", help="such as Europe/Berlin"
        )
        parser.add_argument("--name", help="name of the CronJob; default: that of the Batch")
        parser.add_argument(
            "--keep",
            default=KEEP,
            metavar="DURATION",
            help="time for which a run is kept after its end; default: 336h, two weeks",
        )
        parser.add_argument(
            "--image", default=KUBECTL_IMAGE, help="an image with the command kubectl"
        )
        add_execution(parser)

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Print the manifests."""
        batch = options.batch.removeprefix("batch/")
        name = options.name or batch
        if not _FIELDS.fullmatch(options.at):
            raise UsageError(f"--at: {options.at!r} does not have the five fields of cron")
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise UsageError(
                f"--name: {name!r} is not a name of at most {MAX_NAME} lower-case letters, digits and '-'"
            )
        try:
            keep = parse_duration(options.keep)
        except ValueError as error:
            raise UsageError(f"--keep: {error}") from error
        await session.get(Target(BATCH_RESOURCE, batch))
        spec = {"batchRef": batch, "ttlSecondsAfterFinished": int(keep), "ttlPolicy": "All"}
        documents = manifests(
            name,
            {**spec, **chosen(options)},
            schedule=options.at,
            time_zone=options.time_zone,
            image=options.image,
            namespace=session.namespace,
        )
        terminal.stdout.write(dump_manifests(documents))
        return Exit.OK


def dump_manifests(documents: list[JSON]) -> str:
    """The manifests as YAML, in the order of the fields."""
    return yaml.dump_all(documents, Dumper=BlockDumper, sort_keys=False, width=120)


def manifests(
    name: str, spec: JSON, *, schedule: str, time_zone: str, image: str, namespace: str = ""
) -> list[JSON]:
    """The objects that start runs of `spec` on a schedule."""
    label = {c.LABEL_SCHEDULE: name}
    where = {"namespace": namespace} if namespace else {}
    account = f"{name}-schedule"
    run = {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND_BATCH_RUN,
        "metadata": {"generateName": f"{name}-", "labels": label},
        "spec": spec,
    }

    def named(api_version: str, kind: str, name: str, **fields: Any) -> JSON:
        metadata = {"name": name, **where}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}

    rbac = "rbac.authorization.k8s.io"
    rule = {
        "apiGroups": [c.GROUP],
        "resources": [c.PLURAL_BATCH_RUN],
        "verbs": ["create", "get", "list", "watch"],
    }
    return [
        named("v1", "ServiceAccount", account),
        named(f"{rbac}/v1", "Role", account, rules=[rule]),
        named(
            f"{rbac}/v1",
            "RoleBinding",
            account,
            roleRef={"apiGroup": rbac, "kind": "Role", "name": account},
            subjects=[{"kind": "ServiceAccount", "name": account, **where}],
        ),
        named(
            "v1",
            "ConfigMap",
            account,
            data={"batchrun.yaml": yaml.safe_dump(run, sort_keys=False)},
        ),
        named(
            "batch/v1",
            "CronJob",
            name,
            spec={
                "schedule": schedule,
                "timeZone": time_zone,
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 3600,
                "successfulJobsHistoryLimit": _HISTORY,
                "failedJobsHistoryLimit": _HISTORY,
                # The create is not retried: a second one would be a second run.
                "jobTemplate": {
                    "spec": {"backoffLimit": 0, "template": {"spec": _pod(account, label, image)}}
                },
            },
        ),
    ]


def _pod(account: str, label: JSON, image: str) -> JSON:
    """A Pod that creates a run and waits for its end, so that Forbid applies to runs, not to their creation."""

    def kubectl(name: str, *arguments: str, **fields: Any) -> JSON:
        return {
            "name": name,
            "image": image,
            "command": ["kubectl", *arguments],
            "resources": {
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"memory": "128Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            **fields,
        }

    ((key, value),) = label.items()
    mount = {"name": "run", "mountPath": "/etc/schedule", "readOnly": True}
    return {
        "serviceAccountName": account,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            kubectl("create", "create", "-f", "/etc/schedule/batchrun.yaml", volumeMounts=[mount])
        ],
        "containers": [
            kubectl(
                "wait",
                "wait",
                f"batchruns.{c.GROUP}",
                f"--selector={key}={value}",
                "--for=jsonpath={.status.completionTime}",
                f"--timeout={WAIT}",
            )
        ],
        "volumes": [{"name": "run", "configMap": {"name": account}}],
    }
