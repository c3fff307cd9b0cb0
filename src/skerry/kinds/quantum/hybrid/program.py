"""What a hybrid job's program is: its interpreter, what it is told, and what it may use.

Variables are those that Braket's own containers set; their paths lie in the folder of the job.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skerry.kernel.apart import WAY_IN, WORK, Program
from skerry.kernel.kind import Context
from skerry.kinds.quantum import claim, stacks
from skerry.kinds.quantum.config import QuantumConfig
from skerry.kinds.quantum.hybrid import stage
from skerry.kinds.quantum.hybrid.contract import HybridJob

LOG_BYTES_MAX = 8 << 20
PROCESSES_MAX = 64
_INSIDE = Path(__file__).with_name("inside")


def program(
    context: Context, config: QuantumConfig, job: HybridJob, token: Callable[[str], str]
) -> Program:
    """Return the program of a job, whose folder is laid out."""
    python = stacks.python(job.request.stack, context.environments)
    folder = f"hybrid/{job.id}"
    work = context.run / folder / WORK
    failure = work / stage.OUTPUT / stage.FAILURE
    return Program(
        argv=(python, "-u", str(_INSIDE), str(work / stage.CODE), str(failure)),
        environment=_environment(context, job, work, python) | _braket(job, work, token(job.id)),
        folder=folder,
        seconds=float(job.request.seconds),
        memory_bytes=config.hybrid_memory_mib << 20,
        disk_bytes=config.hybrid_disk_mib << 20,
        log_bytes=LOG_BYTES_MAX,
        processes=PROCESSES_MAX,
    )


def _environment(context: Context, job: HybridJob, work: Path, python: str) -> dict[str, str]:
    region = str(job.request.native.get("region", ""))
    return {
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(work / stage.SCRATCH),
        "TMPDIR": str(work / stage.SCRATCH),
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_ENDPOINT_URL": WAY_IN,
        "AWS_ACCESS_KEY_ID": claim.job_access_key(context.id, job.id),
        "AWS_SECRET_ACCESS_KEY": claim.job_secret_key(job.id, context.keys),
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BRAKET_PRICE_OFFERS_URL": f"{WAY_IN}/braket/prices.csv",
    }


def _braket(job: HybridJob, work: Path, token: str) -> dict[str, str]:
    request: Any = job.request
    bucket, prefix = request.output
    native = request.native
    found = {
        "AMZN_BRAKET_JOB_NAME": request.name,
        "AMZN_BRAKET_JOB_TOKEN": token,
        "AMZN_BRAKET_DEVICE_ARN": str(native.get("device", "")),
        "AMZN_BRAKET_INPUT_DIR": str(work / stage.DATA),
        "AMZN_BRAKET_HP_FILE": str(work / stage.HYPERPARAMETERS),
        "AMZN_BRAKET_JOB_RESULTS_DIR": str(work / stage.MODEL),
        "AMZN_BRAKET_CHECKPOINT_DIR": str(work / stage.CHECKPOINTS),
        "AMZN_BRAKET_OUT_S3_BUCKET": bucket,
        "AMZN_BRAKET_JOB_RESULTS_S3_PATH": f"{prefix}/output",
        "AMZN_BRAKET_TASK_RESULTS_S3_URI": f"s3://{bucket}/jobs/{request.name}/tasks",
        "AMZN_BRAKET_SCRIPT_S3_URI": f"s3://{request.bucket}/{request.script}",
        "AMZN_BRAKET_SCRIPT_ENTRY_POINT": request.entry,
        "AMZN_BRAKET_SCRIPT_COMPRESSION_TYPE": "GZIP",
    }
    if native.get("image"):
        found["AMZN_BRAKET_IMAGE_URI"] = str(native["image"])
    if native.get("reservation"):
        # The SDK sends the reservation with every task on the device.
        found["AMZN_BRAKET_RESERVATION_DEVICE_ARN"] = found["AMZN_BRAKET_DEVICE_ARN"]
        found["AMZN_BRAKET_RESERVATION_TIME_WINDOW_ARN"] = str(native["reservation"])
    return found
