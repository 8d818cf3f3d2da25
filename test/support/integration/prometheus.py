"""A real Prometheus that scrapes one controller, and what it answers."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.integration.controller import free_port

START_SECONDS = 30.0
LACKS = "prometheus is not installed (Debian's package of that name)"


class Prometheus:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        """What it answers, or AssertionError with why it does not."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert found["status"] == "success"
        return found["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        return list(self.get("/api/v1/query", query=expr)["result"])

    def values(self, expr: str, *, seconds: float) -> list[dict[str, Any]]:
        """The series of an expression over the last seconds, one value a second."""
        now = time.time()
        return list(
            self.get(
                "/api/v1/query_range", query=expr, start=str(now - seconds), end=str(now), step="1"
            )["result"]
        )

    def wait(self, expr: str, *, seconds: float = START_SECONDS) -> list[dict[str, Any]]:
        """The series of an expression, once there are any."""
        deadline = time.monotonic() + seconds
        while not (found := self.query(expr)):
            assert time.monotonic() < deadline, f"nothing for {expr}"
            time.sleep(0.2)
        return found


@contextmanager
def scraping(
    directory: Path, target: str, token: str, rules: dict[str, Any]
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `target` over HTTPS every second, with the alerts; skips where there is none."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip(LACKS)
    (directory / "token").write_text(token)
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules))
    job = {
        "job_name": "kubetask-controller-metrics",
        "scheme": "https",
        "honor_labels": True,
        "authorization": {"credentials_file": str(directory / "token")},
        "tls_config": {"insecure_skip_verify": True},
        "static_configs": [{"targets": [target], "labels": {"pod": "kubetask-controller-0"}}],
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [job],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        program,
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    found = Prometheus(port)
    try:
        _wait_ready(found, process, directory / "prometheus.log")
        yield found
    finally:
        process.terminate()
        process.wait(10)


def _wait_ready(found: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{found.url}/-/ready", timeout=2):
                return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
