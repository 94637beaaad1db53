"""What a page shows, made small, and a reader of its HTML."""

from html.parser import HTMLParser

import pandas as pd

from mtlrepro.pages import figures as plots
from mtlrepro.pages.exhibit import Exhibit

NASTY = "5 < 6 & \"six\" > 'five' <b>bold</b>"


class Parsed(HTMLParser):
    """Attributes of the tags and the text of a piece of HTML, with entities resolved, as a browser does."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = {}, {}, []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.setdefault(tag, []).append(dict(attributes))
        if tag not in ("img", "br"):
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]][-1] += data


def drawing(heights=(0.0, 1.0, 0.5)):
    figure, axes = plots.canvas()
    axes.plot(range(len(heights)), heights, marker="o", label="a line")
    axes.legend()
    return figure


def measured():
    return pd.DataFrame(
        {
            "task": ["sum", "sum", "left", "left"],
            "batch": [2, 8, 2, 8],
            "mean": [1.0, 2.0, 3.0, 4.0],
            "low": [0.5, 1.75, 2.0, 3.0],
            "high": [1.25, 3.0, 3.5, 4.0],
            "expected": [1.1, 2.1, 3.1, 4.1],
        }
    )


def exhibit(**changes):
    return Exhibit(**{"name": "noise", "table": measured(), "caption": "It falls.", **changes})
