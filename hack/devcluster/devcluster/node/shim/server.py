"""Starts shims by forking, so that a container does not wait for the start of an interpreter.

Standard input is a Unix socket from the node; each message carries one descriptor, a socket over which a new
shim talks with the node. The end of standard input ends the server, not its shims: those see the ends of
their own sockets.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback

from . import main

MESSAGE_BYTES = 1


def serve() -> None:
    """Fork until the node is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # a terminal's Ctrl-C is for the node, which then ends its Pods
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps shims
    control = socket.socket(fileno=0)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not data:
            return
        if os.fork() == 0:
            _become_shim(descriptors[0])
        os.close(descriptors[0])


def _become_shim(descriptor: int) -> None:
    """Run a shim in this fork, with its socket as standard input and output."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(descriptor, 0)
        os.dup2(descriptor, 1)
        os.close(descriptor)
        main.run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
