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
SEARCH = '''
from pathlib import Path

from braket.aws import AwsDevice
from braket.circuits import Circuit
from braket.jobs import (
    get_hyperparameters, get_input_data_dir, get_job_device_arn, load_job_checkpoint,
    save_job_checkpoint, save_job_result,
)
from braket.jobs.metrics import log_metric
from braket.tracking import Tracker


def energy_of(device, angle):
    """The mean of Z on both qubits, which a rotation by half a turn makes lowest."""
    circuit = Circuit().rx(0, angle).cnot(0, 1)
    counts = device.run(circuit, shots=50, poll_interval_seconds=0.1).result().measurement_counts
    return (counts["00"] - counts["11"]) / 50


def main():
    angle = float((Path(get_input_data_dir("start")) / "start.txt").read_text())
    device = AwsDevice(get_job_device_arn())
    with Tracker() as tracker:
        for step in range(int(get_hyperparameters()["steps"])):
            energy = energy_of(device, angle)
            log_metric("energy", energy, iteration_number=step)
            save_job_checkpoint({"angle": angle})
            angle += 1.5
    print("the last checkpoint", load_job_checkpoint()["angle"])
    save_job_result({"energy": energy, "cost": str(tracker.qpu_tasks_cost())})
'''
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


def search(folder: Path) -> dict[str, Any]:
    """A search of an angle on a twin, as a script with hyperparameters, inputs and checkpoints."""
    job = AwsQuantumJob.create(
        GARNET,
        write(folder, "search.py", SEARCH),
        entry_point="search:main",
        hyperparameters={"steps": 3},
        input_data={"start": write(folder, "start.txt", "0.14")},
        tags={"why": "a test"},
        job_name="search",
    )
    state = ended(job)
    found = job.metadata()
    tasks = job.get_tasks()
    return {
        "state": state,
        "why": found.get("failureReason"),
        "result": job.result(poll_interval_seconds=POLL_SECONDS) if state == "COMPLETED" else None,
        "metrics": job.metrics(),
        "said": said(job),
        "tasks": [task.metadata()["status"] for task in tasks],
        "of the job": [task.metadata().get("jobArn", job.arn) == job.arn for task in tasks],
        "priority": str(job.queue_position()),
        "tags": found["tags"],
        "events": [each["eventType"] for each in found["events"]],
        "billed": found["billableDuration"] > 0,
        "arn": job.arn,
    }


def decorated(arn: str) -> dict[str, Any]:
    """A function that is sent pickled, and goes on from the checkpoints of another job."""

    @hybrid_job(device=None, copy_checkpoints_from_job=arn)  # type: ignore[untyped-decorator]
    def onward(times: int, *, start: float = 1.0) -> dict[str, float]:
        from braket.jobs import get_job_name, load_job_checkpoint

        print("this is", get_job_name())  # noqa: T201 (a job's log is what it prints)
        return {"product": times * start, "before": load_job_checkpoint("search")["angle"]}

    job = onward(3, start=0.5)
    return {"state": ended(job), "said": said(job), "result": job.result(), "name": job.name}


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
        found = {"search": search(folder)}
        if "all" in sys.argv:
            found["decorated"] = decorated(found["search"]["arn"])
            found["cancelled"] = cancelled(folder)
            found["overdue"] = overdue(folder)
    sys.stdout.write(json.dumps(found))


main()
