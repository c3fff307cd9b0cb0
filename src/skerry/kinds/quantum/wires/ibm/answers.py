"""Results of jobs as IBM's programs answer: sampler, estimator, executor.

Arrays travel as NumPy's `.npy` or as plain little-endian bytes, packed by zlib and base64. They are
written here by hand, so that the process that answers needs no NumPy.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from skerry.kinds.quantum.contract import Job, Result

_SECOND = 1_000_000_000


def moment(nanoseconds: int) -> str:
    """Return a moment as IBM writes it."""
    found = datetime.fromtimestamp(nanoseconds / _SECOND, UTC)
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")


def array(data: bytes, kind: str, shape: Sequence[int]) -> dict[str, Any]:
    """Return an array as a runtime client decodes it; `kind` is NumPy's name of the type."""
    size = ", ".join(str(each) for each in shape) + ("," if len(shape) == 1 else "")
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({size}), }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    file = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data
    return {"__type__": "ndarray", "__value__": packed(file)}


def packed(data: bytes) -> str:
    """Return bytes by zlib and base64."""
    return base64.b64encode(zlib.compress(data)).decode()


def numbers(values: Sequence[float | None], shape: Sequence[int]) -> dict[str, Any]:
    """Return real numbers as an array; None stands for what is no number."""
    found = [math.nan if each is None else each for each in values]
    return array(struct.pack(f"<{len(found)}d", *found), "<f8", shape)


def shots(result: Result) -> Iterator[str]:
    """Yield the bits of every shot, bit 0 first; in their order if that was kept."""
    if result.memory:
        yield from result.memory
        return
    for text, count in result.counts.items():
        for _ in range(count):
            yield text


def sampled(job: Job, results: Sequence[Result]) -> dict[str, Any]:
    """Return a sampler's answer."""
    found = []
    for pub in job.request.native["pubs"]:
        mine = [results[number] for number in pub["programs"]]
        fields = {name: _bits(mine, name, pub) for name in pub["registers"]}
        found.append(_pub("SamplerPubResult", fields, pub["shape"], {"circuit_metadata": {}}))
    return _primitive(job, found, _done(job))


def _bits(results: Sequence[Result], name: str, pub: dict[str, Any]) -> dict[str, Any]:
    bits = pub["registers"][name]
    size = (len(bits) + 7) // 8
    flips = pub.get("flips", {}).get(name) or [""] * len(results)
    rows = bytearray()
    for result, flipped in zip(results, flips, strict=True):
        mask = int(flipped[::-1] or "0", 2)
        for text in shots(result):
            value = sum(1 << place for place, bit in enumerate(bits) if text[bit] == "1")
            rows += (value ^ mask).to_bytes(size, "big")
    shape = [*pub["shape"], pub.get("total", pub["shots"]), size]
    inner = {"array": array(bytes(rows), "|u1", shape), "num_bits": len(bits)}
    return {"__type__": "BitArray", "__value__": inner}


def estimated(job: Job, results: Sequence[Result]) -> dict[str, Any]:
    """Return an estimator's answer: means, and standard errors from the shots themselves."""
    found = []
    for pub in job.request.native["pubs"]:
        pairs = [_mean(terms, results, pub["shots"]) for terms in pub["values"]]
        means, errors = [each[0] for each in pairs], [each[1] for each in pairs]
        shape = pub["shape"]
        fields = {
            "evs": numbers(means, shape),
            "stds": numbers(errors, shape),
            "ensemble_standard_error": numbers(errors, shape),
        }
        said = {"shots": pub["shots"], "target_precision": pub["precision"], "circuit_metadata": {}}
        found.append(_pub("PubResult", fields, shape, said))
    return _primitive(job, found, _done(job))


def _mean(
    terms: Sequence[Sequence[Any]], results: Sequence[Result], count: int
) -> tuple[float, float]:
    """Return the mean of an observable and its standard error.

    Terms that were read together are added up shot by shot, so that their covariance counts.
    """
    mean, variance = 0.0, 0.0
    groups: dict[int, list[Sequence[Any]]] = {}
    for term in terms:
        if term[1] < 0:
            mean += term[0]
        else:
            groups.setdefault(term[1], []).append(term)
    for number, members in groups.items():
        first, second = 0.0, 0.0
        masks = [(term[0], *(_mask(bits) for bits in term[2:])) for term in members]
        for text, times in results[number].counts.items():
            value = _value(masks, int(text[::-1] or "0", 2))
            first += times * value
            second += times * value * value
        average = first / count
        mean += average
        variance += max(0.0, second / count - average * average)
    return mean, math.sqrt(variance / count)


