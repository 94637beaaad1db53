"""The store: a folder with one JSON file for each run, named by its configuration's hash.

``HASH.json`` is the record of a complete run, ``HASH.failed.json`` that of a failed one. Records from several machines
are merged by copying files.
"""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlrepro import files
from mtlrepro.training.config import ALGORITHM, RunConfig

Record = dict[str, Any]

RESULTS = files.PROJECT / "book" / "results" / "runs"
"""The book's store."""

_FIELDS: dict[str, type] = {"config": dict, "hash": str, "algorithm": int, "status": str, "provenance": dict}
_COMPLETE: dict[str, type] = {"history": list, "metrics": dict}


@dataclass
class Contents:
    """What a store holds.

    Attributes:
        records: hash to record of a complete run.
        failed: hash to record of a failed run that has not been completed since.
        stale: file to record of another version of the algorithm.
        damaged: file to the reason why it is no record.
    """

    records: dict[str, Record] = field(default_factory=dict)
    failed: dict[str, Record] = field(default_factory=dict)
    stale: dict[Path, Record] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """A message for each file that is not used, those of another version of the algorithm in one."""
        messages = [f"{path}: not used, damaged or foreign: {reason}" for path, reason in self.damaged.items()]
        if self.stale:
            names = ", ".join(sorted(path.name for path in self.stale))
            folder = next(iter(self.stale)).parent
            messages.append(f"{folder}: not used, stale, of another algorithm than {ALGORITHM}: {names}")
        return messages


def read(store: str | Path = RESULTS) -> Contents:
    """Read all records of a store; a folder that does not exist is empty."""
    contents = Contents()
    for path in sorted(Path(store).glob("[!.]*.json")):
        try:
            record = read_record(path)
        except (ValueError, OSError) as error:
            contents.damaged[path] = str(error)
            continue
        if record["algorithm"] != ALGORITHM:
            contents.stale[path] = record
        elif record["status"] == "complete":
            contents.records[record["hash"]] = record
        else:
            contents.failed[record["hash"]] = record
    for hash_ in contents.records.keys() & contents.failed.keys():
        del contents.failed[hash_]
    return contents


def load(store: str | Path = RESULTS) -> dict[str, Record]:
    """Hash to record of every complete run in a store; files that are not used are named in warnings."""
    contents = read(store)
    for problem in contents.problems():
        warnings.warn(problem, stacklevel=2)
    return contents.records


def read_record(path: Path) -> Record:
    """Read one record, of any version of the algorithm.

    Raises:
        ValueError: the file holds no record, or that of another run than its name says.
        OSError: the file cannot be read.
    """
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    wanted = _FIELDS | (_COMPLETE if record.get("status") == "complete" else {"error": str})
    for name, kind in wanted.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"field {name!r} is {_short(record.get(name))}; accepted: {kind.__name__}")
    if record["status"] not in ("complete", "failed"):
        raise ValueError(f"field 'status' is {record['status']!r}; accepted: 'complete', 'failed'")
    name = f"{record['hash']}.json" if record["status"] == "complete" else f"{record['hash']}.failed.json"
    if path.name != name:
        raise ValueError(f"status {record['status']!r} and hash {record['hash']!r} belong in {name}")
    if record["algorithm"] == ALGORITHM:
        hash_ = RunConfig.from_dict(record["config"]).hash
        if hash_ != record["hash"]:
            raise ValueError(f"its configuration has the hash {hash_}, the record says {record['hash']}")
    return record


def is_stored(store: Path, hash_: str) -> bool:
    """Whether a store holds a usable record of a complete run."""
    try:
        return bool(read_record(store / f"{hash_}.json")["algorithm"] == ALGORITHM)
    except (ValueError, OSError):
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
