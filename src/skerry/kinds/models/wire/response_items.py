"""Items of the Responses API as chat messages, and chat messages as items."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from skerry.kinds.models.gateway.failure import invalid

_SAME = ("temperature", "top_p", "parallel_tool_calls", "user", "presence_penalty",
         "frequency_penalty", "top_logprobs", "service_tier")  # fmt: skip
_CHOICES = ("none", "auto", "required")


def to_chat(asked: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the chat request that a request for a response means; raise FailureError if none."""
    messages = _messages(asked.get("input"))
    if asked.get("instructions"):
        system = {"role": "system", "content": str(asked["instructions"])}
        messages = [system, *history, *messages]
    else:
        messages = [*history, *messages]
    chat: dict[str, Any] = {"model": asked.get("model"), "messages": messages}
    chat |= {name: asked[name] for name in _SAME if asked.get(name) is not None}
    if asked.get("max_output_tokens") is not None:
        chat["max_tokens"] = asked["max_output_tokens"]
    effort = (asked.get("reasoning") or {}).get("effort")
    if effort:
        chat["reasoning_effort"] = effort
    if asked.get("tools"):
        chat["tools"] = [_tool(each) for each in asked["tools"]]
        if asked.get("tool_choice") is not None:
            chat["tool_choice"] = _choice(asked["tool_choice"])
    _format(chat, (asked.get("text") or {}).get("format") or {})
    if asked.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def _format(chat: dict[str, Any], wanted: dict[str, Any]) -> None:
    kind = wanted.get("type", "text")
    if kind == "json_schema":
        schema = {key: value for key, value in wanted.items() if key != "type"}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind != "text":
        raise invalid(f"The format {kind!r} is not known.", "text.format")


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise invalid("Only tools of type function are supported here.", "tools")
    names = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in names if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _choice(choice: Any) -> Any:
    if choice in _CHOICES:
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    raise invalid("This tool_choice is not supported here.", "tool_choice")


def _messages(items: Any) -> list[dict[str, Any]]:
    if isinstance(items, str) and items:
        return [{"role": "user", "content": items}]
    if not isinstance(items, list) or not items or not all(isinstance(x, dict) for x in items):
        raise invalid("'input' is a required parameter: a text or a list of items", "input")
    messages: list[dict[str, Any]] = []
    for item in items:
        message = _message(item)
        last = messages[-1] if messages else {}
        if message and message.get("tool_calls") and last.get("tool_calls"):
            last["tool_calls"] += message["tool_calls"]
        elif message:
            messages.append(message)
    return messages


def _message(item: dict[str, Any]) -> dict[str, Any] | None:
    kind = item.get("type", "message")
    if kind == "message":
        return {"role": item.get("role", "user"), "content": _content(item.get("content"))}
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments", "{}")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if kind == "function_call_output":
        output = item.get("output")
        content = output if isinstance(output, str) else _content(output)
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}
    if kind == "reasoning":
        return None
    raise invalid(f"Items of type {kind!r} are not supported here.", "input")


def _content(content: Any) -> Any:
    if isinstance(content, str) or content is None:
        return content or ""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise invalid("A message's content is a text or a list of parts.", "input")
    parts = [_part(part) for part in content]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": str(part.get("text", ""))}
    if kind == "refusal":
        return {"type": "text", "text": str(part.get("refusal", ""))}
    if kind == "input_image" and part.get("image_url"):
        image = {"url": part["image_url"]}
        if part.get("detail"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    raise invalid(f"Parts of type {str(kind)[:50]!r} are not supported here.", "input")


def to_history(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what a response said as the chat messages that a later one follows."""
    return _messages(items) if items else []


def message_item(text: str, status: str = "completed") -> dict[str, Any]:
    """Return a message of the assistant."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }


def call_item(call: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    """Return a call of a function."""
    return {
        "id": f"fc_{uuid4().hex}",
        "type": "function_call",
        "status": status,
        "call_id": call.get("id") or f"call_{uuid4().hex[:24]}",
        "name": call["function"].get("name") or "",
        "arguments": call["function"].get("arguments") or "",
    }


def reasoning_item(text: str, *, summed: bool, status: str = "completed") -> dict[str, Any]:
    """Return what a model thought aloud, where the client looks for it.

    As a summary if it asked for one, though it is the thoughts themselves; else as the content.
    """
    part = {"type": "summary_text" if summed else "reasoning_text", "text": text}
    return {
        "id": f"rs_{uuid4().hex}",
        "type": "reasoning",
        "status": status,
        "summary": [part] if summed else [],
        "content": [] if summed else [part],
    }


def wants_summary(response: dict[str, Any]) -> bool:
    """Tell whether the client asked for a summary of thoughts."""
    return bool(response["reasoning"]["summary"])


def thought_of(message: dict[str, Any]) -> str:
    """Return what a message, or a part of one, says of the model's thoughts."""
    return str(message.get("reasoning_content") or message.get("reasoning") or "")


def output_items(message: dict[str, Any], *, summed: bool = False) -> list[dict[str, Any]]:
    """Return the items that a chat message is."""
    thought = thought_of(message)
    items = [reasoning_item(thought, summed=summed)] if thought else []
    if message.get("content") or not message.get("tool_calls"):
        items.append(message_item(message.get("content") or ""))
    items += [call_item(call) for call in message.get("tool_calls") or ()]
    return items


def usage_of(usage: dict[str, Any]) -> dict[str, Any]:
    """Return usage in the shape of a response."""
    read, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    }


def new_response(name: str, asked: dict[str, Any], now: int) -> dict[str, Any]:
    """Return a response that is about to be answered."""
    store = asked.get("store") is not False
    reasoning = asked.get("reasoning") or {}
    return {
        "id": name,
        "object": "response",
        "created_at": now,
        "completed_at": None,
        "status": "queued" if asked.get("background") else "in_progress",
        "incomplete_details": None,
        "error": None,
        "model": asked.get("model"),
        "previous_response_id": asked.get("previous_response_id"),
        "instructions": asked.get("instructions"),
        "output": [],
        "tools": [_told_tool(each) for each in asked.get("tools") or ()],
        "tool_choice": asked.get("tool_choice") or "auto",
        "truncation": asked.get("truncation") or "disabled",
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "text": asked.get("text") or {"format": {"type": "text"}},
        "top_p": asked.get("top_p", 1.0),
        "presence_penalty": asked.get("presence_penalty", 0),
        "frequency_penalty": asked.get("frequency_penalty", 0),
        "top_logprobs": asked.get("top_logprobs", 0),
        "temperature": asked.get("temperature", 1.0),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "usage": None,
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": None,
        "store": store,
        "background": bool(asked.get("background")),
        "service_tier": "default",
        "metadata": asked.get("metadata") or {},
        "safety_identifier": asked.get("safety_identifier"),
        "prompt_cache_key": asked.get("prompt_cache_key"),
    }


def _told_tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}
