"""The form of an SDL file: Akash's published schema for 2.0 and 2.1.

`ueur` is accepted beside Akash's own denominations, because a market here keeps its books in EUR.
"""

from __future__ import annotations

from skerry.market.sdl import units
from skerry.market.sdl.shape import (
    Check,
    Mistakes,
    attributes,
    boolean,
    each,
    nullable,
    number_or_text,
    one_of,
    one_or_many,
    record,
    secret,
    table,
    text,
    whole,
)
from skerry.market.sdl.tree import Node

DENOMINATIONS = ("uakt", "uact", "ueur")
PERSISTENT_CLASSES = frozenset({"beta1", "beta2", "beta3", "default"})

_MIB = 1024 * 1024
_PORT = whole(1, 65535, what="a port")
_TEXTS = nullable(each(text(), what="a list of texts"))
_SIZE = text(pattern=units.SIZE, expected="a size such as 512Mi or 10Gi")
_ERROR_CASES = ("error", "timeout", "500", "502", "503", "504", "403", "404", "429", "off")


def _off_stands_alone(node: Node, path: str, mistakes: Mistakes) -> None:
    each(one_of(*_ERROR_CASES))(node, path, mistakes)
    if isinstance(node.value, list):
        cases = [item.value for item in node.value]
        if "off" in cases and len(cases) > 1:
            mistakes.add(node, path, "off stands beside other cases", "[off], or cases without off")


def _ip_is_global(node: Node, path: str, mistakes: Mistakes) -> None:
    if "ip" in node.value and node.at("global").value is not True:
        mistakes.add(node, path, "an IP endpoint is not global", "global: true beside ip")


def _class_fits_persistence(node: Node, path: str, mistakes: Mistakes) -> None:
    kept = str(node.at("persistent").value).lower() == "true"
    name = node.value["class"].value
    if name == "ram" and kept:
        mistakes.add(
            node.value["persistent"],
            f"{path}.persistent",
            "storage of class ram cannot be persistent",
            "persistent: false, or class beta2 or beta3",
        )
    if name in PERSISTENT_CLASSES and not kept:
        mistakes.add(
            node.value["persistent"],
            f"{path}.persistent",
            f"storage of class {name} is always persistent",
            "persistent: true, or class ram",
        )


def _gpu_has_both_or_none(node: Node, path: str, mistakes: Mistakes) -> None:
    count = node.value.get("units")
    wanted = count is not None and str(count.value).strip("0.") != ""
    listed = "attributes" in node.value
    if wanted and not listed:
        mistakes.add(
            node, path, "a GPU is asked for without its vendor", "attributes: vendor: nvidia:"
        )
    if listed and not wanted:
        mistakes.add(node, path, "a GPU is described but none is asked for", "units of 1 or more")
    if wanted and listed and "vendor" not in node.value["attributes"].value:
        here = node.value["attributes"]
        mistakes.add(here, f"{path}.attributes", "the vendor is missing", "vendor: nvidia:")


def _persistent(node: Node, path: str, mistakes: Mistakes) -> None:
    if not isinstance(node.value, bool | str):
        mistakes.add(node, path, f"{node.what} is neither true nor false", "true or false")


_EXPOSE = record(
    {
        "port": _PORT,
        "as": _PORT,
        "proto": one_of("tcp", "udp", "TCP", "UDP"),
        "accept": each(text(), what="a list of host names"),
        "to": each(
            record({"global": boolean, "ip": text(least=1), "service": text()}, then=_ip_is_global)
        ),
        "http_options": record(
            {
                "max_body_size": whole(0, 100 * _MIB, what="bytes"),
                "read_timeout": whole(0, 60_000, what="milliseconds"),
                "send_timeout": whole(0, 60_000, what="milliseconds"),
                "next_tries": whole(0),
                "next_timeout": whole(0),
                "next_cases": _off_stands_alone,
                "proxy_buffer_size": whole(0, _MIB, what="bytes"),
            }
        ),
    },
    required=("port",),
)

