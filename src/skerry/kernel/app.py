"""An app as its `skerry.toml` declares it.

    [app]
    name = "newsroom"

    [functions.web]                 # [<kind>.<name>]: one table a resource
    entry = "newsroom.web:app"      # settings of the kind
    bindings = ["db", "media"]      # resources that it may use
    secrets = ["EDITOR_PASSWORD"]   # secrets that it receives

    [postgres.db]
    idle = "10m"

    [bucket.media]

    [policy]                        # where the app may be: see `skerry.kernel.terms`
    jurisdiction = ["EU"]

Every mistake is reported with its line, its key, what was expected and the nearest valid name.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.kernel.errors import CONFIG_INVALID, SkerryError
from skerry.kernel.manifest import Manifest
from skerry.kernel.mistakes import told
from skerry.kernel.names import SECRET_NAMES, did_you_mean, is_name, is_secret_name
from skerry.kernel.terms import PolicySpec, read_policy

if TYPE_CHECKING:
    from skerry.kernel.service import Service

FILE_NAME = "skerry.toml"
IDLE_SECONDS = 300.0
LENGTH_MAX = 1 << 20
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECONDS_MAX = 100 * 366 * _SECONDS["d"]
_COMMON = ("bindings", "secrets", "idle")


class ResourceSpec(msgspec.Struct, frozen=True):
    """A resource that an app declares; `config` holds the kind's own settings, validated."""

    kind: str
    name: str
    config: dict[str, Any]
    bindings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    idle_seconds: float = IDLE_SECONDS


class AppSpec(msgspec.Struct, frozen=True):
    """A whole app: its name, its resources, the one that answers its URL, and its policy.

    `services` holds the tables of services, validated, by the service's name.
    """

    name: str
    resources: tuple[ResourceSpec, ...]
    entry: str | None
    policy: PolicySpec = PolicySpec()
    requirements: str | None = None
    ignore: tuple[str, ...] = ()
    services: dict[str, dict[str, Any]] = {}

    def resource(self, name: str) -> ResourceSpec | None:
        """Return the resource of that name."""
        return next((each for each in self.resources if each.name == name), None)

    def only(self, name: str) -> AppSpec:
        """Return it cut down to one resource and the policy, or to the policy without that."""
        found = self.resource(name)
        return AppSpec(self.name, (found,) if found else (), None, self.policy)


