"""skerry.toml: what it may say, and that each mistake is told with its place."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.app import LENGTH_MAX, find_line, parse, parse_duration
from skerry.kernel.errors import CONFIG_INVALID, SkerryError
from skerry.kernel.manifest import YES, EngineInfo, Manifest, NoConfig, Verb


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the kind `jobs` takes."""

    entry: str
    threads: Annotated[int, msgspec.Meta(ge=1)] = 4
    memory: str = "64MB"
    vars: dict[str, str | int | float | bool] = {}

    def __post_init__(self) -> None:
        if self.memory == "1":
            raise ValueError("memory: that is too little")


def manifest(name: str, config: type[msgspec.Struct], *, public: bool, binding: str) -> Manifest:
    return Manifest(
        name=name,
        summary="",
        stands_in_for="",
        engine_info=EngineInfo("none", "1"),
        engine="",
        can=dict.fromkeys(Verb, YES),
        config=config,
        public=public,
        binding=binding,
    )


MANIFESTS = {
    "jobs": manifest("jobs", Settings, public=True, binding=""),
    "store": manifest("store", NoConfig, public=False, binding="binding:bind"),
}

APP = """\
[app]
name = "paper"

[jobs.web]
entry = "paper:app"
bindings = ["db"]
secrets = ["KEY_1"]
idle = "1h30m"

[store.db]
"""


def test_a_whole_app() -> None:
    spec = parse(APP, MANIFESTS)
    assert (spec.name, spec.entry) == ("paper", "web")
    web, db = spec.resources
    assert (web.kind, web.bindings, web.secrets, web.idle_seconds) == (
        "jobs",
        ("db",),
        ("KEY_1",),
        5400.0,
    )
    assert web.config == {"entry": "paper:app", "threads": 4, "memory": "64MB", "vars": {}}
    assert (db.idle_seconds, db.config) == (300.0, {})
    assert spec.resource("db") is db
    assert spec.resource("none") is None


MISTAKES = [
    ("[app", "skerry.toml is not TOML", ""),
    ("x = " + "[" * 5000, "nested too deeply", ""),
    ("#" * (LENGTH_MAX + 1), "more than", ""),
    ("a = 1", "line 1: app: expected a table.", "[app]"),
    ("app = [1]", "line 1: app: expected a table.", "[app]"),
    ('[app]\nname = "A"', "line 2: app.name: expected a name for an app, found 'A'.", "1 to 40"),
    ("[app]", "line 1: app.name: expected a name for an app, found None.", ""),
    ('[app]\nname = "a"\nentyr = 1', "line 3: app.entyr: expected a known key", "entry?"),
    ('[app]\nname = "a"\nignore = 3', "line 3: app.ignore: expected a list of strings", "3"),
    ('[app]\nname = "a"\nrequirements = 3', "line 3: app.requirements: expected a string", "int"),
    ('[app]\nname = "a"\n[jobz.web]', "line 3: jobz: expected a kind, found kind 'jobz'", "jobs?"),
    ('[app]\nname = "a"\n[store]\ndb = 3', "line 4: store.db: expected a table.", "[store.db]"),
    ('[app]\nname = "a"\n[store.Db]', "line 3: store.Db: expected a name for a resource", "1 to"),
    (
        APP.replace("[store.db]", "[store.web]"),
        "line 10: store.web: expected a name of its own",
        "jobs has a 'web' already",
    ),
    (
        APP.replace('entry = "paper:app"', 'entyr = "x"'),
        "line 5: jobs.web.entyr: expected a known key",
        "Did you mean entry?",
    ),
    (
        APP.replace('entry = "paper:app"', "entry = 3"),
        "line 5: jobs.web.entry: expected a string",
        "It is an integer.",
    ),
    (
        APP.replace('entry = "paper:app"', ""),
        "line 4: jobs.web.entry: expected a value, and there is none",
        "",
    ),
    (
        APP.replace("secrets", 'memory = "1"\nsecrets'),
        "line 7: jobs.web.memory: expected a valid value",
        "that is too little",
    ),
    (
        APP.replace("secrets", "threads = 0\nsecrets"),
        "line 7: jobs.web.threads: expected an integer >= 1",
        "",
    ),
    (
        APP.replace('["db"]', '["dbb"]'),
        "line 6: jobs.web.bindings: expected names of resources of this app, found 'dbb'",
        "Did you mean db?",
    ),
    (APP.replace('["db"]', '"db"'), "line 6: jobs.web.bindings: expected a list", "'db'"),
    (APP.replace('["db"]', '["web"]'), "line 6: jobs.web.bindings: expected names", "db"),
    (
        APP + 'bindings = ["web"]\n',
        "line 11: store.db.bindings: expected a kind that can be bound",
        "web is of kind jobs",
    ),
    (
        APP.replace("KEY_1", "key-1"),
        "line 7: jobs.web.secrets: expected names of secrets, found 'key-1'",
        "Capitals",
    ),
    (
        APP.replace("1h30m", "5 min"),
        "line 8: jobs.web.idle: expected a duration such as 30s or 5m",
        "'5 min' is not a duration",
    ),
    (APP.replace("1h30m", "9" * 400 + "d"), "line 8: jobs.web.idle", "hundred years"),
    (
        APP + "[jobs.web.vars]\nx = inf\n",
        "line 12: jobs.web.vars.x: expected a finite number, found inf",
        "",
    ),
    (
        APP + f"[policy]\nx = [1, {2**63}]\n",
        "line 12: policy.x: expected an integer of 64 bits",
        "",
    ),
    (
        APP.replace('"paper"', '"paper"\nentry = "wbe"'),
        "line 3: app.entry: expected a function, found 'wbe'",
        "Did you mean web?",
    ),
    ('policy = 3\n[app]\nname = "a"', "line 1: policy: expected a table.", "[policy]"),
]


