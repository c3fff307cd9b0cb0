"""SDL files for tests: good ones of every feature, and bad ones with what is said of them."""

from __future__ import annotations


def sdl(
    services: str = "",
    resources: str = "",
    placement: str = "",
    top: str = "",
    version: str = "2.0",
    deployment: str = "",
) -> str:
    """Return a small file with parts of it replaced."""
    service = services or "  web:\n    image: nginx\n    expose: [{port: 80, to: [{global: true}]}]"
    compute = resources or "cpu: {units: 0.5}, memory: {size: 512Mi}, storage: {size: 1Gi}"
    place = placement or "pricing: {web: {denom: uakt, amount: 1000}}"
    where = deployment or "  web:\n    here: {profile: web, count: 1}"
    return f"""version: "{version}"
services:
{service}
profiles:
  compute:
    web:
      resources: {{{compute}}}
  placement:
    here:
      {place}
deployment:
{where}
{top}"""


_TWO = """  web:
    image: nginx
    expose:
      - port: 8080
        as: 80
        accept: [shop.example, "*.shop.example"]
        to: [{global: true}]
        http_options: {max_body_size: 2097152, next_cases: ["500", "502"], next_tries: 5}
      - port: 9000
        proto: udp
        to: [{global: true}]
  api:
    image: ghcr.io/example/api:1.2
    command: [serve]
    args: ["--level", "a<b&c>d"]
    env: [KEY=value, OTHER=x=y]
    dependencies: [{service: web}]
    expose:
      - port: 5000
        to: [{service: web}]
"""
_BOTH = """  web:
    here: {profile: web, count: 2}
  api:
    here: {profile: web, count: 1}
"""

GOOD = {
    "smallest": sdl(),
    "two services of one profile": sdl(services=_TWO, deployment=_BOTH),
    "milli cores and decimal sizes": sdl(
        resources="cpu: {units: 1500m}, memory: {size: 1.5Gi}, storage: {size: 10G}"
    ),
    "an architecture": sdl(
        resources="cpu: {units: 1, attributes: {arch: amd64}}, memory: {size: 1Gi}, "
        "storage: [{size: 1Gi}]"
    ),
    "any gpu": sdl(
        resources="cpu: {units: 1}, memory: {size: 1Gi}, storage: {size: 1Gi}, "
        "gpu: {units: 1, attributes: {vendor: {nvidia: }}}"
    ),
    "gpu models": sdl(
        resources="cpu: {units: 8}, memory: {size: 64Gi}, storage: {size: 1Gi}, gpu: {units: 2, "
        "attributes: {vendor: {nvidia: [{model: h100, ram: 80Gi, interface: sxm}, {model: a100}]}}}"
    ),
    "volumes": sdl(
        services="  web:\n    image: nginx\n    params:\n      storage:\n"
        "        data: {mount: /data}\n        shm: {mount: /dev/shm, readOnly: false}",
        resources="cpu: {units: 1}, memory: {size: 1Gi}, storage: [{size: 1Gi}, "
        "{name: data, size: 20Gi, attributes: {class: beta3, persistent: true}}, "
        "{name: shm, size: 64Mi, attributes: {class: ram, persistent: false}}]",
    ),
    "placement": sdl(
        placement="attributes: {region: eu-north, tier: community}\n      signedBy: {anyOf: "
        "[akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63]}\n      "
        "pricing: {web: {denom: uact, amount: '12.5'}}"
    ),
    "a leased address": sdl(
        services="  web:\n    image: nginx\n    expose:\n      - port: 80\n        "
        "to: [{global: true, ip: front}]\n      - port: 443\n        "
        "to: [{global: true, ip: front}]",
        top="endpoints: {front: {kind: ip}}",
    ),
    "notice and a private image": sdl(
        version="2.1",
        services="  web:\n    image: registry.example/app\n    credentials: "
        "{host: registry.example, username: me, password: secret-word}",
        top='reclamation: {min_window: "24h"}',
    ),
}

BAD = {
    "a field with a slip": (sdl(services="  web:\n    imge: nginx"), "image"),
    "a missing image": (sdl(services="  web:\n    env: [A=1]"), "services.web.image"),
    "a port out of bounds": (
        sdl(services="  web:\n    image: a\n    expose: [{port: 70000}]"),
        "a port from 1 to 65535",
    ),
    "no cores": (
        sdl(resources="cpu: {units: 0}, memory: {size: 1Gi}, storage: {size: 1Gi}"),
        "cores above 0",
    ),
    "a profile with a slip": (
        sdl(deployment="  web:\n    here: {profile: wep, count: 1}"),
        "Expected web",
    ),
    "a placement with a slip": (
        sdl(deployment="  web:\n    hare: {profile: web, count: 1}"),
        "Expected here",
    ),
    "a service that is deployed nowhere": (
        sdl(services="  web:\n    image: a\n  api:\n    image: b"),
        "service api is deployed nowhere",
    ),
    "persistent memory": (
        sdl(
            resources="cpu: {units: 1}, memory: {size: 1Gi}, storage: [{name: d, size: 1Gi, "
            "attributes: {class: ram, persistent: true}}]"
        ),
        "class ram cannot be persistent",
    ),
    "a persistent volume that is mounted nowhere": (
        sdl(
            resources="cpu: {units: 1}, memory: {size: 1Gi}, storage: [{name: d, size: 1Gi, "
            "attributes: {class: beta2, persistent: true}}]"
        ),
        "is mounted nowhere",
    ),
    "a gpu without its vendor": (
        sdl(
            resources="cpu: {units: 1}, memory: {size: 1Gi}, storage: {size: 1Gi}, gpu: {units: 1}"
        ),
        "without its vendor",
    ),
    "an endpoint that nobody uses": (sdl(top="endpoints: {front: {kind: ip}}"), "no service uses"),
    "an address that is not global": (
        sdl(
            services="  web:\n    image: a\n    expose: [{port: 80, to: [{ip: front}]}]",
            top="endpoints: {front: {kind: ip}}",
        ),
        "global: true",
    ),
    "no price": (sdl(placement="pricing: {}"), "has no price here"),
    "a count of nothing": (sdl(deployment="  web:\n    here: {profile: web, count: 0}"), "a count"),
    "another version": (sdl(version="3.0"), "2.0 or 2.1"),
}
