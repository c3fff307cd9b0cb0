"""The paradigm of QuEra's machine of atoms in Braket's schema.

The schema requires figures of performance that the twin does not use. Source of all that is not in
the catalogue: the capability file of Aquila in amazon-braket-examples (Apache-2.0), 2026-05-05.
"""

from __future__ import annotations

from typing import Any

from skerry.kinds.quantum.catalogue.model import Device
from skerry.kinds.quantum.wires.braket.results import header

_LATTICE = {
    "positionErrorAbs": 1.47e-07,
    "sitePositionError": 2.5e-08,
    "atomPositionError": 2.5e-08,
    "fillingErrorWorst": 0.01,
    "vacancyErrorTypical": 0.005,
    "vacancyErrorWorst": 0.005,
    "atomLossProbabilityTypical": 0.01,
    "atomLossProbabilityWorst": 0.01,
    "atomCaptureProbabilityTypical": 0.01,
    "atomCaptureProbabilityWorst": 0.01,
    "atomDetectionErrorFalsePositiveTypical": 0.01,
    "atomDetectionErrorFalsePositiveWorst": 0.01,
    "atomDetectionErrorFalseNegativeTypical": 0.01,
    "atomDetectionErrorFalseNegativeWorst": 0.01,
}
_DRIVE = {
    "rabiFrequencyGlobalErrorRel": 0.01,
    "rabiFrequencyInhomogeneityRel": 0.01,
    "groundPrepError": 0.01,
    "rydbergPrepErrorBest": 0.05,
    "rydbergPrepErrorWorst": 0.05,
    "T1Single": 1e-4,
    "T1Ensemble": 1e-4,
    "T2EchoSingle": 5e-6,
    "T2EchoEnsemble": 5e-6,
    "T2RabiSingle": 5e-6,
    "T2RabiEnsemble": 5e-6,
    "T2BlockadedRabiSingle": 5e-6,
    "T2BlockadedRabiEnsemble": 5e-6,
    "detuningError": 1e6,
    "detuningInhomogeneity": 1e6,
    "rabiAmplitudeRampCorrection": [
        {"rampTime": 5e-8, "rabiCorrection": 0.92},
        {"rampTime": 7.5e-8, "rabiCorrection": 0.97},
        {"rampTime": 1e-7, "rabiCorrection": 1.0},
    ],
}
_RANGES = {
    "rabiFrequencyResolution": 400.0,
    "rabiFrequencySlewRateMax": 2.5e14,
    "detuningResolution": 0.2,
    "detuningSlewRateMax": 2.5e15,
    "phaseRange": [-99.0, 99.0],
    "phaseResolution": 5e-7,
    "timeResolution": 1e-9,
    "timeDeltaMin": 5e-8,
    "timeMin": 0.0,
}


def paradigm(device: Device) -> dict[str, Any]:
    """Return limits and errors of a machine of atoms; local detuning is not part of the twin."""
    spacing, detuning = device.value("spacing_min"), device.value("detuning_max") or 0.0
    coherence, filling = device.value("t2"), device.value("filling_error")
    driven = {
        "rabiFrequencyErrorRel": device.value("rabi_error_relative"),
        "groundDetectionError": device.value("ground_detection_error"),
        "rydbergDetectionError": device.value("rydberg_detection_error"),
        "T2StarSingle": coherence,
        "T2StarEnsemble": coherence,
    }
    return {
        "braketSchemaHeader": header("device_schema.quera.quera_ahs_paradigm_properties"),
        "qubitCount": device.qubits,
        "lattice": {
            "area": {"width": device.value("width"), "height": device.value("height")},
            "geometry": {
                "spacingRadialMin": spacing,
                "spacingVerticalMin": spacing,
                "positionResolution": 1e-7,
                "numberSitesMax": device.qubits,
            },
        },
        "rydberg": {
            "c6Coefficient": device.value("c6"),
            "rydbergGlobal": _RANGES
            | {
                "rabiFrequencyRange": [0.0, device.value("rabi_max")],
                "detuningRange": [-detuning, detuning],
                "timeMax": device.value("duration_max"),
            },
        },
        "performance": {
            "lattice": _LATTICE | {"fillingErrorTypical": filling},
            "rydberg": {"rydbergGlobal": _DRIVE | driven},
        },
    }
