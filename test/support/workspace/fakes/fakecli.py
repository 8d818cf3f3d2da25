"""What the stand-ins for agents' tools have in common. FAKE names a behaviour; only the standard library is used."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TASK = Path(os.environ["KUBETASK_TASK_DIR"])
MODE = os.environ.get("FAKE", "good")


def event(**fields):
    print(json.dumps(fields), flush=True)


def flags(*needed, refuse=()):
    """End as these tools do where they are called in a way they do not know."""
    given = " ".join(sys.argv[1:])
    for text in needed:
        if text not in given:
            sys.exit(f"{Path(sys.argv[0]).name}: missing {text} in {given}")
    for text in refuse:
        if text in given:
            sys.exit(f"{Path(sys.argv[0]).name}: unknown {text}")


def prompt():
    text = sys.stdin.read()
    if not text.strip():
        sys.exit("no prompt")
    (TASK / "prompt.seen").write_text(f"{os.getcwd()}\n{text}")
    return text


def work():
    """Change what the task wants changed."""
    if Path(".git").is_dir() and MODE != "nothing":
        Path("README.md").write_text("# better\n")


def misbehave():
    """The ways to end badly that know no format."""
    if MODE == "crash":
        print("Traceback: something broke", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGSEGV)
    if MODE == "garbage":
        sys.stdout.buffer.write(
            b'\xff\xfe{"type": [1,\n{"type":"result","usage":"many"}\nnull\n{}\n[]\n'
        )
        sys.exit(3)
    if MODE == "huge":
        for number in range(1000):
            print(f"line {number} " + "x" * 5000)
        print("y" * 9_000_000)
    if MODE == "hang":

        def leave(number, frame):
            # Not print: the signal may have come in the middle of one.
            os.write(1, b"cleaning up\n")
            os._exit(0 if os.environ.get("FAKE_EXIT_0") else 130)

        signal.signal(signal.SIGTERM, leave)
        print("thinking", flush=True)
        time.sleep(60)
    if MODE == "daemon":
        subprocess.Popen(["sleep", "300"])
    if MODE == "own-result":
        Path(os.environ["TERMINATION_LOG"]).write_text(
            '{"summary":"by myself","outcome":"Special"}'
        )
    if MODE == "leak":
        print("the key is", os.environ["API_KEY"], json.dumps(os.environ["API_KEY"]))
        print((TASK / "key.txt").read_text())
