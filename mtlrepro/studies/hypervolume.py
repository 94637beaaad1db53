"""Families of runs as fronts in the plane of two metrics: the area that they dominate, and whether shares are obeyed.

A family is, for example, a method with several priorities, a set of fixed weights, or one method, which is one point.
Families are compared in pairs of the same seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtlrepro.analysis import compare
from mtlrepro.analysis.significance import holm, pairs_needed, permutation_test
from mtlrepro.analysis.verdicts import Interval, mean_interval, range_interval
from mtlrepro.pages.figures import legend, styles
from mtlrepro.studies.scores import Scores

EVERY = "every pair"
"""Name of the mean over all planes."""


@dataclass(frozen=True)
class Plane:
    """Two metrics, each `TASK.METRIC`.

    Attributes:
        x: On the horizontal axis.
        y: On the vertical axis.
    """

    x: str
    y: str

    @property
    def tasks(self) -> tuple[str, str]:
        """Task of each metric."""
        return self.x.split(".")[0], self.y.split(".")[0]

    @property
    def name(self) -> str:
        """Both tasks in words."""
        return " and ".join(self.tasks)

    @property
    def labels(self) -> tuple[str, str]:
        """Text of each axis."""
        measures = Scores.of([self.x, self.y]).metrics
        x, y = (f"{task}: {measures[metric].label}" for task, metric in zip(self.tasks, (self.x, self.y), strict=True))
        return x, y

    def larger_is_better(self, points: pd.DataFrame) -> pd.DataFrame:
        """Columns `x` and `y` of some points, with the signs of metrics turned for which lower is better."""
        higher = Scores.of([self.x, self.y]).higher
        return points[["x", "y"]] * [1 if higher[metric] else -1 for metric in (self.x, self.y)]


Planes = Mapping[str, Plane]
"""Planes by name."""


def points(runs: pd.DataFrame, plane: Plane) -> pd.DataFrame:
    """Place runs in a plane.

    Args:
        runs: One row a run: `method`, its family; `share`, which of the family's points it belongs to, a number where
            it is what the task on the horizontal axis is given of 1, and else any text; `seed`; and both metrics.
        plane: Where to place them.

    Returns:
        One row a run, sorted: `pair`, the plane's name, `x_task` and `y_task`; `method`, `share` and `seed`; and the
        metrics `x` and `y` in their own units.
    """
    x_task, y_task = plane.tasks
    placed = runs.assign(
        pair=plane.name, x_task=x_task, y_task=y_task, x=runs[plane.x].astype(float), y=runs[plane.y].astype(float)
    )
    columns = ["pair", "x_task", "y_task", "method", "share", "seed", "x", "y"]
    return placed[columns].sort_values(columns[:6], kind="stable").reset_index(drop=True)


def hypervolumes(operating: pd.DataFrame, planes: Planes) -> pd.DataFrame:
    """Hypervolume of the front of each family and seed, in % of a box (Zitzler and Thiele 1998).

    The box of a plane goes from the worst to the best value of each metric over all its runs, of all families and
    seeds; the worst corner is the reference point. So the end of a front that is worst in one metric counts nothing.

    Args:
        operating: As `points` gives it, of any number of planes.
        planes: These planes.

    Returns:
        One row a plane, family and seed: `pair`, `method`, `seed`, `hypervolume`.

    Raises:
        ValueError: A metric of a plane is the same in all runs.
    """
    rows = []
    for pair, own in operating.groupby("pair", sort=False):
        values = planes[str(pair)].larger_is_better(own)
        low, high = values.min(), values.max()
        if not (high > low).all():
            raise ValueError(f"a metric of {pair} is the same in all runs; accepted: one that varies")
        for (method, seed), front in values.groupby([own["method"], own["seed"]], sort=False):
            volume = compare.hypervolume((front - low) / (high - low), (0, 0))
            rows.append((pair, method, seed, 100 * volume))
    return pd.DataFrame(rows, columns=["pair", "method", "seed", "hypervolume"])


def differences(volumes: pd.DataFrame, method: str, reference: str) -> pd.DataFrame:
    """Compare the hypervolumes of two families, paired by seed.

    Args:
        volumes: As `hypervolumes` gives it.
        method: A family.
        reference: The family that it is compared with.

    Returns:
        One row a plane, and one for the mean over planes of a seed: `pair`; the means of both families, by name;
        `difference`, positive where `method` has more, with `low` and `high` of Student's interval over seeds; exact
        `p`, `p_holm` over the planes, and the smallest `p_reachable`: with three seeds 0.25, so no outcome of three is
        significant; and `seeds`, the pairs with which a t-test would find an effect of that size, see `pairs_needed`.
    """
    every = volumes.groupby(["method", "seed"], sort=False)["hypervolume"].mean().reset_index().assign(pair=EVERY)
    rows = []
    for pair, own in pd.concat([volumes, every]).groupby("pair", sort=False):
        wide = own.pivot(index="seed", columns="method", values="hypervolume")
        gain = mean_interval(wide[method] - wide[reference])
        test = permutation_test(wide[method], wide[reference], paired=True)
        bounds = (gain.value, gain.low, gain.high, test.p_value, test.smallest_p_value)
        seeds = pairs_needed(wide[method] - wide[reference])
        rows.append((pair, wide[reference].mean(), wide[method].mean(), *bounds, seeds))
    names = ["pair", reference, method, "difference", "low", "high", "p", "p_reachable", "seeds"]
    found = pd.DataFrame(rows, columns=names)
    planes = found["pair"] != EVERY
    found.insert(7, "p_holm", found["p"].mask(planes, found["p"].where(planes).pipe(_holm)))
    return found


def _holm(p: pd.Series) -> pd.Series:
    """Holm's correction over the values that are there."""
    there = p.dropna()
    return pd.Series(holm(there), index=there.index).reindex(p.index)


