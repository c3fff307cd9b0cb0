"""GET /ask?q=… asks both models at once and tells what each said, or why it did not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from skerry import env

MODELS = ("large", "small")


async def one(model: str, question: str) -> dict[str, Any]:
    """Ask one model; stream it, so that the time to its first words is known."""
    started = time.monotonic()
    first: float | None = None
    text = ""
    try:
        async for piece in env.ai.stream(question, model=model, max_tokens=64):
            first = first if first is not None else time.monotonic() - started
            text += piece
    except Exception as error:  # what one model fails with is this example's answer for it
        return {"model": model, "error": str(error)}
    seconds = time.monotonic() - started
    return {"model": model, "answer": text, "first_seconds": first, "seconds": seconds}


async def ask(request: Request) -> JSONResponse:
    """Ask both."""
    question = request.query_params.get("q", "What is a skerry?")[:1000]
    answers = await asyncio.gather(*(one(model, question) for model in MODELS))
    return JSONResponse({"question": question, "answers": answers})


app = Starlette(routes=[Route("/", ask), Route("/ask", ask)])
