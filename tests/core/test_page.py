import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from narrowcast.core import amounts, page
from narrowcast.core.errors import SourceError
from narrowcast.core.page import Bar, Bars, Gallery, KeyFigure, Legend, Notice, Page, Section, Table, Text

EVIL = "<script>alert('x')</script>&\"'"


def draw_line(figure: Figure) -> None:
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 2], color=page.SERIES[0], label="a line")
    axes.fill_between([0, 1, 2], [2, 0, 1], [3, 1, 2], color=page.SERIES[0], alpha=0.2)
    axes.set(xlabel="time (s)", ylabel="accuracy")
    axes.legend()


def a_plot(caption: str = "A caption.") -> page.Plot:
    return page.plot(draw_line, height_in=2, caption=caption, alt="A falling line.")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (64, 32), (200, 90, 10)).save(path)
    return path


def full_page(photo: Path, word: str) -> Page:
    """Every kind of block, with `word` wherever a caller's text can go."""
    blocks = [
        Text([word]),
        Notice(word),
        Table(header=(word, word), rows=[(word, word)], align="lr", caption=word),
        Bars(bars=[Bar(word, 0.5, word, "#ff0000"), Bar("over", 7.0, "7")], caption=word),
        Legend([(word, "#00ff00")]),
        a_plot(word),
        Gallery([page.picture(photo, caption=word, alt=word)]),
    ]
    sections = [Section(word, blocks), Section(word, blocks, is_folded=True)]
    keys = [KeyFigure(word, word, word)]
    return Page(title=word, subtitle=word, notices=[Notice(word)], key_figures=keys, sections=sections, footer=word)


class Checked(HTMLParser):
    """Collects what a page refers to, its ids, and tags that are not closed in order."""

    VOID = frozenset({"meta", "link", "img", "path", "use", "rect", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("src", "href", "xlink:href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag


def test_page_holds_all_that_it_shows(photo: Path) -> None:
    checked = Checked(page.render(full_page(photo, "words")))
    assert "script" not in checked.tags
    assert all(link.startswith(("data:", "#")) for link in checked.links)
    assert not any(name.startswith("on") for name in checked.attributes)


def test_page_forbids_scripts_and_the_network(photo: Path) -> None:
    html = page.render(full_page(photo, "words"))
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert not re.search(r"url\((?!#)|@import", html)


def test_text_is_escaped_wherever_it_goes(photo: Path) -> None:
    html = page.render(full_page(photo, EVIL))
    assert EVIL not in html
    assert "<script" not in html
    assert Checked(html)
    assert html.count("&lt;script&gt;") > 20


def test_names_in_any_script_and_broken_names_are_rendered() -> None:
    html = page.render(Page(title="歩行者 \udcff", sections=[Section("s", [Bars(bars=[Bar("собака", 0.3, "30%")])])]))
    assert "歩行者 ?" in html
    assert "собака" in html


def test_bars_stay_in_their_track(photo: Path) -> None:
    html = page.render(Page(title="t", sections=[Section("s", [Bars(bars=[Bar("a", 7.0, ""), Bar("b", -1.0, "")])])]))
    assert re.findall(r'style="width: ([\d.]+)%"', html) == ["100.00", "0.00"]


def test_every_picture_and_plot_says_what_it_shows(photo: Path) -> None:
    html = page.render(full_page(photo, "words"))
    assert len(re.findall(r'<img [^>]*alt="words"', html)) == html.count("<img ")
    assert html.count('role="img" aria-label="A falling line."') == 2


def test_a_page_is_the_same_each_time(photo: Path) -> None:
    assert page.render(full_page(photo, "words")) == page.render(full_page(photo, "words"))


def test_ids_of_different_plots_do_not_meet() -> None:
    def draw_other(figure: Figure) -> None:
        figure.subplots().plot([5, 6])

    other = page.plot(draw_other, height_in=2, caption="", alt="")
    html = page.render(Page(title="t", sections=[Section("s", [a_plot(), other])]))
    checked = Checked(html)
    assert len(checked.ids) == len(set(checked.ids))
    used = {link[1:] for link in checked.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used
    assert used <= set(checked.ids)


def test_plot_colours_follow_the_scheme() -> None:
    svg = a_plot().wide_svg
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert page.SERIES[0] not in svg
    assert page.INK not in svg
    css = page.render(Page(title="t"))
    for variable in set(re.findall(r"var\((--[\w-]+)\)", svg)):
        assert css.count(f"{variable}: #") == 2, f"{variable} needs a light and a dark value"


def test_a_plot_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    a_plot()
    assert dict(mpl.rcParams) == before


def test_a_big_picture_is_shrunk_and_a_small_one_kept(photo: Path, tmp_path: Path) -> None:
    kept = page.picture(photo, caption="", alt="")
    assert kept.size_wh == (64, 32)
    big = tmp_path / "big.png"
    Image.new("RGBA", (2000, 500)).save(big)
    shrunk = page.picture(big, caption="", alt="", max_width=400)
    assert shrunk.size_wh == (400, 100)
    assert shrunk.source.startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:400]), id="cut off"),
        pytest.param(lambda path: path.write_bytes(b"not an image"), id="something else"),
        pytest.param(lambda path: path.unlink(), id="missing"),
    ],
)
def test_a_picture_that_cannot_be_read_is_one_line(photo: Path, spoil) -> None:
    spoil(photo)
    with pytest.raises(SourceError, match=re.escape(str(photo))):
        page.picture(photo, caption="", alt="")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        pytest.param(amounts.percent(0.7643), "76.4%", id="percent"),
        pytest.param(amounts.times(7.53), "7.5×", id="times"),
        pytest.param(amounts.milliseconds(4.123), "4.12", id="few ms"),
        pytest.param(amounts.milliseconds(1234.5), "1,234", id="many ms"),
        pytest.param(amounts.duration(59.96), "1 min 0 s", id="never 60 s"),
        pytest.param(amounts.duration(0.0), "0 ms", id="no time"),
        pytest.param(amounts.duration(200_000), "2 d 7 h", id="days"),
        pytest.param(amounts.clock(59.97), "1:00.0", id="never 60 s on the clock"),
        pytest.param(amounts.clock(3600), "1:00:00.0", id="hours"),
        pytest.param(amounts.percent(None), "–", id="unknown"),
        pytest.param(amounts.duration(None), "–", id="unknown time"),
    ],
)
def test_amounts_are_readable(shown: str, text: str) -> None:
    assert shown == text
