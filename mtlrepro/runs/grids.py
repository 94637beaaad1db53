"""Grids: many configurations, of which the stored runs are read and the missing ones trained."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from mtlrepro.runs.snakemake import check_profile, train_by_snakemake
from mtlrepro.runs.store import Store
from mtlrepro.runs.tables import frame
from mtlrepro.runs.workers import train_here, train_inline
from mtlrepro.training import records
from mtlrepro.training.config import RunConfig

Engine = Literal["local", "inline", "snakemake"]
ENGINES: tuple[Engine, ...] = ("local", "inline", "snakemake")


def grid(
    configs: Iterable[RunConfig],
    *,
    store: Store | str | Path,
    jobs: int = 1,
    progress: bool = True,
    data_root: str | Path | None = None,
    engine: Engine = "local",
    profile: str = "local",
) -> pd.DataFrame:
    """Read the stored runs of a grid and train the missing ones.

    Every run is trained in a process of its own (but see `engine`) that writes its record when it is complete, so that
    a grid can be ended at any moment and started again, or started twice at once. A run that replays the weights of
    another one of the grid is trained after it. A run that fails does not stop the others; one that failed before is
    tried again.

    Args:
        configs: The runs; one that occurs twice is trained once.
        store: The store, or its folder, which is made where it is missing.
        jobs: Number of runs at a time; each uses as many CPU threads as it is configured for, and all share the GPU.
        progress: Count runs on stderr, see `workers.Bar`.
        data_root: Folder of a prepared real data set.
        engine: `local` starts processes on this machine, `snakemake` leaves that to Snakemake; `inline` trains one run
            after another in this process, which for runs of a second takes less time than to start processes.
        profile: Snakemake's `local`, `slurm` or `kubernetes`.

    Returns:
        One row for each run, in the order of `configs`, indexed by hash: the fields in which configurations differ
        (options as `model_options.NAME`), `seed`, final metrics (`TASK.METRIC`, missing where the run failed),
        `seconds` and `status`, `complete` or `failed`. Failed runs, and files of the store that are not used,
        are named in warnings.

    Raises:
        ValueError: An argument is not accepted, or Snakemake is not installed.
    """
    table, problems = train_grid(
        configs, store=store, jobs=jobs, progress=progress, data_root=data_root, engine=engine, profile=profile
    )
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return table


def train_grid(
    configs: Iterable[RunConfig],
    *,
    store: Store | str | Path,
    jobs: int = 1,
    progress: bool = True,
    data_root: str | Path | None = None,
    engine: Engine = "local",
    profile: str = "local",
    dry_run: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Do what `grid` does, and give the messages as a list.

    With `dry_run`, nothing is trained, and what is not stored has the status `missing`.
    """
    by_hash = {config.hash: config for config in configs}
    if not by_hash:
        raise ValueError("configs is empty; accepted: one configuration or more")
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; accepted: 1 or more")
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; accepted: {', '.join(ENGINES)}")
    if engine == "snakemake":
        check_profile(profile)
    store = store if isinstance(store, Store) else Store(store)
    problems = store.problems()
    missing = {hash_: config for hash_, config in by_hash.items() if config not in store}
    failures = _obstacles(store, missing)
    missing = {hash_: config for hash_, config in missing.items() if hash_ not in failures}
    for ready in _in_order(missing):
        if engine == "snakemake":
            failures |= train_by_snakemake(
                ready, store, jobs=jobs, progress=progress, data_root=data_root, profile=profile, dry_run=dry_run
            )
        elif dry_run:
            continue
        elif engine == "inline":
            failures |= train_inline(ready, store, progress=progress, data_root=data_root)
        else:
            failures |= train_here(ready, store, jobs=jobs, progress=progress, data_root=data_root)
    problems += [f"run {hash_} failed: {message}" for hash_, message in failures.items()]
    return frame(by_hash, store, failures), problems


def _in_order(configs: Mapping[str, RunConfig]) -> Iterator[dict[str, RunConfig]]:
    """Yield all runs in parts: one that replays the weights of another one is in a later part than that one."""
    left = dict(configs)
    while left:
        ready = {hash_: config for hash_, config in left.items() if config.source not in left}
        yield ready
        left = {hash_: config for hash_, config in left.items() if hash_ not in ready}


def _obstacles(store: Store, configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """Hash and message of each run that cannot be trained: its file is another's, or what it replays is absent."""
    messages = {}
    for hash_, config in configs.items():
        try:
            records.completed(store.folder, config)
            if config.source not in configs:  # else it is trained before
                records.source_weights(store.folder, config)
        except (ValueError, OSError) as error:
            messages[hash_] = str(error)
    return messages
