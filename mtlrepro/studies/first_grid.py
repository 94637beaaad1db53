"""The first grid: five ways to weight losses, three seeds each, and whether methods differ by more than seeds do."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from mtlrepro import files
from mtlrepro.analysis.significance import holm
from mtlrepro.analysis.verdicts import number
from mtlrepro.pages.figures import COLOURS, MARKERS
from mtlrepro.runs.grid_files import read_grid
from mtlrepro.runs.store import Store
from mtlrepro.runs.tables import frame

RESULTS = files.PROJECT / "book" / "results" / "runs"
GRID = files.PROJECT / "book" / "grids" / "first.json"
METRICS = {
    "segmentation.miou": ("mIoU", "%", True),
    "depth.rmse": ("RMSE of depth", "m", False),
    "normal.mean_angle": ("angle of normals", "degrees", False),
}
"""Metric of each task: name, unit, and whether higher is better."""
LEVEL = 0.05


def table(store: str | Path = RESULTS) -> pd.DataFrame:
    """Read the grid's runs.

    Returns:
        One row a run, as ``runs.grid`` gives it.

    Raises:
        ValueError: a run is missing; names the command that trains it.
    """
    wanted = {config.hash: config for config in read_grid(GRID)}
    runs = frame(wanted, Store(store))
    absent = int((runs["status"] != "complete").sum())
    if absent:
        raise ValueError(
            f"{store} lacks {absent} of {len(runs)} runs; to train them, run: mtlrepro grid book/grids/{GRID.name}"
        )
    return runs


def spread(runs: pd.DataFrame) -> pd.DataFrame:
    """Compare the spread between methods with that between seeds, metric by metric.

    Args:
        runs: columns ``method`` and those of ``METRICS``; equally many seeds for each method.

    Returns:
        One row a metric: ``metric``; ``between methods``, the standard deviation of the methods' means; ``between
        seeds``, the pooled standard deviation of single runs of a method; ``ratio`` of the two; ``F`` and ``p`` of the
        one-way analysis of variance; ``p, Holm``, corrected for the number of metrics.
    """
    rows = []
    for column, (name, unit, _) in METRICS.items():
        groups = [group[column].to_numpy() for _, group in runs.groupby("method", sort=False)]
        between = float(np.std([group.mean() for group in groups], ddof=1))
        within = float(np.sqrt(np.mean([group.var(ddof=1) for group in groups])))
        f, p = stats.f_oneway(*groups)
        rows.append((f"{name}, {unit}", between, within, between / within, float(f), float(p)))
    found = pd.DataFrame(rows, columns=["metric", "between methods", "between seeds", "ratio", "F", "p"])
    return found.assign(**{"p, Holm": holm(found["p"])})


def means(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each method, as text, and the mean seconds of a run."""
    rows = []
    for method, group in runs.groupby("method", sort=False):
        row = {"Method": f"`{method}`"}
        for column, (name, unit, higher) in METRICS.items():
            arrow = "higher is better" if higher else "lower is better"
            row[f"{name}, {unit} ({arrow})"] = f"{number(group[column].mean())} ± {number(group[column].std(), 2)}"
        rows.append(row | {"Run, s": f"{group['seconds'].mean():.0f}"})
    return pd.DataFrame(rows)


def finding(runs: pd.DataFrame) -> str:
    """State the figure's finding in a sentence or two."""
    rows = spread(runs)
    parts = [
        f"{row['metric']}, {number(row['between methods'], 2)} and {number(row['between seeds'], 2)} "
        f"(F = {number(row['F'], 2)}, corrected p {_p(row['p, Holm'])})"
        for _, row in rows.iterrows()
    ]
    apart = int((rows["p, Holm"] < LEVEL).sum())
    return (
        f"{runs['seed'].nunique()} seeds separate the methods on {apart} of {len(rows)} metrics (analysis of variance, "
        f"{100 * LEVEL:g} %, Holm's correction). Standard deviations between methods and between seeds: "
        f"{'; '.join(parts)}. Dots are runs, bars are means."
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def figure(runs: pd.DataFrame) -> Figure:
    """Draw every run: a panel for each metric, a line of dots for each method."""
    drawing = Figure(figsize=(7.2, 2.6), layout="constrained")
    methods = list(dict.fromkeys(runs["method"]))
    for axes, (column, (name, unit, higher)) in zip(drawing.subplots(1, 3, sharey=True), METRICS.items(), strict=True):
        for height, method in enumerate(methods):
            values = runs.loc[runs["method"] == method, column]
            axes.plot(values, [height] * len(values), MARKERS[height], color=COLOURS[height], markersize=5)
            axes.plot([values.mean()] * 2, [height - 0.3, height + 0.3], color=COLOURS[height])
        axes.set_xlabel(f"{name}, {unit}\n{'higher' if higher else 'lower'} is better")
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
    return drawing
