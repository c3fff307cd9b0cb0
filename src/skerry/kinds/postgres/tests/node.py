"""A small node for tests: a gateway over engine processes, and a listening front."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.kernel.errors import SkerryError
from skerry.kernel.kind import Endpoint, Resource
from skerry.kinds.postgres.front import PostgresFront
from skerry.kinds.postgres.limits import Limits
from skerry.kinds.postgres.tests.harness import EngineProcess


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.DNSName("*.localhost")]
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([*names, address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    where, secret = folder / "node.crt", folder / "node.key"
    where.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return where, secret


class Held:
    def __init__(self, path: str) -> None:
        self.endpoint = Endpoint(path)
        self.is_active = True
        self.closed = False
        self.callbacks: list[Callable[[], None]] = []

    def active(self, active: bool) -> None:
        self.is_active = active

    def on_sleep(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def close(self) -> None:
        self.closed = True


class Node:
    """Resources by (app, branch, name), woken when opened."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="skn", dir="/tmp"))
        self.engines: dict[tuple[str, str, str], EngineProcess] = {}
        self.awake: dict[str, bool] = {}
        self.opened: list[str] = []
        self.sessions: list[Held] = []
        self.refusal: SkerryError | None = None
        self.certificate, self.key = certificate(self.folder)
        self.front = PostgresFront(self, limits)
        self.lock = asyncio.Lock()
        self.port = 0

    def add(self, engine: EngineProcess, app: str = "newsroom", branch: str = "main") -> None:
        self.engines[app, branch, "db"] = engine

    def find(self, kind: str, app: str, branch: str, name: str | None) -> Resource | None:
        assert kind == "postgres"
        engine = self.engines.get((app, branch, name or "db"))
        if engine is None:
            return None
        return Resource(engine.ref, engine.id, engine.directory, engine.config, engine.keys)

    def by_id(self, resource_id: str) -> Resource | None:
        raise NotImplementedError

    async def open(self, resource: Resource) -> Held:
        self.opened.append(resource.id)
        if self.refusal:
            raise self.refusal
        engine = next(each for each in self.engines.values() if each.id == resource.id)
        async with self.lock:
            if not self.awake.get(resource.id):
                await engine.start()
                self.awake[resource.id] = True
        held = Held(engine.socket)
        self.sessions.append(held)
        return held

    async def elsewhere(self, app: str, wire: str, *place: str | None) -> str | None:
        return None

    async def elsewhere_by_id(self, resource_id: str, wire: str) -> str | None:
        return None

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    async def sleep(self, engine: EngineProcess) -> None:
        for session in self.sessions:
            if not session.closed:
                for callback in session.callbacks:
                    callback()
        await engine.call("stop")
        self.awake[engine.id] = False

    async def __aenter__(self) -> Node:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self.front.protocol, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()
        for client in list(self.front.lobby.clients):
            client.transport.abort()
        await asyncio.sleep(0)
        for engine in self.engines.values():
            await engine.close()
        shutil.rmtree(self.folder)

    def dsn(self, engine: EngineProcess, label: str = "newsroom", **more: Any) -> str:
        secret = engine.keys.secret("password")
        tail = "&".join(f"{key}={value}" for key, value in more.items())
        return f"postgresql://app:{secret}@127.0.0.1:{self.port}/app@{label}?{tail}".rstrip("?")
