"""``ui``: serves a web page of the runs on the local machine."""

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
    help = "open a web page that shows and controls the runs"
    description = """\
Open a web page of the runs and Tasks in all namespaces that you can list, or in the namespace of -n.

The page is served on the local machine only, with the rights of your kubeconfig, until Ctrl-C. Nothing
is installed in the cluster. The URL contains a token: anyone with the URL and an account on this
machine has your rights.

  kubectl kubetask ui
  kubectl kubetask ui -n team-a --read-only --no-browser --port 8090
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the port, and the options of the browser."""
        parser.add_argument(
            "--port",
            type=whole_number,
            default=0,
            metavar="N",
            help="port on 127.0.0.1; default: a free one",
        )
        parser.add_argument(
            "--no-browser", action="store_true", help="print the URL, and do not open a browser"
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
            warning = "Do not share this URL: it grants your rights in the cluster."
            terminal.note(Text(f"Serving until Ctrl-C. {warning}", style="dim"))
            if not options.no_browser and _has_browser():
                await asyncio.to_thread(webbrowser.open, server.one_time_url())
            await asyncio.Event().wait()
        return Exit.OK


def _has_browser() -> bool:
    """Whether a browser would open a window, and not take this terminal."""
    if sys.platform in ("darwin", "win32") or os.environ.get("BROWSER"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
