"""What the form of a file cannot say: that its parts refer to each other and do not collide."""

from __future__ import annotations

from typing import Any

from skerry.kernel.names import nearest
from skerry.market.sdl.shape import Mistakes
from skerry.market.sdl.tree import Node


def check(tree: Node, mistakes: Mistakes) -> None:
    """Report what does not fit together in a file whose form is right."""
    _Meaning(tree, mistakes).check()


class _Meaning:
    def __init__(self, tree: Node, mistakes: Mistakes) -> None:
        self._tree = tree
        self._plain: dict[str, Any] = tree.plain()
        self._mistakes = mistakes
        self._endpoints_used: set[str] = set()
        self._ports: dict[tuple[str, int, str], str] = {}
        self._tee: dict[str, str] = {}

    def check(self) -> None:
        services = self._plain["services"]
        if not services:
            self._add(("services",), "there is no service", "at least one service")
        for name in self._plain["deployment"]:
            if name not in services:
                guess = nearest(name, services)
                self._add(
                    ("deployment", name),
                    f"there is no service {name}",
                    guess or f"one of {', '.join(services)}",
                )
        for name, service in services.items():
            self._deployed(name, service)
            self._exposed(name, service)
            self._dependencies(name, service)
        for name in self._plain.get("endpoints") or {}:
            if name not in self._endpoints_used:
                self._add(
                    ("endpoints", name),
                    "no service uses this endpoint",
                    f"expose: - to: - ip: {name}, or no such endpoint",
                )

    def _add(self, path: tuple[str | int, ...], what: str, expected: str) -> None:
        shown = ""
        for step in path:
            shown += f"[{step}]" if isinstance(step, int) else f".{step}" if shown else step
        self._mistakes.add(self._tree.at(*path), shown, what, expected)

    def _deployed(self, name: str, service: dict[str, Any]) -> None:
        placements = self._plain["deployment"].get(name)
        if not placements:
            self._add(
                ("deployment",),
                f"service {name} is deployed nowhere",
                f"{name}: <placement>: {{profile: …, count: 1}}",
            )
            return
        for placement, wanted in placements.items():
            profile = self._profile(name, placement, wanted["profile"])
            if profile is not None:
                self._storage(name, service, profile, wanted["profile"])
                self._confidential(name, service, profile, placement)

    def _profile(self, name: str, placement: str, profile: str) -> dict[str, Any] | None:
        """Return the compute profile that a service gets at a placement."""
        profiles = self._plain["profiles"]
        here = ("deployment", name, placement)
        placed = profiles["placement"].get(placement)
        if placed is None:
            guess = nearest(placement, profiles["placement"])
            self._add(
                here,
                f"there is no placement {placement}",
                guess or f"one of {', '.join(profiles['placement']) or '(none is declared)'}",
            )
        found: dict[str, Any] | None = profiles["compute"].get(profile)
        if found is None:
            guess = nearest(profile, profiles["compute"])
            self._add(
                (*here, "profile"),
                f"there is no compute profile {profile}",
                guess or f"one of {', '.join(profiles['compute']) or '(none is declared)'}",
            )
        if placed is not None and found is not None and profile not in placed["pricing"]:
            self._add(
                ("profiles", "placement", placement, "pricing"),
                f"profile {profile} has no price here",
                f"{profile}: {{denom: uakt, amount: 1000}}",
            )
        return found

    def _storage(
        self, name: str, service: dict[str, Any], profile: dict[str, Any], called: str
    ) -> None:
        volumes = profile["resources"]["storage"]
        volumes = volumes if isinstance(volumes, list) else [volumes]
        mounts = (service.get("params") or {}).get("storage") or {}
        path = ("services", name, "params", "storage")
        known = [volume.get("name") or "default" for volume in volumes]
        taken: dict[str, str] = {}
        for volume, settings in mounts.items():
            if volume not in known:
                self._add(
                    (*path, volume),
                    f"profile {called} has no volume {volume}",
                    nearest(volume, known) or f"one of {', '.join(known)}",
                )
                continue
            mount = (settings or {}).get("mount") or ""
            if mount in taken:
                what = f"{mount} is" if mount else "the root file system is"
                self._add((*path, volume), f"{what} taken by {taken[mount]}", "another path")
            taken[mount] = volume
        for volume in volumes:
            kept = str((volume.get("attributes") or {}).get("persistent", "")).lower() == "true"
            own = volume.get("name") or "default"
            if kept and not (mounts.get(own) or {}).get("mount"):
                self._add(
                    path,
                    f"persistent volume {own} of profile {called} is mounted nowhere",
                    f"services.{name}.params.storage.{own}.mount: /data",
                )

    def _confidential(
        self, name: str, service: dict[str, Any], profile: dict[str, Any], placement: str
    ) -> None:
        wanted = (service.get("params") or {}).get("tee")
        if not wanted:
            return
        path = ("services", name, "params", "tee")
        if wanted == "cpu-gpu" and not profile["resources"].get("gpu", {}).get("units"):
            self._add(path, "cpu-gpu is asked for without a GPU", "gpu in its compute profile")
        other = self._tee.setdefault(placement, wanted)
        if other != wanted:
            self._add(path, f"placement {placement} has a service with tee {other}", other)

    def _exposed(self, name: str, service: dict[str, Any]) -> None:
        for index, expose in enumerate(service.get("expose") or []):
            for number, to in enumerate(expose.get("to") or []):
                path = ("services", name, "expose", index, "to", number)
                self._endpoint(name, expose, to, path)
                target = to.get("service")
                if target and target not in self._plain["services"]:
                    self._add(
                        (*path, "service"),
                        f"there is no service {target}",
                        nearest(target, self._plain["services"]) or "the name of a service",
                    )

    def _endpoint(
        self, name: str, expose: dict[str, Any], to: dict[str, Any], path: tuple[str | int, ...]
    ) -> None:
        endpoint = to.get("ip")
        if not endpoint:
            return
        declared = self._plain.get("endpoints") or {}
        if endpoint not in declared:
            guess = nearest(endpoint, declared)
            self._add(
                (*path, "ip"),
                f"there is no endpoint {endpoint}",
                guess or f"endpoints: {endpoint}: {{kind: ip}}",
            )
        self._endpoints_used.add(endpoint)
        port = expose.get("as") or expose["port"]
        key = (endpoint, port, (expose.get("proto") or "tcp").upper())
        if key in self._ports:
            self._add(
                (*path, "ip"),
                f"port {port} {key[2]} of {endpoint} is taken by {self._ports[key]}",
                "another port (as: …)",
            )
        self._ports[key] = name

    def _dependencies(self, name: str, service: dict[str, Any]) -> None:
        for index, each in enumerate(service.get("dependencies") or []):
            target = each.get("service")
            if target and target not in self._plain["services"]:
                self._add(
                    ("services", name, "dependencies", index, "service"),
                    f"there is no service {target}",
                    nearest(target, self._plain["services"]) or "the name of a service",
                )
