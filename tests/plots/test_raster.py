import io

from PIL import Image

from ecgtwin.plots.raster import DOTS_PER_UNIT, png_of

SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 0 42 30">
<rect width="20" height="10" fill="#ff0000"/>
<svg x="20" y="10" viewBox="0 0 10 10" width="10" height="10">
<g stroke="#0000ff" stroke-width="2" fill="none"><path d="M1 2h6v6"/></g></svg>
<path d="M0 20L10 20M30 20L38 20" stroke="#00ff00" stroke-width="2"/>
<text x="10" y="28" font-size="6" fill="#000000">III</text></svg>"""


def colour_at(image, x, y):
    """Of the dot in the middle of the unit square at (x, y) of the drawing."""
    return image.getpixel((int((x + 2.5) * DOTS_PER_UNIT), int((y + 0.5) * DOTS_PER_UNIT)))


def test_shapes_stand_where_the_drawing_has_them():
    image = Image.open(io.BytesIO(png_of(SVG)))
    assert image.size == (42 * DOTS_PER_UNIT, 30 * DOTS_PER_UNIT)
    red, blue, green = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    white = (255, 255, 255)
    assert [colour_at(image, x, 5) for x in (0, 19, 21)] == [red, red, white]
    assert [colour_at(image, x, 11.5) for x in (22, 25, 29)] == [blue, blue, white]
    assert [colour_at(image, 26.5, y) for y in (13, 16, 19)] == [blue, blue, white]
    assert [colour_at(image, x, 19.5) for x in (1, 8, 20, 34)] == [green, green, white, green]


def test_text_stands_on_its_line_and_right_of_its_beginning():
    image = Image.open(io.BytesIO(png_of(SVG))).convert("L")
    dark = [
        (x, y)
        for x in range(38)
        for y in range(22, 30)
        if image.getpixel((int((x + 2.5) * DOTS_PER_UNIT), int((y + 0.5) * DOTS_PER_UNIT))) < 128
    ]
    assert dark
    assert min(x for x, _ in dark) >= 10
    assert max(y for _, y in dark) < 28
