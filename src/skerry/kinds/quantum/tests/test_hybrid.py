"""Scripts of hybrid jobs that fail, and that mean harm, on a node with all of its sandbox."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import tarfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from skerry.app import make_node
from skerry.kinds._shared.http.request import request
from skerry.kinds.quantum import stacks
from skerry.kinds.quantum.tests.test_node import _log_in, options_in
from skerry.kinds.quantum.tests.wires.test_braket_jobs import BUCKET, archive, asked
from skerry.node.node import Node
from skerry.node.sandbox import abilities
from skerry.testing.nodes import deploy, open_directory, perform

pytestmark = pytest.mark.skipif(
    not any(each.name == "namespaces" and each.ok for each in abilities()),
    reason="NOT TRIED: this machine makes no namespaces",
)

SETTINGS = "hybrid_at_once = 4\nhybrid_memory_mib = 192\nhybrid_disk_mib = 8\n"
MARK = "skerry-hybrid-marker"
RAISES = """
print("begun")
print("Metrics - timestamp=1.0; cost=2;")
raise RuntimeError("no such angle")
"""
BOMB = f"""
import os, sys, time
made = 0
try:
    while True:
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(600)",
                                      "{MARK}"])
        made += 1
except OSError as error:
    print("made", made, error.errno, flush=True)
"""
FILLS = """
import os
number = 0
while True:
    with open(f"file{number}", "wb") as file:
        file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    number += 1
"""
EATS = "kept = []\nwhile True:\n    kept.append(bytearray(8 << 20))\n"
HANGS = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)", "{MARK}"],
                 start_new_session=True)
print("waiting", flush=True)
time.sleep(600)
"""
REACHES = """
import json, os, socket, urllib.error, urllib.request
from pathlib import Path

found = {}

def attempt(name, act):
    try:
        found[name] = str(act())
    except (OSError, urllib.error.URLError) as error:
        found[name] = type(error).__name__

home, port, state = os.environ["AMZN_BRAKET_HP_FILE"], 0, ""
with open(home) as file:
    told = json.load(file)
attempt("keys", lambda: Path(told["home"], "keys").iterdir().__next__())
attempt("state", lambda: Path(told["state"]).read_bytes())
attempt("own state", lambda: Path(told["own"]).read_bytes())
attempt("engine", lambda: Path(f"/proc/{told['engine']}/environ").read_bytes())
attempt("engine's end", lambda: os.kill(int(told["engine"]), 9))
attempt("log", lambda: open("../../log", "a"))
attempt("internet", lambda: socket.create_connection(("192.0.2.1", 80), 1))
attempt("node", lambda: socket.create_connection(("127.0.0.1", int(told["port"])), 1))
attempt("api", lambda: socket.socket(socket.AF_UNIX).connect(told["home"] + "/run/api.sock"))
attempt("local", lambda: socket.socket(socket.AF_UNIX))
attempt("pair", lambda: 1 / len(socket.socketpair()))
attempt("password", lambda: open("/etc/shadow").read())
attempt("other", lambda: urllib.request.urlopen(urllib.request.Request(
    os.environ["AWS_ENDPOINT_URL"] + "/@other/main/@qpu/quantum/v1/jobs",
    headers={"Host": "qpu.main.other.localhost", "Authorization": "Bearer " + told["token"]})))
found["secret"] = os.environ["AWS_SECRET_ACCESS_KEY"]
found["access"] = os.environ["AWS_ACCESS_KEY_ID"]
model = Path(os.environ["AMZN_BRAKET_JOB_RESULTS_DIR"])
(model / "found.json").write_text(json.dumps(found))
(model / "link").symlink_to("/etc/passwd")
os.mkfifo(model / "pipe")
os.symlink("/etc", os.environ["AMZN_BRAKET_CHECKPOINT_DIR"] + "/etc")
"""