def parse_duration(text: str) -> float:
    """Return the seconds in `300ms`, `5m`, `1h30m`; '0' is zero. Raises ValueError."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text[:40]!r} is not a duration such as 30s, 5m or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _SECONDS_MAX:
        raise ValueError(f"{text[:40]!r} is longer than a hundred years")
    return seconds


def parse(
    text: str,
    manifests: Mapping[str, Manifest],
    services: Mapping[str, Service] | None = None,
) -> AppSpec:
    """Parse a `skerry.toml`; raise CONFIG_INVALID with line and key."""
    if len(text) > LENGTH_MAX:
        raise CONFIG_INVALID(f"skerry.toml has more than {LENGTH_MAX} characters.")
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise CONFIG_INVALID("skerry.toml is nested too deeply.") from error
    except tomllib.TOMLDecodeError as error:
        raise CONFIG_INVALID(
            f"skerry.toml is not TOML: {error}.",
            hint="Strings need quotes; a table starts with [kind.name].",
        ) from error
    return _Reader(text, document, manifests, services or {}).read()


class _Reader:
    """Turns a parsed document into an `AppSpec`, and mistakes into errors with their place."""

    def __init__(
        self,
        text: str,
        document: dict[str, Any],
        manifests: Mapping[str, Manifest],
        services: Mapping[str, Service],
    ) -> None:
        self._lines = text.splitlines()
        self._document = document
        self._manifests = manifests
        self._tables = {
            name: each.config for name, each in services.items() if each.config is not None
        }

    def read(self) -> AppSpec:
        self._check_numbers((), self._document)
        app = self._table(("app",), self._document.get("app"))
        self._known(("app",), app, ("name", "entry", "requirements", "ignore"))
        name = self._name(("app", "name"), app.get("name"), "an app")
        resources = tuple(self._resources())
        self._check_references(resources)
        return AppSpec(
            name=name,
            resources=resources,
            entry=self._entry(app.get("entry"), resources),
            policy=self._policy(),
            requirements=self._text(("app", "requirements"), app.get("requirements")),
            ignore=self._texts(("app", "ignore"), app.get("ignore", [])),
            services=self._services(),
        )

    def _services(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, wanted in self._tables.items():
            table = self._document.get(name)
            if table is not None and not self._is_of_kind(name, table):
                found[name] = self._settings((name,), self._table((name,), table), wanted)
        return found

    def _is_of_kind(self, name: str, table: Any) -> bool:
        """Tell whether the table of a service's name declares resources of a kind of that name."""
        tables = isinstance(table, dict) and all(isinstance(each, dict) for each in table.values())
        return name in self._manifests and tables

    def _policy(self) -> PolicySpec:
        table = self._table(("policy",), self._document.get("policy", {}))
        return read_policy(
            table,
            lambda key, expected, why, got: self._error(("policy", key), expected, why, got),
        )

    def _check_numbers(self, place: tuple[str, ...], value: Any) -> None:
        """Refuse numbers that TOML knows and JSON, in which the declaration is kept, does not."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self._check_numbers((*place, key), inner)
        elif isinstance(value, list):
            for inner in value:
                self._check_numbers(place, inner)
        elif isinstance(value, float) and not math.isfinite(value):
            raise self._error(place, "a finite number", "", str(value))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise self._error(place, "an integer of 64 bits", "", str(value)[:40])

    def _resources(self) -> list[ResourceSpec]:
        found: dict[str, ResourceSpec] = {}
        for kind, tables in self._document.items():
            if kind in ("app", "policy"):
                continue
            if kind in self._tables and not self._is_of_kind(kind, tables):
                continue
            manifest = self._manifests.get(kind)
            if manifest is None:
                known = [*self._manifests, *self._tables, "app", "policy"]
                raise self._error((kind,), "a kind", did_you_mean(kind, known), f"kind {kind!r}")
            for name, table in self._table((kind,), tables).items():
                self._name((kind, name), name, "a resource")
                if name in found:
                    raise self._error(
                        (kind, name),
                        "a name of its own",
                        f"{found[name].kind} has a {name!r} already.",
                    )
                found[name] = self._resource(manifest, name, self._table((kind, name), table))
        return list(found.values())

    def _resource(self, manifest: Manifest, name: str, table: dict[str, Any]) -> ResourceSpec:
        place = (manifest.name, name)
        settings = {key: value for key, value in table.items() if key not in _COMMON}
        return ResourceSpec(
            kind=manifest.name,
            name=name,
            config=self._settings(place, settings, manifest.config, extra=_COMMON),
            bindings=self._texts((*place, "bindings"), table.get("bindings", [])),
            secrets=self._secrets((*place, "secrets"), table.get("secrets", [])),
            idle_seconds=self._duration((*place, "idle"), table.get("idle")),
        )

    def _settings(
        self,
        place: tuple[str, ...],
        settings: dict[str, Any],
        wanted: type[msgspec.Struct],
        extra: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Return settings as their type has them, defaults filled in."""
        fields = {field.encode_name for field in msgspec.structs.fields(wanted)}
        self._known(place, settings, tuple(fields), extra=extra)
        try:
            config = msgspec.convert(settings, wanted)
        except msgspec.ValidationError as error:
            keys, expected, why = told(error)
            raise self._error(place + keys[:1], expected, why) from error
        found: dict[str, Any] = msgspec.to_builtins(config)
        return found

    def _check_references(self, resources: tuple[ResourceSpec, ...]) -> None:
        names = {each.name for each in resources}
        for each in resources:
            for bound in each.bindings:
                place = (each.kind, each.name, "bindings")
                if bound not in names - {each.name}:
                    hint = did_you_mean(bound, names - {each.name})
                    raise self._error(place, "names of resources of this app", hint, repr(bound))
                kind = next(other.kind for other in resources if other.name == bound)
                if not self._manifests[kind].binding:
                    raise self._error(
                        place, "a kind that can be bound", f"{bound} is of kind {kind}."
                    )

    def _entry(self, entry: Any, resources: tuple[ResourceSpec, ...]) -> str | None:
        public = [each.name for each in resources if self._manifests[each.kind].public]
        if entry is None:
            return "web" if "web" in public else public[0] if len(public) == 1 else None
        if entry not in public:
            raise self._error(
                ("app", "entry"), "a function", did_you_mean(str(entry), public), repr(entry)
            )
        return str(entry)

    def _duration(self, place: tuple[str, ...], value: Any) -> float:
        if value is None:
            return IDLE_SECONDS
        try:
            return parse_duration(str(value))
        except ValueError as error:
            raise self._error(place, "a duration such as 30s or 5m", f"{error}.") from error

    def _table(self, place: tuple[str, ...], value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        raise self._error(place, "a table", f"Start it with [{'.'.join(place)}].")

    def _text(self, place: tuple[str, ...], value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        raise self._error(place, "a string", f"It is a {type(value).__name__}.")

    def _texts(self, place: tuple[str, ...], value: Any) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise self._error(place, "a list of strings", f"It is {value!r}.")

    def _secrets(self, place: tuple[str, ...], value: Any) -> tuple[str, ...]:
        names = self._texts(place, value)
        for name in names:
            if not is_secret_name(name):
                raise self._error(place, "names of secrets", SECRET_NAMES, repr(name))
        return names

    def _name(self, place: tuple[str, ...], value: Any, what: str) -> str:
        if isinstance(value, str) and is_name(value):
            return value
        why = "1 to 40 lower-case letters, digits and single hyphens, first a letter."
        raise self._error(place, f"a name for {what}", why, repr(value))

    def _known(
        self,
        place: tuple[str, ...],
        table: dict[str, Any],
        known: tuple[str, ...],
        extra: tuple[str, ...] = (),
    ) -> None:
        for key in table:
            if key not in known:
                options = (*known, *extra)
                raise self._error((*place, key), "a known key", did_you_mean(key, options))

    def _error(self, place: tuple[str, ...], expected: str, why: str, got: str = "") -> SkerryError:
        line = find_line(self._lines, place)
        key = ".".join(place)
        found = f", found {got}" if got else ""
        return CONFIG_INVALID(
            f"skerry.toml line {line}: {key}: expected {expected}{found}.",
            why=why,
            hint="skerry docs app",
        )


def find_line(lines: list[str], place: tuple[str, ...]) -> int:
    """Return the 1-based line where a key stands: the key itself, or its nearest table."""
    table: tuple[str, ...] = ()
    best, best_depth = 1, 0
    for number, line in enumerate(lines, start=1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            here = table
        else:
            key = re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line)
            if not key:
                continue
            here = table + tuple(part.strip("\"'") for part in key[1].split("."))
        depth = len(_common_prefix(here, place))
        if depth in (len(here), len(place)) and depth > best_depth:
            best, best_depth = number, depth
    return best


def _common_prefix(one: tuple[str, ...], other: tuple[str, ...]) -> list[str]:
    shared = []
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared.append(left)
    return shared
