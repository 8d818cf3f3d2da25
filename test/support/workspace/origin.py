"""Origins: bare repositories that tests clone from, over file, HTTP and TLS."""

import asyncio
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hack.forge import ForgeServer
from hack.gitserver import IDENTITY, GitServer, make_repository

from support.workspace.taskpod import git

TOKEN = "t0ken-of-the-test"
ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **IDENTITY}


def make(path: Path, files: Mapping[str, str] | None = None, *, branch: str = "main") -> Path:
    """A bare repository with one commit."""
    asyncio.run(make_repository(path, files or {"README.md": f"# {path.stem}\n"}, branch=branch))
    return path


def commit(
    path: Path, files: Mapping[str, str], *, branch: str = "main", message: str = "More"
) -> str:
    """Add a commit to a branch of a bare repository; its name."""
    tree = git("rev-parse", f"{branch}^{{tree}}", cwd=path, environ=ENVIRON)
    index = {**ENVIRON, "GIT_INDEX_FILE": str(path / "test-index")}
    git("read-tree", tree, cwd=path, environ=index)
    for name, content in files.items():
        blob = path / "test-blob"
        blob.write_text(content)
        oid = git("hash-object", "-w", str(blob), cwd=path, environ=ENVIRON)
        git("update-index", "--add", "--cacheinfo", f"100644,{oid},{name}", cwd=path, environ=index)
    tree = git("write-tree", cwd=path, environ=index)
    made = git("commit-tree", tree, "-p", branch, "-m", message, cwd=path, environ=ENVIRON)
    git("update-ref", f"refs/heads/{branch}", made, cwd=path, environ=ENVIRON)
    return made


@contextmanager
def forged(directory: Path, *, token: str = "") -> Iterator[ForgeServer]:
    """A git server with the APIs of hosts, in a thread of its own."""
    server = ForgeServer(directory, token=token)
    with _running(server):
        yield server


@contextmanager
def served(
    directory: Path, *, token: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[GitServer]:
    """A git server in a thread of its own, so that a test may call git and wait for it."""
    server = GitServer(directory, token=token, tls=tls)
    with _running(server):
        yield server


@contextmanager
def _running(server: GitServer) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield
    finally:
        end = server.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(end, loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def authority(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A server's certificate for 127.0.0.1, and the PEM of the authority that signed it."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])

    def build(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    constraints = x509.BasicConstraints(ca=True, path_length=0)
    ca = build(ca_name, ca_key.public_key()).add_extension(constraints, critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = build(name, key.public_key()).add_extension(names, critical=False)
    pem = ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    chain = leaf.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(chain + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, pem.decode()
