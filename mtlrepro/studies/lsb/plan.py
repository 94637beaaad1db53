"""What the chapter on loss scale balancing reads and trains."""

from functools import partial
from typing import Any

from mtlrepro.pages.plan import Plan
from mtlrepro.studies import plans
from mtlrepro.studies.experiments import Grid
from mtlrepro.studies.lsb import ablation, comparison, front, grids, reconstruction
from mtlrepro.studies.setting import Setting, check_prepared
from mtlrepro.training.config import RunConfig

SMOKE = {"seeds": 2, "comparison_seeds": 2}
"""Seeds at the scale `smoke`: the fewest of which there is an interval."""
TUNED = "3, learning rates"
"""Experiment whose first runs choose which others there are."""


def plan(**parameters: Any) -> Plan:  # noqa: ANN401
    """Plan the chapter; see `pages.plan`.

    Args:
        **parameters: Those of the notebook, which are fields of `Setting`.

    Raises:
        ValueError: They do not go together, or `data_root` does not hold the data set.
    """
    setting = Setting(**parameters)
    check_prepared(setting.dataset, setting.data_root, setting.splits)
    return plans.plan(setting, experiments(setting), {TUNED: grids.tuning})


def experiments(setting: Setting) -> dict[str, Grid]:
    """The chapter's experiments: part and name to what makes the grid of each."""
    three = grids.offers(setting, grids.TASKS)
    sets = grids.TASK_SETS[setting.dataset]
    large = [tasks for tasks in sets if tasks != grids.TASKS]
    searched = three and setting.validated
    both = partial(grids.trends, tasks=grids.TASKS if three else grids.EIGHT, methods=["equal", "lsb"])
    found: dict[str, Grid] = {"1, method": both}
    if three:
        found |= {f"3, {name}": partial(grids.rerun, network=name) for name in grids.NETWORKS}
    if searched:
        found[TUNED] = tuned
    found |= {f"4, {len(tasks)} tasks": partial(grids.trends, tasks=tasks) for tasks in sets}
    found |= {f"4, {len(tasks)} tasks, other growth of beta": partial(grids.growths, tasks=tasks) for tasks in large}
    if searched:
        found["4, uncertainty weighting's own rate"] = own_rate
    if three:
        found |= {"6, priorities": grids.priorities, "7, ablation": ablation.unbroken}
    if searched:
        found["9, fixed weights"] = fixed_weights
    if grids.offers(setting, grids.FOUR):
        found["10, difficulty outside the weight"] = reconstruction.runs
    return found


def tuned(setting: Setting) -> list[RunConfig]:
    """Runs that choose the learning rates, and the reruns with them; before they are known, as if no method kept its.

    Args:
        setting: What all experiments share.
    """
    if setting.stored(grids.tuning(setting)):
        return comparison.tuned_runs(setting)
    rates = dict.fromkeys(grids.METHODS, grids.rates(setting)[0])
    reruns = (run for name in grids.NETWORKS for run in grids.rerun(setting, name, rates))
    return [*grids.tuning(setting), *reruns]


def own_rate(setting: Setting) -> list[RunConfig]:
    """Runs that choose a learning rate for uncertainty weighting, and those with it; before it is known, any of them.

    Args:
        setting: What all experiments share.
    """
    search = grids.own_rate_search(setting)
    rate = grids.OWN_RATES[0]
    if setting.stored(search):
        rate = comparison.own_rate_search(setting).rates["uncertainty"]
    return [
        *search,
        *comparison.beside_own_rate(setting),
        *(run for tasks in grids.TASK_SETS[setting.dataset] for run in grids.own_rate(setting, tasks, rate)),
    ]


def fixed_weights(setting: Setting) -> list[RunConfig]:
    """Runs of the section on fixed weights; before the front's best point is known, without those of more seeds.

    Args:
        setting: What all experiments share.
    """
    runs = front.runs(setting)
    return [*runs, *front.tuned_runs(setting)] if setting.stored(runs) else runs
