"""The experiments on loss scale balancing as grids of runs: which configurations each of them is made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch

from mtlrepro import files
from mtlrepro.balancers import LSB
from mtlrepro.data.catalogue import CATALOGUE
from mtlrepro.runs.grids import grid
from mtlrepro.runs.store import Store
from mtlrepro.studies.data import datasets
from mtlrepro.tasks import MAPS
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record
from mtlrepro.training.scales import Scale

RESULTS = files.PROJECT / "book" / "results" / "runs"
METHODS = ("equal", "uncertainty", "dwa", "gls", "gradnorm", "lsb")
NETWORKS = ("full_sharing", "multi_decoder", "multi_column")
TASKS = ("segmentation", "depth", "normal")
EIGHT = ("depth", "normal", *MAPS)
"""The supplement's eight tasks, in its order."""
FOUR = EIGHT[:4]
"""Its four tasks are not named; these are our choice, the first four."""
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates that are tried for every method."""
PRIORITIES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Priority or fixed weight of the first of two tasks."""
END_BETA = 20.0
"""Largest beta of the paper's main schedule: 0.02 per epoch for 1,000 epochs (NYUv2, MobileNetV2)."""
TASK_SETS = {"rooms": (TASKS, FOUR, EIGHT), "nyuv2": (TASKS,), "taskonomy": (FOUR, EIGHT)}
"""Tasks that are learned together by data set: the supplement uses NYUv2 for three, Taskonomy for four and eight."""
NOT_FINITE = "FloatingPointError"
"""What the record of a run that broke off says."""
PICTURED = 6
"""Images whose predictions are kept; those of scenes take up to 300 kB a run."""


