"""Embedding models by onnxruntime: a folder with `model.onnx` and `tokenizer.json`.

Token vectors are averaged over the text and scaled to length 1, as Sentence-BERT does (Reimers and
Gurevych, 2019); a model that returns one vector a text is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from skerry.kinds.models.local.setting import RefusedError, Setting

BATCH = 32
TOKENS_MAX = 512
TEXTS_MAX = 2048


class OnnxModel:
    """One embedding model."""

    def __init__(self, setting: Setting) -> None:
        folder = Path(setting.path)
        file = folder if folder.is_file() else _model(folder)
        self._name = setting.name
        self._tokenizer = Tokenizer.from_file(str(file.parent / "tokenizer.json"))
        self._tokenizer.enable_truncation(min(setting.context, TOKENS_MAX))
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {each.name for each in self._session.get_inputs()}

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """See `Model.answer`."""
        if operation != "embeddings":
            raise RefusedError("This model makes embeddings only.")
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

    def stream(self, operation: str, body: dict[str, Any], stop: Any) -> Iterator[dict[str, Any]]:
        """See `Model.stream`."""
        raise RefusedError("Embeddings are not streamed.")

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