def _mask(bits: Sequence[int]) -> int:
    return sum(1 << each for each in bits)


def _value(masks: Sequence[tuple[float, int, int, int]], word: int) -> float:
    total = 0.0
    for coefficient, parity, zeros, ones in masks:
        if word & zeros or (word & ones) != ones:
            continue
        total += -coefficient if (word & parity).bit_count() & 1 else coefficient
    return total


def executed(job: Job, results: Sequence[Result]) -> dict[str, Any]:
    """Return an executor's answer, of its schema 2.0."""
    data = [{"results": each, "metadata": {}} for each in items(job, results)]
    parts = []
    for place, pub in enumerate(job.request.native["pubs"]):
        count = len(pub["programs"])
        parts.append(
            {
                "idx_item": place,
                "size": count,
                "permutation": list(range(len(pub["shape"]))),
                "element_range": [0, count, 1],
            }
        )
    span = {"start": moment(job.started), "stop": moment(job.ended), "parts": parts}
    return {
        "schema_version": "v2.0",
        "data": data,
        "metadata": {"chunk_timing": [span]},
        "passthrough_data": job.request.native.get("passthrough"),
        "semantic_role": job.request.native.get("role"),
    }


def items(job: Job, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return every item's readings, and what was drawn for it, as an executor answers them."""
    found = []
    for pub in job.request.native["pubs"]:
        mine = [results[number] for number in pub["programs"]]
        read = {name: _tensor(mine, bits, pub) for name, bits in pub["registers"].items()}
        found.append(read | pub.get("tensors", {}))
    return found


def mitigated(job: Job, done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return an estimator's answer whose means were mitigated."""
    mitigation = job.request.native["mitigation"]
    found = []
    for told, each in zip(mitigation["pubs"], done, strict=True):
        fields = {
            name: numbers(value["values"], value["shape"]) for name, value in each["fields"].items()
        }
        said: dict[str, Any] = {
            "shots": told["shots"],
            "target_precision": told["precision"],
            "num_randomizations": told["randomisations"],
            "circuit_metadata": {},
        }
        if each["extrapolators"]:
            said["resilience"] = {"zne": {"extrapolators": each["extrapolators"]}}
        found.append(_pub("PubResult", fields, each["shape"], said))
    return _primitive(job, found, _done(job))


def _done(job: Job) -> dict[str, Any]:
    """Return what was done against noise, in the words of IBM's metadata."""
    noise = job.request.native.get("noise")
    if noise is None:  # a job of before there was any mitigation
        return {}
    zne = noise["zne"]
    resilience: dict[str, Any] = {
        "measure_mitigation": noise["readout"],
        "zne_mitigation": zne is not None,
        "pec_mitigation": False,
    }
    twirling = {
        "enable_gates": noise["gates"],
        "enable_measure": noise["measure"],
        "num_randomizations": noise["num_randomizations"],
        "shots_per_randomization": noise["shots_per_randomization"],
        "interleave_randomizations": False,
        "strategy": noise["strategy"],
    }
    decoupling = noise["decoupling"] or {"enable": False}
    return {
        "dynamical_decoupling": decoupling,
        "twirling": twirling,
        "resilience": resilience if zne is None else {**resilience, "zne": zne},
    }


def _tensor(results: Sequence[Result], bits: Sequence[int], pub: dict[str, Any]) -> dict[str, Any]:
    text = "".join(text[bit] for result in results for text in shots(result) for bit in bits)
    data = int(text[::-1] or "0", 2).to_bytes((len(text) + 7) // 8, "little")
    shape = [*pub["shape"], pub["shots"], len(bits)]
    return {"data": packed(data), "shape": shape, "dtype": "bool"}


def _pub(
    kind: str, fields: dict[str, Any], shape: Sequence[int], metadata: dict[str, Any]
) -> dict[str, Any]:
    inner = {"field_names": list(fields), "shape": list(shape), "fields": fields}
    data = {"__type__": "DataBin", "__value__": inner}
    return {"__type__": kind, "__value__": {"data": data, "metadata": metadata}}


def _primitive(job: Job, pubs: list[dict[str, Any]], metadata: dict[str, Any]) -> dict[str, Any]:
    said = {"version": 2, "nature": job.nature, **metadata}
    return {"__type__": "PrimitiveResult", "__value__": {"pub_results": pubs, "metadata": said}}
