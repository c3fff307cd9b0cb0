"""What `skerry doctor` says of models."""

from __future__ import annotations

import importlib.util
import shutil

from skerry.kernel.commands import Check

_LOCAL = 'For models of this machine: pip install "skerry[models-local]"'


def checks() -> list[Check]:
    """Return whether the gateway can call providers, and which local models can be served."""
    client = importlib.util.find_spec("aiohttp") is not None
    program = shutil.which("llama-server")
    llama = program or ("xllamacpp" if importlib.util.find_spec("xllamacpp") else "")
    onnx = all(importlib.util.find_spec(name) for name in ("onnxruntime", "tokenizers"))
    return [
        Check(
            "models",
            client,
            "the gateway's HTTP client is installed" if client else "aiohttp is missing",
            "" if client else 'pip install "skerry[models]"',
        ),
        Check("models gguf", True, llama or "not installed, and optional", "" if llama else _LOCAL),
        Check(
            "models onnx",
            True,
            "onnxruntime" if onnx else "not installed, and optional",
            "" if onnx else _LOCAL,
        ),
    ]
