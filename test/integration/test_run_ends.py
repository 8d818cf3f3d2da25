"""The webhook on a cluster: a controller with the rights of its overlay delivers each end once, also after a restart."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from devcluster.base import Cluster

from support.integration.controller import SYSTEM, ControllerProcess
from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import run, scripted

pytestmark = pytest.mark.slow

ROLE = Path(__file__).resolve().parents[2] / "config" / "components" / "webhook" / "role.yaml"


class Receiver(HTTPServer):
    """Refuses the first request of each run, as one that is being restarted does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: list[tuple[str, dict[str, Any]]] = []
        self.taken = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.came.append((self.headers["webhook-id"], body["data"]))
        again = [x for x, _ in server.came].count(self.headers["webhook-id"]) > 1
        self.send_response(204 if again else 503)
        self.end_headers()
        if again:
            server.taken.set()

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def alone(_controller: ControllerProcess, kubectl: Kubectl) -> None:
    """The other tests' controller stands still; it comes back with the next test that wants it."""
    if _controller.running:
        _controller.stop()


def test_an_end_is_delivered_and_not_again_after_a_restart(
    cluster: Cluster,
    installed: Kubectl,
    alone: None,
    kubectl: Kubectl,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    installed("apply", "-f", str(ROLE))
    folder = tmp_path / "webhook"
    folder.mkdir()
    (folder / "url").write_text(f"http://127.0.0.1:{receiver.server_port}/hook")
    (folder / "secret").write_text("a secret that is long enough")
    process = ControllerProcess(
        cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller"),
        tmp_path / "controller.log",
        *("--leader-elect", f"--leader-election-namespace={SYSTEM}"),
        *("--metrics-bind-address=0", f"--webhook-config-path={folder}"),
        f"--agent-image={cluster.test_image}",
        f"--workspace-image={cluster.test_image}",
    )
    process.start()
    process.wait_ready()
    try:
        kubectl.apply(scripted(outcome={}), run("r", tasks=2))
        uid = kubectl.wait_phase("batchrun/r", "Succeeded")["metadata"]["uid"]
        assert receiver.taken.wait(30)
        annotation = "jsonpath={.metadata.annotations.kubetask\\.io/notified}"
        kubectl("wait", f"--for={annotation}", "batchrun/r", "--timeout=20s")
        ours = [x for x in receiver.came if x[0] == f"batchrun_{uid}_ended"]
        assert len(ours) == 2
        assert ours[1][1]["progress"]["completed"] == 2
        process.stop()
        process.start()
        process.wait_ready()
        kubectl.apply(run("second"))
        kubectl.wait_phase("batchrun/second", "Succeeded")
        kubectl("wait", f"--for={annotation}", "batchrun/second", "--timeout=20s")
        came = [x["name"] for _, x in receiver.came if x["namespace"] == kubectl.namespace]
        assert came == ["r", "r", "second", "second"]
        controller = Kubectl(
            cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller"), kubectl.namespace
        )
        for change in ({"spec": {"parallelism": 1}}, {"metadata": {"labels": {"a": "b"}}}):
            with pytest.raises(KubectlError, match="changes nothing of a BatchRun or Task"):
                controller("patch", "batchrun/second", "--type=merge", f"-p={json.dumps(change)}")
    finally:
        process.stop()
        installed("delete", "-f", str(ROLE))
