"""The wire, spoken to by the AWS CLI and by the AWS SDK for JavaScript."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parents[5] / "tests" / "clients"
SCRIPT = Path(__file__).with_name("client.mjs")


def environment(served: Any) -> dict[str, str]:
    """Return where the clients look for credentials, and nothing of this machine's own."""
    owner = next(each for each in served.engine.account.identities.values() if each.name == "owner")
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": owner.access_key,
        "AWS_SECRET_ACCESS_KEY": owner.secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "NODE_NO_WARNINGS": "1",
    }


def output_of(command: list[str], served: Any, folder: Path) -> str:
    """Run a client; return what it prints."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=environment(served),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_aws_cli(served: Any, tmp_path: Path) -> None:
    if shutil.which("aws") is None or subprocess.run(["aws", "--version"], check=False).returncode:
        pytest.skip("NOT TESTED: there is no AWS CLI here (Debian's package awscli)")

    def aws(*words: str) -> str:
        where = ["aws", "--endpoint-url", f"http://127.0.0.1:{served.port}"]
        return output_of([*where, *words], served, tmp_path)

    data = os.urandom(9 << 20)
    folder = tmp_path / "tree" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "tree" / "large").write_bytes(data)
    (folder / "ü 1.txt").write_text("one")
    aws("s3", "sync", "tree", "s3://media", "--only-show-errors")
    aws("s3", "sync", "s3://media", "back", "--only-show-errors")
    assert (tmp_path / "back" / "large").read_bytes() == data
    assert (tmp_path / "back" / "inner" / "ü 1.txt").read_text() == "one"
    head = json.loads(aws("s3api", "head-object", "--bucket", "media", "--key", "large"))
    assert head["ETag"].strip('"').endswith("-2"), "sent in two parts"
    aws("s3", "rm", "s3://media", "--recursive", "--only-show-errors")
    assert aws("s3", "ls", "s3://media") == ""


def test_the_aws_sdk_for_javascript(served: Any) -> None:
    if shutil.which("node") is None:
        pytest.skip("NOT TESTED: there is no Node.js here for the official JavaScript client")
    if not (CLIENTS / "node_modules" / "@aws-sdk" / "client-s3").exists():
        pytest.skip("NOT TESTED: python3 dev.py check installs @aws-sdk/client-s3")
    script = SCRIPT.read_text(encoding="utf-8")
    url = f"http://127.0.0.1:{served.port}"
    command = ["node", "--input-type=module", "-e", script, "", url]
    assert output_of(command, served, CLIENTS).strip().endswith("done")
