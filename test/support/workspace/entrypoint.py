"""Our agent's entry point as a process, over stand-ins for the tools that it knows (`fakes`)."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.workspace.taskpod import TaskPod, git

FAKES = Path(__file__).parent / "fakes"
MAIN = "from kubetask_controller.workspace.agent import main; main()"


@dataclass
class Ran:
    pod: TaskPod
    code: int
    log: str

    @property
    def result(self) -> dict[str, Any]:
        return json.loads(self.pod.log.read_text())

    @property
    def transcript(self) -> str:
        return (self.pod.directory / ".kubetask/agent.log").read_text(errors="replace")


def start(
    pod: TaskPod, *arguments: str, fake: str = "good", main: str = MAIN, **environ: str
) -> subprocess.Popen[str]:
    pod.log.write_text("")
    env = pod.environ("containers")
    return subprocess.Popen(
        [sys.executable, "-c", main, *arguments],
        cwd=pod.directory,
        env={
            **env,
            # The stand-ins run with this Python, which may be another one than the machine's.
            "PATH": f"{FAKES}:{Path(sys.executable).parent}:{env['PATH']}",
            "FAKE": fake,
            "PYTHONPATH": os.pathsep.join(sys.path),
            **environ,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(pod: TaskPod, *arguments: str, fake: str = "good", main: str = MAIN, **environ: str) -> Ran:
    with start(pod, *arguments, fake=fake, main=main, **environ) as process:
        out, _ = process.communicate(timeout=60)
    return Ran(pod, process.returncode, out)


def branches(origins: Path, repo: str = "billing") -> list[str]:
    path = origins / f"acme/{repo}.git"
    return git("for-each-ref", "--format=%(refname:short)", "refs/heads", cwd=path).split()
