"""Container images: each means a stack of libraries of this node, since there are no containers.

Braket's own images mean the stack that has what they have. An image of any registry whose name is
that of a stack means that stack: what the operator installed by `skerry quantum install`.
"""

from __future__ import annotations

import hashlib
import re
import sys
from typing import Any

import msgspec

from skerry.kernel.errors import INVALID, UNSUPPORTED
from skerry.kinds.quantum.stacks import STACKS
from skerry.kinds.quantum.wires.frame import Call, Reply

DEFAULT = "clients-braket"
TARGET = "AmazonEC2ContainerRegistry_V20150921."
_URI = re.compile(r"\d{10,14}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/([a-z0-9._/-]+):([\w.-]+)")
_OWN = {
    "amazon-braket-base-jobs": DEFAULT,
    "amazon-braket-pytorch-jobs": "clients-pennylane",
}


class ImageId(msgspec.Struct, frozen=True, rename="camel"):
    """An image by its tag or its digest."""

    image_tag: str = ""
    image_digest: str = ""


class Get(msgspec.Struct, frozen=True, rename="camel"):
    """The body of BatchGetImage."""

    repository_name: str
    image_ids: list[ImageId]
    registry_id: str = ""


def stack_of(uri: str) -> str:
    """Return the stack that an image means; raise INVALID, with what there is."""
    if not uri:
        return DEFAULT
    found = _URI.fullmatch(uri)
    name = found[1] if found else ""
    stack = _OWN.get(name, name)
    if stack not in STACKS:
        raise INVALID(
            f"The image {uri[:255]!r} means no stack of this node.",
            why=f"There are {', '.join(_OWN)} of Braket's, and stacks by their own names.",
            hint="skerry quantum stacks",
        )
    return stack


async def answer(call: Call) -> Reply:
    """Answer ECR's BatchGetImage, by which the SDK asks for an image's version of Python."""
    action = call.headers.get("x-amz-target", "").removeprefix(TARGET)
    if action != "BatchGetImage":
        raise UNSUPPORTED(f"The action {action[:60]!r} of ECR is not here.")
    asked = msgspec.convert(await call.json(), Get)
    name = asked.repository_name
    if _OWN.get(name, name) not in STACKS:
        raise INVALID(f"There is no image {name[:200]}.", hint="skerry quantum stacks")
    digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
    # Stacks are environments of the node's own Python, or are in its own.
    full = f"1.0-cpu-py{sys.version_info.major}{sys.version_info.minor}-skerry"
    found: list[dict[str, Any]] = [
        {
            "registryId": asked.registry_id,
            "repositoryName": name,
            "imageId": {"imageDigest": digest, "imageTag": tag},
        }
        for tag in ("latest", full)
        if any(each.image_tag == tag or each.image_digest == digest for each in asked.image_ids)
    ]
    return Reply({"images": found, "failures": []}, kind="application/x-amz-json-1.1")
