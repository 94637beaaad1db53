"""Small configurations and their records."""

from dataclasses import dataclass, field

from stand_in import record, write

from mtlrepro.training.config import RunConfig


def configs(*seeds, **fields):
    common = {"n_train": 8, "n_test": 8, "size": (24, 32), "epochs": 2}
    return [RunConfig(seed=seed, **common | fields) for seed in seeds]


@dataclass
class Held:
    """Stands in for a store whose records need not be whole."""

    records: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)


def put(store, config, /, **changes):
    """Store the record of a complete run, with `changes`; returns its file."""
    store.mkdir(exist_ok=True)
    content = record(config.to_dict(), config.hash)
    content |= changes | {"provenance": content["provenance"] | changes.get("provenance", {})}
    path = store / f"{content['hash']}{'.failed' if content['status'] == 'failed' else ''}.json"
    write(path, content)
    return path


def log(store):
    """What was trained: (`begin` or `end`, hash, other arguments...)."""
    path = store / "log"
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


def trained(store):
    """Hashes of the runs that were trained, in the order in which they began."""
    return [words[1] for words in log(store) if words[0] == "begin"]
