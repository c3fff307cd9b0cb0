"""A seccomp filter: which system calls a confined process may make (seccomp(2)).

The filter is a short classic BPF program. It refuses what an engine or a function has no use for
and what has been a way into kernels: other machines' call tables, namespaces, mounts, tracing,
kernel modules, BPF, keyrings, `io_uring`, exotic sockets, terminal injection, and calls newer than
this table. Refused calls fail with EPERM; those whose callers have a fallback fail with ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import socket
import struct

from skerry.node.sandbox import linux
from skerry.node.sandbox.syscalls import NEWEST, NUMBERS

_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LOAD = 0x20
_AND = 0x54
_EQUAL = 0x15
_GREATER = 0x25
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

_NUMBER_AT = 0
_ARCHITECTURE_AT = 4
_ARGUMENTS_AT = 16

_NAMESPACE_FLAGS = 0x7E020000
_TERMINAL_INJECTION = (0x5412, 0x541C)
_SOCKET_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
_NETLINK = 16
_FAMILIES_MAX = 64

_REFUSED = [
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "listmount",
    "lookup_dcookie",
    "lsm_set_self_attr",
    "memfd_secret",
    "modify_ldt",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "open_tree_attr",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_mrelease",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "statmount",
    "swapoff",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "vhangup",
]
_REFUSED_TIGHT = [
    "mbind",
    "migrate_pages",
    "move_pages",
    "mq_open",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "personality",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
]
_ABSENT = [
    "clone3",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
]
_SIGNALS = [
    "pidfd_send_signal",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "tkill",
]


def supported() -> bool:
    """Tell whether this machine and kernel take a filter."""
    machine = os.uname().machine in NUMBERS
    return machine and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")  # noqa: PTH110


def confine(tight: bool, own_signals_only: bool, local: bool = True) -> None:
    """Install the filter for ever, in this process and its children.

    `own_signals_only` lets the process signal only itself and its process group; it stands in for
    Landlock's signal scope on kernels that lack it. Without `local`, it has no unix sockets but
    pairs of its own. Needs no_new_privs. Raises `OSError`.
    """
    code = program(os.uname().machine, tight, os.getpid() if own_signals_only else None, local)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(header, len(header))
    pointer = ctypes.cast(holder, ctypes.c_void_p)
    linux.prctl(linux.PR_SET_SECCOMP, linux.SECCOMP_MODE_FILTER, pointer)


@functools.cache
def program(
    machine: str, tight: bool, only_process: int | None = None, local: bool = True
) -> bytes:
    """Return the BPF program for a machine; `only_process` is the one process it may signal."""
    number = NUMBERS[machine]
    code = [
        _load(_ARCHITECTURE_AT),
        _skip_if(_EQUAL, _AUDIT_ARCHITECTURES[machine], 1),
        _return(_KILL_PROCESS),
        _load(_NUMBER_AT),
        # This also refuses x32, whose numbers have bit 30 set.
        _skip_unless(_GREATER, NEWEST, 1),
        _return(_ERRNO | errno.ENOSYS),
    ]
    refused = _REFUSED + (_REFUSED_TIGHT if tight else [])
    if only_process is not None:
        refused = refused + _SIGNALS
    code += _refuse(number, refused, errno.EPERM)
    code += _refuse(number, _ABSENT, errno.ENOSYS)
    code += _arguments(number, local)
    if only_process is not None:
        code += _signals(number, only_process)
    code.append(_return(_ALLOW))
    return b"".join(code)


def oci_profile() -> dict[str, object]:
    """Return the filter as an OCI runtime is told it (config-linux.md, seccomp); not the tight one.

    An OCI filter has no "all others": each socket family beyond the common ones is named.
    """
    refuse = {"action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}

    def when(name: str, *arguments: tuple[int, str, int, int], reason: int = errno.EPERM) -> object:
        rows = [
            {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": second}
            for index, op, value, second in arguments
        ]
        return {**refuse, "names": [name], "args": rows, "errnoRet": reason}

    families = set(range(_FAMILIES_MAX)) - {int(each) for each in _SOCKET_FAMILIES} - {_NETLINK}
    unknown = errno.EAFNOSUPPORT
    namespaces = [1 << bit for bit in range(32) if _NAMESPACE_FLAGS >> bit & 1]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {**refuse, "names": list(_REFUSED)},
            {**refuse, "names": list(_ABSENT), "errnoRet": errno.ENOSYS},
            *(when("clone", (0, "MASKED_EQ", flag, flag)) for flag in namespaces),
            *(when("ioctl", (1, "EQ", request, 0)) for request in _TERMINAL_INJECTION),
            *(when("socket", (0, "EQ", each, 0), reason=unknown) for each in sorted(families)),
            when("socket", (0, "EQ", _NETLINK, 0), (2, "NE", 0, 0), reason=unknown),
        ],
    }


def _refuse(number: dict[str, int], names: list[str], reason: int) -> list[bytes]:
    code = []
    for name in names:
        if name in number:
            code += [_skip_unless(_EQUAL, number[name], 1), _return(_ERRNO | reason)]
    return code


def _arguments(number: dict[str, int], local: bool) -> list[bytes]:
    """Refuse new namespaces, terminal injection and socket families beyond the common ones."""
    refuse = _return(_ERRNO | errno.EPERM)
    clone = [
        _load(_ARGUMENTS_AT),
        struct.pack("HBBI", _AND, 0, 0, _NAMESPACE_FLAGS),
        _skip_if(_EQUAL, 0, 1),
        refuse,
    ]
    ioctl = [_load(_ARGUMENTS_AT + 8)]
    for request in _TERMINAL_INJECTION:
        ioctl += [_skip_unless(_EQUAL, request, 1), refuse]
    families = [_load(_ARGUMENTS_AT)]
    allow = _return(_ALLOW)
    for family in _SOCKET_FAMILIES:
        if family == socket.AF_UNIX and not local:
            continue
        families += [_skip_unless(_EQUAL, int(family), 1), allow]
    # Of netlink only NETLINK_ROUTE (0), by which the C library lists addresses.
    families += [
        _skip_unless(_EQUAL, _NETLINK, 3),
        _load(_ARGUMENTS_AT + 16),
        _skip_unless(_EQUAL, 0, 1),
        allow,
        _return(_ERRNO | errno.EAFNOSUPPORT),
    ]
    return [
        *_when(number["clone"], clone),
        *_when(number["ioctl"], ioctl),
        *_when(number["socket"], families),
    ]


def _signals(number: dict[str, int], process: int) -> list[bytes]:
    """Let `kill` reach the own process and its group, and `tgkill` the own threads."""
    refuse = _return(_ERRNO | errno.EPERM)
    kill = [
        _load(_ARGUMENTS_AT),
        _skip_if(_EQUAL, process, 2),
        _skip_if(_EQUAL, 0, 1),
        refuse,
    ]
    threads = [_load(_ARGUMENTS_AT), _skip_if(_EQUAL, process, 1), refuse]
    return [*_when(number["kill"], kill), *_when(number["tgkill"], threads)]


def _when(number: int, block: list[bytes]) -> list[bytes]:
    """Run `block` for one call only; leave the call's number loaded for what follows."""
    body = [*block, _load(_NUMBER_AT)]
    return [_skip_unless(_EQUAL, number, len(body)), *body]


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", _LOAD, 0, 0, offset)


def _skip_if(operation: int, value: int, count: int) -> bytes:
    return struct.pack("HBBI", operation, count, 0, value)


def _skip_unless(operation: int, value: int, count: int) -> bytes:
    return struct.pack("HBBI", operation, 0, count, value)


def _return(action: int) -> bytes:
    return struct.pack("HBBI", _RETURN, 0, 0, action)
