"""What the grids of the chapter on loss scale balancing cost, and how much of them is stored."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mtlrepro.runs.store import Store
from mtlrepro.studies import costs
from mtlrepro.studies.lsb import comparison
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.grids import Setting
from mtlrepro.training.config import RunConfig

NOT_KNOWN = "?"
BENCHMARK = "benchmark, training alone"


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


def rates(setting: Setting) -> dict[str, float] | None:
    """Learning rates that were chosen at a scale or, where no runs have chosen any, at a larger one; None: at none."""
    for larger in lsb_grids.scales_from(setting):
        if setting.validated and lsb_grids.stored(lsb_grids.tuning(larger)):
            return comparison.chosen_rates(larger)
    return None


def overview(setting: Setting, store: Store) -> pd.DataFrame:
    """Count the runs of the chapter, their cost, and those stored at this and at larger scales.

    Args:
        setting: what all experiments share.
        store: The store.

    Returns:
        What :func:`table` gives, with a column ``stored at SCALE`` for each scale in the place of ``stored``.
    """
    every = [table(grids(own, rates(own)), store) for own in lsb_grids.scales_from(setting)]
    keys = ["part", "grid"]
    found = every[0].drop(columns="stored")
    for own, counted in zip(lsb_grids.scales_from(setting), every, strict=True):
        renamed = counted[[*keys, "stored"]].rename(columns={"stored": f"stored at {own.scale}"})
        found = found.merge(renamed, on=keys, how="left")
    return found.fillna({name: 0 for name in found if str(name).startswith("stored")})


def table(grids: Mapping[tuple[int, str], list[RunConfig]], store: Store) -> pd.DataFrame:
    """Count runs and their cost; a run that several grids share belongs to the first.

    Args:
        grids: part and name to runs.
        store: The store.

    Returns:
        One row a grid: ``part``, ``grid``, ``runs`` that it adds, ``stored`` ones, with those that broke off,
        ``minutes`` a run takes, and ``source`` of that number: stored runs, with their evaluation, else the stored
        benchmark of its network with three tasks, for up to as many, else NaN, ``not measured``; ``hours`` of all its
        runs, one after another. Of stored runs that differ only in their seeds the quickest counts, since others may
        have had to share the machine.
    """
    done = store.records.keys() | lsb_grids.broken_off(store).keys()
    seen: set[str] = set()
    rows = []
    for (part, name), runs in grids.items():
        new = {run.hash: run for run in runs if run.hash not in seen}
        seen |= new.keys()
        if new:
            minutes, source = _minutes(list(new.values()), store)
            rows.append((part, name, len(new), len(new.keys() & done), minutes, source, len(new) * minutes / 60))
    return pd.DataFrame(rows, columns=["part", "grid", "runs", "stored", "minutes", "source", "hours"])


def _minutes(runs: list[RunConfig], store: Store) -> tuple[float, str]:
    measured = [
        (run.replace(seed=0, pictures={}).hash, store.records[run.hash]["provenance"]["seconds"])
        for run in runs
        if run.hash in store.records
    ]
    if measured:
        quickest = pd.DataFrame(measured, columns=["run", "seconds"]).groupby("run")["seconds"].min()
        return float(quickest.mean()) / 60, "stored runs"
    if len(runs[0].tasks) > len(lsb_grids.TASKS):
        return np.nan, "not measured"
    scale = "cpu" if runs[0].device == "cpu" else "gpu"
    found = costs.minutes(runs[0], costs.speeds(scale), costs.ARMS[scale])
    return (np.nan, "not measured") if found is None else (found, BENCHMARK)


def finding(table: pd.DataFrame) -> str:
    """Hours of all grids together, as far as they are known, in a sentence.

    Args:
        table: as :func:`table` or :func:`overview` gives it.
    """
    unknown = int(table["hours"].isna().sum())
    rest = f", without {unknown} of {len(table)} grids, whose cost is not known" if unknown else ""
    return f"{table['hours'].sum():.1f} hours for {table['runs'].sum()} runs, one after another{rest}."


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Write the table as text, with a last row for all grids; hours add up where they are known.

    Args:
        table: as :func:`table` or :func:`overview` gives it.
    """
    counts = ["runs", *(str(name) for name in table if str(name).startswith("stored"))]
    text = (
        table.astype(dict.fromkeys(counts, int))
        .astype(str)
        .assign(
            minutes=[NOT_KNOWN if np.isnan(value) else f"{value:.1f}" for value in table["minutes"]],
            hours=[NOT_KNOWN if np.isnan(value) else f"{value:.2f}" for value in table["hours"]],
        )
    )
    totals = {name: f"{table[name].sum():.0f}" for name in counts} | {"hours": f"{table['hours'].sum():.1f}"}
    text.loc[len(text)] = pd.Series({"grid": "all", **totals}).reindex(text.columns, fill_value="")
    return text.rename(columns={"minutes": "minutes a run", "source": "measured on"})
