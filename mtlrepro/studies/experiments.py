"""The experiments of a chapter: which runs each reads, and at which scale it is shown."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

Grid = Callable[[Setting], Iterable[RunConfig]]
"""What makes the runs of an experiment."""


@dataclass(frozen=True)
class Experiment:
    """One grid of runs that a chapter reads.

    Attributes:
        name: What the runs are for.
        setting: That of the chapter at the scale at which the runs are shown.
        runs: Those that no earlier experiment has.
    """

    name: str
    setting: Setting
    runs: tuple[RunConfig, ...]


def shown(setting: Setting, grids: Mapping[str, Grid]) -> list[Experiment]:
    """List the experiments of a chapter, each at the largest scale at which it is stored, see `largest_stored`.

    Args:
        setting: What all experiments share.
        grids: What an experiment is called, to what makes its grid; those without runs of their own are left out.
    """
    seen: set[str] = set()
    found = []
    for name, grid in grids.items():
        at = setting.largest_stored(grid)
        runs = {run.hash: run for run in grid(at) if run.hash not in seen}
        seen |= runs.keys()
        if runs:
            found.append(Experiment(name, at, tuple(runs.values())))
    return found
