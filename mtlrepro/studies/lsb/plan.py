"""What the chapter on loss scale balancing reads and trains."""

from functools import partial
from typing import Any

from mtlrepro.pages.plan import Plan
from mtlrepro.studies import plans
from mtlrepro.studies.lsb import ablation, comparison, grids
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

SMOKE = {"seeds": 2, "comparison_seeds": 2}
"""Seeds at the scale `smoke`: the fewest of which there is an interval."""


def plan(**parameters: Any) -> Plan:  # noqa: ANN401
    """Plan the chapter; see `pages.plan`.

    Args:
        **parameters: Those of the notebook, which are fields of `Setting`.

    Raises:
        ValueError: They do not go together, or runs are missing that cannot be trained here.
    """
    setting = Setting(**parameters)
    return plans.plan(setting, experiments(setting))


def experiments(setting: Setting) -> dict[str, plans.Grid]:
    """The chapter's experiments: part and name to what makes the grid of each."""
    three, eight = (grids.offers(setting, tasks) for tasks in (grids.TASKS, grids.EIGHT))
    tasks = grids.TASKS if three else grids.EIGHT
    found: dict[str, plans.Grid] = {"1, method": partial(grids.trends, tasks=tasks, methods=["equal", "lsb"])}
    if three:
        found |= {f"3, {name}": partial(grids.rerun, network=name) for name in grids.NETWORKS}
    if three and setting.validated:
        found["3, learning rates"] = tuned
    found["4, trends"] = grids.all_trends
    if eight:
        found["5, errors"] = partial(grids.trends, tasks=grids.EIGHT, methods=["equal", "lsb"])
    if three:
        found |= {"6, priorities": grids.priorities, "7, ablation": ablation.unbroken}
    return found


def tuned(setting: Setting) -> list[RunConfig]:
    """Runs that choose the learning rates, and the reruns with them; before they are known, as if no method kept its.

    Args:
        setting: What all experiments share.
    """
    tuning = grids.tuning(setting)
    if setting.stored(tuning):
        return comparison.tuned_runs(setting)
    rates = dict.fromkeys(grids.METHODS, grids.RATES[0])
    return [*tuning, *(run for name in grids.NETWORKS for run in grids.rerun(setting, name, rates))]