class Client:
    """boto3 as a user has it, in threads."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        def made(service: str) -> Any:
            return boto3.client(
                service,
                endpoint_url=fields["url"],
                aws_access_key_id=fields["access_key"],
                aws_secret_access_key=fields["secret_key"],
                region_name="eu-north-1",
            )

        self.braket, self.s3, self.logs = made("braket"), made("s3"), made("logs")

    async def create(self, name: str, script: str, requirements: str = "", **changes: Any) -> str:
        """Upload a script and create a job of it; return its name."""
        members = [("script.py", script.encode())]
        if requirements:
            members.append(("requirements.txt", requirements.encode()))
        data = archive(*members)
        key = f"{name}/source.tar.gz"
        await asyncio.to_thread(self.s3.put_object, Bucket=BUCKET, Key=key, Body=data)
        body = asked(jobName=name, clientToken=name, **changes)
        place = body["algorithmSpecification"]["scriptModeConfig"]
        place["s3Uri"] = f"s3://{BUCKET}/{key}"
        body["outputDataConfig"] = {"s3Path": f"s3://{BUCKET}/{name}/out"}
        body["checkpointConfig"] = {"s3Uri": f"s3://{BUCKET}/{name}/kept"}
        return str((await asyncio.to_thread(self.braket.create_job, **body))["jobArn"])

    async def job(self, arn: str) -> Any:
        """Return a job as it stands."""
        return await asyncio.to_thread(self.braket.get_job, jobArn=arn)

    async def ended(self, arn: str) -> Any:
        """Return a job once it is over."""
        async with asyncio.timeout(60):
            while (found := await self.job(arn))["status"] in ("QUEUED", "RUNNING", "CANCELLING"):
                await asyncio.sleep(0.1)
        return found

    async def said(self, arn: str) -> str:
        """Return what a job said."""
        found = await self.job(arn)
        stream = f"{found['jobName']}/{arn.rpartition('/')[2]}/algo-1"
        page = await asyncio.to_thread(
            self.logs.get_log_events,
            logGroupName="/aws/braket/jobs",
            logStreamName=stream,
            startFromHead=True,
        )
        return "\n".join(each["message"] for each in page["events"])

    async def results(self, name: str) -> dict[str, bytes]:
        """Return the files of a job's results."""
        key = f"{name}/out/output/model.tar.gz"
        made = io.BytesIO()
        await asyncio.to_thread(self.s3.download_fileobj, BUCKET, key, made)
        made.seek(0)
        with tarfile.open(fileobj=made) as tar:
            members = tar.getmembers()
            assert all(each.isreg() for each in members)
            return {each.name: tar.extractfile(each).read() for each in members}  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_scripts_that_fail_or_mean_harm_are_contained() -> None:
    with open_directory() as home:
        node = make_node(options_in(home))
        await node.start()
        try:
            other = '[app]\nname = "other"\n[quantum.qpu]\n'
            await deploy(node, {"skerry.toml": other})
            await deploy(node, {"skerry.toml": f'[app]\nname = "lab"\n[quantum.qpu]\n{SETTINGS}'})
            fields = await fields_of(node, "lab")
            client = Client(fields)
            await is_shown(node, await fails(client))
            await reaches(node, client, home / "h", await fields_of(node, "other"))
            await runs_with_a_stack(node, client)
            await dies_with_its_cell(node, client)
        finally:
            await node.stop()


async def fields_of(node: Node, app: str) -> Mapping[str, str]:
    found = await perform(node, "resource.connect", name="qpu", app=app, branch="main")
    fields: Mapping[str, str] = found.fields
    return fields


async def fails(client: Client) -> str:
    """Scripts that raise, fork, fill the disk and the memory: each fails alone, and is named.

    Return the job that raised.
    """
    scripts = {"raises": RAISES, "bomb": BOMB, "fills": FILLS, "eats": EATS}
    arns = {name: await client.create(name, text) for name, text in scripts.items()}
    arns["needs"] = await client.create("needs", "", requirements="no-such-package-is-here")
    found = {name: await client.ended(arn) for name, arn in arns.items()}
    assert {name: each["status"] for name, each in found.items()} == {
        "raises": "FAILED",
        "bomb": "COMPLETED",
        "fills": "FAILED",
        "eats": "FAILED",
        "needs": "FAILED",
    }
    why = found["raises"]["failureReason"]
    assert why == "AlgorithmError: RuntimeError: no such angle exit code: 1"
    said = await client.said(arns["raises"])
    assert said.startswith("begun\nMetrics - timestamp=1.0; cost=2;\nTraceback")
    made = int((await client.said(arns["bomb"])).split()[1])
    assert 10 < made < 64
    assert not marked(), "what a job started ends with it"
    assert "disk" in found["fills"]["failureReason"]
    assert "the operator must install a stack" in found["needs"]["failureReason"]
    assert "emory" in found["eats"]["failureReason"]
    return arns["raises"].rpartition("/")[2]


