"""Tables of results that notebooks publish, and their comparison."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from mtlrepro.pages.notebook import TABLE, NotebookError, payloads, read_notebook


@dataclass(frozen=True)
class Table:
    """A table of results and how far a rerun may be off: |a - b| <= atol + rtol |a|."""

    name: str
    rtol: float
    atol: float
    columns: dict[str, list[float | str | bool | None]]


def read_tables(path: str | Path) -> dict[str, Table]:
    """Return the tables that a notebook publishes, by name.

    Raises:
        NotebookError: A table is malformed, or a name is used twice.
    """
    published: dict[str, Table] = {}
    for payload in payloads(read_notebook(path), TABLE):
        try:
            table = _table(payload)
        except (TypeError, KeyError, ValueError) as error:
            raise NotebookError(
                f"{path}: malformed table ({type(error).__name__}: {error}), accepted: name, rtol >= 0, "
                "atol >= 0 and columns of equal length holding finite numbers, null, true, false or text"
            ) from None
        if table.name in published:
            raise NotebookError(f"{path}: two tables are named {table.name!r}, accepted: a name each")
        published[table.name] = table
    return published


def agree(stored: dict[str, Any], fresh: dict[str, Any]) -> bool:
    """Whether two tables, as outputs of notebooks hold them, have one name and agree within the stored tolerance."""
    tables = _table(stored), _table(fresh)
    return not compare_tables(*({table.name: table} for table in tables))


def compare_tables(stored: Mapping[str, Table], fresh: Mapping[str, Table]) -> list[str]:
    """Return what differs between stored and fresh tables, one line each, by the stored tolerances."""
    return [line for lines in differences(stored, fresh).values() for line in lines]


def differences(stored: Mapping[str, Table], fresh: Mapping[str, Table]) -> dict[str, list[str]]:
    """Return what differs in each table, see `compare_tables`; nothing for those that agree."""
    found: dict[str, list[str]] = {}
    for name in [*stored, *(name for name in fresh if name not in stored)]:
        if name not in fresh or name not in stored:
            found[name] = [f"table {name!r}: only in the {'stored' if name in stored else 'fresh'} one"]
        elif stored[name].columns.keys() != fresh[name].columns.keys():
            pair = (", ".join(sorted(side[name].columns)) for side in (stored, fresh))
            found[name] = ["table {!r}: columns stored [{}], fresh [{}]".format(name, *pair)]
        elif lines := [*_compare_columns(stored[name], fresh[name])]:
            found[name] = lines
    return found


def _compare_columns(stored: Table, fresh: Table) -> Iterator[str]:
    for column, values in stored.columns.items():
        where, others = f"table {stored.name!r}, column {column!r}", fresh.columns[column]
        if len(values) != len(others):
            yield f"{where}: {len(values)} rows stored, {len(others)} fresh"
            continue
        for row, (a, b) in enumerate(zip(values, others, strict=True)):
            if _is_number(a) and _is_number(b):
                accepted = stored.atol + stored.rtol * abs(a)
                if abs(a - b) > accepted:
                    yield f"{where}, row {row}: stored {a!r}, fresh {b!r}, accepted within {accepted:.3g}"
            elif type(a) is not type(b) or a != b:
                yield f"{where}, row {row}: stored {a!r}, fresh {b!r}"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(payload: dict[str, Any]) -> Table:
    table = Table(payload["name"], payload["rtol"], payload["atol"], payload["columns"])
    if not isinstance(table.name, str):
        raise TypeError("name")
    for tolerance in (table.rtol, table.atol):
        if not _is_number(tolerance) or not 0 <= tolerance < math.inf:
            raise ValueError("rtol or atol")
    if len({len(values) for values in table.columns.values()}) > 1:
        raise ValueError("columns of different length")
    for column, values in table.columns.items():
        for value in values:
            if not (value is None or isinstance(value, str) or math.isfinite(value)):
                raise ValueError(column)
    return table