def deciding(table: pd.DataFrame) -> str:
    """How many seeds would decide each difference, in a sentence.

    Args:
        table: As `differences` gives it.
    """
    parts = [
        f"{row['pair']} {'no number' if np.isinf(row['seeds']) else format(row['seeds'], '.0f')}"
        for _, row in table.iterrows()
    ]
    return (
        "Seeds with which a paired t-test at 5 % would find an effect of the observed size in 80 % of all repetitions: "
        f"{'; '.join(parts)}."
    )


# --- do shares control the tasks? ---------------------------------------------------------------------


def inversions(operating: pd.DataFrame, planes: Planes) -> pd.DataFrame:
    """How often a task is worse where its share is larger: 0 % obeys, 50 % is chance, 100 % is reversed.

    Counted over all pairs of two shares of a front; equal metrics count one half. With Kendall's tau it is
    (1 - tau) / 2.

    Args:
        operating: As `points` gives it, with shares that are numbers.
        planes: Its planes.

    Returns:
        One row a plane, family, task and seed: `pair`, `method`, `task`, `seed`, `inversions` in %.
    """
    rows = []
    for (pair, method, seed), front in operating.groupby(["pair", "method", "seed"], sort=False):
        plane = planes[str(pair)]
        values = plane.larger_is_better(front.sort_values("share"))
        for task, along in zip(plane.tasks, (values["x"], -values["y"]), strict=True):
            wrong = [(1 - np.sign(later - earlier)) / 2 for earlier, later in combinations(along, 2)]
            rows.append((pair, method, task, seed, 100 * float(np.mean(wrong))))
    return pd.DataFrame(rows, columns=["pair", "method", "task", "seed", "inversions"])


def control(inverted: pd.DataFrame) -> pd.DataFrame:
    """Mean share of inversions of each family, plane and task with its range over seeds.

    Shares of so few pairs often are 0 in every run, where a Student interval would leave 0 to 100 % or have no width.

    Args:
        inverted: As `inversions` gives it.

    Returns:
        `pair`, `task`, `method`, `mean`, `low`, `high`, in %.
    """
    rows = []
    for keys, own in inverted.groupby(["pair", "task", "method"], sort=False):
        interval = range_interval(own["inversions"])
        rows.append((*keys, interval.value, interval.low, interval.high))
    return pd.DataFrame(rows, columns=["pair", "task", "method", "mean", "low", "high"])


def obedience(inverted: pd.DataFrame) -> dict[str, Interval]:
    """Mean share of inversions by family over planes and tasks, in %, with its range over seeds."""
    means = inverted.groupby(["method", "seed"], sort=False)["inversions"].mean()
    return {str(name): range_interval(values) for name, values in means.groupby("method", sort=False)}


