"""Learning rates of the chapter on MCLGS: chosen for each method alike, on the validation split.

Where a data set has no validation split, all runs have the learning rate of the scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.fronts import VALIDATION
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.scores import of_task, scores_of
from mtlrepro.studies.rates import RateSearch, rate_finding, rate_table
from mtlrepro.studies.scores import Scores
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig


def of_methods(setting: Setting) -> RateSearch:
    """Delta_m of every method at each rate, against equal weights at that of the scale; missing runs are trained."""
    found = _searched(setting, grids.rate_search(setting), _equal(setting), scores_of(setting))
    return replace(found, baseline="equal weights at the rate of the scale")


def of_sgd(setting: Setting) -> RateSearch:
    """Delta_m of equal weights and MCLGS at each rate under SGD, against equal weights under AdamW."""
    found = _searched(setting, grids.sgd_search(setting), _equal(setting), scores_of(setting))
    return replace(found, baseline="equal weights under AdamW")


def of_single_tasks(setting: Setting) -> RateSearch:
    """Mean improvement of each task by itself at each rate, against its own runs at that of the scale."""
    searches = []
    for task, configs in grids.single_search(setting).items():
        at_scale = [run for run in configs if run.lr == setting.run().lr]
        searches.append(_searched(setting, {task: configs}, at_scale, of_task(scores_of(setting), task)))
    return RateSearch(pd.concat([search.scored for search in searches], ignore_index=True))


def single_exhibit(setting: Setting, name: str) -> Exhibit:
    """Improvement of each task by itself at each rate as an exhibit of that name; missing runs are trained."""
    search = of_single_tasks(setting)
    table = rate_table(search.scored, search.sign)
    caption = (
        "Improvement of each task alone at every learning rate that was tried, over its mean at the rate of the scale, "
        f"in %. {rate_finding(table)} (Validation split; mean, and the range of seeds in brackets.)"
    )
    return Exhibit(name=name, table=table.rename(columns={"method": "task"}), caption=caption)


def _equal(setting: Setting) -> list[RunConfig]:
    return [run for run in grids.rate_search(setting)["equal"] if run.lr == setting.run().lr]


def _searched(
    setting: Setting, by_name: Mapping[str, Sequence[RunConfig]], reference: Sequence[RunConfig], scores: Scores
) -> RateSearch:
    """Score runs on the validation split; a rate at which one broke off is left out.

    Raises:
        RuntimeError: All runs of the baseline diverged, see `Setting.reference`.

    Args:
        setting: What all runs share; missing runs are trained.
        by_name: Name to its runs at all rates.
        reference: Runs whose means are the baseline.
        scores: Metrics that count.
    """
    baseline_runs = setting.reference("the baseline of the search of learning rates", reference)
    columns = {f"{VALIDATION}{name}": name for name in scores.names}
    baseline = fronts.evaluated(setting, baseline_runs)[list(columns)].rename(columns=columns).mean()
    scored, diverged = [], {}
    for name, configs in by_name.items():
        whole = setting.finite(configs)
        lost = {config.lr for config in configs if config not in whole}
        left = [config for config in configs if config.lr not in lost]
        if not left:
            diverged[name] = len(configs) - len(whole)
            continue
        values = fronts.evaluated(setting, left)[list(columns)].rename(columns=columns)
        keys = pd.DataFrame([{"method": name, "lr": run.lr, "seed": run.seed} for run in left])
        scored.append(keys.assign(score=scores.delta_m(values, baseline)))
    return RateSearch(pd.concat(scored, ignore_index=True), scores.sign, lost=diverged)
