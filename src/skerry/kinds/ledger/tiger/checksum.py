"""The checksum of TigerBeetle's messages: the 128-bit tag of AEGIS-128L.

Key and nonce are zero, the data is associated data, and the message is empty
(draft-irtf-cfrg-aegis-aead). It must keep up with the wire, so it is compiled: the machine's own
AES instructions, reached through LLVM, which numba brings along. Without it a plain version takes
over; it is right, and far too slow for large batches.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import platform
import struct
from collections.abc import Callable

TAG_BYTES = 16
_BLOCK_BYTES = 32
_C0 = bytes.fromhex("000101020305080d1522375990e97962")
_C1 = bytes.fromhex("db3d18556dc22ff12011314273b528dd")

_ROUND_X86 = """
declare <2 x i64> @llvm.x86.aesni.aesenc(<2 x i64>, <2 x i64>)
define internal <2 x i64> @round(<2 x i64> %state, <2 x i64> %key) alwaysinline {
  %out = call <2 x i64> @llvm.x86.aesni.aesenc(<2 x i64> %state, <2 x i64> %key)
  ret <2 x i64> %out
}
"""
_ROUND_ARM = """
declare <16 x i8> @llvm.aarch64.crypto.aese(<16 x i8>, <16 x i8>)
declare <16 x i8> @llvm.aarch64.crypto.aesmc(<16 x i8>)
define internal <2 x i64> @round(<2 x i64> %state, <2 x i64> %key) alwaysinline {
  %bytes = bitcast <2 x i64> %state to <16 x i8>
  %subbed = call <16 x i8> @llvm.aarch64.crypto.aese(<16 x i8> %bytes, <16 x i8> zeroinitializer)
  %mixed = call <16 x i8> @llvm.aarch64.crypto.aesmc(<16 x i8> %subbed)
  %words = bitcast <16 x i8> %mixed to <2 x i64>
  %out = xor <2 x i64> %words, %key
  ret <2 x i64> %out
}
"""
_ROUNDS = {"x86_64": _ROUND_X86, "amd64": _ROUND_X86, "aarch64": _ROUND_ARM, "arm64": _ROUND_ARM}
_VECTOR = "<2 x i64>"


def checksum(data: bytes) -> bytes:
    """Return the 16 bytes of the checksum."""
    return _implementation()(data)


def is_compiled() -> bool:
    """Tell whether the fast version is in use."""
    return _implementation() is not plain_checksum


@functools.cache
def _implementation() -> Callable[[bytes], bytes]:
    return compiled_checksum() or plain_checksum


def compiled_checksum() -> Callable[[bytes], bytes] | None:
    """Return the version in machine code, or None where it cannot be made."""
    rounds = _ROUNDS.get(platform.machine().lower())
    try:
        llvm = importlib.import_module("llvmlite.binding")
    except ImportError:
        return None
    features = llvm.get_host_cpu_features()
    if rounds is None or not features.get("aes", False):
        return None
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        opt=3, cpu=llvm.get_host_cpu_name(), features=features.flatten()
    )
    module = llvm.parse_assembly(rounds + _program())
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(
        None,
        ctypes.c_char_p,
        ctypes.c_uint64,
        ctypes.c_char_p,
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.c_char_p,
    )
    call = kind(engine.get_function_address("aegis"))
    return functools.partial(_call, call, engine)


def _call(call: Callable[..., None], _engine: object, data: bytes) -> bytes:
    """Call the machine code, which lives as long as its engine."""
    blocks, left = divmod(len(data), _BLOCK_BYTES)
    rest = data[-left:].ljust(_BLOCK_BYTES, b"\0") if left else b""
    tag = ctypes.create_string_buffer(TAG_BYTES)
    call(data, blocks, rest, 1 if left else 0, len(data) * 8, tag)
    return tag.raw


class _Lines:
    """Writes LLVM's assembly; the state is the names of eight 128-bit vectors."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names = 0

    def value(self, expression: str) -> str:
        self._names += 1
        name = f"%v{self._names}"
        self.lines.append(f"  {name} = {expression}")
        return name

    def xor(self, left: str, right: str) -> str:
        return self.value(f"xor {_VECTOR} {left}, {right}")

    def update(self, state: list[str], first: str, second: str) -> list[str]:
        keys = list(state)
        keys[0], keys[4] = self.xor(state[0], first), self.xor(state[4], second)
        return [
            self.value(
                f"call {_VECTOR} @round({_VECTOR} {state[(at + 7) % 8]}, {_VECTOR} {keys[at]})"
            )
            for at in range(8)
        ]

    def load(self, pointer: str) -> tuple[str, str]:
        second = self.value(f"getelementptr i8, ptr {pointer}, i64 16")
        return (
            self.value(f"load {_VECTOR}, ptr {pointer}, align 1"),
            self.value(f"load {_VECTOR}, ptr {second}, align 1"),
        )

    def phis(self, prefix: str) -> list[str]:
        """Reserve the lines of eight phi nodes, which are filled in once their values are known."""
        names = [f"%{prefix}{at}" for at in range(8)]
        self.lines += [f"@phi {name}" for name in names]
        return names

    def fill(self, names: list[str], *sources: tuple[list[str], str]) -> None:
        for at, name in enumerate(names):
            values = ", ".join(f"[ {state[at]}, %{label} ]" for state, label in sources)
            line = self.lines.index(f"@phi {name}")
            self.lines[line] = f"  {name} = phi {_VECTOR} {values}"


