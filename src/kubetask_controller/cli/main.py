"""The console script ``kubectl-kubetask``, which kubectl runs as ``kubectl kubetask``.

It comes with the controller's distribution, but what it draws with does not: a controller's image needs none of it.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

NEEDS = (
    "kubectl-kubetask needs more than the controller does: pip install 'kubetask-controller[cli]'"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; does not return."""
    if find_spec("rich") is None:
        sys.exit(NEEDS)
    from kubetask_controller.cli import program

    program.main(arguments)