_SERVICE = record(
    {
        "image": text(least=1, expected="the name of an image"),
        "command": _TEXTS,
        "args": _TEXTS,
        "env": _TEXTS,
        "expose": nullable(each(_EXPOSE, what="a list: - port: 80")),
        "dependencies": each(record({"service": text()})),
        "credentials": record(
            {
                "host": text(least=1),
                "username": text(least=1),
                "password": secret(6),
                "email": text(least=5, expected="an address of at least 5 characters"),
            },
            required=("host", "username", "password"),
        ),
        "params": record(
            {
                "storage": table(
                    record(
                        {
                            "mount": text(
                                pattern=r"/.*", expected="an absolute path such as /data"
                            ),
                            "readOnly": boolean,
                        }
                    )
                ),
                "permissions": record({"read": each(one_of("deployment", "logs", "events"))}),
                "tee": one_of("cpu", "cpu-gpu"),
            }
        ),
    },
    required=("image",),
)

_VOLUME = record(
    {
        "name": text(),
        "size": _SIZE,
        "attributes": record(
            {"class": text(), "persistent": _persistent},
            required=("class", "persistent"),
            then=_class_fits_persistence,
        ),
    },
    required=("size",),
)

_GPU_MODEL = record({"model": text(), "ram": text(), "interface": one_of("pcie", "sxm")})

_COMPUTE = record(
    {
        "resources": record(
            {
                "cpu": record(
                    {
                        "units": number_or_text(
                            units.CPU, "cores above 0, such as 0.5 or 500m", above_zero=True
                        ),
                        "attributes": attributes,
                    },
                    required=("units",),
                ),
                "memory": record({"size": _SIZE}, required=("size",)),
                "storage": one_or_many(_VOLUME),
                "gpu": record(
                    {
                        "units": number_or_text(
                            r"[0-9]+(\.0+)?", "a whole number of GPUs", above_zero=False
                        ),
                        "attributes": record(
                            {
                                "vendor": table(
                                    nullable(each(_GPU_MODEL)),
                                    known=("nvidia",),
                                    least=1,
                                    expected="nvidia: (its models, or nothing for any)",
                                )
                            }
                        ),
                    },
                    then=_gpu_has_both_or_none,
                ),
            },
            required=("cpu", "memory", "storage"),
        )
    },
    required=("resources",),
)

_PLACEMENT = record(
    {
        "attributes": attributes,
        "signedBy": record({"anyOf": each(text()), "allOf": each(text())}),
        "pricing": table(
            record(
                {
                    "denom": one_of(*DENOMINATIONS),
                    "amount": number_or_text(
                        r"[0-9]+(\.[0-9]+)?",
                        "the most that a block (6 s) may cost, in millionths",
                        above_zero=False,
                    ),
                },
                required=("denom", "amount"),
            )
        ),
    },
    required=("pricing",),
)

FILE: Check = record(
    {
        "version": one_of("2.0", "2.1"),
        "services": table(_SERVICE),
        "profiles": record(
            {"compute": table(_COMPUTE), "placement": table(_PLACEMENT)},
            required=("compute", "placement"),
        ),
        "deployment": table(
            table(
                record(
                    {"profile": text(), "count": whole(1, 1000, what="a count")},
                    required=("profile", "count"),
                )
            )
        ),
        "endpoints": table(
            record({"kind": one_of("ip")}, required=("kind",)),
            key=r"[a-z]+[-_0-9a-z]+",
            expected="lower-case letters, digits, - and _, two at least, first a letter",
        ),
        "include": each(text()),
        "reclamation": record(
            {"min_window": text(pattern=units.WINDOW, expected="a window such as 24h or 30m")},
            required=("min_window",),
        ),
    },
    required=("version", "services", "profiles", "deployment"),
)
