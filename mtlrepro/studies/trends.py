"""Losses, weights and loss scales over the epochs of stored runs, and how level the loss scales are.

The loss scale of a task is its mean raw training loss of an epoch times its weight. For a method without weights of its
own, such as GLS, the weight is the factor that its gradient gives to that of the task, the mean over the steps of an
epoch.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from mtlrepro.analysis.verdicts import (
    Interval,
    excess_interval,
    geometric_interval,
    largest_share_interval,
    over_seeds,
    range_interval,
)
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, MARKERS, legend, styles
from mtlrepro.studies.comparison import columns, in_words
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.tasks import DISPLAYS
from mtlrepro.training.config import RunConfig

LEVEL = float(np.log(1.25))
"""Spread below which loss scales count as balanced: they are typically within 25 % of their geometric mean."""
COLUMNS = 7
"""Epochs of which the numbers of curves are written."""


def history(setting: Setting, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """Read the losses, weights and loss scales of stored runs.

    Args:
        setting: Holds the store.
        configs: The runs.

    Returns:
        One row a run, epoch and task: `run`, its hash; `method`, its title; `seed`; `epoch` from 1;
        `task`; `loss`, the mean raw training loss; `weight`, the mean over steps; `scale`, their product, and
        `share`, its part in the sum over tasks in %.

    Raises:
        KeyError: A run is not stored.
    """
    records = setting.records(configs)
    rows = []
    for config in configs:
        name = method_title(config.method)
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
        table: As `history` gives it.

    Returns:
        One row a run and epoch: `method`, `seed`, `epoch`, `spread`.
    """
    logs = table.assign(spread=np.log(table["scale"]))
    return logs.groupby(["method", "seed", "epoch"], sort=False)["spread"].std(ddof=0).reset_index()


