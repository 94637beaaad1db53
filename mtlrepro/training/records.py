"""Records of runs: one JSON file for each, what has to be in it, and how it is read."""

import json
from pathlib import Path
from typing import Any

from mtlrepro.training.config import ALGORITHM, RunConfig

Record = dict[str, Any]
"""What a run leaves, see `training.run.train`."""

_FIELDS: dict[str, type] = {"config": dict, "hash": str, "algorithm": int, "status": str, "provenance": dict}
_COMPLETE: dict[str, type] = {"history": list, "metrics": dict}


def read(path: Path) -> Record:
    """Read one record, of any version of the algorithm.

    Raises:
        ValueError: The file holds no record, or that of another run than its name says.
        OSError: The file cannot be read.
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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
