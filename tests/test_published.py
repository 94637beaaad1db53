"""Numbers quoted from papers stand in data files that say where they were printed."""

import re
from pathlib import Path

import pandas as pd

BOOK = Path(__file__).parents[1] / "book"


def test_front_page_quotes_only_numbers_of_the_data_file():
    published = pd.read_csv(BOOK / "published" / "front_page.csv", dtype=str)
    claims = (BOOK / "index.md").read_text().split("## What the four papers claim")[1].split("\n## ")[0]
    quoted = re.findall(r"\d+\.\d+", claims)
    assert set(quoted) == set(published["value"]) | set(published["uncertainty"].dropna())
    assert published[["paper", "place", "row", "column", "unit"]].notna().all(axis=None)


def test_papers_of_the_data_files_are_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{(\w+)", (BOOK / "references.bib").read_text(), re.MULTILINE))
    for path in (BOOK / "published").glob("*.csv"):
        assert set(pd.read_csv(path)["paper"]) <= keys
