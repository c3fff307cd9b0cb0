"""A process that serves an embedding model by onnxruntime: `model.onnx` and `tokenizer.json`.

Token vectors are averaged over the text and scaled to length 1, as Sentence-BERT does (Reimers and
Gurevych, 2019); a model that returns one vector a text is taken as it is.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from skerry.kinds.models.local.setting import EXTRA_STATUS, Setting, read_setting

try:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer
except ImportError as missing:
    sys.stderr.write(f"{missing}\n")
    raise SystemExit(EXTRA_STATUS) from missing

BATCH = 32
TOKENS_MAX = 512
TEXTS_MAX = 2048
BODY_BYTES_MAX = 32 << 20
WAITING_MAX = 64


class RefusedError(Exception):
    """The model cannot do what is asked."""


class OnnxModel:
    """One embedding model."""

    def __init__(self, setting: Setting) -> None:
        folder = Path(setting.path)
        file = folder if folder.is_file() else _model(folder)
        self._name = setting.name
        self._tokenizer = Tokenizer.from_file(str(_tokenizer(file)))
        self._tokenizer.enable_truncation(min(setting.context, TOKENS_MAX))
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {each.name for each in self._session.get_inputs()}

    def embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request for embeddings; blocks."""
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            raise RefusedError("The input must be a text or a list of texts.")
        if len(texts) > TEXTS_MAX:
            raise RefusedError(f"At most {TEXTS_MAX} texts at once.")
        data: list[dict[str, Any]] = []
        tokens = 0
        for start in range(0, len(texts), BATCH):
            vectors, count = self._embed(texts[start : start + BATCH])
            tokens += count
            data += [
                {"object": "embedding", "index": start + index, "embedding": vector.tolist()}
                for index, vector in enumerate(vectors)
            ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": self._name, "data": data, "usage": usage}

    def _embed(self, texts: list[str]) -> tuple[Any, int]:
        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        given = {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([each.type_ids for each in encoded], dtype=np.int64),
        }
        feeds = {name: value for name, value in given.items() if name in self._inputs}
        found = self._session.run(None, feeds)[0]
        if found.ndim == 3:
            weights = mask[:, :, None].astype(found.dtype)
            found = (found * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.maximum(norms, 1e-12), int(mask.sum())


def _model(folder: Path) -> Path:
    for name in ("model.onnx", "onnx/model.onnx"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has no model.onnx")


def _tokenizer(file: Path) -> Path:
    for folder in (file.parent, file.parent.parent):
        if (folder / "tokenizer.json").is_file():
            return folder / "tokenizer.json"
    raise FileNotFoundError(f"{file.parent} has no tokenizer.json")


class Service:
    """Serves a model to callers that wait for each other."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def health(self, request: Request) -> Response:
        """Say that the model is loaded."""
        return JSONResponse({"status": "ok"})

    async def other(self, request: Request) -> Response:
        """Refuse what embeddings are not."""
        return _error(400, "This model makes embeddings only.")

    async def embeddings(self, request: Request) -> Response:
        """Answer a call."""
        if self._waiting >= WAITING_MAX:
            return _error(503, "Too many calls wait for this model.")
        self._waiting += 1
        try:
            body = await request.body()
            if len(body) > BODY_BYTES_MAX:
                return _error(413, "The request is too large.")
            asked = msgspec.json.decode(body, type=dict[str, Any])
            async with self._turn:
                return JSONResponse(await asyncio.to_thread(self._model.embeddings, asked))
        except (RefusedError, msgspec.DecodeError) as error:
            return _error(400, str(error))
        finally:
            self._waiting -= 1


def _error(status: int, message: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    shape = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return JSONResponse(shape, status_code=status)


def main() -> None:
    """Load the model and serve it until this process is ended."""
    setting = read_setting()
    service = Service(OnnxModel(setting))
    application = Starlette(
        routes=[
            Route("/health", service.health),
            Route("/v1/embeddings", service.embeddings, methods=["POST"]),
            Route("/v1/{rest:path}", service.other, methods=["POST"]),
        ]
    )
    os.umask(0o177)
    uvicorn.run(application, uds=setting.socket, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
