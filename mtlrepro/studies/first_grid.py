"""The first grid: five ways to weight losses, three seeds each, and whether methods differ by more than seeds do."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from mtlrepro import files
from mtlrepro.analysis.significance import holm
from mtlrepro.analysis.verdicts import number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import styles
from mtlrepro.pages.plan import Part, Plan
from mtlrepro.runs.grid_files import read_grid
from mtlrepro.runs.store import Store
from mtlrepro.runs.tables import frame
from mtlrepro.studies.setting import store_of

METRICS = {
    "segmentation.miou": ("mIoU", "%", True),
    "depth.rmse": ("RMSE of depth", "m", False),
    "normal.mean_angle": ("angle of normals", "degrees", False),
}
"""Metric of each task: name, unit, and whether higher is better."""


def plan(grid: str, **_: Any) -> Plan:  # noqa: ANN401
    """Plan the page on training runs, which reads the runs of a grid file and trains none; see `pages.plan`.

    Raises:
        ValueError: See `table`.
    """
    runs = table(files.PROJECT / grid, store_of("cpu"))
    return Plan(parts=(Part(name=grid, runs=len(runs)),))


def table(grid: str | Path, store: Store) -> pd.DataFrame:
    """Read the runs of a grid file.

    Returns:
        One row a run, as `runs.grid` gives it.

    Raises:
        ValueError: A run is missing; names the command that trains it.
    """
    configs = {config.hash: config for config in read_grid(grid)}
    runs = frame(configs, store)
    absent = int((runs["status"] != "complete").sum())
    if absent:
        raise ValueError(f"{store.folder} lacks {absent} of {len(runs)} runs; to train them, run: mtlrepro grid {grid}")
    return runs


def spread(runs: pd.DataFrame) -> pd.DataFrame:
    """Compare the spread between methods with that between seeds, metric by metric.

    Args:
        runs: Columns `method` and those of `METRICS`; equally many seeds for each method.

    Returns:
        One row a metric: `metric`; `between methods`, the standard deviation of the methods' means; `between
        seeds`, the pooled standard deviation of single runs of a method; `ratio` of the two; `F` and `p` of the
        one-way analysis of variance; `p, Holm`, corrected for the number of metrics.
    """
    rows = []
    for column, (name, unit, _) in METRICS.items():
        groups = [group[column].to_numpy() for _, group in runs.groupby("method", sort=False)]
        between = float(np.std([group.mean() for group in groups], ddof=1))
        within = float(np.sqrt(np.mean([group.var(ddof=1) for group in groups])))
        f, p = stats.f_oneway(*groups)
        rows.append((f"{name}, {unit}", between, within, between / within, float(f), float(p)))
    table = pd.DataFrame(rows, columns=["metric", "between methods", "between seeds", "ratio", "F", "p"])
    return table.assign(**{"p, Holm": holm(table["p"])})


def spreads(runs: pd.DataFrame, level: float) -> Exhibit:
    """Show every run, and say on which metrics the methods differ by more than seeds do.

    Args:
        runs: As for `spread`.
        level: Of the analysis of variance.
    """
    rows = spread(runs)
    parts = [
        f"{row['metric']}, {number(row['between methods'], 2)} and {number(row['between seeds'], 2)} "
        f"(F = {number(row['F'], 2)}, corrected p {_p(row['p, Holm'])})"
        for _, row in rows.iterrows()
    ]
    apart = int((rows["p, Holm"] < level).sum())
    caption = (
        f"{runs['seed'].nunique()} seeds separate the methods on {apart} of {len(rows)} metrics (analysis of variance, "
        f"{100 * level:g} %, Holm's correction). Standard deviations between methods and between seeds: "
        f"{'; '.join(parts)}. Dots are runs, bars are means."
    )
    alt = (
        f"{len(METRICS)} panels, one for each task's metric. Each has a line of dots for each way to weight losses, "
        "with a dot for each seed and a bar at their mean."
    )
    columns = ["method", "seed", *METRICS]
    return Exhibit(
        name="runs", table=runs[columns], figure=figure(runs), caption=caption, alt=alt, uses=("grid", "level")
    )


def analysis(runs: pd.DataFrame) -> Exhibit:
    """Show the analysis of variance behind the caption of `spreads`."""
    return Exhibit(
        name="spread", table=spread(runs), caption="Standard deviations between methods and between seeds, by metric."
    )


def means(runs: pd.DataFrame) -> Exhibit:
    """Show mean and standard deviation over seeds of each method, and the mean seconds of a run."""
    grouped = runs.groupby("method", sort=False)
    table, shown = pd.DataFrame({"method": list(grouped.groups)}), pd.DataFrame({"method": list(grouped.groups)})
    for column, (name, unit, higher) in METRICS.items():
        title = f"{name}, {unit} ({'higher' if higher else 'lower'} is better)"
        mean, deviation = grouped[column].mean().to_numpy(), grouped[column].std().to_numpy()
        table[f"{column}, mean"], table[f"{column}, deviation"] = mean, deviation
        shown[title] = [f"{number(float(m))} ± {number(float(d), 2)}" for m, d in zip(mean, deviation, strict=True)]
    seconds = grouped["seconds"].mean().to_numpy()
    return Exhibit(
        name="means",
        table=table.assign(seconds=seconds),
        shown=shown.assign(**{"run, s": [f"{second:.0f}" for second in seconds]}),
        caption="Mean and standard deviation over seeds of each method, and the mean seconds of a run.",
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def figure(runs: pd.DataFrame) -> Figure:
    """Draw every run: a panel for each metric, a line of dots for each method."""
    drawing = Figure(figsize=(7.2, 2.6), layout="constrained")
    methods = list(dict.fromkeys(runs["method"]))
    for axes, (column, (name, unit, higher)) in zip(drawing.subplots(1, 3, sharey=True), METRICS.items(), strict=True):
        for height, (method, (colour, marker)) in enumerate(styles(methods).items()):
            values = runs.loc[runs["method"] == method, column]
            axes.plot(values, [height] * len(values), marker, color=colour, markersize=5)
            axes.plot([values.mean()] * 2, [height - 0.3, height + 0.3], color=colour)
        axes.set_xlabel(f"{name}, {unit}\n{'higher' if higher else 'lower'} is better")
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
    return drawing
