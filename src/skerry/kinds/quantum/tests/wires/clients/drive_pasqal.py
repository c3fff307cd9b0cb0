"""Drives pasqal-cloud, and Pulser on top of it, by their endpoints, as a user does."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pulser
from pasqal_cloud import SDK, Endpoints
from pasqal_cloud.authentication import TokenProvider
from pulser.waveforms import ConstantWaveform, RampWaveform
from pulser_pasqal import PasqalCloud
from pulser_simulation import QutipEmulator

URL, TOKEN = os.environ["PASQAL_URL"], os.environ["PASQAL_TOKEN"]
SHOTS = 2000


class Given(TokenProvider):  # type: ignore[misc]
    """A token that is known already."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self) -> str:
        """Return it."""
        return self._token


def _refused(job: Callable[[], Any]) -> str:
    try:
        job()
    except BaseException as error:  # this client's errors are no Exceptions
        return f"{type(error).__name__}: {error}"
    return "accepted"


def _sequence(device: Any, atoms: int = 3, spacing: float = 6.0) -> Any:
    """Return a sweep whose height is a variable, with phases that matter."""
    register = pulser.Register.rectangle(1, atoms, spacing=spacing, prefix="q")
    made = pulser.Sequence(register, device)
    made.declare_channel("ch", "rydberg_global")
    high = made.declare_variable("high", dtype=float)
    made.add(pulser.Pulse(RampWaveform(400, 0, high), ConstantWaveform(400, -5), 0), "ch")
    made.add(pulser.Pulse(ConstantWaveform(800, 6), RampWaveform(800, -5, 5), 0.7), "ch")
    made.add(pulser.Pulse(RampWaveform(400, 6, 0), ConstantWaveform(400, 5), 2.1), "ch")
    made.measure("ground-rydberg")
    return made


def main() -> None:
    """Run jobs, then bad ones."""
    warnings.simplefilter("ignore")
    options = {"token_provider": Given(TOKEN), "endpoints": Endpoints(core=URL)}
    sdk = SDK(project_id="lab", **options)
    cloud = PasqalCloud(project_id="lab", **options)
    device = cloud.fetch_available_devices()["FRESNEL"]
    sequence = _sequence(device)
    text = sequence.to_abstract_repr()
    jobs = [{"runs": SHOTS, "variables": {"high": high}} for high in (6.0, 2.0)]
    batch = sdk.create_batch(text, jobs, device_type="EMU_FREE", wait=True)
    local = QutipEmulator.from_sequence(sequence.build(high=6.0)).run()
    expected = local.sample_final_state(SHOTS)
    opened = sdk.create_batch(text, [], device_type="FRESNEL", open=True)
    opened.add_jobs([{"runs": 50, "variables": {"high": [5.0]}}], wait=True)
    opened.close()
    remote = cloud.submit(sequence.build(high=6.0), wait=True, job_params=[{"runs": 100}])
    near = _sequence(pulser.MockDevice, spacing=3.0).to_abstract_repr()
    bad = {"runs": 10, "variables": {"high": 1.0}}
    found = {
        "device": [device.name, device.max_atom_num, device.max_sequence_duration],
        "status": batch.status,
        "counts": [job.result for job in batch.ordered_jobs],
        "raw": len(batch.ordered_jobs[0].full_result["raw"]),
        "expected": dict(expected),
        "opened": [opened.status, opened.open, sum(opened.ordered_jobs[0].result.values())],
        "pulser": sum(remote.results[0].bitstring_counts.values()),
        "again": sdk.get_batch(batch.id).ordered_jobs[0].id == batch.ordered_jobs[0].id,
        "near": _refused(lambda: sdk.create_batch(near, [bad], device_type="FRESNEL")),
        "variable": _refused(lambda: sdk.create_batch(text, [{"runs": 1}], device_type="FRESNEL")),
        "garbage": _refused(lambda: sdk.create_batch("{}", [bad], device_type="FRESNEL")),
        "type": _refused(lambda: sdk.create_batch(text, [bad], device_type="FRESNEL_CAN1")),
        "closed": _refused(lambda: batch.add_jobs([bad])),
        "batch": _refused(lambda: sdk.get_batch("no-batch")),
    }
    other = SDK(project_id="lab", **{**options, "token_provider": Given(f"{TOKEN[:-2]}xx")})
    found["token"] = _refused(lambda: other.create_batch(text, [bad], device_type="FRESNEL"))
    sys.stdout.write(json.dumps(found, default=int))


if __name__ == "__main__":
    main()
