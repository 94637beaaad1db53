"""Figures S-2 to S-4 of loss scale balancing (LSB): weights and loss scales over the epochs, and how level they are.

The loss scale of a task is its mean raw training loss of an epoch times its weight. For GLS, which multiplies losses,
the weight is the factor that its gradient gives to that of the task, the mean over the steps of an epoch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from mtlrepro.analysis.verdicts import Verdict, geometric_interval, mean_interval, plus_minus, range_interval
from mtlrepro.pages.figures import COLOURS, MARKERS, legend
from mtlrepro.runs.store import Store
from mtlrepro.studies.lsb.grids import RESULTS
from mtlrepro.studies.lsb.scores import NAMES
from mtlrepro.tasks import DISPLAYS
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record

LEVEL = float(np.log(1.25))
"""Spread below which loss scales count as balanced: they are typically within 25 % of their geometric mean."""
SOURCE = "Section 5"
OURS = "our question"
SLOWER = ("equal", "uncertainty", "DWA")
"""Methods that Section 5 says LSB is faster than; it does not compare their speed with that of GLS or GradNorm."""
SMALL = "keypoints2d"
"""Task whose loss is small in the supplement."""
COLUMNS = 7
"""Epochs of which the numbers of curves are written."""
COUNTS = {3: "three", 4: "four", 8: "eight"}


def history(configs: Sequence[RunConfig], store: str | Path = RESULTS) -> pd.DataFrame:
    """Read the losses, weights and loss scales of stored runs.

    Returns:
        One row a run, epoch and task: ``run``, its hash; ``method`` as in ``NAMES``, ``seed``, ``epoch`` from 1,
        ``task``; ``loss``, the mean raw training loss; ``weight``, the mean over steps; ``scale``, their product, and
        ``share``, its part in the sum over tasks in %.

    Raises:
        KeyError: A run is not stored.
    """
    records = Store(store).records
    rows = []
    for config in configs:
        name = NAMES.get(config.method, config.method)
        for entry in records[config.hash]["history"]:
            losses, weights, scales = (entry[name] for name in ("losses", "weights", "loss_scales"))
            total = sum(scales.values())
            for task in config.tasks:
                numbers = losses[task], weights[task], scales[task], 100 * scales[task] / total
                rows.append((config.hash, name, config.seed, entry["epoch"], task, *numbers))
    return pd.DataFrame(rows, columns=["run", "method", "seed", "epoch", "task", "loss", "weight", "scale", "share"])


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Standard deviation over tasks of the log loss scales; 0 where all are equal, unchanged if all grow alike.

    It is that of the population, the mean over tasks. Two tasks that are a factor r apart give ln(r) / 2.

    Args:
        table: As :func:`history` gives it.

    Returns:
        One row a run and epoch: ``method``, ``seed``, ``epoch``, ``spread``.
    """
    logs = table.assign(spread=np.log(table["scale"]))
    return logs.groupby(["method", "seed", "epoch"], sort=False)["spread"].std(ddof=0).reset_index()


