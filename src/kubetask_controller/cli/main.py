"""The console script ``kubectl-kubetask``, which kubectl runs as ``kubectl kubetask``.

It is part of the controller's distribution, but its dependencies for output are optional, because the controller's image does
not need them.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

NEEDS = "kubectl-kubetask needs additional packages: pip install 'kubetask-controller[cli]'"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; does not return."""
    if find_spec("rich") is None:
        sys.exit(NEEDS)
    from kubetask_controller.cli import program

    program.main(arguments)
