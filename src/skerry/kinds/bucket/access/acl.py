"""Access control lists: canned ones, grants in headers and XML, and what they allow."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from skerry.kinds._shared.s3.errors import S3Error
from skerry.kinds._shared.s3.xml import Element
from skerry.kinds.bucket.state.records import Grant

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
PERMISSIONS = ("FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP")
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_GRANTEE = re.compile(r'\s*(id|uri|emailAddress)\s*=\s*"?([^"]*)"?\s*')
_HEADERS = {
    "x-amz-grant-read": "READ",
    "x-amz-grant-write": "WRITE",
    "x-amz-grant-read-acp": "READ_ACP",
    "x-amz-grant-write-acp": "WRITE_ACP",
    "x-amz-grant-full-control": "FULL_CONTROL",
}

Resolve = Callable[[str, str], str]
"""Returns the user that a grantee of kind `id` or `emailAddress` means; raises S3Error."""


def canned(name: str, owner: str, bucket_owner: str) -> list[Grant]:
    """Return the grants of a canned list; raise InvalidArgument for an unknown one."""
    own = Grant("FULL_CONTROL", owner)
    lists = {
        "": [own],
        "private": [own],
        "public-read": [Grant("READ", uri=ALL_USERS), own],
        "public-read-write": [Grant("READ", uri=ALL_USERS), Grant("WRITE", uri=ALL_USERS), own],
        "authenticated-read": [Grant("READ", uri=AUTHENTICATED), own],
        "aws-exec-read": [own],
        "log-delivery-write": [
            Grant("WRITE", uri=LOG_DELIVERY),
            Grant("READ_ACP", uri=LOG_DELIVERY),
            own,
        ],
        "bucket-owner-read": [own, Grant("READ", bucket_owner)],
        "bucket-owner-full-control": [own, Grant("FULL_CONTROL", bucket_owner)],
    }
    if name not in lists:
        raise S3Error("InvalidArgument", f"{name!r} is not a canned ACL.")
    found = lists[name]
    return found[:1] if name.startswith("bucket-owner") and owner == bucket_owner else found


def from_headers(
    headers: Mapping[str, str], owner: str, bucket_owner: str, resolve: Resolve
) -> list[Grant]:
    """Return the grants that a request's headers ask for; the default is a private list."""
    granted = [
        Grant(permission, **_grantee(item, resolve))
        for header, permission in _HEADERS.items()
        if header in headers
        for item in headers[header].split(",")
    ]
    name = headers.get("x-amz-acl", "")
    if granted and name:
        raise S3Error("InvalidRequest", "Specifying both canned ACLs and grants is not allowed.")
    return granted or canned(name, owner, bucket_owner)


def has_headers(headers: Mapping[str, str]) -> bool:
    """Tell whether a request asks for an access control list."""
    return "x-amz-acl" in headers or any(header in headers for header in _HEADERS)


def _grantee(item: str, resolve: Resolve) -> dict[str, str]:
    match = _GRANTEE.fullmatch(item)
    if match is None:
        raise S3Error("InvalidArgument", f"{item.strip()!r} is not a grantee.")
    if match[1] == "uri":
        return {"uri": _group(match[2])}
    return {"user": resolve(match[1], match[2])}


def _group(uri: str) -> str:
    if uri not in (ALL_USERS, AUTHENTICATED, LOG_DELIVERY):
        raise S3Error("InvalidArgument", "Invalid group uri.")
    return uri


def from_xml(root: Element, owner: str, resolve: Resolve) -> list[Grant]:
    """Return the grants of an AccessControlPolicy; raise MalformedACLError or AccessDenied."""
    stated, listed = root.find("Owner"), root.find("AccessControlList")
    if root.name != "AccessControlPolicy" or listed is None:
        raise S3Error("MalformedACLError", "The XML you provided was not well-formed.")
    if stated is None:
        raise S3Error("MalformedACLError", "The owner is missing.")
    if stated.get("ID") and resolve("id", stated.get("ID")) != owner:
        raise S3Error("AccessDenied", "The owner of an ACL cannot be changed.")
    return [_grant(each, resolve) for each in listed.all("Grant")]


def _grant(element: Element, resolve: Resolve) -> Grant:
    grantee, permission = element.find("Grantee"), element.get("Permission")
    if grantee is None or permission not in PERMISSIONS:
        raise S3Error("MalformedACLError", "A grant is malformed.")
    for name, kind in (("ID", "id"), ("EmailAddress", "emailAddress")):
        if grantee.get(name):
            return Grant(permission, user=resolve(kind, grantee.get(name)))
    return Grant(permission, uri=_group(grantee.get("URI")))


def to_xml(owner: tuple[str, str], grants: list[Grant], name_of: Callable[[str], str]) -> Element:
    """Return the AccessControlPolicy, groups first; `owner` is id and display name."""
    root = Element("AccessControlPolicy")
    add_owner(root, "Owner", owner)
    listed = root.add("AccessControlList")
    for grant in sorted(grants, key=lambda grant: not grant.uri):
        each = listed.add("Grant")
        grantee = each.add("Grantee")
        grantee.attributes["xmlns:xsi"] = _XSI
        if grant.uri:
            grantee.attributes["xsi:type"] = "Group"
            grantee.add("URI", grant.uri)
        else:
            grantee.attributes["xsi:type"] = "CanonicalUser"
            grantee.add("ID", grant.user)
            grantee.add("DisplayName", name_of(grant.user))
        each.add("Permission", grant.permission)
    return root


def add_owner(parent: Element, name: str, owner: tuple[str, str]) -> None:
    """Append an element with id and display name."""
    element = parent.add(name)
    element.add("ID", owner[0])
    element.add("DisplayName", owner[1])


def allows(grants: list[Grant], user: str, permission: str, *, ignore_public: bool) -> bool:
    """Tell whether a list gives a user ('' is anonymous) a permission."""
    for grant in grants:
        if grant.permission not in (permission, "FULL_CONTROL"):
            continue
        if grant.user and grant.user == user:
            return True
        if grant.uri == ALL_USERS and not ignore_public:
            return True
        if grant.uri == AUTHENTICATED and user and not ignore_public:
            return True
    return False


def is_public(grants: list[Grant]) -> bool:
    """Tell whether a list gives something to everybody."""
    return any(grant.uri in (ALL_USERS, AUTHENTICATED) for grant in grants)