def balanced_from(spreads: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """First epoch from which the spread stays below a level to the end of the run.

    Returns:
        One row a run: ``method``, ``seed``, ``epoch``; NaN where the last epoch is not below it.
    """
    rows = []
    for (method, seed), run in spreads.groupby(["method", "seed"], sort=False):
        above = run["epoch"][run["spread"] >= level]
        first = run["epoch"].min() if above.empty else above.max() + 1
        rows.append((method, seed, first if first <= run["epoch"].max() else np.nan))
    return pd.DataFrame(rows, columns=["method", "seed", "epoch"]).astype({"epoch": float})


def medians(first: pd.DataFrame) -> pd.Series:
    """Median over seeds of the epoch from which loss scales are balanced, by method.

    Runs that never are come after all others (right-censored): infinite if they are half of the runs or more.

    Args:
        first: As :func:`balanced_from` gives it.
    """
    found: pd.Series = first.fillna({"epoch": np.inf}).groupby("method", sort=False)["epoch"].median()
    return found


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How level the loss scales are.

    Returns:
        One row a method, as text: ``method``; ``mean spread`` over all epochs and ``last spread``, each with half its
        95 % interval over seeds; ``balanced from`` epoch, the range over seeds; ``largest share`` of a task in the sum
        of loss scales of the last epoch, in %.
    """
    spreads = spread(table)
    first = balanced_from(spreads)
    shares = largest_shares(table)
    rows = []
    for method, runs in spreads.groupby("method", sort=False):
        last = runs[runs["epoch"] == runs["epoch"].max()]
        rows.append(
            {
                "method": method,
                "mean spread": plus_minus(mean_interval(runs.groupby("seed")["spread"].mean()), 2),
                "last spread": plus_minus(mean_interval(last["spread"]), 2),
                "balanced from": _range(first.loc[first["method"] == method, "epoch"]),
                "largest share, %": plus_minus(mean_interval(shares.loc[shares["method"] == method, "share"]), 2),
            }
        )
    return pd.DataFrame(rows)


def largest_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Largest loss scale of the last epoch in % of their sum: 100 / T if balanced, near 100 if the winner takes all.

    Returns:
        One row a run: ``method``, ``seed``, ``share``.
    """
    last = table[table["epoch"] == table["epoch"].max()]
    shares: pd.DataFrame = last.groupby(["method", "seed"], sort=False)["share"].max().reset_index()
    return shares


def _range(epochs: pd.Series) -> str:
    found = epochs.dropna()
    if found.empty:
        return "never"
    text = f"{found.min():.0f}" if found.nunique() == 1 else f"{found.min():.0f} to {found.max():.0f}"
    return text if len(found) == len(epochs) else f"{text}, {len(epochs) - len(found)} of {len(epochs)} never"


def finding(table: pd.DataFrame) -> str:
    """State in which order methods balance the loss scales, and which do not."""
    found = medians(balanced_from(spread(table)))
    reached = found[np.isfinite(found)].sort_values(kind="stable")
    ordered = ", ".join(f"{method} {epoch:g}" for method, epoch in reached.items())
    missed = ", ".join(map(str, found.index[np.isinf(found)]))
    return (
        f"{COUNTS[table['task'].nunique()].capitalize()} tasks, epoch from which loss scales stay balanced (spread "
        f"below {LEVEL:.2f}), median over seeds: {ordered or 'no method'}; "
        f"never in half of the runs or more: {missed or 'none'}."
    )


def reach(table: pd.DataFrame, config: RunConfig, store: str | Path = RESULTS) -> str:
    """State how far uncertainty weighting got, and how far it could get.

    AdamW moves a parameter by about its learning rate a step, whatever the gradient's size, and the weights are
    exponentials of parameters. To level the loss scales takes the quotient that they have under equal weights.

    Args:
        table: As :func:`history` gives it, with both methods.
        config: Any of the stored runs; learning rate and steps are those of all of them.
        store: Folder of records.

    Raises:
        KeyError: The run is not stored.
    """
    last = table[table["epoch"] == table["epoch"].max()]
    moved = last[last["method"] == NAMES["uncertainty"]]["weight"].max() * len(config.tasks)
    scales = last[last["method"] == NAMES["equal"]].groupby("seed")["scale"]
    needed = float((scales.max() / scales.min()).median())
    steps = _steps(Store(store).records[config.hash])
    return (
        f"Uncertainty weighting: after {steps:,} steps at a learning rate of {config.lr:g}, AdamW can have multiplied "
        f"or divided a weight by about {np.exp(config.lr * steps):.2g}; the largest one is {moved:.2g} times its "
        f"start. Under equal weights the loss scales end a factor {needed:.2g} apart."
    )


def _steps(record: Record) -> int:
    """Training steps of a stored run."""
    seconds: float = sum(entry["seconds"] for entry in record["history"])
    return round(float(record["provenance"]["images_per_second"]) * seconds / int(record["config"]["batch_size"]))


# --- what the supplement says -------------------------------------------------------------------------


def claims(table: pd.DataFrame) -> list[Verdict]:
    """Judge Section 5 on the runs of one set of tasks, as far as their tasks are named there.

    "Throughout the training" must hold in every run, but for one epoch. Quotients are of runs of the same seed; their
    intervals are those of the logarithms.
    """
    count = f"{COUNTS[table['task'].nunique()]} tasks"
    epochs = table["epoch"].max()
    found = []
    if "segmentation" in set(table["task"]):
        for method in (NAMES["equal"], NAMES["dwa"]):
            claim = f"{method}: segmentation has the largest loss scale throughout the training; % of epochs"
            share = range_interval(_dominated(table, method, "segmentation"))
            found.append(Verdict(f"{claim}, {count}", SOURCE, 100, 100 / epochs, share))
    means = spread(table).groupby(["method", "seed"], sort=False)["spread"].mean().unstack(0)
    ends = spread(table).query("epoch == 2 or epoch == @epochs").pivot_table("spread", ["method", "seed"], "epoch")
    level = (ends[epochs] / ends[2]).loc[NAMES["uncertainty"]]
    claim = f"uncertainty: loss scales converge; spread of the last epoch over that of the second, {count}"
    found.append(Verdict(claim, SOURCE, 1, 0, geometric_interval(level), below=True))
    claim = f"uncertainty: loss scales end at a similar level after {epochs} epochs; spread of the last, {count}"
    last = mean_interval(ends.loc[NAMES["uncertainty"], epochs])
    found.append(Verdict(claim, SOURCE, round(LEVEL, 3), 0, last, below=True))
    for method in [name for name in NAMES.values() if name in means and name != NAMES["lsb"]]:
        quotient = geometric_interval(means[NAMES["lsb"]] / means[method])
        claim = f"LSB levels loss scales faster than {method}; quotient of mean spreads, {count}"
        found.append(Verdict(claim, SOURCE if method in SLOWER else OURS, 1, 0, quotient, below=True))
    return found + (_small_claims(table, epochs) if SMALL in set(table["task"]) else [])


def _dominated(table: pd.DataFrame, method: str, task: str) -> pd.Series:
    """Per cent of the epochs in which a task has the largest loss scale, by seed."""
    scales = table[table["method"] == method].pivot_table("scale", ["seed", "epoch"], "task")
    return 100 * (scales.idxmax(axis=1) == task).groupby("seed").mean()


def _small_claims(table: pd.DataFrame, epochs: int) -> list[Verdict]:
    """The share of a small loss at the end: kept small by other methods, balanced by LSB within a quarter."""
    last = table[table["epoch"] == epochs].pivot_table("scale", ["method", "seed"], "task", sort=False)
    shares = 100 * last[SMALL] / last.sum(axis=1)
    fair = 100 / last.shape[1]
    found = []
    for method in shares.index.unique("method"):
        own = mean_interval(shares[method])
        title = DISPLAYS[SMALL].title
        if method == NAMES["lsb"]:
            claim = f"LSB: {title} end with their share of the loss scales, in %"
            found.append(Verdict(claim, SOURCE, fair, fair / 4, own))
        else:
            claim = f"{method}: {title} end with less than half their share, in %"
            found.append(Verdict(claim, SOURCE, fair / 2, 0, own, below=True))
    return found


# --- figures ------------------------------------------------------------------------------------------


def figure(table: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Draw weights above loss scales, a column a method and a line a task: the geometric mean over seeds.

    Args:
        table: As :func:`history` gives it.
        methods: Columns, as in ``NAMES``.
    """
    drawing = Figure(figsize=(7.2, 4.2), dpi=140, layout="constrained")
    axes = drawing.subplots(2, len(methods), sharex=True, sharey="row", squeeze=False)
    means = drawn(table, methods)
    for column, method in enumerate(methods):
        for index, task in enumerate(dict.fromkeys(table["task"])):
            run = means[(means["method"] == method) & (means["task"] == task)]
            style = {
                "color": COLOURS[index % len(COLOURS)],
                "marker": MARKERS[index % len(MARKERS)],
                "markevery": max(len(run) // 5, 1),
                "linestyle": "-" if index < len(COLOURS) else "--",
                "linewidth": 1,
                "markersize": 3.5,
                "label": DISPLAYS[task].title,
            }
            for row, name in enumerate(("weight", "scale")):
                axes[row, column].plot(run["epoch"], run[name], **style)
                axes[row, column].set_yscale("log")
        axes[0, column].set_title(method, fontsize=10)
        axes[1, column].set_xlabel("epoch")
    for name, (first, *_) in zip(("weight", "loss scale"), axes, strict=True):
        first.set_ylabel(name)
        decades = np.ptp(np.log10(first.get_ylim()))
        locator = LogLocator(subs=(1, 3)) if decades < 3 else LogLocator(numticks=6)
        first.yaxis.set(major_locator=locator, major_formatter="{x:g}", minor_locator=NullLocator())
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(3, integer=True))
    legend(drawing, axes[0, 0], 4)
    return drawing


def drawn(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The numbers of :func:`figure`: one row a method, task and epoch, ``weight`` and ``scale``."""
    own = table[table["method"].isin(methods)]
    logs = own.assign(weight=np.log(own["weight"]), scale=np.log(own["scale"]))
    means = logs.groupby(["method", "task", "epoch"], sort=False)[["weight", "scale"]].mean()
    return means.apply(np.exp).reset_index()


def by_epoch(table: pd.DataFrame, quantities: Sequence[str]) -> pd.DataFrame:
    """Write numbers of a figure in a compact form: a row a curve, a column an epoch, five significant digits.

    Of many epochs every second, third and so on is written, at most ``COLUMNS``, and the last.

    Args:
        table: Long table with ``epoch``, the columns ``quantities``, and others that tell curves apart.
        quantities: Columns of numbers.
    """
    keys = [name for name in table if name not in ("epoch", *quantities)]
    step = -(-table["epoch"].max() // COLUMNS)
    kept = table[(table["epoch"] % step == 1 % step) | (table["epoch"] == table["epoch"].max())]
    long = kept.melt([*keys, "epoch"], quantities, var_name="quantity")
    wide = long.pivot(index=[*keys, "quantity"], columns="epoch", values="value")
    rounded: pd.DataFrame = wide.map(lambda value: float(f"{value:.5g}"))
    return rounded.rename(columns=str).rename_axis(columns=None).reset_index()


def spreads(tables: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Spread over the epochs for several sets of tasks.

    Args:
        tables: Number of tasks to what :func:`history` gives.

    Returns:
        One row a set, method and epoch: ``tasks``, ``method``, ``epoch``; ``mean``, ``low`` and ``high`` over seeds.
    """
    parts = []
    for count, table in tables.items():
        seeds = spread(table).groupby(["method", "epoch"], sort=False)["spread"]
        own = seeds.agg(["mean", "min", "max"]).reset_index().rename(columns={"min": "low", "max": "high"})
        parts.append(own.assign(tasks=count))
    return pd.concat(parts, ignore_index=True)


def spread_figure(rows: pd.DataFrame) -> Figure:
    """Draw the spread of log loss scales, a panel a set of tasks and a line a method; bars reach over all seeds.

    Args:
        rows: As :func:`spreads` gives it.
    """
    sets, methods = (list(dict.fromkeys(rows[name])) for name in ("tasks", "method"))
    drawing = Figure(figsize=(7.2, 3.4), dpi=140, layout="constrained")
    panels = drawing.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axes, count in zip(panels, sets, strict=True):
        for method, own in rows[rows["tasks"] == count].groupby("method", sort=False):
            index = methods.index(method)
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            every = max(len(own) // 5, 1)
            axes.plot(own["epoch"], own["mean"], color=colour, marker=marker, markevery=every, label=str(method))
            barred = own.iloc[::every]
            axes.vlines(barred["epoch"], barred["low"], barred["high"], color=colour, linewidth=1)
        axes.axhline(LEVEL, color="0.4", linestyle="--", linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set(xlabel="epoch", title=f"{COUNTS[count]} tasks")
    panels[0].set_ylabel("spread of log loss scales")
    legend(drawing, panels[0], 6)
    return drawing
