"""A stored notebook shows what the present code would show of the same results; one that does not is to be run again.

What is shown is taken apart into texts, cells and pictures, and put together again by the functions that chapters use.
"""

import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from mtlrepro.pages.findings import findings_html
from mtlrepro.pages.html import figure_html, table_html
from mtlrepro.pages.notebook import FINDINGS, PROVENANCE, TABLE, VERDICTS
from mtlrepro.pages.verdict_tables import texts_html

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = sorted(path.name for path in BOOK.glob("[!.]*.ipynb") if "." not in path.stem)
CAPTION = re.compile(r'<p class="caption">(.*?)(?: <span class="note">(.*?)</span>)?</p>', re.DOTALL)
FIGURE = re.compile(
    r"<figure[^>]*>(.*)<figcaption>(.*?)</figcaption>.*?<code>(mtlrepro run .*?)</code>.*?</figure>", re.DOTALL
)


def rendered(bundle):
    """HTML of an output as the present code writes it; None if it is not of a kind that chapters show."""
    html = bundle["text/html"]
    if FINDINGS in bundle:
        return findings_html(bundle[FINDINGS])
    if VERDICTS in bundle:
        return texts_html(bundle[VERDICTS])
    if figure := FIGURE.fullmatch(html):
        image, *texts = figure.groups()
        return figure_html(image, *map(unescape, texts))
    caption = CAPTION.search(html)
    if caption is None:
        return None
    names, cells = (re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", html, re.DOTALL) for tag in ("th", "td"))
    rows = [cells[start : start + len(names)] for start in range(0, len(cells), len(names))]
    text, note = (unescape(part or "") for part in caption.groups())
    # The environment alone is never folded.
    options = {"most_rows": None} if PROVENANCE in bundle else {}
    return table_html(pd.DataFrame(rows, columns=names), text, note=note, escaped=True, **options)


@pytest.mark.parametrize("name", CHAPTERS)
def test_stored_notebooks_are_shown_as_this_code_shows_them(name):
    cells = json.loads((BOOK / name).read_text(encoding="utf-8"))["cells"]
    bundles = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    own = [bundle for bundle in bundles if {FINDINGS, VERDICTS, TABLE, PROVENANCE} & bundle.keys()]
    assert own
    for bundle in own:
        shown = {**bundle, "text/html": "".join(bundle["text/html"])}
        assert shown["text/html"] == rendered(shown), f"run it again: mtlrepro run book/{name} -o book/{name}"
