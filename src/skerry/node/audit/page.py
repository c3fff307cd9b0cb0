"""The audit log in the console: its last entries, its head, and an entry with its proof."""

from __future__ import annotations

from typing import Any

import msgspec

WHAT = (
    "decision",
    "catalogue",
    "receipt",
    "billed",
    "drill",
    "residency",
    "key",
    "token",
    "login",
    "note",
)


async def view(visit: Any) -> dict[str, Any]:
    """Return the last entries, as they are asked for, and the signed head."""
    app = visit.request.query_params.get("app", "").strip() or None
    what = visit.request.query_params.get("what", "").strip() or None
    words = ["skerry audit entries"]
    words += [f"--app {app}"] if app else []
    words += [f"--what {what}"] if what else []
    return {
        "entries": list(reversed(await visit.ask("audit.entries", app=app, what=what, lines=100))),
        "head": await visit.ask("audit.key"),
        "app": app or "",
        "what": what or "",
        "sorts": WHAT,
        "cli": [
            " ".join(words),
            "skerry audit export > log.jsonl",
            "skerry audit verify log.jsonl --key <key>",
        ],
    }


async def view_entry(visit: Any) -> dict[str, Any]:
    """Return one entry, and the proof that it is under the signed head."""
    number = msgspec.convert(visit.word("entry"), int, strict=False)
    found = await visit.ask("audit.show", entry=number)
    proof = await visit.ask("audit.prove", entry=number)
    said = msgspec.json.format(msgspec.json.encode(found.of), indent=2).decode()
    return {
        "title": f"Entry {number}",
        "entry": found,
        "said": said,
        "proof": proof.text,
        "cli": [
            f"skerry audit show {number}",
            f"skerry audit prove {number} > entry.proof",
            "skerry audit verify entry.proof --key <key>",
        ],
    }
