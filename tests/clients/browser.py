"""A real browser without a window: Chromium, told what to do over a pipe in its own protocol."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

PROGRAM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
WAIT_SECONDS = 40.0
_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
)


class Tab:
    """One page of a browser; `complaints` are the errors that it told of."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._buffer = b""
        self._last = 0
        self._session = ""
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command; return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._last:
                assert "error" not in told, (method, told["error"])
                result: dict[str, Any] = told["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._reading, 1 << 16)
            assert data, "the browser ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        if told.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(told["params"]["exceptionDetails"]))
        elif told.get("method") == "Log.entryAdded":
            entry = told["params"]["entry"]
            if entry["level"] == "error":
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        return told

    def open(self, url: str) -> None:
        """Go to a page and wait until it is there with all that belongs to it."""
        failed = self.ask("Page.navigate", url=url).get("errorText")
        assert not failed, (url, failed)
        self.until(
            "document.readyState === 'complete' && location.href !== 'about:blank'",
            f"{url} to load",
        )

    def value(self, expression: str) -> Any:
        """Return what an expression is on the page."""
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str, what: str) -> None:
        """Wait for an expression to be true on the page."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, (
                f"no {what}: {self.value('document.body.innerText')}"
            )
            time.sleep(0.02)

    def submit(self, form: str, **fields: str) -> None:
        """Fill in a form and send it with its button, as a reader does."""
        for name, text in fields.items():
            place = f"document.querySelector({json.dumps(f'{form} [name={name}]')})"
            self.value(f"{place}.focus(); {place}.value = {json.dumps(text)}; true")
        button = json.dumps(f"{form} button, {form} [type=submit]")
        self.value(f"window.left = false; document.querySelector({button}).click(); true")
        self.until("window.left === undefined && document.readyState === 'complete'", "answer")

    def as_phone(self, width: int) -> None:
        """Be as narrow as a phone."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=2 * width,
            deviceScaleFactor=1,
            mobile=True,
        )


@contextlib.contextmanager
def browsing() -> Iterator[Tab]:
    """Yield a page of a browser that was just started; end the browser afterwards."""
    assert PROGRAM is not None
    into, writing = os.pipe()
    reading, out = os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        words = [PROGRAM, *_FLAGS, *root, f"--user-data-dir={profile}", "about:blank"]
        # It reads at 3 and writes at 4; other shells know no numbers of two digits.
        script = f'exec "$0" "$@" 3<&{into} 4>&{out}'
        process = subprocess.Popen(
            ["bash", "-c", script, *words],
            pass_fds=(into, out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": profile},
            start_new_session=True,
        )
        os.close(into)
        os.close(out)
        try:
            yield Tab(reading, writing)
        finally:
            os.close(writing)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(reading)
