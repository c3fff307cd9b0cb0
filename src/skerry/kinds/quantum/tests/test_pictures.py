"""Histograms as PNG, read by another library."""

from __future__ import annotations

import io

from PIL import Image

from skerry.kinds.quantum import raster
from skerry.kinds.quantum.contract import Provenance, Result

SOURCE = Provenance("twin", "sim-ideal", "stim", "", 1, {}, "", "", (), None, 1.0, "", 0, 0.0)


def result(counts: dict[str, int], execution: int = 0) -> Result:
    return Result(execution, sum(counts.values()), counts, (), (), SOURCE)


def bars(picture: bytes) -> list[int]:
    """Return the lengths of the bars from top to bottom."""
    with Image.open(io.BytesIO(picture)) as image:
        image.load()
        assert image.format == "PNG"
        points = image.convert("RGB")
    column = raster._BAR_LEFT
    found, inside = [], False
    for y in range(points.height):
        line = [points.getpixel((x, y)) == (0x17, 0x66, 0x8C) for x in range(points.width)]
        if line[column] and not inside:
            found.append(sum(line))
        inside = line[column]
    return found


def test_bars_are_as_long_as_outcomes_are_frequent() -> None:
    found = bars(raster.histograms([result({"11": 250, "00": 500, "01": 1})], "Job 1"))
    assert len(found) == 3
    assert found[1] == round(found[0] / 2)
    assert found[2] == max(1, round(found[0] / 500))


def test_what_does_not_fit_is_summed_up() -> None:
    many = result({f"{n:06b}": n + 1 for n in range(64)})
    assert len(bars(raster.histograms([many], "x" * 500))) == raster.BARS_MAX
    each = [result({"0": 1}, n) for n in range(raster.RESULTS_MAX + 5)]
    assert len(bars(raster.histograms(each, "ß∆"))) == raster.RESULTS_MAX
    assert bars(raster.histograms([result({})], "")) == []


def test_every_letter_is_of_its_own_shape() -> None:
    shapes = list(raster._LETTERS.values())
    assert len(set(shapes)) == len(shapes)
    assert {len(each) for each in shapes} == {7}
