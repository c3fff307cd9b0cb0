"""The worker's loop: one request a line on standard input, answers on standard output.

    {"id": 7, "do": "run", "params": {…}}
    {"id": 7, "result": {…}}   or   {"id": 7, "refused": {"what": …, "why": …, "line": 3}}
                               or   {"id": 7, "failed": "…"}

It ends when its input ends. Standard output is kept for answers: what libraries print goes to
standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from .ir import UnsupportedError

LINE_BYTES_MAX = 256 << 20


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"id": request["id"], **_answer(request["do"], request["params"])}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(what: str, params: dict[str, Any]) -> dict[str, Any]:
    from .doing import DO  # noqa: PLC0415 (a stack that lacks a library fails with its own error)

    try:
        return {"result": DO[what](params)}
    except UnsupportedError as error:
        return {"refused": {"what": error.what, "why": error.why, "line": error.line}}
    except MemoryError:
        return {"failed": "There is not enough memory."}
    except Exception as error:  # whatever a library raises ends this request and no other
        return {"failed": f"{type(error).__name__}: {error}"[:2000]}


main()
