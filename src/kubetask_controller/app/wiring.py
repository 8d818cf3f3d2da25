"""Puts the parts of the process together, as the flags say."""

import os
import socket
from pathlib import Path

import structlog

from kubetask_controller.app.options import Options
from kubetask_controller.app.webhook import enabled_since, setup_webhook
from kubetask_controller.client.config import RestConfig, load_config
from kubetask_controller.client.rest import DEFAULT_BURST, Client
from kubetask_controller.reconcilers.setup import Settings, setup_with_manager
from kubetask_controller.reconcilers.taskrun.pod_template import Images
from kubetask_controller.runtime.eventloop import GarbageFreeze, Heartbeat, stop_on_signals
from kubetask_controller.runtime.httpserver import HTTPServer
from kubetask_controller.runtime.leaderelection import LeaderElectionConfig
from kubetask_controller.runtime.manager import LeaderElectionOptions, Manager, ManagerOptions
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.metrics import server as metricsserver
from kubetask_controller.runtime.metrics.auth import MetricsAuthorizer
from kubetask_controller.runtime.metrics.clients import PrometheusRestMetrics
from kubetask_controller.version import __version__

logger = structlog.get_logger("setup")


async def run(options: Options) -> None:
    """Run a controller until a signal.

    Raises:
        ClientError: there is no usable configuration, or the API server refuses a request or is unavailable.
        LeaderElectionLostError: the Lease was lost.
        Exception: the first failure of any part.
    """
    config = await load_config(
        kubeconfig=options.kubeconfig or None, context=options.context or None
    )
    logger.info(
        "Starting kubetask-controller",
        version=__version__,
        host=config.host,
        namespaces=list(options.namespaces) or "all",
    )
    metrics = Metrics()
    async with Client(
        config,
        user_agent=user_agent(),
        qps=options.kube_api_qps or None,
        burst=options.kube_api_burst or DEFAULT_BURST,
        metrics=PrometheusRestMetrics(metrics.registry),
    ) as client:
        manager = Manager(client, manager_options(options, config), metrics=metrics)
        context = setup_with_manager(manager, settings(options))
        if options.webhook_config_path:
            folder = Path(options.webhook_config_path)
            enabled = await enabled_since(
                client, own_namespace(options, config), manager.clock.now()
            )
            setup_webhook(manager, context.listers.runs.informer, folder, enabled=enabled)
        add_metrics_server(manager, client, options)
        manager.add(GarbageFreeze(), needs_leader=False)
        heartbeat = Heartbeat()
        manager.add(heartbeat, needs_leader=False)
        manager.add_healthz_check("eventLoop", heartbeat.check)
        await manager.start(stop_on_signals())


def manager_options(options: Options, config: RestConfig) -> ManagerOptions:
    """What the flags say about the manager."""
    election = None
    if options.leader_elect:
        election = LeaderElectionOptions(
            options.leader_election_id,
            own_namespace(options, config),
            LeaderElectionConfig(
                lease_duration=options.lease_duration,
                renew_deadline=options.renew_deadline,
                retry_period=options.retry_period,
            ),
        )
    return ManagerOptions(
        namespaces=options.namespaces,
        leader_election=election,
        health_probe_bind_address=options.health_probe_bind_address,
        graceful_shutdown_timeout=options.graceful_shutdown_timeout,
    )


def own_namespace(options: Options, config: RestConfig) -> str:
    """The namespace of the controller's own Leases."""
    return options.leader_election_namespace or os.environ.get("POD_NAMESPACE") or config.namespace


def settings(options: Options) -> Settings:
    """What the flags say about the reconcilers."""
    images = Images(
        workspace=options.workspace_image,
        agent=options.agent_image,
        workspace_pull_policy=options.workspace_image_pull_policy,
    )
    ttl = options.default_ttl_seconds_after_finished
    return Settings(
        images,
        version=__version__,
        max_concurrent_reconciles=options.max_concurrent_reconciles,
        default_ttl=None if ttl < 0 else ttl,
    )


def add_metrics_server(manager: Manager, client: Client, options: Options) -> None:
    """The metrics endpoint, plain or secured."""
    routes = metricsserver.routes(manager.metrics.registry)
    address = options.metrics_bind_address
    if not options.metrics_secure:
        manager.add_server(HTTPServer("metrics", address, routes))
        return
    context = metricsserver.new_context()
    if options.metrics_cert_path:
        folder = Path(options.metrics_cert_path)
        manager.add(
            metricsserver.CertificateWatcher(context, folder, metrics=manager.metrics),
            needs_leader=False,
        )
    else:
        metricsserver.load_self_signed(context)
    guard = MetricsAuthorizer(client, manager.clock).middleware()
    manager.add_server(HTTPServer("metrics", address, routes, tls=context, middlewares=[guard]))


def user_agent() -> str:
    """``kubetask-controller/<version> (<host>)``: what the API server's audit log shows."""
    return f"kubetask-controller/{__version__} ({socket.gethostname()})"
