"""Tables as they are read: an interval in one cell, numbers with few digits, nothing said in every row."""

import re
from collections.abc import Sequence

import pandas as pd

from mtlrepro.analysis.verdicts import number


def readable(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Write a table for readers.

    A value and its bounds become one cell, `value [low, high]`: those of the columns `x low` and `x high`, or
    `x, low` and `x, high`, stand with `x`, or with `x, mean` under the title `x`; those of plain `low` and `high` with
    the column before them. Columns of which all rows say the same are left out if there are two rows or more.

    Args:
        table: Numbers and texts.

    Returns:
        The table with fractions as text of three significant digits, and a sentence on what is the same in all rows,
        empty if there is no such column.
    """
    joined = _with_intervals(table)
    same = [name for name in joined if len(joined) > 1 and joined[name].map(str).nunique() == 1]
    if len(same) == len(joined.columns):
        same = []
    sentence = "; ".join(f"{name}: {joined[name].iloc[0]}" for name in same)
    return joined.drop(columns=same), f"In all rows, {sentence}." if same else ""


def transposed(table: pd.DataFrame, title: str) -> pd.DataFrame:
    """Exchange rows and columns of a table that has more columns than a page is wide.

    Args:
        table: Texts; those of its first column become the titles of the columns.
        title: Title of the first column, which holds the titles that the columns had.
    """
    return table.set_index(table.columns[0]).T.rename_axis(columns=None).reset_index(names=title)


def _with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Table of which numbers are text and bounds stand with their value."""
    names = [str(name) for name in table]
    columns: dict[str, Sequence[object]] = {}
    skipped: set[str] = set()
    for position, name in enumerate(names):
        if name in skipped:
            continue
        bounds = _bounds(names, position)
        if bounds is None:
            columns[name] = [_text(entry) for entry in table.iloc[:, position]]
            continue
        skipped |= set(bounds)
        low, high = (table.iloc[:, names.index(bound)] for bound in bounds)
        cells = zip(table.iloc[:, position], low, high, strict=True)
        columns[re.sub(", mean$", "", name)] = [f"{_text(x)} [{_text(a)}, {_text(b)}]" for x, a, b in cells]
    return pd.DataFrame(columns)


def _bounds(names: Sequence[str], position: int) -> tuple[str, str] | None:
    """Names of the columns that bound the values of one; None if there are none."""
    stem = re.sub(", mean$", "", names[position])
    for low, high in ((f"{stem} low", f"{stem} high"), (f"{stem}, low", f"{stem}, high")):
        if low in names and high in names:
            return low, high
    return ("low", "high") if names[position + 1 : position + 3] == ["low", "high"] else None


def _text(entry: object) -> object:
    return number(entry) if isinstance(entry, float) else entry
