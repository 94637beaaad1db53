"""Verdicts as tables: a row a claim, its worst case in front and the others folded below it."""

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from mtlrepro.analysis.verdicts import WORST_FIRST, Kind, Verdict, joined, rows
from mtlrepro.pages.html import MOST_ROWS, badge, folded, small, table_html

CAPTIONS: dict[Kind, str] = {
    "paper": "The paper's claims, judged on this run.",
    "ours": "Questions of ours.",
    "identity": "Identities, which must hold up to rounding.",
    "expectation": "Identities in expectation: means over draws, which chance moves.",
}
"""Whose statement is judged, to the caption of its table, in the order of the tables."""


def verdicts_html(verdicts: Sequence[Verdict], lead: str = "") -> str:
    """HTML of verdicts, a table for each kind: that of the paper's claims is never folded, that of identities always.

    A claim that was tested in several places has one row, that of its worst case.

    Args:
        verdicts: In the order of their claims.
        lead: What each caption begins with.
    """
    return texts_html(rows(verdicts), lead)


def texts_html(texts: Sequence[Mapping[str, str]], lead: str = "") -> str:
    """HTML of verdicts from their texts, as :func:`~mtlrepro.analysis.verdicts.rows` gives and notebooks store them."""
    parts = []
    for kind, caption in CAPTIONS.items():
        groups = _grouped([one for one in texts if one["kind"] == kind])
        if groups:
            limit = {"paper": None, "ours": MOST_ROWS, "identity": 0, "expectation": MOST_ROWS}[kind]
            table = pd.DataFrame([_row(cases) for cases in groups])
            parts.append(table_html(table, f"{lead}{caption}", escaped=True, most_rows=limit))
    return "".join(parts)


def _grouped(texts: Sequence[Mapping[str, str]]) -> list[list[Mapping[str, str]]]:
    """Put cases of one claim together as :func:`~mtlrepro.analysis.verdicts.grouped` does."""
    groups: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for one in texts:
        groups.setdefault((one["claim"], one["source"], one["reading"]), []).append(one)
    order: list[str] = [*WORST_FIRST]
    return [sorted(cases, key=lambda case: order.index(case["status"])) for cases in groups.values()]


def _row(cases: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Cells, in HTML, of the cases of one claim."""
    worst, *others = ({name: escape(text) for name, text in case.items()} for case in cases)
    claim = f"{worst['claim']}{small(worst['source'])}"
    if worst["reading"]:
        claim += small(f"Read as: {worst['reading']}")
    measured = f"{worst['measured']}{small(_place(worst))}"
    if others:
        lines = (f"<li>{case['measured']} {badge(case['status'])}{small(_place(case))}</li>" for case in others)
        count = "1 more case" if len(others) == 1 else f"{len(others)} more cases"
        measured += folded(count, f"<ul>{''.join(lines)}</ul>")
    return {"claim": claim, "claimed": worst["claimed"], "measured": measured, "status": badge(worst["status"])}


def _place(case: Mapping[str, str]) -> str:
    return joined(case["case"], case.get("circumstances", ""))
