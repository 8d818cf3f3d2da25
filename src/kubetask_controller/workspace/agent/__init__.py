"""``kubetask-agent``: runs a script or an agent's command line tool over a task, and leaves a result."""

from kubetask_controller.workspace.agent.main import main

__all__ = ["main"]
