"""The record of a run: one JSON file, what it has to hold, and how it is made, read and written.

`HASH.json` belongs to a complete run, `HASH.failed.json` to a failed one; `training.run.train` lists what is in them.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mtlrepro import files
from mtlrepro.training import observations
from mtlrepro.training.config import ALGORITHM, RunConfig
from mtlrepro.training.controls import epochs_needed

Record = dict[str, Any]
Status = Literal["complete", "failed"]

_FIELDS: dict[str, type] = {"config": dict, "hash": str, "algorithm": int, "status": str, "provenance": dict}
_COMPLETE: dict[str, type] = {"history": list, "metrics": dict}
_FAILED: dict[str, type] = {"error": str}


def new(config: RunConfig, status: Status, **content: Any) -> Record:  # noqa: ANN401
    """Make the record of a run, whose history holds no numbers but finite ones, see `finite`."""
    return {"config": config.to_dict(), "hash": config.hash, "algorithm": ALGORITHM, "status": status, **content}


def path_of(folder: Path, run: str, status: Status = "complete") -> Path:
    """File of a record, where `run` is the configuration's hash."""
    return folder / (f"{run}.json" if status == "complete" else f"{run}.failed.json")


def write(folder: Path, record: Record) -> None:
    """Write a record into a folder, under its name only when it is whole.

    Raises:
        OSError: The file cannot be written.
    """
    path = path_of(folder, record["hash"], record["status"])
    files.write(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read(path: Path) -> Record:
    """Read one record, of any version of the algorithm.

    Raises:
        ValueError: The file holds no record, or that of another run than its name says.
        OSError: The file cannot be read.
    """
    record = files.parse_json(path.read_bytes())
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    for name, kind in (_FIELDS | (_COMPLETE if record.get("status") == "complete" else _FAILED)).items():
        if not isinstance(record.get(name), kind) or isinstance(record.get(name), bool):
            raise ValueError(f"field {name!r} is {_short(record.get(name))}; accepted: {kind.__name__}")
    if record["status"] not in ("complete", "failed"):
        raise ValueError(f"field 'status' is {record['status']!r}; accepted: 'complete', 'failed'")
    name = path_of(path.parent, record["hash"], record["status"]).name
    if path.name != name:
        raise ValueError(f"status {record['status']!r} and hash {record['hash']!r} belong in {name}")
    if record["algorithm"] == ALGORITHM:  # older records may have fields that are no longer known
        config = RunConfig.from_dict(record["config"])
        if config.hash != record["hash"]:
            raise ValueError(f"its configuration has the hash {config.hash}, the record says {record['hash']}")
        if record["status"] == "complete":
            _check_complete(record, config)
    return record


def _check_complete(record: Record, config: RunConfig) -> None:
    """Check what tables of runs read of a complete record, so that no reader of it has to.

    Raises:
        ValueError: The history, final metrics or provenance are not those of a complete run; names what is wrong.
    """
    history, provenance = record["history"], record["provenance"]
    if not history or not all(isinstance(entry, dict) for entry in history):
        raise ValueError(f"field 'history' is {_short(history)}; accepted: an object for each epoch")
    for name in ("metrics", "validation_metrics") if config.evaluate_on == "both" else ("metrics",):
        metrics = record.get(name)
        if not isinstance(metrics, dict) or set(metrics) != set(config.tasks):
            raise ValueError(f"field {name!r} is {_short(metrics)}; accepted: an object with {', '.join(config.tasks)}")
        for task, values in metrics.items():
            if not isinstance(values, dict) or not values or not all(map(_is_number_or_null, values.values())):
                raise ValueError(f"{name} of {task!r} is {_short(values)}; accepted: names with numbers or null")
    date, seconds = provenance.get("date"), provenance.get("seconds")
    if not isinstance(date, str) or not isinstance(seconds, int | float):
        raise ValueError(f"date and seconds of the provenance are {date!r}, {seconds!r}; accepted: text, a number")


def check_history(record: Record, config: RunConfig) -> None:
    """Check that the history of a complete record has every epoch of its run.

    Raises:
        ValueError: It does not.
    """
    epochs = [entry.get("epoch") for entry in record["history"]]
    if epochs != list(range(1, config.epochs + 1)):
        raise ValueError(f"field 'history' has the epochs {_short(epochs)}; accepted: 1 to {config.epochs}")


def _is_number_or_null(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def completed(folder: Path, config: RunConfig) -> Record | None:
    """Record of a complete run; None if there is none.

    Raises:
        ValueError: There is a file of that name which is not this run's record; says what to do.
        OSError: The file cannot be read.
    """
    path = path_of(folder, config.hash)
    try:
        record = read(path)
        if record["algorithm"] != ALGORITHM:
            raise ValueError(f"algorithm is {record['algorithm']}; accepted: {ALGORITHM}")
        check_history(record, config)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged or foreign: {error}; remove it to train the run again") from None
    return record


def source_weights(folder: Path | None, config: RunConfig) -> list[list[Any]] | None:
    """Weights of the stored run that a configuration's method replays.

    Args:
        folder: Folder of the records.
        config: The run that replays them.

    Returns:
        A row for each epoch of the stored run, in the order of its tasks, or rows of its steps for each epoch where the
        mode is `steps`; None if no run is named.

    Raises:
        ValueError: There is no complete record of it here, or its tasks, epochs or weights are not what is needed.
    """
    run = config.source
    if run is None:
        return None
    needed = epochs_needed(config.method_options, config.epochs)
    accepted = f"a complete run with weights of {', '.join(config.tasks)}, and {needed} epochs or more"
    try:
        record = _source(folder, run)
        if (names := tuple(record["config"]["tasks"])) != config.tasks:
            raise ValueError(f"its tasks are {', '.join(names)}")
        if len(record["history"]) < needed:
            raise ValueError(f"it has {len(record['history'])} epochs")
        if config.method_options.get("mode") == "steps":
            return _step_weights(folder, record)
        return [_weights_of(entry, config.tasks) for entry in record["history"]]
    except (ValueError, OSError) as error:
        raise ValueError(f"method_options: run is {run!r}: {error}; accepted: {accepted}") from None


def _source(folder: Path | None, run: str) -> Record:
    if folder is None:
        raise ValueError("no store is given")
    if not path_of(folder, run).exists():
        failed = path_of(folder, run, "failed").exists()
        raise ValueError(f"{'it failed' if failed else 'there is no such record'} in {folder}, train it first")
    record = read(path_of(folder, run))
    if record["algorithm"] != ALGORITHM:
        raise ValueError(f"its algorithm is {record['algorithm']}, not {ALGORITHM}")
    return record


def _weights_of(entry: Record, names: Sequence[str]) -> list[float]:
    weights = entry.get("weights")
    if weights is None:
        raise ValueError("its method has no weights")
    if not isinstance(weights, dict) or not all(_is_number_or_null(weights.get(name, "")) for name in names):
        raise ValueError(f"its weights of an epoch are {_short(weights)}")
    row = [weights[name] for name in names]
    if None in row:
        raise ValueError(f"in epoch {entry['epoch']} a task had no label, and so no weight")
    return row


def _step_weights(folder: Path | None, record: Record) -> list[list[Any]]:
    """Weights of each step of each epoch."""
    if folder is None or "weights" not in record["config"].get("observe", ()):
        raise ValueError("its observe is without 'weights'")
    weights = observations.step_weights(folder, record["hash"])
    if np.isnan(weights).any():
        raise ValueError("in a step a task had no label, or the method no weights")
    if len(weights) % len(record["history"]):
        raise ValueError("its epochs have different numbers of steps")
    rows: list[list[Any]] = weights.reshape(len(record["history"]), -1, weights.shape[1]).tolist()
    return rows


def numbers(record: Record) -> Record:
    """Part of a record that is the same, bit for bit on a CPU, for an unbroken and a resumed run.

    That is all but timings and provenance.
    """
    timings = ("seconds", "evaluation_seconds")
    history = [{key: value for key, value in entry.items() if key not in timings} for entry in record["history"]]
    return {key: value for key, value in record.items() if key != "provenance"} | {"history": history}


def finite(value: Any) -> Any:  # noqa: ANN401
    """Replace numbers that JSON does not have by None."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
