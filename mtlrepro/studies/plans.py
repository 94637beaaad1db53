"""Plans of chapters: which runs they read, which of these are missing, and what training those takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mtlrepro.pages.plan import Part, Plan
from mtlrepro.runs.store import Store
from mtlrepro.studies import costs
from mtlrepro.studies.experiments import Experiment, Grid, shown
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

SMOKE_SECONDS = 1.0
"""What a run of the scale `smoke` takes, most of which is not training."""
OPEN = "how many depends on results that are still missing"


def plan(setting: Setting, grids: Mapping[str, Grid], searches: Mapping[str, Grid]) -> Plan:
    """Tell what the experiments of a chapter read and train, each at the largest scale at which it is stored.

    Args:
        setting: What all experiments share.
        grids: What an experiment is called, to what makes its grid; runs that several share count in the first.
        searches: Name of an experiment whose number of runs depends on results, to what makes the runs that have
            them. Until these are stored, its grid is as large as it can become.
    """
    experiments = shown(setting, grids)
    parts = [_part(one, searches.get(one.name)) for one in experiments]
    obstacle = setting.obstacle([run for one in experiments for run in one.runs])
    return Plan(parts=tuple(parts), jobs="jobs", store=str(setting.store.folder), obstacle=obstacle)


def unbroken(grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """Leave out of grids the runs that broke off, see `Setting.unbroken`: they are not planned again."""
    return {name: _unbroken(grid) for name, grid in grids.items()}


def _unbroken(grid: Grid) -> Grid:
    return lambda at: at.unbroken(grid(at))


def _part(experiment: Experiment, search: Grid | None) -> Part:
    at = experiment.setting
    found = part(experiment.name, experiment.runs, [at.store], at.scale)
    undecided = search is not None and not at.stored(search(at))
    notes = [note for note in (at.passed_over, OPEN if undecided else "") if note]
    return replace(found, note="; ".join(notes), at_most=undecided)


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
    seconds = SMOKE_SECONDS * len(missing) if scale == "smoke" else sum(costs.seconds(missing, stores)["seconds"])
    return Part(
        name=name,
        scale=scale,
        runs=len(configs),
        missing=len(missing),
        hours=seconds / 3600,
        machine=costs.machine(configs),
    )