@dataclass(frozen=True)
class Worst:
    """The task whose shares are obeyed least.

    Attributes:
        title: The task and its pair, in words.
        interval: Its mean share of inversions, in %, with the range over seeds.
    """

    title: str
    interval: Interval


def worst(inverted: pd.DataFrame, method: str) -> Worst:
    """Find the task of a pair with the largest mean share of inversions.

    Args:
        inverted: As `inversions` gives it.
        method: A family.
    """
    own = control(inverted)
    row = own[own["method"] == method].sort_values("mean").iloc[-1]
    return Worst(f"{row['task']} in {row['pair']}", Interval(row["mean"], row["low"], row["high"]))


def control_finding(inverted: pd.DataFrame) -> str:
    """How often shares are not obeyed, in a sentence.

    Args:
        inverted: As `inversions` gives it.
    """
    texts, most = [], []
    for method, interval in obedience(inverted).items():
        found = worst(inverted, method)
        texts.append(f"{interval} % with {method}")
        most.append(f"{found.title} {found.interval} % with {method}")
    return (
        f"Of two shares, the larger gives its task the worse metric in {' and '.join(texts)}, on average over tasks; "
        f"most often for {' and '.join(most)}; chance is 50 %. Brackets: range over seeds."
    )


# --- figure -------------------------------------------------------------------------------------------


def figure(operating: pd.DataFrame, planes: Planes) -> Figure:
    """Draw the fronts, a panel for each plane: lines through means over seeds, pale dots for single runs.

    Where shares are numbers, the line goes through all points in their order, and texts at its ends are the shares of
    both tasks, that of the horizontal axis first. Otherwise it goes through the points that no other one dominates.

    Args:
        operating: As `points` gives it, of any number of planes.
        planes: These planes.
    """
    pairs = list(operating.groupby("pair", sort=False))
    drawing = Figure(figsize=(7.2, 3.2), layout="constrained")
    panels = drawing.subplots(1, len(pairs), squeeze=False)[0]
    looks = styles(list(operating["method"]))
    for axes, (pair, own) in zip(panels, pairs, strict=True):
        plane = planes[str(pair)]
        for index, (method, runs) in enumerate(own.groupby("method", sort=False)):
            _family(axes, plane, runs, index, str(method), looks[str(method)])
        axes.set_xlabel(plane.labels[0], fontsize=9)
        axes.set_ylabel(plane.labels[1], fontsize=9)
        axes.margins(0.25, 0.15)
        axes.tick_params(left=False, bottom=False)
    legend(drawing, panels[0], min(operating["method"].nunique(), 4))
    return drawing


def _family(axes: Axes, plane: Plane, runs: pd.DataFrame, index: int, label: str, look: tuple[str, str]) -> None:
    colour, marker = look
    means = runs.groupby("share")[["x", "y"]].mean()
    ordered = pd.to_numeric(runs["share"], errors="coerce").notna().all()
    line = means if ordered else undominated(means, plane)
    axes.plot(runs["x"], runs["y"], marker, color=colour, alpha=0.3, markeredgewidth=0)
    axes.plot(line["x"], line["y"], marker=marker, color=colour, label=label)
    for share in (means.index.min(), means.index.max()) if ordered else ():
        axes.annotate(
            f"{share:g} : {1 - share:g}",
            tuple(means.loc[share]),
            xytext=(-5, -11) if index else (5, 5),
            textcoords="offset points",
            ha="right" if index else "left",
            color=colour,
            fontsize=8,
        )


def undominated(means: pd.DataFrame, plane: Plane) -> pd.DataFrame:
    """Points than which no other one is better in one metric and at least as good in the other, from left to right.

    Args:
        means: Points in their own units, `x` and `y`.
        plane: Says which direction is better.
    """
    values = plane.larger_is_better(means).to_numpy()
    at_least, above = ((op(values[:, None], values)) for op in (np.greater_equal, np.greater))
    dominated = (at_least.all(axis=2) & above.any(axis=2)).any(axis=0)
    kept: pd.DataFrame = means[~dominated].sort_values("x")
    return kept
