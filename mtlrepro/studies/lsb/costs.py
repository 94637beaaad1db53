"""What the grids of the chapter on loss scale balancing cost, and how much of them is stored."""

from collections.abc import Mapping

from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import comparison as studies_comparison
from mtlrepro.studies import costs as studies_costs
from mtlrepro.studies.lsb import comparison
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig


def grids(setting: Setting, rates: Mapping[str, float] | None = None) -> dict[tuple[int, str], list[RunConfig]]:
    """All grids of the chapter for which the data set has tasks: part and name to runs.

    Args:
        setting: What all experiments share.
        rates: Tuned learning rate of each method; if not given, tuned runs are counted as if no method kept its rate.
    """
    tuned = rates or dict.fromkeys(lsb_grids.METHODS, lsb_grids.rates(setting)[0])
    three = lsb_grids.offers(setting, lsb_grids.TASKS)
    found: dict[tuple[int, str], list[RunConfig]] = {}
    if three:
        for name in lsb_grids.NETWORKS:
            found[3, f"comparison, {name}"] = lsb_grids.comparison(setting, networks=[name])
        found[3, "one task at a time"] = studies_comparison.single_tasks(setting)
    if three and setting.validated:
        found[3, "learning rates, multi_decoder"] = lsb_grids.tuning(setting)
        for name in lsb_grids.NETWORKS:
            found[3, f"tuned, {name}"] = lsb_grids.comparison(setting, networks=[name], rates=tuned)
    for name, tasks in (("four tasks", lsb_grids.FOUR), ("eight tasks", lsb_grids.EIGHT)):
        if lsb_grids.offers(setting, tasks):
            found[4, name] = lsb_grids.trends(setting, tasks)
            found[4, f"{name}, slow growth of β"] = lsb_grids.growths(setting, tasks)
    if three and setting.validated:
        found[4, "uncertainty weighting's own rate"] = lsb_grids.own_rate_search(setting)
    if three:
        found[6, "priorities of two tasks"] = lsb_grids.priorities(setting)
        found[7, "ablation"] = [run for runs in lsb_grids.ablation(setting).values() for run in runs]
    if three and setting.validated:
        found[9, "fixed weights on a grid"] = lsb_grids.front(setting)
        found[9, "controls of fixed weights"] = [*lsb_grids.replay_sources(setting), *lsb_grids.controls(setting)]
    if lsb_grids.offers(setting, lsb_grids.FOUR):
        found[10, "difficulty outside the weight"] = lsb_grids.outside(setting)
    return found


def rates(setting: Setting) -> dict[str, float] | None:
    """Learning rates that were chosen at a scale or, where no runs have chosen any, at a larger one; None: at none."""
    for larger in setting.scales_from():
        if setting.validated and larger.stored(lsb_grids.tuning(larger)):
            return comparison.rate_search(larger).rates
    return None


def exhibit(setting: Setting) -> Exhibit:
    """Show what all grids of the chapter cost."""
    return studies_costs.exhibit(setting, lambda one: grids(one, rates(one)), "costs")
