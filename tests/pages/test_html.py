"""What is shown is escaped, named, and reached by the keyboard."""

import base64
import io

import pandas as pd
import pytest
from page_cases import NASTY, Parsed, drawing
from PIL import Image

from mtlrepro.pages import figures as plots
from mtlrepro.pages import html


def test_figure_html_is_escaped():
    parsed = Parsed(html.figure_html(html.image_html(drawing(), NASTY), NASTY, NASTY))
    assert set(parsed.tags) == {"figure", "img", "figcaption", "p", "code"}  # no <b>
    assert parsed.tags["img"][0]["alt"] == NASTY
    assert parsed.texts["figcaption"] == parsed.texts["code"] == [NASTY]


def test_image_html_holds_the_figure():
    source = Parsed(html.image_html(drawing(), "alt")).tags["img"][0]["src"]
    kind, data = source.split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == plots.svg(drawing())


@pytest.mark.parametrize("form", ["drawing", "photograph"])
def test_image_html_holds_pixels_of_a_size_that_the_figure_has(form):
    source = Parsed(html.image_html(drawing(), "alt", form)).tags["img"][0]["src"]
    kind, data = source.split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == tuple((drawing().get_size_inches() * drawing().dpi).round().astype(int))
        colours = image.convert("RGB").getcolors(1 << 20)
    assert (len(colours) <= 24) == (form == "drawing")


def test_table_html_is_escaped_in_cells_headings_caption_and_note():
    shown = html.table_html(pd.DataFrame({NASTY: [NASTY, "plain"], "n": [1, 2]}), NASTY, note=NASTY)
    parsed = Parsed(shown)
    assert set(parsed.tags) == {"div", "p", "span", "table", "thead", "tbody", "tr", "th", "td"}
    assert parsed.texts["p"] == [f"{NASTY} "]
    assert parsed.texts["span"] == [NASTY]
    assert parsed.texts["th"] == [NASTY, "n"]
    assert parsed.texts["td"] == [NASTY, "1", "plain", "2"]


def test_table_html_can_hold_html_but_its_caption_not():
    parsed = Parsed(html.table_html(pd.DataFrame({"a": ["<i>x</i>"]}), NASTY, escaped=True))
    assert parsed.texts["i"] == ["x"]
    assert parsed.texts["p"] == [NASTY]


def test_the_caption_of_a_table_does_not_scroll_with_it():
    """The box that scrolls takes the keyboard and is named by the first sentence of the caption."""
    parsed = Parsed(html.table_html(pd.DataFrame({"a": ["x"]}), "Few <rows>, 0.5 each. (3 seeds.)"))
    outer, box = parsed.tags["div"]
    assert outer == {"class": "mtlrepro-tabular"}
    assert box == {
        "class": "mtlrepro-table",
        "role": "region",
        "tabindex": "0",
        "aria-label": "Few <rows>, 0.5 each.",
    }
    assert parsed.tags["p"] == [{"class": "caption"}]
    assert "caption" not in parsed.tags


@pytest.mark.parametrize(
    ("rows", "limit", "summary"),
    [(12, {}, None), (13, {}, ["Table of 13 rows"]), (99, {"most_rows": None}, None), (1, {"most_rows": 0}, "any")],
)
def test_long_tables_are_folded_below_their_caption(rows, limit, summary):
    parsed = Parsed(html.table_html(pd.DataFrame({"a": range(rows)}), "Caption.", **limit))
    assert len(parsed.texts["td"]) == rows
    assert parsed.texts["p"] == ["Caption."]
    assert ("details" in parsed.tags) == (summary is not None)
    if summary not in (None, "any"):
        assert parsed.texts["summary"] == summary


def test_table_html_keeps_intervals_together():
    shown = html.table_html(pd.DataFrame({"a": ["1 ± 0.2", "2 [1, 3]", "x, y"]}), "1 ± 2")
    assert [">1 ±&nbsp;0.2<" in shown, ">2 [1,&nbsp;3]<" in shown, ">x, y<" in shown, ">1 ± 2<" in shown] == [True] * 4


def test_table_html_keeps_long_texts():
    parsed = Parsed(html.table_html(pd.DataFrame({"a": ["word " * 99 + "end"] * 200}), "caption"))
    assert parsed.texts["td"] == ["word " * 99 + "end"] * 200


def test_badge():
    parsed = Parsed(html.badge("does not hold") + html.badge("holds", "3 holds"))
    assert parsed.tags["span"] == [{"class": "verdict does-not-hold"}, {"class": "verdict holds"}]
    assert parsed.texts["span"] == ["does not hold", "3 holds"]
