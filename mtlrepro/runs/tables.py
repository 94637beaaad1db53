"""Tables of runs: where configurations differ, and what came out."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from mtlrepro.runs.store import Store
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record

ORDER = list(RunConfig.model_fields)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with names such as `model_options.encoder`, and lists as tuples."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            named.update(flat(value, f"{prefix}{name}."))
        else:
            named[prefix + name] = _hashable(value)
    return named


def _hashable(value: Any) -> Any:  # noqa: ANN401
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def differing(settings: Collection[Mapping[str, Any]]) -> list[str]:
    """Names whose values are not the same in all `settings`, without the seed, in the order of `RunConfig`."""
    names = {name for setting in settings for name in setting} - {"seed"}
    differ = [name for name in names if len({repr(setting.get(name)) for setting in settings}) > 1]
    return sorted(differ, key=_position)


def _position(name: str) -> tuple[int, str]:
    field = name.split(".")[0]
    return (ORDER.index(field) if field in ORDER else len(ORDER), name)


def results(record: Record) -> dict[str, Any]:
    """Final metrics of a complete run as `TASK.METRIC`, and the `seconds` that training and evaluation took."""
    return {**flat(record["metrics"]), "seconds": record["provenance"]["seconds"]}


def frame(configs: Mapping[str, RunConfig], store: Store, failures: Collection[str] = ()) -> pd.DataFrame:
    """Table of runs as `grid` returns it; runs neither stored nor failed have the status `missing`.

    Args:
        configs: Hash to configuration.
        store: Where their records are.
        failures: Hashes of runs that have just failed, with or without a record.
    """
    settings = {hash_: flat(config.to_dict()) for hash_, config in configs.items()}
    columns = [*differing(settings.values()), "seed"]
    rows = []
    for hash_, setting in settings.items():
        row = {name: setting.get(name) for name in columns}
        if record := store.record(configs[hash_]):
            row |= {**results(record), "status": "complete"}
        else:
            row["status"] = "failed" if hash_ in failures or store.failure(configs[hash_]) else "missing"
        rows.append(row)
    table = pd.DataFrame(rows, index=pd.Index(settings, name="hash"))
    return table[[*table.columns.drop("status"), "status"]]
