"""Hybrid jobs by Amazon Braket's SDK as it is: created, run on the node, read back."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from braket.aws import AwsQuantumJob
from braket.jobs import hybrid_job
from braket.jobs.config import StoppingCondition

GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
POLL_SECONDS = 0.2
PREPARE = """
import json
import os
from pathlib import Path


def main():
    hyperparameters = json.loads(Path(os.environ["AMZN_BRAKET_HP_FILE"]).read_text())
    start = Path(os.environ["AMZN_BRAKET_INPUT_DIR"], "start", "start.txt").read_text()
    kept = Path(os.environ["AMZN_BRAKET_CHECKPOINT_DIR"], "deep")
    kept.mkdir()
    (kept / "angle.txt").write_text(start)
    print("for", os.environ["AMZN_BRAKET_JOB_NAME"], hyperparameters["steps"], "steps")
"""
HANG = "import time\nprint('waiting', flush=True)\ntime.sleep(600)\n"


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def ended(job: Any) -> str:
    while job.state() not in AwsQuantumJob.TERMINAL_STATES:
        time.sleep(POLL_SECONDS)
    return str(job.state(use_cached_value=True))


def said(job: Any) -> str:
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        job.logs(poll_interval_seconds=0)
    return told.getvalue()


def prepare(folder: Path) -> Any:
    """A script with hyperparameters and inputs, which leaves a checkpoint."""
    return AwsQuantumJob.create(
        "local:none/none",
        write(folder, "prepare.py", PREPARE),
        entry_point="prepare:main",
        hyperparameters={"steps": 3},
        input_data={"start": write(folder, "start.txt", "0.14")},
        tags={"why": "a test"},
        job_name="prepare",
    )


def search(arn: str) -> Any:
    """A search on a twin: a function that is sent pickled, and goes on from a checkpoint."""

    @hybrid_job(device=GARNET, copy_checkpoints_from_job=arn)  # type: ignore[untyped-decorator]
    def lowest(steps: int, *, stride: float = 1.0) -> dict[str, Any]:
        from braket.aws import AwsDevice
        from braket.circuits import Circuit
        from braket.jobs import (
            get_checkpoint_dir,
            get_job_device_arn,
            load_job_checkpoint,
            save_job_checkpoint,
        )
        from braket.jobs.metrics import log_metric
        from braket.tracking import Tracker

        device = AwsDevice(get_job_device_arn())
        angle = float(Path(get_checkpoint_dir(), "deep", "angle.txt").read_text())
        energy = 2.0
        with Tracker() as tracker:
            for step in range(steps):
                circuit = Circuit().rx(0, angle).cnot(0, 1)
                task = device.run(circuit, shots=50, poll_interval_seconds=POLL_SECONDS)
                counts = task.result().measurement_counts
                energy = (counts["00"] - counts["11"]) / 50
                log_metric("energy", energy, iteration_number=step)
                save_job_checkpoint({"angle": angle})
                angle += stride
        last = load_job_checkpoint()["angle"]
        return {"energy": energy, "cost": str(tracker.qpu_tasks_cost()), "last": last}

    return lowest(3, stride=1.5)


def told(job: Any) -> dict[str, Any]:
    """All that can be read of a job that is over."""
    state = ended(job)
    found = job.metadata()
    tasks = [each.metadata() for each in job.get_tasks()]
    return {
        "state": state,
        "why": found.get("failureReason"),
        "result": job.result() if state == "COMPLETED" else None,
        "metrics": job.metrics(),
        "said": said(job),
        "tasks": [each["status"] for each in tasks],
        "of the job": [each["jobArn"] == job.arn for each in tasks],
        "priorities": [each["queueInfo"]["queuePriority"] for each in tasks],
        "position": job.queue_position().queue_position,
        "tags": found["tags"],
        "events": [each["eventType"] for each in found["events"]],
        "billed": found["billableDuration"] > 0,
    }


def cancelled(folder: Path) -> dict[str, Any]:
    job = AwsQuantumJob.create("local:none/none", write(folder, "hang.py", HANG))
    while job.state() == "QUEUED" or "waiting" not in said(job):
        time.sleep(POLL_SECONDS)
    asked = job.cancel()
    return {"asked": asked, "state": ended(job)}


def overdue(folder: Path) -> dict[str, Any]:
    limit = StoppingCondition(maxRuntimeInSeconds=1)
    job = AwsQuantumJob.create(
        "local:none/none", write(folder, "slow.py", HANG), stopping_condition=limit
    )
    return {"state": ended(job), "why": job.metadata()["failureReason"]}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        first = prepare(folder)
        found = {"prepare": told(first), "search": told(search(first.arn))}
        found["cancelled"] = cancelled(folder)
        found["overdue"] = overdue(folder)
    sys.stdout.write(json.dumps(found))


main()
