"""Reports as one HTML file: key figures, plots, tables and pictures, without scripts and without a network.

What a page needs is inside it: plots as SVG whose colours follow the reader's light or dark scheme, pictures as data
URIs, the style sheet inline. Everything that is not drawn here is escaped.
"""

import base64
import io
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import ClassVar

import jinja2
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text as FigureText
from PIL import Image

from narrowcast.core.errors import SourceError

# Draw with these; the page replaces each with a CSS variable that has a light and a dark value.
INK, GRID = "#31363c", "#d8dce1"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#a0568a")  # Okabe and Ito: told apart by colour-blind people
_VARIABLES = {INK: "--ink", GRID: "--line"} | {color: f"--series-{ix}" for ix, color in enumerate(SERIES, 1)}

# Ours: inches and points of the two drawings of a plot, so that letters are 9 to 15 pixels high on any screen.
_WIDE_IN, _WIDE_PT = 8.4, 8.0
_NARROW_IN, _NARROW_PT = 4.2, 9.5


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number that a reader must not miss, with what it counts and a line that puts it in proportion."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs."""

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Notice:
    """A box that says what is unusual."""

    kind: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a header; `align` has a letter a column, "l" or "r" (numbers), and "l" where it is too short."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str = ""
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of `Bars`: from 0 to 1, with the number as it is to be read; `color` marks its name ("#rrggbb" or "")."""

    name: str
    share: float
    value: str
    color: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Named shares as horizontal bars. They are HTML, so names may be in any script and of any length."""

    kind: ClassVar[str] = "bars"
    bars: Sequence[Bar]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Legend:
    """Names and their colours ("#rrggbb")."""

    kind: ClassVar[str] = "legend"
    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawing, once for wide and once for narrow screens; `plot` makes it."""

    kind: ClassVar[str] = "plot"
    wide_svg: str = field(repr=False)
    narrow_svg: str = field(repr=False)
    caption: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image in the page; `picture` makes it."""

    source: str = field(repr=False)  # a data URI
    size_wh: tuple[int, int]
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures in a grid."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


Block = Text | Notice | Table | Bars | Legend | Plot | Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a title; a folded section shows its title until it is opened."""

    title: str
    blocks: Sequence[Block]
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report: title, a line below it, notices, key figures, then sections."""

    title: str
    subtitle: str = ""
    notices: Sequence[Notice] = ()
    key_figures: Sequence[KeyFigure] = ()
    sections: Sequence[Section] = ()
    footer: str = ""


def render(page: Page) -> str:
    """`page` as one HTML document that needs nothing else; the same page gives the same text."""
    html = _template().render(page=page)
    return html.encode("utf-8", "replace").decode("utf-8")  # names of files can hold bytes that are not UTF-8


def plot(draw: Callable[[Figure], None], *, height_in: float, caption: str, alt: str) -> Plot:
    """What `draw` draws on an empty figure, for wide and for narrow screens.

    Args:
        draw: called once a width; uses `INK`, `GRID` and `SERIES` as colours. Fonts, spines and grids are set here.
            Matplotlib's font lacks many scripts: names from outside belong in `Bars`, tables and captions.
        height_in: of both drawings, in inches; the wide one is 8.4 inches wide.
        alt: says what the drawing shows, for who cannot see it.
    """
    wide = _svg(draw, width_in=_WIDE_IN, height_in=height_in, font_pt=_WIDE_PT)
    narrow = _svg(draw, width_in=_NARROW_IN, height_in=height_in, font_pt=_NARROW_PT)
    return Plot(wide_svg=wide, narrow_svg=narrow, caption=caption, alt=alt)


def picture(path: Path, *, caption: str, alt: str, max_width: int = 1280) -> Picture:
    """The image at `path`, shrunk to at most `max_width` pixels across.

    Raises:
        SourceError: it is not an image that can be read.
    """
    try:
        image_format, size_wh, content = _fitting(path, max_width)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow: SyntaxError is a broken PNG
        raise SourceError(f"{path}: not an image that can be read: {error}") from error
    source = f"data:image/{image_format.lower()};base64,{base64.b64encode(content).decode('ascii')}"
    return Picture(source=source, size_wh=size_wh, caption=caption, alt=alt)


def _fitting(path: Path, max_width: int) -> tuple[str, tuple[int, int], bytes]:
    """Format, size and bytes of the image at `path`: the file's own where browsers show it and it is small enough."""
    with Image.open(path) as image:
        image.load()  # a damaged file is found here, not by the reader
        if image.width <= max_width and image.format in ("JPEG", "PNG"):
            return image.format, image.size, path.read_bytes()
        shrunk = image.convert("RGB")
    shrunk.thumbnail((max_width, max_width * 16), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    shrunk.save(content, "JPEG", quality=85)
    return "JPEG", shrunk.size, content.getvalue()


@cache
def _template() -> jinja2.Template:
    source = resources.files("narrowcast.core").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


def _svg(draw: Callable[[Figure], None], *, width_in: float, height_in: float, font_pt: float) -> str:
    """An <svg> element without size, so that it fills its frame."""
    # Figure and canvas by hand: pyplot would keep every figure and pick a backend for the whole process
    figure = Figure(figsize=(width_in, height_in), facecolor="none", layout="constrained")
    canvas = FigureCanvasSVG(figure)
    draw(figure)
    for axes in figure.axes:
        _style(axes)
    for text in figure.findobj(FigureText):
        assert isinstance(text, FigureText)
        text.set(color=INK, fontsize=font_pt)
    written = io.BytesIO()
    canvas.print_svg(written, metadata={"Date": None, "Creator": None})
    return _inline(written.getvalue().decode("utf-8"))


def _style(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(which="both", color=GRID, length=2.5)


def _inline(document: str) -> str:
    """The <svg> element of an SVG document: colours as variables, no size, and names that are the same in every run.

    Matplotlib draws names by lot, and all plots of a page share one name space: here a name is a number and a checksum
    of the drawing.
    """
    element = document[document.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<!DOCTYPE[^>]*>", "", element, flags=re.DOTALL)
    head, rest = element.split(">", 1)
    element = re.sub(r' (height|width|xmlns)="[^"]*"', "", head) + ">" + rest
    for color, variable in _VARIABLES.items():
        element = element.replace(color, f"var({variable})")
    numbers = {name: str(number) for number, name in enumerate(dict.fromkeys(re.findall(r' id="([^"]+)"', element)))}
    element = _renamed(element, numbers)
    checksum = f"{zlib.crc32(element.encode()):08x}"
    return _renamed(element, {number: f"s{checksum}-{number}" for number in numbers.values()})


def _renamed(element: str, names: Mapping[str, str]) -> str:
    return re.sub(r'( id="|url\(#|href="#)([^")]+)', lambda found: found[1] + names[found[2]], element)
