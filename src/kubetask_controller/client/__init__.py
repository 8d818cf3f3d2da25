"""A client of the Kubernetes API that sends and returns JSON; it is independent of KubeTask."""

from kubetask_controller.client.config import RestConfig, load_config
from kubetask_controller.client.errors import (
    APIStatusError,
    ClientError,
    ConfigError,
    TransportError,
)
from kubetask_controller.client.metrics import RestMetrics
from kubetask_controller.client.resources import Resource
from kubetask_controller.client.rest import Client, PatchType

__all__ = [
    "APIStatusError",
    "Client",
    "ClientError",
    "ConfigError",
    "PatchType",
    "Resource",
    "RestConfig",
    "RestMetrics",
    "TransportError",
    "load_config",
]
