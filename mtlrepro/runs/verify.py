"""Stored runs checked: the first epochs of a sample are trained again and compared."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mtlrepro.data.catalogue import GENERATED
from mtlrepro.runs.store import Store
from mtlrepro.training.config import RunConfig
from mtlrepro.training.provenance import origin
from mtlrepro.training.records import Record, check_history, numbers
from mtlrepro.training.run import first_epochs

EPOCHS = 2
TOLERANCE = 0.02
"""Relative difference of the first epoch's losses that another machine or other versions may make."""
MACHINE = ("device", "processor", "processes", "python", "torch", "numpy", "scipy")
"""Entries of the provenance on which the last bits may depend; the number of threads belongs to the configuration."""


@dataclass(frozen=True)
class Check:
    """What was found about one file or run.

    Attributes:
        passed: None where this machine cannot tell.
        message: One line.
    """

    passed: bool | None
    message: str


def verify_records(
    store: Store,
    *,
    sample: int = 3,
    seed: int | None = None,
    data_root: str | Path | None = None,
    progress: bool = True,
) -> Iterator[Check]:
    """Retrain the first epochs of a random sample of a store's runs and compare losses, weights and metrics.

    On the same machine with the same versions, runs on the CPU must agree bit for bit; elsewhere, and on a GPU, the
    first epoch's losses must agree within `TOLERANCE`. Stale, damaged and foreign files do not pass, nor does a store
    of which nothing can be checked. Runs that need a GPU or data which are not here are not drawn.

    Args:
        store: The store.
        sample: Number of runs.
        seed: Of the sample; default: another one every time.
        data_root: Folder of a prepared real data set.
        progress: Show bars on stderr.

    Yields:
        A check for each file that is not used, then one that states the sample, then one for each run of it.
    """
    records = store.records
    for problem in store.problems():
        yield Check(False, problem)
    configs = {hash_: RunConfig.from_dict(record["config"]) for hash_, record in records.items()}
    ready = sorted(hash_ for hash_, config in configs.items() if _is_ready(config, data_root))
    seed = random.SystemRandom().randrange(2**16) if seed is None else seed
    drawn = random.Random(seed).sample(ready, min(sample, len(ready)))
    absent = len(configs) - len(ready)
    text = f"{len(drawn)} of {len(configs)} complete runs, drawn with seed {seed}"
    text += f"; {absent} need a GPU or data which are not here" if absent else ""
    yield Check(None if drawn else False, text)
    for hash_ in drawn:
        yield _check(configs[hash_], records[hash_], store, data_root, progress)


def _is_ready(config: RunConfig, data_root: str | Path | None) -> bool:
    there = config.device == "cpu" or torch.cuda.is_available()
    return there and (config.dataset in GENERATED or data_root is not None)


def _check(config: RunConfig, record: Record, store: Store, data_root: str | Path | None, progress: bool) -> Check:
    name = f"run {config.hash}, seed {config.seed}"
    epochs = min(EPOCHS, config.epochs)
    try:
        check_history(record, config)
        root = None if config.dataset in GENERATED else data_root
        history = first_epochs(config, epochs, data_root=root, progress=progress, store=store.folder)
    except (ValueError, OSError, FloatingPointError, torch.OutOfMemoryError) as error:
        return Check(False, f"{name}: cannot be trained again: {error}")
    stored, fresh = (numbers({"history": entries[:epochs]})["history"] for entries in (record["history"], history))
    if stored == fresh:
        return Check(True, f"{name}: the first {epochs} epochs agree bit for bit")
    here, legs = origin(config.device), record["provenance"].get("legs", [record["provenance"]])
    other = [
        f"{key} {there.get(key)} there, {here[key]} here"
        for there in legs
        for key in MACHINE
        if there.get("first_epoch", 1) <= epochs and there.get(key) != here[key]
    ]
    if config.device == "cpu" and not other:
        return Check(False, f"{name}: same machine and versions, but {_first_difference(stored, fresh)}")
    difference, task = _largest_difference(stored[0]["losses"], fresh[0]["losses"])
    where = f"the first epoch's losses differ by up to {100 * difference:.3g}% ({task})"
    accepted = f"accepted: {100 * TOLERANCE:g}%, for {'; '.join(other) or 'a GPU'}"
    return Check(difference <= TOLERANCE, f"{name}: {where}; {accepted}")


def _first_difference(stored: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> str:
    for old, new in zip(stored, fresh, strict=True):
        for key in old:
            if old[key] != new.get(key):
                return f"epoch {old['epoch']}: {key} stored {old[key]}, now {new.get(key)}"
    return "the histories hold different entries"


def _largest_difference(stored: dict[str, float], fresh: dict[str, float]) -> tuple[float, str]:
    return max(
        (abs(fresh[task] - value) / max(abs(value), torch.finfo(torch.float32).tiny), task)
        for task, value in stored.items()
    )
