"""STS and IAM, as far as the SDK asks who it is, and which role a hybrid job is to have."""

from __future__ import annotations

from urllib.parse import parse_qs

from skerry.kernel.errors import UNSUPPORTED
from skerry.kinds._shared.s3.xml import Element, document
from skerry.kinds.quantum.wires.braket.names import account
from skerry.kinds.quantum.wires.frame import Call, Reply

_STS = "https://sts.amazonaws.com/doc/2011-06-15/"
_IAM = "https://iam.amazonaws.com/doc/2010-05-08/"
ROLE = "AmazonBraketJobsExecutionRole"
"""The one role: a job may do what the key of its resource may, and that alone."""


async def _action(call: Call) -> str:
    form = parse_qs((await call.body(1 << 16)).decode("utf-8", "replace"))
    return form.get("Action", [call.query.get("Action", "")])[0]


async def who(call: Call) -> Reply:
    """Answer STS's GetCallerIdentity, by which the SDK names its default bucket."""
    action = await _action(call)
    if action != "GetCallerIdentity":
        raise UNSUPPORTED(f"The action {action[:60]!r} of STS is not here.")
    number = account(call.desk.context.id)
    name = f"user/{call.desk.context.ref.name}"
    if call.hybrid:
        name = f"assumed-role/{ROLE}/{call.hybrid}"
    root = Element("GetCallerIdentityResponse")
    found = root.add("GetCallerIdentityResult")
    found.add("Arn", f"arn:aws:{'sts' if call.hybrid else 'iam'}::{number}:{name}")
    found.add("UserId", call.desk.context.id)
    found.add("Account", number)
    root.add("ResponseMetadata").add("RequestId", "0")
    return Reply(document(root, _STS), kind="text/xml")


async def roles(call: Call) -> Reply:
    """Answer IAM's ListRoles, by which the SDK finds the role of hybrid jobs."""
    action = await _action(call)
    if action != "ListRoles":
        raise UNSUPPORTED(f"The action {action[:60]!r} of IAM is not here.")
    number = account(call.desk.context.id)
    root = Element("ListRolesResponse")
    found = root.add("ListRolesResult")
    found.add("IsTruncated", "false")
    role = found.add("Roles").add("member")
    role.add("Path", "/service-role/")
    role.add("RoleName", ROLE)
    role.add("RoleId", call.desk.context.id)
    role.add("Arn", f"arn:aws:iam::{number}:role/service-role/{ROLE}")
    role.add("CreateDate", "2019-09-01T00:00:00Z")
    root.add("ResponseMetadata").add("RequestId", "0")
    return Reply(document(root, _IAM), kind="text/xml")
