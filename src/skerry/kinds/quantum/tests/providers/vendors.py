"""Vendors of quantum machines in miniature: the calls that providers make, and their faults.

A fault is taken by the next request whose path has a part of its own. `lost` does what was asked
and hangs up; `late` answers after a while; `cut` ends an answer before its end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]


class Fault:
    """What befalls one request: a status with headers and body, or a way to lose the answer."""

    def __init__(self, part: str, status: int = 0, how: str = "", **headers: str) -> None:
        self.part = part
        self.status = status
        self.how = how
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Vendor:
    """A server that keeps jobs; a subclass says what its API is."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.state = ""
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.heads: list[dict[str, str]] = []
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *parts: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if self.raw_requestline and self.parse_request():
                    vendor.serve(self)
                    self.wfile.flush()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, http: Any) -> None:
        size = int(http.headers.get("Content-Length") or 0)
        data = http.rfile.read(size)
        parts = urlsplit(http.path)
        self.seen.append(f"{http.command} {parts.path}")
        self.heads.append(dict(http.headers))
        fault = next((each for each in self.faults if each.part in http.path), None)
        if fault is not None:
            self.faults.remove(fault)
            if fault.status:
                _reply(http, fault.status, {"message": "no"}, fault.headers)
                return
        if fault is not None and fault.how == "late":
            time.sleep(0.3)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        status, body = self.answer(http.command, parts.path.strip("/").split("/"), query, data)
        if fault is not None and fault.how == "lost":
            http.close_connection = True
        elif fault is not None and fault.how == "cut":
            http.send_response(200)
            http.send_header("Content-Length", "1000")
            http.end_headers()
            http.wfile.write(b"{")
            http.close_connection = True
        elif fault is not None and fault.how == "garbled":
            _reply(http, 200, ["not what was asked"], {})
        else:
            _reply(http, status, body, {})

    def answer(self, method: str, parts: list[str], query: dict[str, str], data: bytes) -> Answer:
        raise NotImplementedError

    def add(self, job: dict[str, Any]) -> str:
        name = f"job-{len(self.jobs) + 1}"
        self.jobs[name] = job
        return name


def _reply(http: Any, status: int, body: Any, headers: dict[str, str]) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    http.send_response(status)
    for name, value in headers.items():
        http.send_header(name, value)
    http.send_header("Content-Length", str(len(data)))
    http.end_headers()
    http.wfile.write(data)


