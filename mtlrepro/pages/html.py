"""HTML of what a chapter shows: pictures, tables, statuses."""

import re
from base64 import b64encode
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from mtlrepro.pages.exhibit import Form
from mtlrepro.pages.figures import svg, webp

MOST_ROWS = 12
"""Rows of a table that is shown open; longer ones are folded."""


def image_html(figure: Figure, alt: str, form: Form = "svg") -> str:
    """Figure as an `<img>` with its picture inside, in one of its forms, and its alternative text."""
    if form == "svg":
        return picture_html("svg+xml", svg(figure).encode(), alt)
    return picture_html("webp", webp(figure, photograph=form == "photograph"), alt)


def picture_html(kind: str, content: bytes, alt: str) -> str:
    """Picture as an `<img>` that holds it; `kind` is the second part of its MIME type."""
    return f'<img src="data:image/{kind};base64,{b64encode(content).decode()}" alt="{escape(alt)}">'


def figure_html(image: str, caption: str, rerun: str) -> str:
    """`<figure>` of an image, its caption, and the command that rebuilds it."""
    return (
        f'<figure class="mtlrepro">{image}<figcaption>{escape(caption)}</figcaption>'
        f'<p class="rerun"><code>{escape(rerun)}</code></p></figure>'
    )


def table_html(
    table: pd.DataFrame, caption: str, *, note: str = "", escaped: bool = False, most_rows: int | None = MOST_ROWS
) -> str:
    """HTML of a table below its caption.

    The caption stays in place while the table scrolls sideways in its box, which takes the keyboard. A line does not
    end between a ± and its number, or between the bounds of an interval.

    Args:
        table: Texts and numbers as they are to be read.
        caption: Plain text; its first sentence names the box.
        note: Plain text behind the caption.
        escaped: Whether the texts of the table are HTML already.
        most_rows: Number of rows above which the table is folded; None if it never is.
    """
    rows = table.to_html(index=False, border=0, classes="mtlrepro", escape=not escaped, justify="left")
    rows = re.sub(r"(\d \[[^][<,]+), ", r"\1,&nbsp;", rows.replace(" ± ", " ±&nbsp;"))
    if most_rows is None or len(table) <= most_rows:
        return table_box(rows, caption, note=note)
    count = "1 row" if len(table) == 1 else f"{len(table)} rows"
    return table_box(rows, caption, note=note, fold=f"Table of {count}")


def table_box(table: str, caption: str, *, note: str = "", fold: str = "") -> str:
    """HTML of a caption and, below it, of a table in the box in which it scrolls.

    Args:
        table: A `<table>`.
        caption: Plain text; its first sentence names the box.
        note: Plain text behind the caption.
        fold: Line of text behind which the table is folded; empty if it is open.
    """
    name = escape(re.split(r"(?<=[.?!]) ", caption)[0])
    box = f'<div class="mtlrepro-table" role="region" tabindex="0" aria-label="{name}">{table}</div>'
    note = f' <span class="note">{escape(note)}</span>' if note else ""
    return (
        f'<div class="mtlrepro-tabular"><p class="caption">{escape(caption)}{note}</p>'
        f"{folded(fold, box) if fold else box}</div>"
    )


def folded(summary: str, html: str) -> str:
    """HTML behind a line of text that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def badge(status: str, text: str = "") -> str:
    """Status of a verdict as coloured text, `text` in place of the status itself if given."""
    return f'<span class="verdict {status.replace(" ", "-")}">{text or status}</span>'


def small(html: str) -> str:
    """HTML of a line below the main text of a cell; empty without a text."""
    return f'<span class="below">{html}</span>' if html else ""
