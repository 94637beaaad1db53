"""What a store holds, in a table that fits a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from mtlrepro import files
from mtlrepro.analysis.verdicts import number
from mtlrepro.runs.grid_files import read_grid
from mtlrepro.runs.store import Store
from mtlrepro.runs.tables import differing, flat
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record


@dataclass(frozen=True)
class Entry:
    """One run of a store.

    Attributes:
        settings: The configuration, flat.
        status: `complete`, `failed`, `stale` or `missing`.
        record: Its record, unless it is missing.
    """

    settings: Mapping[str, Any]
    status: str
    record: Record | None


def section(name: str) -> list[RunConfig]:
    """Configurations of the runs behind a section of the book, from its grid file `NAME.json`.

    Raises:
        ValueError: The book has no grid file of that name, or it is not accepted.
        FileNotFoundError: There is no book.
    """
    folder = files.book("grids")
    known = sorted(path.stem for path in folder.glob("*.json"))
    if name not in known:
        raise ValueError(f"section is {name!r}; accepted: {', '.join(known) or 'none yet'}")
    return read_grid(folder / f"{name}.json")


def describe_store(store: Store, configs: Sequence[RunConfig] | None = None) -> str:
    """Table of a store's runs: a block for each data set and tasks, a row for configurations equal but for the seed.

    Columns: the fields in which the rows of a block differ, seeds, the first metric of each task as mean and standard
    deviation over seeds, the day of the newest record, commits, and status.

    Args:
        store: The store.
        configs: Only these runs, with those that are missing; default: all.
    """
    entries = list(_entries(store, configs))
    blocks: dict[str, list[Entry]] = {}
    for entry in entries:
        tasks = entry.settings.get("tasks", ())  # of a stale record, whose configuration nobody has checked
        title = f"{entry.settings.get('dataset')}: {', '.join(map(str, tasks)) if isinstance(tasks, tuple) else tasks}"
        blocks.setdefault(title, []).append(entry)
    texts = [f"{title}\n{_block(blocks[title])}" for title in sorted(blocks)]
    return "\n\n".join(texts) or "no runs"


def _entries(store: Store, configs: Sequence[RunConfig] | None) -> Iterator[Entry]:
    known: dict[str, tuple[str, Record]] = {
        **{hash_: ("failed", record) for hash_, record in store.failed.items()},
        **{hash_: ("complete", record) for hash_, record in store.records.items()},
    }
    if configs is not None:
        for config in dict.fromkeys(configs):
            status, record = known.get(config.hash, ("missing", None))
            yield Entry(flat(config.to_dict()), status, record)
        return
    for status, record in [*known.values(), *(("stale", record) for record in store.stale.values())]:
        yield Entry(flat(record["config"]), status, record)


def _block(entries: Sequence[Entry]) -> str:
    columns = differing([entry.settings for entry in entries])
    rows: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        key = (*(_text(entry.settings.get(name)) for name in columns), entry.status)
        rows.setdefault(key, []).append(entry)
    table = []
    for key, group in sorted(rows.items()):
        records = [entry.record for entry in group if entry.record is not None]
        table.append(
            {
                **dict(zip(columns, key, strict=False)),
                "seeds": ranges(sorted({entry.settings.get("seed", 0) for entry in group})),
                **_metrics([record for record in records if record["status"] == "complete"]),
                "when": max((record["provenance"].get("date", "") for record in records), default="")[:10],
                "commit": ", ".join(sorted({str(record["provenance"].get("commit", "")) for record in records})),
                "status": key[-1],
            }
        )
    cells = pd.DataFrame(table).fillna("")
    lines = [list(cells), *cells.values.tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def ranges(numbers: Sequence[int]) -> str:
    """Increasing numbers as text: `0-2, 5`."""
    runs: list[list[int]] = []
    for value in numbers:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _metrics(records: Sequence[Record]) -> dict[str, str]:
    columns = {}
    for task, metrics in records[0]["metrics"].items() if records else ():
        name = next(iter(metrics))
        values = [record["metrics"][task][name] for record in records]
        if None in values:
            columns[f"{task}.{name}"] = "-"
            continue
        spread = f" ± {number(stdev(values), 2)}" if len(values) > 1 else ""
        columns[f"{task}.{name}"] = number(fmean(values), 4) + spread
    return columns


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
