"""Plans of chapters: which runs they read, which of these are missing, and what training those takes."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mtlrepro.bench.train import NETWORKS
from mtlrepro.pages.plan import Part, Plan
from mtlrepro.runs.store import Store
from mtlrepro.studies import costs
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

SMOKE_SECONDS = 1.0
"""What a run of the scale `smoke` takes, most of which is not training."""
Grid = Callable[[Setting], Iterable[RunConfig]]
SIZE = ("dataset", "model", "model_options", "size", "n_train", "n_test", "epochs", "batch_size", "device")
"""Fields on which, with the number of tasks and the method, it depends how long a run takes."""


def plan(setting: Setting, grids: Mapping[str, Grid]) -> Plan:
    """Tell what the experiments of a chapter read and train, each at the largest scale at which it is stored.

    Args:
        setting: What all experiments share.
        grids: What an experiment is called, to what makes its grid; runs that several share count in the first.

    Raises:
        ValueError: Runs are missing that need a CUDA device, and there is none.
    """
    seen: set[str] = set()
    parts = []
    for name, grid in grids.items():
        shown = setting.largest_stored(grid)
        runs = {run.hash: run for run in grid(shown) if run.hash not in seen}
        shown.require_device([*runs.values()])
        seen |= runs.keys()
        if runs:
            own = part(name, runs.values(), [shown.store], shown.scale)
            parts.append(replace(own, note=shown.passed_over))
    return Plan(parts=tuple(parts), jobs="jobs", store=str(setting.store.folder))


def part(name: str, runs: Iterable[RunConfig], stores: Sequence[Store], scale: str) -> Part:
    """Tell which of some runs no store has, and what training these takes.

    Args:
        name: What the runs are for.
        runs: The runs, of one size.
        stores: Where they may be.
        scale: What their size is called.
    """
    configs = list(runs)
    missing = [run for run in configs if not any(run in store for store in stores)]
    machine = "GPU" if any(run.device == "cuda" for run in configs) else "core"
    hours = (SMOKE_SECONDS * len(missing) if scale == "smoke" else sum(seconds(missing, stores))) / 3600
    return Part(name=name, scale=scale, runs=len(configs), missing=len(missing), hours=hours, machine=machine)


def seconds(runs: Sequence[RunConfig], stores: Iterable[Store]) -> list[float]:
    """Estimate how long runs take.

    Of stored runs of one size and method the quickest counts, since others may have had to share the machine. Where
    none has the method, the median over methods counts; where none has the size, the benchmark, without evaluation.

    Returns:
        A number for each run, NaN where nothing tells.
    """
    quickest: dict[str, dict[str, float]] = {}
    for record in (record for store in stores for record in store.records.values() if runs):
        methods = quickest.setdefault(_size(record["config"]), {})
        method, taken = record["config"]["method"], float(record["provenance"]["seconds"])
        methods[method] = min(taken, methods.get(method, taken))
    return [_seconds(run, quickest.get(_size(run.to_dict()), {})) for run in runs]


def _size(config: Mapping[str, Any]) -> str:
    return json.dumps([len(config["tasks"]), *(config.get(name) for name in SIZE)], sort_keys=True)


def _seconds(run: RunConfig, by_method: Mapping[str, float]) -> float:
    if by_method:
        return by_method.get(run.method, float(np.median([*by_method.values()])))
    if run.model not in NETWORKS:
        return np.nan
    minutes = costs.minutes(run, costs.speeds("cpu" if run.device == "cpu" else "gpu"))
    return np.nan if minutes is None else 60 * minutes
