"""Two runs of a notebook beside each other: parameters, verdicts, tables."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from mtlrepro.pages.notebook import PROVENANCE, VERDICTS, failure_in, payloads, read_notebook, title_of
from mtlrepro.pages.tables import Table, differences, read_tables

Text = Mapping[str, str]
"""A verdict as a notebook stores it, see `analysis.verdicts.rows`."""
_COUNT = re.compile(r"\b\d+ (?=(?:seeds|runs)\b)")
"""How many seeds or runs a reading speaks of, which is not what it reads."""


def compare_runs(stored: str | Path, fresh: str | Path, *, cells: bool = False) -> tuple[list[str], bool]:
    """Compare two runs of a notebook.

    Args:
        stored: The one whose tolerances hold.
        fresh: The other one.
        cells: Name every cell of a table that differs, not only the tables.

    Returns:
        Lines: a run that failed, parameters that differ, verdicts of which the status or, with the digits that are
        shown, the interval differs, tables that differ, and a summary; and whether both runs are complete, all tables
        agree within their tolerances and all verdicts have the same status. Of runs of two notebooks, one line that
        says so.

    Raises:
        NotebookError: A file is no notebook, or holds a malformed table.
    """
    notebooks = read_notebook(stored), read_notebook(fresh)
    titles, values = [*map(title_of, notebooks)], [*map(_values, notebooks)]
    if titles[0] != titles[1] and values[0].keys() != values[1].keys():
        return [f"runs of different notebooks: stored {titles[0]!r}, fresh {titles[1]!r}"], False
    failures = [*_failures(*notebooks)]
    verdicts, changed, total = _verdicts(*map(_texts, notebooks))
    tables = read_tables(stored), read_tables(fresh)
    apart = differences(*tables)
    names = tables[0].keys() | tables[1].keys()
    lines = [*failures, *_parameters(*values), *verdicts]
    for name, found in apart.items():
        lines += found if cells else [_summary(name, found, tables[0].get(name))]
    agreeing = f"{len(names) - len(apart)} of {len(names)} tables agree"
    lines.append(f"{agreeing}, {total - changed} of {total} verdicts have the same status" if total else agreeing)
    return lines, not failures and not apart and not changed


def _failures(stored: NotebookNode, fresh: NotebookNode) -> Iterator[str]:
    for side, notebook in (("stored", stored), ("fresh", fresh)):
        if reason := failure_in(notebook):
            yield f"the {side} run failed: {reason}"


def _values(notebook: NotebookNode) -> Mapping[str, Any]:
    """Parameters of the run, as its last provenance has them."""
    found: Mapping[str, Any] = {}
    for record in payloads(notebook, PROVENANCE):
        found = record.get("parameters", {})
    return found


def _parameters(stored: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*stored, *fresh]):
        values = [repr(side[name]) if name in side else "absent" for side in (stored, fresh)]
        if values[0] != values[1]:
            yield f"parameter {name!r}: stored {values[0]}, fresh {values[1]}"


def _texts(notebook: NotebookNode) -> list[Text]:
    return [text for texts in payloads(notebook, VERDICTS) for text in texts]


def _verdicts(stored: Sequence[Text], fresh: Sequence[Text]) -> tuple[list[str], int, int]:
    """Lines on verdicts that differ, those of another status first; how many have another status; and of how many."""
    sides = _by_key(stored), _by_key(fresh)
    keys = dict.fromkeys([*sides[0], *sides[1]])
    status, interval = [], []
    for key in keys:
        old, new = (side.get(key) for side in sides)
        states = [f"{one['measured']} {one['status']}".strip() if one else "absent" for one in (old, new)]
        where = [f" ({one['circumstances']})" if one and one.get("circumstances") else "" for one in (old, new)]
        line = f"verdict {_name(key)}: stored {states[0]}{where[0]}, fresh {states[1]}{where[1]}"
        if not old or not new or old["status"] != new["status"]:
            status.append(line)
        elif states[0] != states[1]:
            interval.append(line)
    return [*status, *interval], len(status), len(keys)


def _by_key(texts: Sequence[Text]) -> dict[tuple[str, ...], Text]:
    """Verdicts by what they are about: claim, case, reading, and a count of those that have the same."""
    found: dict[tuple[str, ...], Text] = {}
    for text in texts:
        key = text["claim"], text["case"], _COUNT.sub("", text["reading"])
        found[*key, str(sum(other[:3] == key for other in found))] = text
    return found


def _name(key: tuple[str, ...]) -> str:
    claim, case, reading, _ = key
    parts = [part for part in (case, f"read as {reading}" if reading else "") if part]
    return f'"{claim}"' + (f" ({'; '.join(parts)})" if parts else "")


def _summary(name: str, lines: Sequence[str], table: Table | None) -> str:
    """One line on a table that differs."""
    cells = sum(", row " in line for line in lines)
    if table is None or not cells:
        return lines[0]
    return f"table {name!r}: {cells} of {sum(map(len, table.columns.values()))} cells differ"