@dataclass(frozen=True)
class Setting:
    """What all experiments share.

    Attributes:
        scale: Of ``scales``.
        dataset: ``rooms``, ``nyuv2`` or ``taskonomy``.
        seeds: Seeds of every experiment but the comparison.
        comparison_seeds: Seeds of the comparison of methods, at least as many, since other experiments share its runs.
        data_root: Folder of a prepared real data set.
        jobs: Number of runs trained at a time.

    Raises:
        ValueError: The data set does not come at this scale, a real one has no ``data_root``, scenes have one, or there
            are more ``seeds`` than ``comparison_seeds``.
    """

    scale: Scale = "cpu"
    dataset: str = "rooms"
    seeds: int = 3
    comparison_seeds: int = 5
    data_root: str = ""
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.seeds > self.comparison_seeds:
            raise ValueError(f"seeds is {self.seeds}; accepted: up to comparison_seeds, {self.comparison_seeds}")
        self.run()
        datasets.check_root(self.dataset, self.data_root)

    def trained(self, runs: Iterable[RunConfig]) -> pd.DataFrame:
        """Read the stored runs and train the missing ones, see ``runs.grid``.

        Raises:
            ValueError: Runs are missing that need a CUDA device, and there is none.
            RuntimeError: A run failed for another reason than that its numbers were no longer finite.
        """
        runs = list(runs)
        missing = [run for run in runs if not is_stored(RESULTS, run)]
        if any(run.device == "cuda" for run in missing) and not torch.cuda.is_available():
            raise ValueError(
                f"scale is {self.scale!r}, but {len(missing)} of {len(runs)} runs are not stored, and there is no CUDA "
                "device to train them; accepted here: a scale at which all are stored, or one without CUDA"
            )
        found = grid(runs, store=RESULTS, jobs=self.jobs, data_root=self.data_root or None)
        failed = set(found.index[found["status"] == "failed"])
        if failed and (lost := failed - broken_off(Store(RESULTS)).keys()):
            raise RuntimeError(f"{len(lost)} of {len(runs)} runs failed; the warnings above say why")
        return found

    def offers(self, tasks: Sequence[str]) -> bool:
        """Whether the data set is used for ``TASKS``, ``FOUR`` or ``EIGHT``."""
        return tuple(tasks) in TASK_SETS[self.dataset]

    @property
    def validated(self) -> bool:
        """Whether the data set has a validation split, by which learning rates can be chosen."""
        return CATALOGUE[self.dataset].validated

    @property
    def epochs(self) -> int:
        """Epochs of a run."""
        return self.run().epochs

    def run(self, network: str = "multi_decoder", **changes: Any) -> RunConfig:  # noqa: ANN401
        """Configure one run; it is evaluated and its gradients are compared four times."""
        epochs = scales.config(self.scale, dataset=self.dataset, network=network).epochs
        every = max(epochs // 4, 1)
        shared = {"evaluate_every": every, "probe_every": every, **changes}
        return scales.config(self.scale, dataset=self.dataset, network=network, **shared)

    def pictures(self, epochs: Sequence[int], images: int) -> dict[str, Any]:
        """Ask for the predictions for the first images after some epochs."""
        return {"epochs": sorted(set(epochs)), "images": list(range(images))}


def broken_off(store: Store) -> dict[str, Record]:
    """Hash to record of the runs of a store that broke off as their numbers were no longer finite."""
    return {name: record for name, record in store.failed.items() if record["error"].startswith(NOT_FINITE)}


def comparison(
    setting: Setting,
    methods: Sequence[str] = METHODS,
    networks: Sequence[str] = NETWORKS,
    rates: Mapping[str, float] | None = None,
) -> list[RunConfig]:
    """Table S-3: every method in every network; the first seed keeps its predictions at the learning rate of the scale.

    Args:
        setting: What all experiments share.
        methods: Methods by name.
        networks: Networks by name.
        rates: Learning rate of each method; default: that of the scale.
    """
    kept = setting.pictures([setting.epochs], PICTURED)
    default = setting.run().lr
    rates = rates or dict.fromkeys(methods, default)
    return [
        setting.run(
            network,
            method=method,
            seed=seed,
            lr=rates[method],
            **({"pictures": kept} if seed == 0 and rates[method] == default else {}),
        )
        for network in networks
        for method in methods
        for seed in range(setting.comparison_seeds)
    ]


def scales_from(setting: Setting) -> list[Setting]:
    """List a setting and the same at each larger scale that its data set comes at, in order of size."""
    order: tuple[Scale, ...] = get_args(Scale)
    larger = [scale for scale in order[order.index(setting.scale) :] if scale in scales.DATA[setting.dataset]]
    return [replace(setting, scale=scale) for scale in larger]


def largest_stored(setting: Setting, runs: Callable[[Setting], Iterable[RunConfig]], store: Path = RESULTS) -> Setting:
    """Setting of the largest scale at which a grid is stored completely, or that asked for.

    Args:
        setting: The scale asked for; smaller ones are not looked at.
        runs: What makes the grid of a setting.
        store: Folder of records.
    """
    found = [larger for larger in scales_from(setting) if stored(runs(larger), store)]
    return found[-1] if found else setting


def is_stored(store: Path, config: RunConfig) -> bool:
    """Whether a run is stored."""
    return config in Store(store)


def stored(configs: Iterable[RunConfig], store: Path = RESULTS) -> bool:
    """Whether all of some runs are stored."""
    return all(is_stored(store, config) for config in configs)


def single(setting: Setting) -> list[RunConfig]:
    """Each task by itself: one encoder, one decoder, what all architectures come to with one task."""
    return [setting.run(tasks=(task,), seed=seed) for task in TASKS for seed in range(setting.comparison_seeds)]


def tuning(setting: Setting, methods: Sequence[str] = METHODS, seeds: int = 2) -> list[RunConfig]:
    """Every method at each of ``RATES``, in the multi-decoder network, scored on the validation split."""
    return [
        setting.run(method=method, lr=rate, seed=seed, evaluate_on="val", probe_every=0)
        for method in methods
        for rate in RATES
        for seed in range(seeds)
    ]


def trends(setting: Setting, tasks: Sequence[str], methods: Sequence[str] = METHODS) -> list[RunConfig]:
    """Figures S-2 to S-5: weights and loss scales over the epochs, in the full-sharing network.

    The eight tasks keep the predictions of the first seed after three epochs, for the error maps.

    Args:
        setting: What all experiments share.
        tasks: ``TASKS``, ``FOUR`` or ``EIGHT``; the first are those of the comparison.
        methods: Methods by name.
    """
    if tuple(tasks) == TASKS:
        return [run for run in comparison(setting, methods, ["full_sharing"]) if run.seed < setting.seeds]
    pictured = setting.pictures(map_epochs(setting.epochs), 1)
    return [
        setting.run(
            "full_sharing",
            method=method,
            tasks=tuple(tasks),
            seed=seed,
            **({"pictures": pictured} if seed == 0 and tuple(tasks) == EIGHT else {}),
        )
        for method in methods
        for seed in range(setting.seeds)
    ]


def all_trends(setting: Setting) -> list[RunConfig]:
    """Trends of all sets of tasks that the data set is used for."""
    return [run for tasks in TASK_SETS[setting.dataset] for run in trends(setting, tasks)]


def map_epochs(epochs: int) -> tuple[int, int, int]:
    """Epochs of the error maps: the paper's 2, 10 and 200 of 200, else the second, a quarter and the last."""
    return (2, 10, 200) if epochs == 200 else (2, min(max(epochs // 4, 3), epochs), epochs)


def priorities(setting: Setting) -> list[RunConfig]:
    """Figure S-6: two tasks at a time, priorities of LSB against fixed weights, in the full-sharing network."""
    return [
        setting.run(
            "full_sharing", tasks=pair, method=method, method_options={option: [first, round(1 - first, 6)]}, seed=seed
        )
        for pair in combinations(TASKS, 2)
        for method, option in (("lsb", "priority"), ("fixed", "weights"))
        for first in PRIORITIES
        for seed in range(setting.seeds)
    ]


def variants(epochs: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Methods of the ablation by name: balancer and options.

    Where the schedule is as long as the paper's, so that its rate and its last beta are one, the latter is left out.

    Args:
        epochs: Of a run; the rate at which beta ends where the paper's does depends on it.
    """
    steep = round(END_BETA / (epochs - 2), 4) if epochs > 2 else END_BETA
    ends = {
        "paper's end value": ("lsb", {"rate": steep}),
        "end value, no alpha": ("lsb", {"rate": steep, "conserve": False}),
    }
    return {
        "LSB": ("lsb", {}),
        "no alpha": ("lsb", {"conserve": False}),
        "no difficulty": ("lsb", {"rate": 0.0}),
        "rate 0.2": ("lsb", {"rate": 0.2}),
        **(ends if steep != LSB(1).rate else {}),
        "period 2": ("lsb", {"period": 2}),
        "period 5": ("lsb", {"period": 5}),
        "lagged GLS": ("lagged_gls", {}),
        "GLS": ("gls", {}),
        "equal": ("equal", {}),
    }


def ablation(setting: Setting) -> dict[str, list[RunConfig]]:
    """What matters: every variant in the multi-decoder network, by name; plain methods are those of the comparison."""
    found = {}
    for name, (method, options) in variants(setting.epochs).items():
        if options or method == "lagged_gls":
            found[name] = [
                setting.run(method=method, method_options=options, seed=seed) for seed in range(setting.seeds)
            ]
        else:
            runs = comparison(setting, [method], ["multi_decoder"])
            found[name] = [run for run in runs if run.seed < setting.seeds]
    return found