async def is_shown(node: Node, job: str) -> None:
    """Commands and the console show a hybrid job as they show any other, and its use is counted."""
    running = await node.supervisor.wake("lab", "main", "qpu")
    assert running.apart_cpu_ms > 0
    assert running.apart_memory_mib_s > 0
    place = {"app": "lab", "branch": "main"}
    table = await perform(node, "quantum.jobs", **place)
    assert f"{job}  FAILED" in table.draw(100)
    shown = await perform(node, "quantum.job", job=job, **place)
    assert shown.exit_code == 1
    assert "no such angle" in shown.draw(100)
    done = await perform(node, "quantum.cancel", job=job, **place)
    assert "is FAILED" in done.message
    cookie = await asyncio.to_thread(_log_in, node)
    here = "/quantum/jobs?app=lab&branch=main&resource=qpu"
    for path in (here, f"/quantum/jobs/lab/main/qpu/{job}"):
        headers = {"Cookie": cookie, "Host": node.url[7:]}
        answer = await asyncio.to_thread(request, f"{node.url}{path}", "GET", None, headers)
        page = answer.body.decode()
        assert answer.status == 200, page[:500]
        assert "raises" in page
        assert (path == here) == ("no such angle" not in page)
        assert (path == here) == (">cost</title>" not in page)


async def reaches(node: Node, client: Client, home: Path, other: Mapping[str, str]) -> None:
    """A script that looks for what is not its own finds none of it."""
    branch = node.catalogue.branch("lab", "main")
    running = await node.supervisor.wake("lab", "main", "qpu")
    state = next(home.glob("**/jobs.sqlite"))
    told = {
        "home": str(home),
        "state": str(state),
        "own": str(next(home.glob(f"**/{branch.directory}/qpu/jobs.sqlite"))),
        "engine": str(running.child.pid),
        "port": str(urlsplit(other["url"]).port),
        "token": other["token"],
    }
    arn = await client.create("reaches", REACHES, hyperParameters=told)
    assert (await client.ended(arn))["status"] == "COMPLETED", await client.said(arn)
    results = await client.results("reaches")
    assert set(results) == {"found.json"}, "links and pipes are no results"
    found = json.loads(results["found.json"])
    access, secret = found.pop("access"), found.pop("secret")
    assert (found.pop("local"), found.pop("pair")) == ("OSError", "0.5")
    assert set(found.values()) <= {
        "ConnectionRefusedError",
        "FileNotFoundError",
        "HTTPError",
        "OSError",
        "PermissionError",
        "ProcessLookupError",
    }, found
    kept = await asyncio.to_thread(client.s3.list_objects_v2, Bucket=BUCKET, Prefix="reaches/kept")
    assert kept["KeyCount"] == 0
    late = Client({"url": other["base"], "access_key": access, "secret_key": secret})
    with pytest.raises(late.braket.exceptions.ClientError):
        await late.job(arn)


async def runs_with_a_stack(node: Node, client: Client) -> None:
    """An image that is named after a stack means the environment that the operator made for it."""
    clients = [each for each in stacks.STACKS if each.startswith("clients-")]
    name = next(each for each in clients if not stacks.is_here(each))
    made = stacks.folder(node.home.environments, name)
    made.parent.mkdir(mode=0o755)
    await asyncio.to_thread(venv.create, made)
    (made / stacks.COMPLETE).touch()
    body = asked()["algorithmSpecification"]
    body["containerImage"] = {"uri": f"1234567890.dkr.ecr.eu-north-1.amazonaws.com/{name}:latest"}
    script = "import sys\nprint(sys.prefix)\n"
    arn = await client.create("stack", script, algorithmSpecification=body)
    assert (await client.ended(arn))["status"] == "COMPLETED", await client.said(arn)
    assert await client.said(arn) == str(made)


async def dies_with_its_cell(node: Node, client: Client) -> None:
    """A job whose engine was killed has failed, and nothing of it runs on."""
    arn = await client.create("hangs", HANGS)
    async with asyncio.timeout(30):
        while not marked():
            await asyncio.sleep(0.05)
    running = await node.supervisor.wake("lab", "main", "qpu")
    os.kill(running.child.pid, signal.SIGKILL)
    found = await client.ended(arn)
    assert found["status"] == "FAILED"
    assert "The node stopped while the job ran" in found["failureReason"]
    async with asyncio.timeout(10):
        while marked():
            await asyncio.sleep(0.05)


def marked() -> list[str]:
    """Return the processes that a script of these tests started."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
        except OSError:
            continue
        if MARK.encode() in words and str(sys.executable).encode() in words:
            found.append(each.parent.name)
    return found