class IonQ(Vendor):
    """Has no token and no search: a lost answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.chances = {"1": 1.0}

    def answer(self, method: str, parts: list[str], query: dict[str, str], data: bytes) -> Answer:
        match (method, *parts):
            case ("POST", "jobs"):
                return 200, {"id": self.add(json.loads(data))}
            case ("GET", "jobs", name):
                return 200, {"id": name, "status": self.state or "completed"}
            case ("PUT", "jobs", _, "status", "cancel"):
                self.state = "canceled"
                return 200, {}
            case ("GET", "jobs", _, "results", "probabilities"):
                return 200, self.chances
        return 404, {"parts": parts}


class Pasqal(Vendor):
    """Batches with tags, by which they are found; results behind a link."""

    def answer(self, method: str, parts: list[str], query: dict[str, str], data: bytes) -> Answer:
        match (method, *parts):
            case ("POST", "login"):
                form = parse_qs(data.decode())
                assert form["username"] == ["somebody"]
                return 200, {"access_token": "opaque", "expires_in": 3600}
            case ("POST", "api", "v1", "batches"):
                return 200, {"data": {"id": self.add(json.loads(data))}}
            case ("GET", "api", "v1", "batches"):
                found = [{"id": n, "tags": j["tags"]} for n, j in self.jobs.items()]
                return 200, {"data": found}
            case ("GET", "api", "v2", "jobs"):
                found = [{"id": query["batch_id"], "status": self.state or "DONE"}]
                return 200, {"data": found}
            case ("GET", "api", "v1", "jobs", name, "results_link"):
                return 200, {"data": {"results_link": f"{self.url}/bucket/{name}?signed=1"}}
            case ("GET", "bucket", _):
                return 200, {"counter": {"010": 40, "101": 60}}
            case ("PATCH", "api", "v2", "batches", _, "cancel"):
                self.state = "CANCELED"
                return 200, {"data": {}}
        return 404, {"parts": parts}


class IBM(Vendor):
    """Jobs with tags, by which they are listed, and the seconds that they took."""

    def answer(self, method: str, parts: list[str], query: dict[str, str], data: bytes) -> Answer:
        match (method, *parts):
            case ("POST", "identity", "token"):
                assert parse_qs(data.decode())["apikey"] == ["key"]
                return 200, {"access_token": "opaque", "expires_in": 3600}
            case ("POST", "jobs"):
                return 200, {"id": self.add(json.loads(data))}
            case ("GET", "jobs"):
                found = [{"id": n, "tags": j["tags"]} for n, j in self.jobs.items()]
                return 200, {"jobs": found}
            case ("GET", "jobs", _):
                return 200, {"state": {"status": self.state or "Completed"}}
            case ("GET", "jobs", _, "metrics"):
                return 200, {"position_in_queue": 3, "usage": {"quantum_seconds": 4}}
            case ("GET", "jobs", _, "results"):
                shots = {"c": {"samples": ["0x1"] * 100, "num_bits": 2}}
                return 200, {"results": [{"data": shots, "metadata": {}}]}
        return 404, {"parts": parts}


class Quandela(Vendor):
    """Jobs of what Perceval wrote."""

    def answer(self, method: str, parts: list[str], query: dict[str, str], data: bytes) -> Answer:
        match (method, *parts):
            case ("POST", "api", "job"):
                return 200, {"job_id": self.add(json.loads(data))}
            case ("GET", "api", "job", "status", _):
                return 200, {"status": self.state or "completed"}
            case ("GET", "api", "job", "result", _):
                told = {"results": ":PCVL:BSCount:{|2,0>=48;|0,2>=52}", "physical_perf": 1.0}
                return 200, {"results": json.dumps(told)}
            case ("POST", "api", "job", "cancel", _):
                self.state = "canceled"
                return 200, {}
        return 404, {"parts": parts}


class Azure(Vendor):
    """A workspace, its storage, and the login of its directory."""

    outcome: Any = None
    cost: dict[str, Any] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.blobs: dict[str, bytes] = {}

    def answer(self, method: str, parts: list[str], query: dict[str, str], data: bytes) -> Answer:
        match (method, *parts):
            case ("POST", _, "oauth2", "v2.0", "token"):
                assert parse_qs(data.decode())["grant_type"] == ["client_credentials"]
                return 200, {"access_token": "opaque", "expires_in": 3600}
            case ("POST", *_, "storage", "sasUri"):
                asked = json.loads(data)
                path = "/".join(filter(None, (asked["containerName"], asked.get("blobName"))))
                return 200, {"sasUri": f"{self.url}/store/{path}?sig=secret"}
            case ("PUT", "store", container):
                if container in self.blobs:
                    return 409, {"code": "ContainerAlreadyExists"}
                self.blobs[container] = b""
                return 201, {}
            case ("PUT", "store", container, blob):
                self.blobs[f"{container}/{blob}"] = data
                return 201, {}
            case ("GET", "store", *_):
                return (200, self.outcome) if query.get("sig") else (403, {})
            case ("PUT", *_, "jobs", name):
                self.jobs[name] = json.loads(data)
                return 201, {}
            case ("POST", *_, "jobs", name) if name.endswith(":cancel"):
                self.state = "Cancelled"
                return 200, {}
            case ("GET", *_, "jobs", name):
                return 200, {
                    "status": self.state or "Succeeded",
                    "outputDataUri": f"{self.url}/store/job-{name}/rawOutputData",
                    "costEstimate": self.cost,
                }
        return 404, {"parts": parts}


Make = Callable[[], Vendor]
