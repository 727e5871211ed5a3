"""Text into XML and HTML: escaping, numbers, wrapped lines, elements."""

import html
import math
import textwrap

_ILLEGAL_IN_XML = {code: None for code in range(32) if code not in (9, 10, 13)}


def escape(value: object) -> str:
    """Return ``value`` as text that is safe between tags and inside quoted attributes."""
    return html.escape(str(value).translate(_ILLEGAL_IN_XML), quote=True)


def number(value: float) -> str:
    """Return a coordinate with at most two decimals and no needless zeros."""
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def element(name: str, content: str = "", **attributes: object) -> str:
    """Return one element; ``content`` is markup, attribute values are escaped.

    Underscores in attribute names become hyphens, and a trailing one is dropped (``class_``).
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def wrapped(value: str, *, width_mm: float, font_size_mm: float) -> list[str]:
    """Return ``value`` in lines that fit ``width_mm`` even in a wide sans-serif face."""
    num_letters = max(8, int(width_mm / (0.6 * font_size_mm)))
    return textwrap.wrap(value, num_letters) or []


def _attribute(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return number(value)
    return escape(value)


def text(
    content: str,
    x: float,
    y: float,
    *,
    size: float,
    fill: str = "#15181c",
    halo: str = "",
    **attributes: object,
) -> str:
    """Return an SVG text element at (x, y); ``halo`` is the colour of an outline behind it."""
    given: dict[str, object] = {"x": x, "y": y, "font_size": size, "fill": fill, **attributes}
    if halo:
        given |= {"stroke": halo, "stroke_width": size / 4, "paint_order": "stroke"}
    return element("text", escape(content), **given, style="white-space:pre")
