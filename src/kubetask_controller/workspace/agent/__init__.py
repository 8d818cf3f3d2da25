"""``kubetask-agent``: runs a script or an agent's command line tool on a task, and writes a result."""

from kubetask_controller.workspace.agent.main import main

__all__ = ["main"]