def _program() -> str:
    """Return the assembly of `aegis(data, blocks, rest, has_rest, bits, tag)`."""
    out = _Lines()
    zero = "zeroinitializer"
    c0, c1 = _constant(_C0), _constant(_C1)
    state = [zero, c1, c0, c1, zero, c0, c1, c0]
    for _ in range(10):
        state = out.update(state, zero, zero)
    out.lines += ["  br label %head", "head:", "  %at = phi i64 [ 0, %entry ], [ %next, %body ]"]
    head = out.phis("h")
    out.lines += ["  %more = icmp ult i64 %at, %blocks"]
    out.lines += ["  br i1 %more, label %body, label %tail", "body:"]
    offset = out.value("shl i64 %at, 5")
    pointer = out.value(f"getelementptr i8, ptr %data, i64 {offset}")
    body = out.update(head, *out.load(pointer))
    out.lines += ["  %next = add i64 %at, 1", "  br label %head"]
    out.fill(head, (state, "entry"), (body, "body"))
    out.lines += ["tail:", "  %whole = icmp eq i64 %has_rest, 0"]
    out.lines += ["  br i1 %whole, label %end, label %last", "last:"]
    last = out.update(head, *out.load("%rest"))
    out.lines += ["  br label %end", "end:"]
    final = out.phis("e")
    out.fill(final, (head, "tail"), (last, "last"))
    length = out.value(f"insertelement {_VECTOR} zeroinitializer, i64 %bits, i32 0")
    mask = out.xor(final[2], length)
    state = final
    for _ in range(7):
        state = out.update(state, mask, mask)
    tag = functools.reduce(out.xor, state[:7])
    out.lines += [f"  store {_VECTOR} {tag}, ptr %tag, align 1", "  ret void", "}"]
    head_line = (
        "define void @aegis(ptr %data, i64 %blocks, ptr %rest, i64 %has_rest, i64 %bits, ptr %tag)"
    )
    return "\n".join([f"{head_line} {{", "entry:", *out.lines])


def _constant(block: bytes) -> str:
    low, high = struct.unpack("<QQ", block)
    return f"<i64 {low}, i64 {high}>"


@functools.cache
def _tables() -> list[list[int]]:
    """Return AES's round as four tables of 32-bit words (FIPS 197), one for each row."""
    box = [0] * 256
    left = right = 1
    while True:
        left ^= (left << 1) ^ (0x11B if left & 0x80 else 0)
        for shift in (1, 2, 4):
            right ^= right << shift
        right &= 0xFF
        right ^= 0x09 if right & 0x80 else 0
        rotated = [(right << turn | right >> (8 - turn)) & 0xFF for turn in range(5)]
        box[left & 0xFF] = functools.reduce(int.__xor__, rotated) ^ 0x63
        if left & 0xFF == 1:
            break
    box[0] = 0x63
    first = []
    for value in box:
        double = (value << 1) ^ (0x11B if value & 0x80 else 0)
        first.append(double | value << 8 | value << 16 | (double ^ value) << 24)
    return [
        [(each << turn | each >> (32 - turn)) & 0xFFFFFFFF for each in first]
        for turn in (0, 8, 16, 24)
    ]


def _round(state: bytes, key: int) -> bytes:
    one, two, three, four = _tables()
    words = (
        one[state[at]]
        ^ two[state[(at + 5) % 16]]
        ^ three[state[(at + 10) % 16]]
        ^ four[state[(at + 15) % 16]]
        for at in (0, 4, 8, 12)
    )
    mixed = int.from_bytes(struct.pack("<4I", *words), "little")
    return (mixed ^ key).to_bytes(16, "little")


def _update(state: list[bytes], first: bytes, second: bytes) -> list[bytes]:
    keys = [int.from_bytes(each, "little") for each in state]
    keys[0] ^= int.from_bytes(first, "little")
    keys[4] ^= int.from_bytes(second, "little")
    return [_round(state[at - 1], keys[at]) for at in range(8)]


def plain_checksum(data: bytes) -> bytes:
    """Return the checksum; it takes about a third of a millisecond for each 256 bytes."""
    zero = bytes(16)
    state = [zero, _C1, _C0, _C1, zero, _C0, _C1, _C0]
    for _ in range(10):
        state = _update(state, zero, zero)
    for at in range(0, len(data), _BLOCK_BYTES):
        block = data[at : at + _BLOCK_BYTES].ljust(_BLOCK_BYTES, b"\0")
        state = _update(state, block[:16], block[16:])
    mask = int.from_bytes(state[2], "little") ^ (len(data) * 8)
    block = mask.to_bytes(16, "little")
    for _ in range(7):
        state = _update(state, block, block)
    tag = functools.reduce(int.__xor__, (int.from_bytes(each, "little") for each in state[:7]))
    return tag.to_bytes(16, "little")
