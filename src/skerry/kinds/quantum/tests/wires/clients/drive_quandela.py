"""Drives perceval-quandela by its URL override, as a user does, beside its own simulator."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import perceval as pcvl
from perceval.algorithm import Sampler
from perceval.providers.quandela import QuandelaCommunicationLayer
from perceval.providers.quandela.rpc_handler import RPCHandler
from perceval.runtime import CommandFactory, Computation, RemoteComputer

URL, TOKEN = os.environ["QUANDELA_URL"], os.environ["QUANDELA_TOKEN"]


def _refused(job: Callable[[], Any]) -> str:
    try:
        job()
    except Exception as error:
        return str(error)
    return "accepted"


def _set_up(processor: Any, photons: list[int], **noise: float) -> Any:
    """Put the same experiment on a processor: an interferometer with a herald."""
    processor.add(0, pcvl.Unitary(pcvl.Unitary.fourier(4).compute_unitary()))
    processor.add(0, pcvl.BS.H(theta=0.7, phi_tl=0.2)).add(2, pcvl.BS.Ry(theta=1.1))
    processor.add(1, pcvl.PS(0.4)).add(0, pcvl.PERM([2, 0, 1]))
    processor.add_herald(3, 1)
    processor.min_detected_photons_filter(1)
    processor.noise = pcvl.NoiseModel(**noise)
    processor.with_input(pcvl.BasicState(photons))
    return processor


def _dip(remote: Callable[[], Any]) -> list[list[float]]:
    """Return visibilities of two photons, by how alike they are."""
    found = []
    for alike in (1.0, 0.9, 0.5):
        processor = remote()
        processor.set_circuit(pcvl.Circuit(2).add(0, pcvl.BS()))
        processor.noise = pcvl.NoiseModel(indistinguishability=alike)
        processor.min_detected_photons_filter(2)
        processor.with_input(pcvl.BasicState([1, 1]))
        chances = Sampler(processor, max_shots_per_call=1000).probs()["results"]
        found.append([alike, 1 - 2 * chances[pcvl.BasicState([1, 1])]])
    return found


def _sweep(remote: Callable[[], Any]) -> list[float]:
    """Return the coincidences of a sweep of a named angle, as one job."""
    processor = remote()
    processor.set_circuit(pcvl.Circuit(2).add(0, pcvl.BS(theta=pcvl.P("theta"))))
    processor.min_detected_photons_filter(2)
    processor.with_input(pcvl.BasicState([1, 1]))
    sampler = Sampler(processor, max_shots_per_call=1000)
    for theta in (0.0, 1.5707963267948966):
        sampler.add_iteration(circuit_params={"theta": theta})
    listed = sampler.probs()["results_list"]
    return [each["results"][pcvl.BasicState([1, 1])] for each in listed]


def _computer() -> list[Any]:
    """Run by the interface that Perceval has since 1.3; return what came, and two kinds more."""
    computer = RemoteComputer(QuandelaCommunicationLayer("sim:slos", TOKEN, URL))
    experiment = pcvl.Experiment(2)
    experiment.add(0, pcvl.BS())
    experiment.with_input(pcvl.BasicState([1, 1]))
    experiment.min_detected_photons_filter(2)
    computer.noise = pcvl.NoiseModel(indistinguishability=0.5)
    found = []
    for name in ("probs", "sample_count"):
        made = Computation(getattr(CommandFactory, name), experiment)
        made.add_params(max_shots=1000, **({} if name == "probs" else {"max_samples": 400}))
        answer = computer.execute(made)
        found.append(answer["results"][pcvl.BasicState([1, 1])])
    return [*found, computer.status, computer.available_jobs]


def main() -> None:
    """Run jobs, then bad ones."""
    imperfect = {"indistinguishability": 0.92, "g2": 0.01, "brightness": 0.5, "transmittance": 0.6}

    def remote(name: str = "sim:slos") -> Any:
        return pcvl.RemoteProcessor(name, token=TOKEN, url=URL)

    here = _set_up(pcvl.Processor("SLOS", 4), [1, 0, 1], **imperfect)
    there = _set_up(remote(), [1, 0, 1], **imperfect)
    local = here.probs(precision=0)
    asked = Sampler(there, max_shots_per_call=100_000)
    exact = asked.probs()
    counted = asked.sample_count(500)
    sampled = asked.samples(50)
    apart = max(abs(chance - exact["results"][state]) for state, chance in local["results"].items())
    handler = RPCHandler("sim:slos", URL, TOKEN)
    job = Sampler(there, max_shots_per_call=10).sample_count
    job.execute_async(10)
    cancelled = _refused(job.cancel)
    wide = remote("qpu:ascella")
    wide.set_circuit(pcvl.Circuit(12).add(0, pcvl.BS()))
    wide.min_detected_photons_filter(0)
    wide.with_input(pcvl.BasicState([1] * 6 + [0] * 6))
    found = {
        "apart": apart,
        "performance": [local["global_perf"], exact["global_perf"]],
        "counted": sum(counted["results"].values()),
        "sampled": len(sampled["results"]),
        "dip": _dip(remote),
        "sweep": _sweep(remote),
        "computer": _computer(),
        "cancelled": cancelled,
        "machine": sum(Sampler(wide, max_shots_per_call=100).sample_count(20)["results"].values()),
        "type": str(wide.type),
        "rerun": _refused(lambda: handler.rerun_job(job.id)),
        "payload": _refused(lambda: handler.create_job({"platform_name": "sim:slos"})),
        "garbage": _refused(
            lambda: handler.create_job(
                {
                    "platform_name": "sim:slos",
                    "payload": {"command": "probs", "experiment": ":PCVL:Experiment:////"},
                }
            )
        ),
        "platform": _refused(lambda: remote("qpu:other")),
        "other": _refused(
            lambda: pcvl.RemoteProcessor("sim:slos", token=f"{TOKEN[:-2]}xx", url=URL)
        ),
        "token": _refused(lambda: pcvl.RemoteProcessor("sim:slos", token="no", url=URL)),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
