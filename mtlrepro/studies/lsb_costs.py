"""What the grids of the chapter on loss scale balancing cost, and how much of them is stored."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mtlrepro.config import RunConfig
from mtlrepro.runs.store import Contents
from mtlrepro.studies import costs, lsb_grids
from mtlrepro.studies.lsb_grids import Setting

NOT_KNOWN = "?"


def grids(setting: Setting, rates: Mapping[str, float] | None = None) -> dict[tuple[int, str], list[RunConfig]]:
    """All grids of the chapter for which the data set has tasks: part and name to runs.

    Args:
        setting: what all experiments share.
        rates: tuned learning rate of each method; if not given, tuned runs are counted as if no method kept its rate.
    """
    tuned = rates or dict.fromkeys(lsb_grids.METHODS, lsb_grids.RATES[0])
    found: dict[tuple[int, str], list[RunConfig]] = {}
    if setting.offers(lsb_grids.TASKS):
        for name in lsb_grids.NETWORKS:
            found[3, f"comparison, {name}"] = lsb_grids.comparison(setting, networks=[name])
        found[3, "one task at a time"] = lsb_grids.single(setting)
    if setting.offers(lsb_grids.TASKS) and setting.validated:
        found[3, "learning rates, multi_decoder"] = lsb_grids.tuning(setting)
        for name in lsb_grids.NETWORKS:
            found[3, f"tuned, {name}"] = lsb_grids.comparison(setting, networks=[name], rates=tuned)
    for name, tasks in (("four tasks", lsb_grids.FOUR), ("eight tasks", lsb_grids.EIGHT)):
        if setting.offers(tasks):
            found[4, name] = lsb_grids.trends(setting, tasks)
    if setting.offers(lsb_grids.TASKS):
        found[6, "priorities of two tasks"] = lsb_grids.priorities(setting)
        found[7, "ablation"] = [run for runs in lsb_grids.ablation(setting).values() for run in runs]
    return found


def table(grids: Mapping[tuple[int, str], list[RunConfig]], contents: Contents) -> pd.DataFrame:
    """Count runs and their cost; a run that several grids share belongs to the first.

    Args:
        grids: part and name to runs.
        contents: of the store.

    Returns:
        One row a grid: ``part``, ``grid``, ``runs`` that it adds, ``stored`` ones, ``minutes`` a run takes with its
        evaluation, and ``source`` of that number: the median of its stored runs, else the stored benchmark of its
        network, else NaN, ``not measured``; ``hours`` of all its runs, one after another.
    """
    seen: set[str] = set()
    rows = []
    for (part, name), runs in grids.items():
        new = {run.hash: run for run in runs if run.hash not in seen}
        seen |= new.keys()
        if new:
            seconds = [contents.records[run]["provenance"]["seconds"] for run in new if run in contents.records]
            minutes, source = _minutes(next(iter(new.values())), seconds)
            rows.append((part, name, len(new), len(seconds), minutes, source, len(new) * minutes / 60))
    return pd.DataFrame(rows, columns=["part", "grid", "runs", "stored", "minutes", "source", "hours"])


def _minutes(run: RunConfig, seconds: list[float]) -> tuple[float, str]:
    if seconds:
        return float(np.median(seconds)) / 60, "stored runs"
    scale = "cpu" if run.device == "cpu" else "gpu"
    found = costs.minutes(run, costs.speeds(scale), costs.ARMS[scale])
    return (np.nan, "not measured") if found is None else (found, "benchmark")


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Write the table as text, with a last row for all grids; hours add up where they are known.

    Args:
        table: as :func:`table` gives it.
    """
    text = table.astype(str).assign(
        minutes=[NOT_KNOWN if np.isnan(value) else f"{value:.1f}" for value in table["minutes"]],
        hours=[NOT_KNOWN if np.isnan(value) else f"{value:.2f}" for value in table["hours"]],
    )
    total = table[["runs", "stored", "hours"]].sum()
    text.loc[len(text)] = ["", "all", f"{total['runs']:.0f}", f"{total['stored']:.0f}", "", "", f"{total['hours']:.1f}"]
    return text.rename(columns={"minutes": "minutes a run", "source": "measured on"})
