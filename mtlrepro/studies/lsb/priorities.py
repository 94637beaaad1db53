"""Figure S-6 of loss scale balancing (LSB): two tasks at a time, priorities of LSB against fixed weights.

The figure itself is lost and its text names no axes, but points "to the upper right" are better. So each axis is, by
reconstruction, the first metric of the task in Table S-3, all of which are in % and better when higher. A front is
scored by its hypervolume, and methods are compared in pairs of the same seed.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtlrepro.analysis.compare import hypervolume
from mtlrepro.analysis.significance import permutation_test
from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, MARKERS, legend
from mtlrepro.studies.lsb.scores import TABLE_S3

AXES = {"depth": "depth.delta1", "normal": "normal.within_30", "segmentation": "segmentation.miou"}
"""Metric of each task; higher is better."""
FIXED, LSB = "fixed weights", "LSB with priorities"
OPTIONS = {FIXED: ("fixed", "weights"), LSB: ("lsb", "priority")}
"""Balancer and option that holds the two priorities or weights."""
EVERY = "every pair"


def points(runs: pd.DataFrame) -> pd.DataFrame:
    """Operating points.

    Args:
        runs: The grid of :func:`mtlrepro.studies.lsb.grids.priorities`.

    Returns:
        One row a run: ``pair`` of tasks in words, ``x_task`` and ``y_task``; ``method``; ``share``, the priority or
        weight of ``x_task``, which with that of ``y_task`` makes 1; ``seed``; and the metrics ``x`` and ``y`` in %.

    Raises:
        ValueError: a task has no axis.
    """
    parts = []
    for name, (method, option) in OPTIONS.items():
        own = runs[runs["method"] == method]
        parts.append(own.assign(method=name, share=own[f"method_options.{option}"].str[0].astype(float)))
    found = pd.concat(parts)
    found["x_task"], found["y_task"] = found["tasks"].str[0], found["tasks"].str[1]
    for task in (*found["x_task"], *found["y_task"]):
        if task not in AXES:
            raise ValueError(f"task is {task!r}; accepted: {', '.join(AXES)}")
    for axis in ("x", "y"):
        found[axis] = [float(row[AXES[row[f"{axis}_task"]]]) for _, row in found.iterrows()]
    found["pair"] = found["x_task"] + " and " + found["y_task"]
    columns = ["pair", "x_task", "y_task", "method", "share", "seed", "x", "y"]
    return found[columns].sort_values(columns[:6], kind="stable").reset_index(drop=True)


def hypervolumes(operating: pd.DataFrame) -> pd.DataFrame:
    """Hypervolume of the front of each method and seed, in % of a box (Zitzler and Thiele 1998).

    The box of a pair goes from the worst to the best value of each metric over all its runs, of both methods and all
    seeds; the worst corner is the reference point. So the end of a front that is worst in one metric counts nothing.

    Args:
        operating: As :func:`points` gives it.

    Returns:
        One row a pair, method and seed: ``pair``, ``method``, ``seed``, ``hypervolume``.

    Raises:
        ValueError: a metric of a pair is the same in all runs.
    """
    rows = []
    for pair, own in operating.groupby("pair", sort=False):
        low, high = own[["x", "y"]].min(), own[["x", "y"]].max()
        if not (high > low).all():
            raise ValueError(f"a metric of {pair} is the same in all runs; accepted: one that varies")
        for (method, seed), front in own.groupby(["method", "seed"], sort=False):
            volume = hypervolume((front[["x", "y"]] - low) / (high - low), (0, 0))
            rows.append((pair, method, seed, 100 * volume))
    return pd.DataFrame(rows, columns=["pair", "method", "seed", "hypervolume"])


def differences(volumes: pd.DataFrame) -> pd.DataFrame:
    """Compare the hypervolumes of both methods, paired by seed.

    Args:
        volumes: As :func:`hypervolumes` gives it.

    Returns:
        One row a pair of tasks, and one for the mean over pairs of a seed: ``pair``; the means of both methods, by
        name; ``difference``, LSB less fixed weights, with ``low`` and ``high`` of Student's interval over seeds; exact
        ``p`` and the smallest ``p_reachable``: with three seeds 0.25, so no outcome of three is significant.
    """
    every = volumes.groupby(["method", "seed"], sort=False)["hypervolume"].mean().reset_index().assign(pair=EVERY)
    rows = []
    for pair, own in pd.concat([volumes, every]).groupby("pair", sort=False):
        wide = own.pivot(index="seed", columns="method", values="hypervolume")
        gain = mean_interval(wide[LSB] - wide[FIXED])
        test = permutation_test(wide[LSB], wide[FIXED], paired=True)
        bounds = (gain.value, gain.low, gain.high, test.p_value, test.smallest_p_value)
        rows.append((pair, wide[FIXED].mean(), wide[LSB].mean(), *bounds))
    return pd.DataFrame(rows, columns=["pair", FIXED, LSB, "difference", "low", "high", "p", "p_reachable"])


def finding(compared: pd.DataFrame) -> str:
    """Differences of hypervolume in a sentence.

    Args:
        compared: As :func:`differences` gives it.
    """
    texts = [f"{row['pair']} {Interval(row['difference'], row['low'], row['high'])}" for _, row in compared.iterrows()]
    return f"Hypervolume of LSB less that of fixed weights, in % of the box, 95 % over seeds: {'; '.join(texts)}."


def inversions(operating: pd.DataFrame) -> pd.DataFrame:
    """How often a task is worse where its priority or weight is larger: 0 % obeys, 50 % is chance, 100 % is reversed.

    Counted over all pairs of two priorities of a front; equal metrics count one half. With Kendall's tau it is
    (1 - tau) / 2.

    Args:
        operating: As :func:`points` gives it.

    Returns:
        One row a pair, method, task and seed: ``pair``, ``method``, ``task``, ``seed``, ``inversions`` in %.
    """
    rows = []
    for (pair, method, seed), front in operating.groupby(["pair", "method", "seed"], sort=False):
        for axis, sign in (("x", 1), ("y", -1)):
            values = (sign * front.sort_values("share")[axis]).to_numpy()
            wrong = [(1 - np.sign(later - earlier)) / 2 for earlier, later in combinations(values, 2)]
            rows.append((pair, method, front[f"{axis}_task"].iloc[0], seed, 100 * float(np.mean(wrong))))
    return pd.DataFrame(rows, columns=["pair", "method", "task", "seed", "inversions"])


def control(inverted: pd.DataFrame) -> pd.DataFrame:
    """Mean share of inversions of each method, pair and task with its interval over seeds.

    Args:
        inverted: As :func:`inversions` gives it.

    Returns:
        ``pair``, ``task``, ``method``, ``mean``, ``low``, ``high``, in %.
    """
    rows = []
    for keys, own in inverted.groupby(["pair", "task", "method"], sort=False):
        interval = mean_interval(own["inversions"])
        rows.append((*keys, interval.value, interval.low, interval.high))
    return pd.DataFrame(rows, columns=["pair", "task", "method", "mean", "low", "high"])


def obedience(inverted: pd.DataFrame) -> dict[str, Interval]:
    """Mean share of inversions by method over pairs and tasks, in %, with its interval over seeds."""
    means = inverted.groupby(["method", "seed"], sort=False)["inversions"].mean()
    return {str(name): mean_interval(values) for name, values in means.groupby("method", sort=False)}


def control_finding(inverted: pd.DataFrame) -> str:
    """How often priorities and fixed weights are not obeyed, in a sentence.

    Args:
        inverted: As :func:`inversions` gives it.
    """
    texts = [f"{interval} % with {method}" for method, interval in obedience(inverted).items()]
    return f"Of two shares, the larger gives its task the worse metric in {' and '.join(texts)}; chance is 50 %."


def claims(operating: pd.DataFrame) -> list[Verdict]:
    """Judge Section 7: LSB's fronts against those of fixed weights, and whether priorities control the tasks.

    The section does not say that a larger priority improves its task, but priorities are of no use otherwise.

    Args:
        operating: As :func:`points` gives it.
    """
    found = [
        Verdict(
            f"LSB with priorities beats fixed weights in {row['pair']}: hypervolume of fixed weights less LSB's, in %",
            "Section 7, Figure S-6",
            0.0,
            0.0,
            Interval(-row["difference"], -row["high"], -row["low"]),
            below=True,
        )
        for _, row in differences(hypervolumes(operating)).iterrows()
        if row["pair"] != EVERY
    ]
    obeyed = obedience(inversions(operating))[LSB]
    claim = "A larger priority gives its task the worse metric in less than half of all pairs of priorities, in %"
    return [*found, Verdict(claim, "Section 7, implied", 50.0, 0.0, obeyed, below=True)]


def figure(operating: pd.DataFrame) -> Figure:
    """Draw the fronts, a panel for each pair of tasks: lines through means over seeds, pale dots for single runs.

    Numbers at the ends of a line are the priorities or weights of both tasks, that of the horizontal axis first.

    Args:
        operating: As :func:`points` gives it.
    """
    pairs = list(operating.groupby("pair", sort=False))
    drawing = Figure(figsize=(7.2, 3.2), layout="constrained")
    frames = drawing.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (_, own) in zip(frames, pairs, strict=True):
        for index, (method, runs) in enumerate(own.groupby("method", sort=False)):
            look = {"marker": MARKERS[index], "color": COLOURS[index]}
            means = runs.groupby("share")[["x", "y"]].mean()
            axes.plot(runs["x"], runs["y"], linestyle="none", alpha=0.3, markeredgewidth=0, **look)
            axes.plot(means["x"], means["y"], label=str(method), **look)
            for share in (means.index.min(), means.index.max()):
                axes.annotate(
                    f"{share:g} : {1 - share:g}",
                    tuple(means.loc[share]),
                    xytext=(-5, -11) if index else (5, 5),
                    textcoords="offset points",
                    ha="right" if index else "left",
                    color=COLOURS[index],
                    fontsize=8,
                )
        for axis, text in (("x", axes.set_xlabel), ("y", axes.set_ylabel)):
            task = own[f"{axis}_task"].iloc[0]
            text(f"{task}: {TABLE_S3.labels[AXES[task]]}", fontsize=9)
        axes.margins(0.25, 0.15)
        axes.tick_params(left=False, bottom=False)
    legend(drawing, frames[0], 2)
    return drawing


# --- exhibits -----------------------------------------------------------------------------------------


def fronts_exhibit(operating: pd.DataFrame) -> Exhibit:
    """The fronts of both methods, a panel for each pair of tasks.

    Args:
        operating: As :func:`points` gives it.
    """
    return Exhibit(
        name="priorities",
        table=operating,
        caption=finding(differences(hypervolumes(operating))),
        figure=figure(operating),
        alt="Three panels, one a pair of tasks: a curve of operating points of LSB with priorities and one of fixed "
        "weights, with the shares of both tasks at their ends and pale dots for single runs.",
        uses=("scale", "seeds"),
        form="drawing",
    )


def hypervolumes_exhibit(operating: pd.DataFrame) -> Exhibit:
    """Hypervolumes of both methods in pairs of the same seed.

    Args:
        operating: As :func:`points` gives it.
    """
    caption = "Hypervolume in % of the box, paired by seed; p: exact, of the signs."
    return Exhibit(name="hypervolumes", table=differences(hypervolumes(operating)), caption=caption)


def control_exhibit(operating: pd.DataFrame) -> Exhibit:
    """How often a task is worse where its priority or weight is larger.

    Args:
        operating: As :func:`points` gives it.
    """
    inverted = inversions(operating)
    return Exhibit(name="control", table=control(inverted), caption=control_finding(inverted))
