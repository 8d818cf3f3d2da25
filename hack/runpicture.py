"""A picture of a run as `kubectl kubetask status` draws it, as SVG, from the BatchRun as the API gives it.

kubectl get batchrun NAME -o json | python -m hack.runpicture > docs/images/run.svg
"""

import io
import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI

from kubetask_controller.cli.runview import run_view
from kubetask_controller.cli.tree import render_tree

_FONT_FACES = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
"""rich has fonts fetched from elsewhere; a viewer's own monospaced one does as well."""
_IDENTITY = "kubetask"


def draw(run: dict[str, Any], now: datetime) -> str:
    """The picture."""
    lines = list(render_tree(run_view(run), now=now))
    width = max(line.cell_len for line in lines) + 1
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, no_wrap=True, crop=False)
    name = run["metadata"]["name"]
    title = f"kubectl kubetask status {name}"
    svg = console.export_svg(title=title, theme=MONOKAI, unique_id=_IDENTITY)
    return _FONT_FACES.sub("", svg).replace("Fira Code", "ui-monospace")


if __name__ == "__main__":
    sys.stdout.write(draw(json.load(sys.stdin), datetime.now(UTC)))
