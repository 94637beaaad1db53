"""What the experiments of a chapter share, and the runs of it that are stored."""

import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self, TypeVar, cast, get_args

import pandas as pd
import torch

from mtlrepro import files
from mtlrepro.data.catalogue import entry_of
from mtlrepro.data.datasets import load
from mtlrepro.runs.grids import Engine, train_grid
from mtlrepro.runs.store import Store
from mtlrepro.runs.workers import LEAD
from mtlrepro.training import records, scales
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record
from mtlrepro.training.scales import Scale

NOT_FINITE = "FloatingPointError"
"""What the record of a run that broke off says."""
USUAL = "multi_decoder"
"""Network of a data set that goes with it, unless another is named."""

Name = TypeVar("Name", bound=Hashable)
"""What some runs are called."""


def store_of(scale: Scale) -> Store:
    """Where runs of a size are kept: the book's records, or those of `smoke`, which show nothing, with other caches."""
    return _opened(files.cache_dir() / "runs" if scale == "smoke" else files.book("results", "runs"))


_opened = cache(Store)


@cache
def _epochs(scale: Scale, dataset: str, network: str) -> int:
    """Epochs of the runs of a scale; a configuration is checked as it is made, which takes its time."""
    return scales.config(scale, dataset=dataset, network=network).epochs


def check_root(dataset: str, data_root: str) -> None:
    """Refuse a real data set without a folder, or scenes with one.

    Raises:
        ValueError: So it is; the message names the command that makes the folder.
    """
    entry = entry_of(dataset)
    if entry.generated and data_root:
        raise ValueError(f"data_root is {data_root!r}; accepted: none for {dataset}, which are generated")
    if not entry.generated and not data_root:
        remedy = f"the folder TARGET that `{entry.prepare}` makes"
        raise ValueError(f"data_root is empty; accepted for {dataset}: {remedy}")


def check_prepared(dataset: str, data_root: str, splits: Iterable[str]) -> None:
    """Refuse a folder of a real data set that does not hold what is read; of scenes there is none.

    Raises:
        ValueError: See `check_root`; or a split is not prepared, or is that of another data set.
    """
    check_root(dataset, data_root)
    for split in splits if data_root else ():
        try:
            load(dataset, split, root=data_root)
        except ValueError as error:
            raise ValueError(f"data_root is {data_root!r}: {error}") from None


def tell(problems: Iterable[str]) -> None:
    """Say on stderr what went wrong with runs, where a stored notebook does not keep it."""
    sys.stderr.write("".join(f"{LEAD}{problem}\n" for problem in problems))


def diverged(lost: Mapping[str, int]) -> str:
    """Say which runs diverged and are left out, in a sentence after others; empty if there are none.

    Args:
        lost: What the runs are called to how many of them diverged, as `Setting.lost` counts them.
    """
    runs = ", ".join(f"{count} of {title}" for title, count in lost.items())
    return f" Runs that diverged are left out: {runs}." if lost else ""


