"""Settings in skerry.toml: what they become, and how mistakes are told."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.app import parse
from skerry.kernel.errors import SkerryError
from skerry.kernel.keys import Keys
from skerry.kernel.kind import Address, Resource
from skerry.kernel.names import ResourceRef
from skerry.kinds.functions.config import FunctionsConfig, parse_size
from skerry.kinds.functions.connection import connection
from skerry.kinds.functions.manifest import MANIFEST

APP = """
[app]
name = "news"

[functions.web]
entry = "news.web:app"
memory = "64MB"
crons = ["*/5 * * * *", "@daily"]
secrets = ["TOKEN"]
bindings = ["other"]

[functions.other]
entry = "news.other"
"""


def test_settings_become_what_the_sandbox_reads() -> None:
    app = parse(APP, {"functions": MANIFEST})
    web = app.resource("web")
    assert web is not None
    assert app.entry == "web"
    assert web.config["memory_bytes"] == 64 << 20
    assert web.config["processes"] == 64
    again = msgspec.convert(web.config, FunctionsConfig)
    assert msgspec.to_builtins(again) == web.config
    assert (again.timeout_seconds, again.cron_timeout_seconds) == (30.0, 900.0)


def test_schedules_are_declared() -> None:
    config = FunctionsConfig(entry="m", crons=("@daily", "0 * * * *"))
    found = MANIFEST.load(MANIFEST.schedules)(config)
    assert found == [
        ("@daily", "trigger", {"cron": "@daily"}),
        ("0 * * * *", "trigger", {"cron": "0 * * * *"}),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('entry = "a b"', "entry: 'a b' is not `module:attribute`"),
        ('entry = "m"\nmemory = "much"', "memory: 'much' is not a size such as 256MB"),
        ('entry = "m"\nmemory = "1MB"', "memory: Python needs 32MB or more"),
        ('entry = "m"\nmemory_bytes = 5', "memory_bytes: it is computed; write memory"),
        ('entry = "m"\ntimeout = "soon"', "timeout: 'soon' is not a duration"),
        ('entry = "m"\ntimeout = "0"', "timeout: it must be 10ms or more"),
        ('entry = "m"\ncron_timeout = "1y"', "cron_timeout: '1y' is not a duration"),
        ('entry = "m"\ncrons = ["* * *"]', "crons: '* * *' has 3 fields instead of 5"),
        ('entry = "m"\ncrons = ["@daily", "@daily"]', "crons: each expression at most once"),
        ('entry = "m"\nconcurrency = 0', "concurrency: expected an integer >= 1"),
        ('memory = "64MB"', "entry: expected a value, and there is none"),
        ('entry = "m"\ninterface = "cgi"', "Invalid enum value 'cgi'"),
        ('entry = "m"\nentri = "m"', "Did you mean entry"),
    ],
)
def test_mistakes_are_told(line: str, message: str) -> None:
    with pytest.raises(SkerryError) as caught:
        parse(f'[app]\nname = "a"\n[functions.web]\n{line}\n', {"functions": MANIFEST})
    assert caught.value.code == "CONFIG_INVALID"
    told = f"{caught.value.what} {caught.value.why}"
    key, colon, why = message.partition(": ")
    assert message in told or (f"functions.web.{key}: " in told and colon and why in told)


@given(st.integers(0, 1 << 50), st.sampled_from([("", 1), ("KB", 1024), ("MiB", 1 << 20)]))
def test_sizes(number: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{number}{unit[0]}") == parse_size(f"{number} {unit[0].lower()}")
    assert parse_size(f"{number}{unit[0]}") == number * unit[1]


@given(st.text(max_size=10))
def test_other_sizes_are_refused(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert "is not a size" in str(error)


def test_connection_lines(tmp_path: object) -> None:
    from pathlib import Path

    resource = Resource(
        ref=ResourceRef("news", "pr-1", "functions", "web"),
        id="0" * 16,
        directory=Path("state"),
        config=FunctionsConfig(entry="m"),
        keys=Keys(b"a", b"b"),
    )
    address = Address("http://127.0.0.1:7878/", "web--pr-1--news.localhost", 7878, {})
    fields = connection(resource, address)
    lines = [client.line.format(**fields) for client in MANIFEST.wires[0].clients]
    assert lines == [
        "curl http://127.0.0.1:7878/@news/pr-1/@web/",
        "http://web--pr-1--news.localhost:7878/",
    ]
