"""Our SVG drawings as PNG, for viewers that know no SVG. Pillow's only home.

It knows what ``plots.markup`` and ``plots.ecg_paper`` write and no more: groups, nested drawings,
rectangles, text, and paths of the commands M, L, h and v.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from PIL import ImageDraw

DOTS_PER_UNIT = 3.0
OVERSAMPLED = 2  # drawn larger, then averaged: smooth lines
INHERITED = ("fill", "stroke", "stroke-width")
_STEP = re.compile(r"([MLhv])([^MLhv]*)")

Style = dict[str, str]
Point = tuple[float, float]


def png_of(svg: str) -> bytes:
    """Return ``svg`` at three dots a unit; ModuleNotFoundError without Pillow."""
    from PIL import Image, ImageDraw

    root = ElementTree.fromstring(svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    scale = DOTS_PER_UNIT * OVERSAMPLED
    size = (OVERSAMPLED * round(width * DOTS_PER_UNIT), OVERSAMPLED * round(height * DOTS_PER_UNIT))
    image = Image.new("RGB", size, "white")
    page = _Page(ImageDraw.Draw(image), scale)
    _draw(page, root, (-left, -top), {"fill": "black", "stroke": "none", "stroke-width": "1"})
    written = io.BytesIO()
    image.reduce(OVERSAMPLED).save(written, "PNG")
    return written.getvalue()


@dataclass(frozen=True, slots=True)
class _Page:
    draw: "ImageDraw.ImageDraw"
    scale: float

    def dots(self, *units: float) -> list[float]:
        return [unit * self.scale for unit in units]


def _draw(page: _Page, element: ElementTree.Element, origin: Point, style: Style) -> None:
    """Draw ``element`` and what it holds, ``origin`` being where its coordinates begin."""
    style = style | {key: element.attrib[key] for key in INHERITED if key in element.attrib}
    kind = element.tag.rpartition("}")[2]
    drawers = {"rect": _rectangle, "path": _path, "text": _text}
    if kind in drawers:
        drawers[kind](page, element, origin, style)
    if kind in ("svg", "g"):
        x, y = (float(element.attrib.get(key, 0)) for key in ("x", "y"))
        for child in element:
            _draw(page, child, (origin[0] + x, origin[1] + y), style)


def _rectangle(page: _Page, element: ElementTree.Element, origin: Point, style: Style) -> None:
    x, y, width, height, radius = (
        float(element.attrib.get(key, 0)) for key in ("x", "y", "width", "height", "rx")
    )
    x, y = origin[0] + x, origin[1] + y
    page.draw.rounded_rectangle(
        page.dots(x, y, x + width, y + height),
        radius=radius * page.scale,
        fill=_colour(style["fill"]),
        outline=_colour(style["stroke"]),
        width=_width(page, style),
    )


def _path(page: _Page, element: ElementTree.Element, origin: Point, style: Style) -> None:
    for points in _lines(element.attrib["d"]):
        dots = [page.dots(origin[0] + x, origin[1] + y) for x, y in points]
        page.draw.line(
            [(x, y) for x, y in dots],
            fill=_colour(style["stroke"]),
            width=_width(page, style),
            joint="curve",
        )


def _lines(data: str) -> Iterator[list[Point]]:
    points: list[Point] = []
    for command, written in _STEP.findall(data):
        numbers = [float(one) for one in written.split()]
        if command == "M":
            if len(points) > 1:
                yield points
            points = [(numbers[0], numbers[1])]
        elif command == "L":
            points.append((numbers[0], numbers[1]))
        else:
            x, y = points[-1]
            points.append((x + numbers[0], y) if command == "h" else (x, y + numbers[0]))
    if len(points) > 1:
        yield points


def _text(page: _Page, element: ElementTree.Element, origin: Point, style: Style) -> None:
    from PIL import ImageFont

    given: Mapping[str, str] = element.attrib
    x, y = float(given["x"]) + origin[0], float(given["y"]) + origin[1]
    size = float(given["font-size"]) * page.scale
    anchor = {"middle": "ms", "end": "rs"}.get(given.get("text-anchor", ""), "ls")
    font = ImageFont.load_default(size)
    place, said = (x * page.scale, y * page.scale), element.text or ""
    bold = 0.25 * OVERSAMPLED if given.get("font-weight") == "bold" else 0.0
    halo = _colour(style["stroke"])
    if halo is not None:
        around = _width(page, style) / 2
        page.draw.text(place, said, fill=halo, font=font, anchor=anchor, stroke_width=around)
    colour = _colour(style["fill"])
    page.draw.text(place, said, fill=colour, font=font, anchor=anchor, stroke_width=bold)


def _colour(name: str) -> str | None:
    return None if name == "none" else name


def _width(page: _Page, style: Style) -> int:
    return max(1, round(float(style["stroke-width"]) * page.scale))
