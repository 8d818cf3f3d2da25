"""The node of the development cluster: Pods are run as processes of this machine.

Every container gets mount, process, host name and IPC namespaces of its own, so that volumes lie at their
real paths and a container's whole process tree dies with it. The network is the machine's; probes, lifecycle
hooks, exec, attach and port forwarding are left out.
"""

from __future__ import annotations

from .isolation import IsolationError
from .node import Node
from .options import CAPACITY, NodeOptions

__all__ = ["CAPACITY", "IsolationError", "Node", "NodeOptions"]