def absent(device: str) -> str:
    """Say that a device is absent, as an obstacle of a plan; empty if it is there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'"
    return ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all experiments of a chapter share, and the store that holds their runs.

    Attributes:
        scale: Size of the runs, see `training.scales`.
        dataset: Name of a data set.
        network: Network of a run that names no other; empty: `multi_decoder` where it goes with the data set, else the
            first that does.
        tasks: Tasks of a run that names no others; empty: those that its network learns on the data set.
        seeds: Seeds of every experiment but the comparison.
        comparison_seeds: Seeds of the comparison of methods, at least as many, since other experiments share its runs.
        data_root: Folder of a prepared real data set.
        jobs: Number of runs trained at a time.
        store: Where runs are read from, and where missing ones are trained to; default: see `store_of`.
        passed_over: What is stored at a larger scale and not shown, in a few words; `largest_stored` says so.

    Raises:
        ValueError: The data set does not come at this scale or with this network, the tasks do not fit, a real data set
            has no `data_root`, scenes have one, or there are more `seeds` than `comparison_seeds`.
    """

    scale: Scale = "cpu"
    dataset: str = "rooms"
    network: str = ""
    tasks: tuple[str, ...] = ()
    seeds: int = 3
    comparison_seeds: int = 5
    data_root: str = ""
    jobs: int = 1
    store: Store = field(default=cast(Store, None), repr=False)  # `store_of(scale)`, which no factory can know
    passed_over: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if cast(Store | None, self.store) is None:
            object.__setattr__(self, "store", store_of(self.scale))
        if self.seeds > self.comparison_seeds:
            raise ValueError(f"seeds is {self.seeds}; accepted: up to comparison_seeds, {self.comparison_seeds}")
        if not self.network:
            suited = [name for name, datasets in scales.PAIRS.items() if self.dataset in datasets]
            if not suited:
                known = dict.fromkeys(name for datasets in scales.PAIRS.values() for name in datasets)
                raise ValueError(f"dataset is {self.dataset!r}; accepted: {', '.join(known)}")
            object.__setattr__(self, "network", USUAL if USUAL in suited else suited[0])
        self.run()
        check_root(self.dataset, self.data_root)

    # --- configurations -----------------------------------------------------------------------------------

    def run(self, network: str = "", **changes: Any) -> RunConfig:  # noqa: ANN401
        """Configure one run; it is evaluated and its gradients are compared four times, at `smoke` twice.

        Args:
            network: Name of a network; empty: that of the setting.
            **changes: Other fields of `RunConfig`; they take the place of the scale's.
        """
        chosen = {"dataset": self.dataset, "network": network or self.network}
        every = max(_epochs(self.scale, **chosen) // (2 if self.scale == "smoke" else 4), 1)
        tasks = {"tasks": self.tasks} if self.tasks else {}
        return scales.config(
            self.scale, **chosen, **{"evaluate_every": every, "probe_every": every, **tasks, **changes}
        )

    @property
    def epochs(self) -> int:
        """Epochs of a run."""
        return self.run().epochs

    @property
    def validated(self) -> bool:
        """Whether the data set has a validation split beside the test split, by which learning rates can be chosen."""
        return entry_of(self.dataset).validated

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that are read: training, evaluation, and validation if that is another one."""
        own = ("train", entry_of(self.dataset).test_split)
        return (*own, "val") if self.validated else own

    # --- runs ---------------------------------------------------------------------------------------------

    def trained(self, configs: Iterable[RunConfig]) -> pd.DataFrame:
        """Read the stored runs and train the missing ones, see `runs.grid`; what went wrong is said on stderr.

        Raises:
            ValueError: There is an `obstacle`.
            RuntimeError: A run failed for another reason than that its numbers, or those of the run whose weights it
                replays, were no longer finite.
        """
        configs = list(configs)
        if obstacle := self.obstacle(configs):
            raise ValueError(obstacle)
        engine: Engine = "inline" if self.scale == "smoke" and self.jobs == 1 else "local"
        runs, problems = train_grid(
            configs, store=self.store, jobs=self.jobs, data_root=self.data_root or None, engine=engine
        )
        tell(problems)
        failed = set(runs.index[runs["status"] == "failed"])
        if failed and (lost := failed & {config.hash for config in self.unbroken(configs)}):
            reasons = "; ".join(problem for problem in problems if any(name in problem for name in lost))
            raise RuntimeError(f"{len(lost)} of {len(configs)} runs failed: {reasons}")
        return runs

    def obstacle(self, configs: Sequence[RunConfig]) -> str:
        """Say why those of some runs that are missing cannot be trained here; empty if they can."""
        missing = self.missing(configs)
        if not any(config.device == "cuda" for config in missing) or torch.cuda.is_available():
            return ""
        return (
            f"scale is {self.scale!r}, but {len(missing)} of {len(configs)} runs are not stored, and there is no "
            "CUDA device to train them; accepted here: a scale at which all are stored, or one without CUDA"
        )

    def missing(self, configs: Iterable[RunConfig]) -> list[RunConfig]:
        """Those of some runs that are not complete."""
        return [config for config in configs if config not in self.store]

    def records(self, configs: Iterable[RunConfig]) -> dict[str, Record]:
        """Hash to record of runs that are complete, in their order.

        Raises:
            KeyError: A run is not stored.
        """
        found: dict[str, Record] = {}
        for config in configs:
            record = self.store.record(config)
            if record is None:
                raise KeyError(f"run {config.hash} is not stored in {self.store.folder}")
            found[config.hash] = record
        return found

    def broken_off(self, configs: Iterable[RunConfig]) -> dict[str, Record]:
        """Hash to record of those runs that broke off as their numbers were no longer finite."""
        failures = {config.hash: self.store.failure(config) for config in configs}
        return {name: record for name, record in failures.items() if record and record["error"].startswith(NOT_FINITE)}

    def unbroken(self, configs: Iterable[RunConfig]) -> list[RunConfig]:
        """Those of some runs that did not break off, see `broken_off`; the others would again, and are not repeated.

        Runs that replay the weights of one of these are left out with it.
        """
        configs = list(configs)
        lost = {*self.broken_off(configs)}
        if any(config.source for config in configs):
            failed = self.store.failed.items()
            lost |= {name for name, record in failed if record["error"].startswith(NOT_FINITE)}
        return [config for config in configs if config.hash not in lost and config.source not in lost]

    def finite(self, configs: Iterable[RunConfig]) -> list[RunConfig]:
        """Train those of some runs that are missing, and leave out those that broke off, see `unbroken`.

        Raises:
            ValueError: See `trained`.
            RuntimeError: Likewise.
        """
        if tried := self.unbroken(configs):
            self.trained(tried)
        return self.unbroken(tried)

    def lost(self, by_name: Mapping[Name, Iterable[RunConfig]]) -> dict[Name, int]:
        """Count the runs that broke off, see `unbroken`, by name; names of which none did are left out.

        Args:
            by_name: What some runs are called to these runs, which are trained.
        """
        every = {name: list(configs) for name, configs in by_name.items()}
        counts = {name: len(configs) - len(self.unbroken(configs)) for name, configs in every.items()}
        return {name: count for name, count in counts.items() if count}

    def reference(self, name: str, configs: Iterable[RunConfig], least: int = 1) -> list[RunConfig]:
        """Train runs that others are compared with, and leave out the seeds of which one broke off, see `finite`.

        Args:
            name: What the runs are called, for the error.
            configs: The runs.
            least: Fewest seeds that are needed, at least 1.

        Raises:
            ValueError: See `trained`.
            RuntimeError: Fewer seeds are left; a run that broke off, its record and what to do are named. Or see
                `trained`.
        """
        configs = list(configs)
        whole = {config.hash for config in self.finite(configs)}
        broken = {config.seed for config in configs if config.hash not in whole}
        left = [config for config in configs if config.seed not in broken]
        if not broken or len({config.seed for config in left}) >= least:
            return left
        first, record = next(iter(self.broken_off(configs).items()))
        path = records.path_of(self.store.folder, first, "failed")
        raise RuntimeError(
            f"{name}: of {len({config.seed for config in configs})} seeds {len(broken)} diverged, and nothing can be "
            f"compared with them; the first is run {first}, {path}: {record['error']}; accepted: at least {least} "
            "that did not, so ask for more seeds or another scale, or delete that file to have the run trained again"
        )

    def stored(self, configs: Iterable[RunConfig]) -> bool:
        """Whether all of some runs are complete."""
        return all(config in self.store for config in configs)

    def scales_from(self) -> list[Self]:
        """List this setting and the same at each larger scale that its data set comes at, in order of size.

        Beside `smoke`, which is for trying out the code, there is none.
        """
        order: tuple[Scale, ...] = get_args(Scale)
        larger = [] if self.scale == "smoke" else order[order.index(self.scale) + 1 :]
        return [self, *(replace(self, scale=scale) for scale in larger if scale in scales.DATA[self.dataset])]

    def largest_stored(self, configs: Callable[[Self], Iterable[RunConfig]]) -> Self:
        """The same at the largest scale at which a grid is stored completely, or at the scale asked for.

        Where a still larger one has the grid with fewer seeds, `passed_over` names it.

        Args:
            configs: What makes the grid of a setting.
        """
        settings = self.scales_from()
        complete = [larger for larger in settings if larger.stored(configs(larger))]
        chosen = complete[-1] if complete else self
        for larger in reversed(settings[settings.index(chosen) + 1 :]):
            if fewer := larger._with_fewer_seeds(configs):
                return replace(chosen, passed_over=f"{larger.scale} scale is stored with {fewer} seeds, not shown")
        return chosen

    def _with_fewer_seeds(self, configs: Callable[[Self], Iterable[RunConfig]]) -> int:
        """Largest number of seeds below those asked for with which a grid is stored completely; 0 if there is none."""
        for seeds in range(self.comparison_seeds - 1, 1, -1):
            fewer = replace(self, seeds=min(self.seeds, seeds), comparison_seeds=seeds)
            if fewer.stored(configs(fewer)):
                return seeds
        return 0