@pytest.mark.parametrize(("text", "what", "why"), MISTAKES)
def test_a_mistake_is_told_with_its_place(text: str, what: str, why: str) -> None:
    with pytest.raises(SkerryError) as told:
        parse(text, MANIFESTS)
    assert told.value.problem is CONFIG_INVALID
    assert what in told.value.what
    assert why in told.value.why


@given(st.text(max_size=300) | st.text("[]=.\"'{}\n# abcjobsweb0123456789", max_size=300))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse(APP + text, MANIFESTS)
    except SkerryError as error:
        assert error.problem is CONFIG_INVALID


@given(st.text("jobsprtkvid", min_size=1, max_size=4), st.integers() | st.floats())
def test_what_is_accepted_survives_the_log(key: str, value: float) -> None:
    text = APP + f"[jobs.web.vars]\n{key} = {value}\n[policy]\n{key} = {value}\n"
    try:
        spec = parse(text, MANIFESTS)
    except SkerryError:
        return
    again = msgspec.json.decode(msgspec.json.encode(spec), type=type(spec))
    assert again == spec
    assert msgspec.convert(again.resources[0].config, Settings)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("300ms", 0.3), ("30s", 30.0), ("5m", 300.0), ("1h30m", 5400.0), ("1.5d", 129600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "5m ", "1e9s", "５m", "inf", "5M"])  # noqa: RUF001
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_lines_are_found_however_a_key_is_written() -> None:
    text = '[app]\n"name"  = "a"\n[ "jobs" . web ]\nentry="x"\nvars.a = 1\nvars.b = 2\n[[policy.x]]'
    lines = text.splitlines()
    for place, line in {
        ("app", "name"): 2,
        ("jobs",): 3,
        ("jobs", "web"): 3,
        ("jobs", "web", "entry"): 4,
        ("jobs", "web", "vars", "b"): 6,
        ("jobs", "web", "none"): 3,
        ("policy", "x"): 7,
        ("none",): 1,
    }.items():
        assert find_line(lines, place) == line, place
