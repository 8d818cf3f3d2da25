"""The flags of the controller, under controller-runtime's names where it has them.

Every flag can also be set as an environment variable (``--leader-elect`` as ``KUBETASK_LEADER_ELECT``), which a kustomize
overlay can do without repeating the argument list. A flag overrides its variable.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.version import __version__

DEFAULT_WORKSPACE_IMAGE = f"quay.io/kubetask/kubetask-workspace:v{__version__}"
_PREFIX = "KUBETASK_"


DEFAULT_TTL = 7 * 24 * 3600
"""Seconds: long enough to examine a failure after a weekend, short enough that finished Jobs do not accumulate."""


@dataclass(frozen=True, slots=True)
class Options:
    """The values of the flags. Times are in seconds; the address "0" disables a server."""

    kubeconfig: str = ""
    context: str = ""
    namespaces: tuple[str, ...] = ()
    metrics_bind_address: str = ":8080"
    metrics_secure: bool = False
    metrics_cert_path: str = ""
    health_probe_bind_address: str = ":8081"
    leader_elect: bool = False
    leader_election_id: str = f"controller.{c.GROUP}"
    leader_election_namespace: str = ""
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    graceful_shutdown_timeout: float = 25.0
    kube_api_qps: float = 0.0
    kube_api_burst: int = 0
    max_concurrent_reconciles: int = 4
    default_ttl_seconds_after_finished: int = DEFAULT_TTL
    workspace_image: str = DEFAULT_WORKSPACE_IMAGE
    workspace_image_pull_policy: str = ""
    agent_image: str = c.DEFAULT_AGENT_IMAGE
    webhook_config_path: str = ""
    log_level: str = "info"
    log_format: str = "json"


def parse(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Options from the command line and the environment.

    Raises:
        SystemExit: a flag or variable is not valid (2), or ``--help`` or ``--version`` was passed (0).
    """
    parser = _parser(os.environ if environ is None else environ)
    values = vars(parser.parse_args(arguments))
    values["namespaces"] = tuple(values.pop("namespace"))
    options = Options(**values)
    if not options.lease_duration > options.renew_deadline > options.retry_period > 0:
        parser.error(
            "--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline,"
            " and that greater than --leader-elect-retry-period"
        )
    return options


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubetask-controller",
        description="Runs AI coding agents over repositories, one Job a task.",
    )
    add = _Adder(parser, environ)
    parser.add_argument("--version", action="version", version=version_text(environ))
    add(
        "--kubeconfig",
        help="path of a kubeconfig; default: $KUBECONFIG, else in-cluster credentials",
    )
    add("--context", help="context of the kubeconfig; default: its current one")
    names = environ.get(f"{_PREFIX}NAMESPACE", "")
    parser.add_argument(
        "--namespace",
        action="append",
        default=[x for x in names.split(",") if x],
        metavar="NAME",
        help="namespace to watch; may be repeated. Default: all namespaces",
    )
    _add_servers(add)
    _add_leader_election(add)
    _add_reconcilers(add)
    add(
        "--graceful-shutdown-timeout",
        type=_seconds,
        help="time limit for running reconciles after SIGTERM; default 25s",
    )
    add("--log-level", choices=("debug", "info", "warning", "error"), help="lowest level to log")
    add(
        "--log-format",
        choices=("json", "console"),
        help="format of log lines: json for machines, console for people",
    )
    return parser


def _add_servers(add: "_Adder") -> None:
    add("--metrics-bind-address", help="address of the metrics endpoint; 0 disables it")
    add.switch(
        "--metrics-secure",
        help="serve metrics over HTTPS; clients need RBAC permission to get /metrics",
    )
    add(
        "--metrics-cert-path",
        help="folder with tls.crt and tls.key; default: a self-signed certificate",
    )
    add("--health-probe-bind-address", help="address of /healthz and /readyz; 0 disables them")


def _add_leader_election(add: "_Adder") -> None:
    add.switch(
        "--leader-elect",
        help="elect a leader among the replicas; required with more than one replica",
    )
    add("--leader-election-id", help="name of the Lease")
    add("--leader-election-namespace", help="namespace of the Lease; default: the Pod's own")
    add("--leader-elect-lease-duration", dest="lease_duration", type=_seconds, help="default 15s")
    add("--leader-elect-renew-deadline", dest="renew_deadline", type=_seconds, help="default 10s")
    add("--leader-elect-retry-period", dest="retry_period", type=_seconds, help="default 2s")


def _add_reconcilers(add: "_Adder") -> None:
    add(
        "--kube-api-qps",
        type=float,
        help="limit of requests a second to the API server; 0: no limit, the server has its own",
    )
    add("--kube-api-burst", type=int, help="requests that may exceed --kube-api-qps at once")
    add(
        "--max-concurrent-reconciles",
        type=_positive,
        help="number of concurrent reconciles of each kind; default 4",
    )
    add(
        "--default-ttl-seconds-after-finished",
        type=int,
        help="seconds after which the Jobs of a finished BatchRun or Task without"
        " ttlSecondsAfterFinished are deleted; the object itself stays; -1: never",
    )
    add("--workspace-image", help="image of the init container that prepares a task's workspace")
    add(
        "--workspace-image-pull-policy",
        help="imagePullPolicy of that image; default: that of Kubernetes",
    )
    add("--agent-image", help="image of the agent where no WorkspaceConfig sets one")
    add(
        "--webhook-config-path",
        help="folder with the files url and secret; a signed POST is sent to the URL when a BatchRun ends",
    )


class _Adder:
    """Adds flags with their defaults from the environment, else from Options."""

    def __init__(self, parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
        self._parser = parser
        self._environ = environ

    def __call__(self, flag: str, *, dest: str = "", **kwargs: Any) -> None:
        name = dest or flag.removeprefix("--").replace("-", "_")
        default = self._environ.get(_variable(flag), Options.__dataclass_fields__[name].default)
        self._parser.add_argument(flag, dest=name, default=default, **kwargs)

    def switch(self, flag: str, *, help: str) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        default = self._environ.get(_variable(flag), "false")
        self._parser.add_argument(
            flag, dest=name, nargs="?", const="true", type=_boolean, default=default, help=help
        )


def version_text(environ: Mapping[str, str]) -> str:
    """The version and, in an image, the revision of the source."""
    revision = environ.get("KUBETASK_REVISION", "")
    return f"kubetask {__version__}" + (f" (revision {revision})" if revision else "")


def _variable(flag: str) -> str:
    return _PREFIX + flag.removeprefix("--").replace("-", "_").upper()


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return lowered in ("true", "1")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


_UNITS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str) -> float:
    """A Go duration of one unit (15s, 2m, 500ms), or a plain number of seconds."""
    for unit in ("ms", "s", "m", "h"):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * _UNITS[unit]
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 15s") from None
