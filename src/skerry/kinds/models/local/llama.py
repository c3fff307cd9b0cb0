"""GGUF models by llama.cpp, as a library."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from llama_cpp_py_sync.llama import Llama

from skerry.kinds.models.local.setting import RefusedError, Setting

MAX_TOKENS = 512


class LlamaModel:
    """One model: chat and text completions, streams, JSON schemas, and embeddings if it can."""

    def __init__(self, setting: Setting) -> None:
        self._name = setting.name
        self._setting = setting
        self._context = setting.context
        self._llama = Llama(
            setting.path, n_ctx=setting.context, n_threads=setting.threads, n_batch=512
        )
        self._embedder: Llama | None = None

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """See `Model.answer`."""
        if operation == "embeddings":
            return self._embeddings(body)
        chat = operation == "chat/completions"
        run = _Run(self._llama, self._context, body, chat=chat)
        text = "".join(run.pieces(threading.Event()))
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": run.reason}
        if chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        return {
            **self._envelope("chat.completion" if chat else "text_completion"),
            "choices": [choice],
            "usage": run.usage(),
        }

    def stream(
        self, operation: str, body: dict[str, Any], stop: threading.Event
    ) -> Iterator[dict[str, Any]]:
        """See `Model.stream`."""
        if operation == "embeddings":
            raise RefusedError("Embeddings are not streamed.")
        chat = operation == "chat/completions"
        run = _Run(self._llama, self._context, body, chat=chat)
        envelope = self._envelope("chat.completion.chunk" if chat else "text_completion")
        if chat:
            yield {**envelope, "choices": [_delta({"role": "assistant", "content": ""})]}
        for piece in run.pieces(stop):
            choice = _delta({"content": piece}) if chat else _text(piece)
            yield {**envelope, "choices": [choice]}
        end = _delta({}, run.reason) if chat else _text("", run.reason)
        yield {**envelope, "choices": [end]}
        if (body.get("stream_options") or {}).get("include_usage"):
            yield {**envelope, "choices": [], "usage": run.usage()}

    def _envelope(self, kind: str) -> dict[str, Any]:
        prefix = "cmpl" if kind == "text_completion" else "chatcmpl"
        return {
            "id": f"{prefix}-{uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self._name,
        }

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._embedder is None:
            self._embedder = Llama(
                self._setting.path,
                n_ctx=self._context,
                n_threads=self._setting.threads,
                embedding=True,
                pooling_type="mean",
            )
        texts = _texts(body.get("input"))
        tokens = sum(len(self._embedder.tokenize(text, add_special=True)) for text in texts)
        vectors = [self._embedder.get_embeddings(text) for text in texts]
        data = [
            {"object": "embedding", "index": index, "embedding": [float(x) for x in vector]}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": self._name, "data": data, "usage": usage}


class _Run:
    """One answer as it is made."""

    def __init__(self, llama: Llama, context: int, body: dict[str, Any], *, chat: bool) -> None:
        if body.get("tools"):
            raise RefusedError(
                "Tools need the program llama-server: install it, or name it as `program`."
            )
        if (body.get("n") or 1) != 1:
            raise RefusedError("This model gives one choice.")
        self._llama = llama
        self._body = body
        self._chat = chat
        self._stop = threading.Event()
        self._text = ""
        prompt = llama._format_chat_prompt(_messages(body))[0] if chat else _prompt(body)
        self._prompt = prompt
        self._read = len(llama.tokenize(prompt, add_special=True))
        room = context - self._read - 1
        if room < 1:
            raise RefusedError(f"The prompt has {self._read} tokens; the context is {context}.")
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or MAX_TOKENS
        self._most = min(int(wanted), room)

    def pieces(self, stop: threading.Event) -> Iterator[str]:
        """Yield the text as it is made."""
        stops = self._body.get("stop")
        temperature = self._body.get("temperature")
        source = self._llama.generate(
            self._prompt,
            max_tokens=self._most,
            temperature=0.8 if temperature is None else float(temperature),
            top_p=float(self._body.get("top_p") or 0.95),
            stop_sequences=[stops] if isinstance(stops, str) else list(stops or []),
            stream=True,
            seed=self._body.get("seed"),
            response_format=self._body.get("response_format"),
            cancel_callback=stop.is_set,
        )
        for piece in source:
            if stop.is_set():
                return
            if piece:
                self._text += piece
                yield piece

    def _written(self) -> int:
        return len(self._llama.tokenize(self._text, add_special=False)) if self._text else 0

    @property
    def reason(self) -> str:
        """Why the answer ended."""
        return "length" if self._written() >= self._most else "stop"

    def usage(self) -> dict[str, Any]:
        """Return the tokens that were read and written."""
        written = min(self._written(), self._most)
        return {
            "prompt_tokens": self._read,
            "completion_tokens": written,
            "total_tokens": self._read + written,
        }


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages with their texts only; raise RefusedError for pictures."""
    found = []
    for message in body.get("messages") or ():
        content = message.get("content") or ""
        if isinstance(content, list):
            if any(part.get("type") != "text" for part in content):
                raise RefusedError("This model reads text only.")
            content = "".join(part.get("text", "") for part in content)
        found.append({"role": message.get("role", "user"), "content": content})
    return found


def _prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise RefusedError("The prompt must be one text.")
    return prompt


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise RefusedError("The input must be a text or a list of texts.")
    return texts


def _delta(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _text(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
