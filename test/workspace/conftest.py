"""The fixtures of `rooms`."""

from support.workspace.rooms import as_user, origins, room, server, task, template

__all__ = ["as_user", "origins", "room", "server", "task", "template"]