def balanced_from(spreads: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """First epoch from which the spread stays below a level to the end of the run.

    Returns:
        One row a run: `method`, `seed`, `epoch`; NaN where the last epoch is not below it.
    """
    rows = []
    for (method, seed), run in spreads.groupby(["method", "seed"], sort=False):
        above = run["epoch"][~(run["spread"] < level)]  # a spread that is no number is not balanced
        first = run["epoch"].min() if above.empty else above.max() + 1
        rows.append((method, seed, first if first <= run["epoch"].max() else np.nan))
    return pd.DataFrame(rows, columns=["method", "seed", "epoch"]).astype({"epoch": float})


def medians(first: pd.DataFrame) -> pd.Series:
    """Median over seeds of the epoch from which loss scales are balanced, by method.

    Runs that never are come after all others (right-censored): infinite if they are half of the runs or more.

    Args:
        first: As `balanced_from` gives it.
    """
    found: pd.Series = first.fillna({"epoch": np.inf}).groupby("method", sort=False)["epoch"].median()
    return found


def largest_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Largest loss scale of the last epoch in % of their sum: 100 / K if K tasks are balanced, 100 if one takes all.

    Returns:
        One row a run: `method`, `seed`, `share`.
    """
    last = table[table["epoch"] == table["epoch"].max()]
    shares: pd.DataFrame = last.groupby(["method", "seed"], sort=False)["share"].max().reset_index()
    return shares


def spread_interval(spreads: ArrayLike) -> Interval:
    """Geometric mean of spreads with its 95 % interval; the range where one is 0, as its logarithm does not exist."""
    values = np.asarray(spreads, dtype=np.float64)
    return geometric_interval(values) if (values > 0).all() else range_interval(values)


def weight_factors(table: pd.DataFrame) -> pd.DataFrame:
    """Largest factor by which a weight of a run departs from the geometric mean of its epoch's weights, up or down.

    It is 1 if weights stay equal; a factor that all of them have does not count.

    Returns:
        One row a run: `method`, `seed`, `factor`.
    """
    logs = table.assign(log=np.log(table["weight"]))
    means = logs.groupby(["method", "seed", "epoch"], sort=False)["log"].transform("mean")
    factors = logs.assign(factor=np.exp((logs["log"] - means).abs()))
    found: pd.DataFrame = factors.groupby(["method", "seed"], sort=False)["factor"].max().reset_index()
    return found


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How level the loss scales are, and how far weights move for it.

    Returns:
        One row a method: `method`; `mean spread` over all epochs and `last spread`, geometric means; `balanced from
        epoch`, the range over seeds as text; `largest share, %` of a task in the sum of loss scales of the last epoch;
        `largest factor of a weight`, as `weight_factors` gives it. Numbers have `... low` and `... high`, see
        :func:`mtlrepro.analysis.verdicts.over_seeds`.
    """
    of_tasks = partial(largest_share_interval, parts=table["task"].nunique())
    spreads = spread(table)
    first, shares, factors = balanced_from(spreads), largest_shares(table), weight_factors(table)
    rows = []
    for method, runs in spreads.groupby("method", sort=False):
        last = runs[runs["epoch"] == runs["epoch"].max()]
        own = {"share": shares, "epoch": first, "factor": factors}
        values = {name: found.loc[found["method"] == method, name] for name, found in own.items()}
        row: dict[str, object] = {"method": method}
        row |= columns("mean spread", over_seeds(runs.groupby("seed")["spread"].mean(), spread_interval))
        row |= columns("last spread", over_seeds(last["spread"], spread_interval))
        row["balanced from epoch"] = _range(values["epoch"])
        row |= columns("largest share, %", over_seeds(values["share"], of_tasks))
        row |= columns("largest factor of a weight", over_seeds(values["factor"].clip(lower=1), excess_interval))
        rows.append(row)
    return pd.DataFrame(rows)


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
    last = table["epoch"].max()
    ordered = ", ".join(
        f"{method} from epoch {epoch:g} (the last {last - epoch + 1:g} of {last})" for method, epoch in reached.items()
    )
    missed = ", ".join(map(str, found.index[np.isinf(found)]))
    start = f"With {in_words(table['task'].nunique())} tasks, loss scales stay level to the end under"
    if not ordered:
        return f"{start} no method."
    return f"{start} {ordered}; not under {missed}." if missed else f"{start} {ordered}."


# --- figures ------------------------------------------------------------------------------------------


def curves_figure(table: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Draw weights above loss scales, a column a method and a line a task: the geometric mean over seeds.

    Args:
        table: As `history` gives it.
        methods: Columns, by title.
    """
    drawing = Figure(figsize=(7.2, 4.2), dpi=140, layout="constrained")
    axes = drawing.subplots(2, len(methods), sharex=True, sharey="row", squeeze=False)
    means = curves(table, methods)
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


def curves(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The numbers of `curves_figure`: one row a method, task and epoch, `weight` and `scale`."""
    own = table[table["method"].isin(methods)]
    logs = own.assign(weight=np.log(own["weight"]), scale=np.log(own["scale"]))
    means = logs.groupby(["method", "task", "epoch"], sort=False)[["weight", "scale"]].mean()
    return means.apply(np.exp).reset_index()


def by_epoch(table: pd.DataFrame, quantities: Sequence[str]) -> pd.DataFrame:
    """Write numbers of a figure in a compact form: a row a curve, a column an epoch, five significant digits.

    Of many epochs every second, third and so on is written, at most `COLUMNS`, and the last of each curve. Where curves
    have different lengths, the columns of a shorter one end as empty text.

    Args:
        table: Long table with `epoch`, the columns `quantities`, and others that tell curves apart.
        quantities: Columns of numbers.
    """
    keys = [name for name in table if name not in ("epoch", *quantities)]
    step = -(-table["epoch"].max() // COLUMNS)
    last = table.groupby(keys, sort=False)["epoch"].transform("max")
    kept = table[(table["epoch"] % step == 1 % step) | (table["epoch"] == last)]
    long = kept.melt([*keys, "epoch"], quantities, var_name="quantity")
    wide = long.pivot(index=[*keys, "quantity"], columns="epoch", values="value")
    rounded: pd.DataFrame = wide.map(lambda value: float(f"{value:.5g}"))
    rounded = rounded.astype(object).where(rounded.notna(), "") if rounded.isna().any(axis=None) else rounded
    return rounded.rename(columns=str).rename_axis(columns=None).reset_index()


def spreads(tables: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Spread over the epochs for several sets of tasks.

    Args:
        tables: Number of tasks to what `history` gives.

    Returns:
        One row a set, method and epoch: `tasks`, `method`, `epoch`; `mean`, `low` and `high` over seeds.
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
        rows: As `spreads` gives it.
    """
    sets, looks = list(dict.fromkeys(rows["tasks"])), styles(list(rows["method"]))
    drawing = Figure(figsize=(7.2, 3.4), dpi=140, layout="constrained")
    panels = drawing.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axes, count in zip(panels, sets, strict=True):
        for method, own in rows[rows["tasks"] == count].groupby("method", sort=False):
            colour, marker = looks[str(method)]
            every = max(len(own) // 5, 1)
            axes.plot(own["epoch"], own["mean"], color=colour, marker=marker, markevery=every, label=str(method))
            barred = own.iloc[::every]
            axes.vlines(barred["epoch"], barred["low"], barred["high"], color=colour, linewidth=1)
        axes.axhline(LEVEL, color="0.4", linestyle="--", linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set(xlabel="epoch", title=f"{in_words(count)} tasks")
    panels[0].set_ylabel("spread of log loss scales")
    legend(drawing, panels[0], 6)
    return drawing


# --- exhibits -----------------------------------------------------------------------------------------


def curves_exhibit(tables: Mapping[int, pd.DataFrame], methods: Sequence[str], name: str, conditions: str) -> Exhibit:
    """Weights and loss scales over the epochs, a picture for each set of tasks.

    Args:
        tables: Number of tasks to what `history` gives.
        methods: Columns, by title.
        name: Name of the table.
        conditions: Of the runs, as the end of the caption has them.
    """
    numbers = pd.concat([curves(own, methods).assign(tasks=count) for count, own in tables.items()])
    seeds = min(own["seed"].nunique() for own in tables.values())
    alt = (
        "Two rows of panels, weights above loss scales on logarithmic axes, a column for each method and a line for "
        "each task: the flatter the bundle of lines below, the better the balance."
    )
    return Exhibit(
        name=name,
        table=by_epoch(numbers, ["weight", "scale"]),
        caption=f"Weights above, loss scales below, a line for each task. {_findings(tables)} (Geometric means over "
        f"{seeds} seeds; level: {_level()}; {conditions}.)",
        frames={str(count): (curves_figure(own, methods), f"{count} tasks. {alt}") for count, own in tables.items()},
        sliders=("tasks",),
        uses=("scale", "seeds"),
        form="drawing",
        rtol=1e-4,
    )


def _findings(tables: Mapping[int, pd.DataFrame]) -> str:
    return " ".join(finding(own) for own in tables.values())


def _level() -> str:
    """What counts as level, in words."""
    return f"spread below {LEVEL:.2f}, in the median seed"


def spreads_exhibit(tables: Mapping[int, pd.DataFrame], name: str, conditions: str) -> Exhibit:
    """Spread of the log loss scales over the epochs, a panel for each set of tasks.

    Args:
        tables: Number of tasks to what `history` gives.
        name: Name of the table.
        conditions: Of the runs, as the end of the caption has them.
    """
    rows = spreads(tables)
    return Exhibit(
        name=name,
        table=by_epoch(rows, ["mean", "low", "high"]),
        caption=f"How far apart the loss scales are, by epoch. {_findings(tables)} (Lines: means over seeds; bars: all "
        f"seeds; dashed: level, {_level()}; {conditions}.)",
        figure=spread_figure(rows),
        alt="Spread of log loss scales against the epoch, one line a method, a panel for each set of tasks, with a "
        f"dashed line at {LEVEL:.2f}.",
        uses=("scale", "seeds"),
        form="drawing",
        rtol=1e-4,
    )
