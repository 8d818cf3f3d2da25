"""A forward proxy for http, by which Pods reach a host that no resolver knows."""

import base64
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit


class HTTPProxy(ThreadingHTTPServer):
    """Hands requests for any host to `upstream`. `passed` has (host, whether a password was sent) of each."""

    daemon_threads = True

    def __init__(self, upstream: str, host: str, *, login: str = "") -> None:
        self.upstream = urlsplit(upstream).netloc
        self.password = base64.b64encode(login.encode()).decode() if login else ""
        self.passed: list[str] = []
        super().__init__((host, 0), _Handler)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.server_address[0]}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: HTTPProxy

    def do_GET(self) -> None:
        """Pass a request on."""
        if self.server.password not in self.headers.get("Proxy-Authorization", ""):
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        target = urlsplit(self.path)
        self.server.passed.append(target.netloc)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hop = ("host", "proxy-authorization", "proxy-connection", "connection")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in hop}
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        try:
            path = f"{target.path}?{target.query}" if target.query else target.path
            upstream.request(self.command, path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of tests clean."""


@contextmanager
def proxy(upstream: str, host: str, *, login: str = "") -> Iterator[HTTPProxy]:
    """A proxy at work."""
    with HTTPProxy(upstream, host, login=login) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
