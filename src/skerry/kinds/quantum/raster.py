"""Draws histograms as PNG (ISO/IEC 15948), with letters of its own: no library is needed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from skerry.kinds.quantum.contract import Result

BARS_MAX = 24
RESULTS_MAX = 20
"""How many executions of a job one picture shows; a line tells of the rest."""

WIDTH = 960
_ROW, _MARGIN, _SCALE = 30, 20, 2
_ADVANCE = 6 * _SCALE
_LABEL_LETTERS = 22
_BAR_LEFT = _MARGIN + _LABEL_LETTERS * _ADVANCE + 12
_BAR_LONGEST = WIDTH - _BAR_LEFT - 20 * _ADVANCE
_WHITE, _INK, _BAR = 0, 1, 2
_PALETTE = bytes.fromhex("ffffff1b1f2417668c")
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_UNKNOWN = "vhhhhhv"
_SHAPES = (
    "ehjlphe 4c4444e eh1248v v2421he 26aiv22 vgu11he 68guhhe v124888 ehhehhe ehhf12c "
    "ehhvhhh uhhuhhu ehggghe sihhhis vgguggv vgguggg ehgnhhf hhhvhhh e44444e 72222ic "
    "hikokih ggggggv hrllhhh hhpljhh ehhhhhe uhhuggg ehhhlid uhhukih fgge11u v444444 "
    "hhhhhhe hhhhha4 hhhllla hha4ahh hhha444 v1248gv "
    "00e1fhf ggmphhu 00egghe 11djhhf 00ehvge 698s888 0fhhf1e ggmphhh 40c444e 20622ic "
    "ggikoki c44444e 00qllhh 00mphhh 00ehhhe 00uhugg 00djf11 00mpggg 00ege1u 88s8896 "
    "00hhhjd 00hhha4 00hhlla 00ha4ah 00hhf1e 00v248v "
    "0000000 00000cc 0000c48 000v000 000000v 2488842 8422248 op248j3 0cc0cc0 01248g0 "
    "044v440 00v0v00 4444444 000000l"
)
_LETTERS = {
    letter: _SHAPES[8 * number : 8 * number + 7]
    for number, letter in enumerate(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz .,-_()%:/+=|…"
    )
}
"""Letters of 5 by 7 points: a digit a row, whose five bits are the points from the left."""


class Canvas:
    """Points of a few colours, in rows."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self._rows = [bytearray(width) for _ in range(height)]

    def box(self, x: int, y: int, width: int, height: int, colour: int) -> None:
        """Fill a rectangle; what lies outside is left out."""
        left, right = max(0, x), min(self.width, x + width)
        for row in self._rows[max(0, y) : max(0, y + height)]:
            row[left:right] = bytes([colour]) * max(0, right - left)

    def write(self, x: int, y: int, text: str) -> None:
        """Write a line whose top left is given; letters that are not known are boxes."""
        for number, letter in enumerate(text):
            for down, digit in enumerate(_LETTERS.get(letter, _UNKNOWN)):
                bits = _DIGITS.index(digit)
                for across in range(5):
                    if bits >> (4 - across) & 1:
                        left = x + number * _ADVANCE + across * _SCALE
                        self.box(left, y + down * _SCALE, _SCALE, _SCALE, _INK)

    def png(self) -> bytes:
        """Return the picture as a file."""
        head = struct.pack(">IIBBBBB", self.width, len(self._rows), 8, 3, 0, 0, 0)
        points = b"".join(b"\0" + row for row in self._rows)
        chunks = ((b"IHDR", head), (b"PLTE", _PALETTE), (b"IDAT", zlib.compress(points, 9)))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in (*chunks, (b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def histograms(results: Sequence[Result], title: str) -> bytes:
    """Return bars of the outcomes of each result, the most frequent first, as PNG."""
    shown = results[:RESULTS_MAX]
    lines = 1 + sum(min(len(each.counts), BARS_MAX + 1) + 2 for each in shown)
    lines -= len(shown) == len(results)
    canvas = Canvas(WIDTH, max(1, lines) * _ROW + 2 * _MARGIN)
    canvas.write(_MARGIN, _MARGIN, title[: (WIDTH - 2 * _MARGIN) // _ADVANCE])
    y = _MARGIN + _ROW
    for result in shown:
        y = _histogram(canvas, result, y) + _ROW
    if len(results) > len(shown):
        canvas.write(_MARGIN, y, f"and {len(results) - len(shown)} more executions")
    return canvas.png()


def _histogram(canvas: Canvas, result: Result, y: int) -> int:
    """Draw one result from a row on; return where the next one may begin."""
    total = sum(result.counts.values()) or 1
    ordered = sorted(result.counts.items(), key=lambda item: (-item[1], item[0]))
    most = ordered[0][1] if ordered else 1
    about = f"execution {result.execution}: {result.shots} shots, {result.endianness}"
    canvas.write(_MARGIN, y, about)
    for text, count in ordered[:BARS_MAX]:
        y += _ROW
        name = text if len(text) <= _LABEL_LETTERS else f"{text[: _LABEL_LETTERS - 1]}…"
        canvas.write(_MARGIN + (_LABEL_LETTERS - len(name)) * _ADVANCE, y, name)
        length = max(1, round(_BAR_LONGEST * count / most))
        canvas.box(_BAR_LEFT, y - 4, length, 22, _BAR)
        canvas.write(_BAR_LEFT + length + 12, y, f"{count} ({count / total:.1%})")
    if len(ordered) > BARS_MAX:
        y += _ROW
        canvas.write(_BAR_LEFT, y, f"and {len(ordered) - BARS_MAX} more outcomes")
    return y + _ROW
