"""``cancel``, ``suspend`` and ``resume``: what may change about a run or a Task that exists."""

import argparse
from typing import Any, ClassVar

from rich.text import Text

from kubetask_controller.api.constants import Phase
from kubetask_controller.cli.exits import CliError, Exit
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.cli.terminal import Terminal, clean


class _Steer:
    """Sets a field of the spec."""

    name: str
    help: str
    description: str
    verb: ClassVar[str]
    patch: ClassVar[dict[str, Any]]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The runs and Tasks."""
        parser.add_argument(
            "targets", nargs="+", metavar="RUN", help="a BatchRun, or task/NAME; may be several"
        )

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Change each; the code of the last one that could not be."""
        code = Exit.OK
        for target in [Target.parse(x) for x in options.targets]:
            try:
                await self._change(session, target, terminal)
            except CliError as error:
                terminal.note(Text("error: ", style="red").append(clean(error)))
                code = error.code
        return code

    async def _change(self, session: Session, target: Target, terminal: Terminal) -> None:
        found = await session.get(target)
        phase = (found.get("status") or {}).get("phase")
        if phase in (Phase.SUCCEEDED, Phase.FAILED):
            terminal.print(f"{target} has already ended: {phase}")
            return
        wanted = self.patch.items()
        spec = found["spec"]
        if all(bool(spec.get(key)) == value for key, value in wanted):
            terminal.print(f"{target} {self.verb} (nothing to change)")
            return
        # With the uid, so that a new object of the same name is left alone.
        patch = {"metadata": {"uid": found["metadata"]["uid"]}, "spec": self.patch}
        with session.explained(target):
            await session.client.patch(target.resource, session.namespace, target.name, patch)
        terminal.print(f"{target} {self.verb}")


class Cancel(_Steer):
    """End a run or Task before its time."""

    name = "cancel"
    help = "end a run or a Task: what runs is stopped, its log stays"
    description = """\
End a run or a Task: what has not started never does, what runs is stopped and keeps its log.
This cannot be taken back.

  kubectl kubetask cancel nightly-7xk2p
  kubectl kubetask cancel task/update-service-a
"""
    verb = "cancelled"
    patch: ClassVar[dict[str, Any]] = {"cancel": True}


class Suspend(_Steer):
    """Start nothing new for now."""

    name = "suspend"
    help = "start nothing new; what runs goes on"
    description = """\
Start nothing new; what runs goes on.

  kubectl kubetask suspend nightly-7xk2p
"""
    verb = "suspended"
    patch: ClassVar[dict[str, Any]] = {"suspend": True}


class Resume(_Steer):
    """Let a suspended run or Task go on."""

    name = "resume"
    help = "let a suspended run or Task go on"
    description = """\
Let a suspended run or Task go on.

  kubectl kubetask resume nightly-7xk2p
"""
    verb = "resumed"
    patch: ClassVar[dict[str, Any]] = {"suspend": False}
