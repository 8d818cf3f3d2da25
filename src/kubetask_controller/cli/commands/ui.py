"""``ui``: a web page of the runs, on this machine alone."""

import argparse
import asyncio
import os
import sys
import webbrowser

from rich.text import Text

from kubetask_controller.cli.arguments import whole_number
from kubetask_controller.cli.exits import Exit, UsageError
from kubetask_controller.cli.session import Session
from kubetask_controller.cli.terminal import Terminal
from kubetask_controller.cli.ui.server import Server, ServerSettings

MAX_PORT = 65535


class Ui:
    """Serve the page."""

    name = "ui"
    help = "open a web page of the runs, to look at and to steer them"
    description = """\
Open a web page of the runs and Tasks of the namespaces that you may see, or of the one that -n names.

The page is served on this machine alone, with the rights of your kubeconfig, until Ctrl-C. Nothing is
installed in the cluster. The URL has a token: whoever has the URL and an account on this machine
can do what you can.

  kubectl kubetask ui
  kubectl kubetask ui -n team-a --read-only --no-browser --port 8090
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Where to serve, and whether to open a browser."""
        parser.add_argument(
            "--port",
            type=whole_number,
            default=0,
            metavar="N",
            help="on 127.0.0.1; default: a free one",
        )
        parser.add_argument(
            "--no-browser", action="store_true", help="print the URL, and open no browser"
        )
        parser.add_argument(
            "--read-only", action="store_true", help="the page cannot change anything"
        )

    async def execute(
        self, session: Session, options: argparse.Namespace, terminal: Terminal
    ) -> Exit:
        """Serve until Ctrl-C."""
        if options.port > MAX_PORT:
            raise UsageError(f"--port: {options.port} is not a port")
        server = Server(session, ServerSettings(options.namespace, options.read_only))
        async with server.serving(options.port):
            terminal.print(server.url)
            terminal.stdout.flush()
            terminal.note(
                Text("Serving until Ctrl-C. The URL above is for you alone.", style="dim")
            )
            if not options.no_browser and _has_browser():
                await asyncio.to_thread(webbrowser.open, server.one_time_url())
            await asyncio.Event().wait()
        return Exit.OK


def _has_browser() -> bool:
    """Whether a browser would open a window, and not take this terminal."""
    if sys.platform in ("darwin", "win32") or os.environ.get("BROWSER"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
