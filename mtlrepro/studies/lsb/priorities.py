"""Figure S-6 of loss scale balancing (LSB): two tasks at a time, priorities of LSB against fixed weights.

The figure itself is lost and its text names no axes, but points "to the upper right" are better. So each axis is, by
reconstruction, the first metric of the task in Table S-3, all of which are in % and better when higher. A front is
scored by its hypervolume, and methods are compared in pairs of the same seed.
"""

from itertools import permutations

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import hypervolume
from mtlrepro.studies.hypervolume import EVERY, Plane

AXES = {"depth": "depth.delta1", "normal": "normal.within_30", "segmentation": "segmentation.miou"}
"""Metric of each task; higher is better."""
PLANES = {plane.name: plane for x, y in permutations(AXES.values(), 2) for plane in [Plane(x, y)]}
"""Planes of two tasks by name."""
FIXED, LSB = "fixed weights", "LSB with priorities"
OPTIONS = {FIXED: ("fixed", "weights"), LSB: ("lsb", "priority")}
"""Balancer and option that holds the two priorities or weights."""


def points(runs: pd.DataFrame) -> pd.DataFrame:
    """Place the runs of all pairs of tasks, see `studies.hypervolume.points`.

    Args:
        runs: The grid of `lsb.grids.priorities`.

    Returns:
        One row a run; `share` is the priority or weight of `x_task`, which with that of `y_task` makes 1.

    Raises:
        ValueError: A task has no axis.
    """
    families = []
    for name, (method, option) in OPTIONS.items():
        own = runs[runs["method"] == method]
        families.append(own.assign(method=name, share=own[f"method_options.{option}"].str[0].astype(float)))
    both = pd.concat(families)
    for task in both["tasks"].explode():
        if task not in AXES:
            raise ValueError(f"task is {task!r}; accepted: {', '.join(AXES)}")
    pairs = both.groupby(both["tasks"].str.join(" and "))
    return pd.concat([hypervolume.points(own, PLANES[str(pair)]) for pair, own in pairs], ignore_index=True)


def compared(operating: pd.DataFrame) -> pd.DataFrame:
    """Hypervolumes of LSB's fronts and of those of fixed weights, see `studies.hypervolume.differences`."""
    return hypervolume.differences(hypervolume.hypervolumes(operating, PLANES), LSB, FIXED)


def finding(table: pd.DataFrame) -> str:
    """Differences of hypervolume in a sentence.

    Args:
        table: As `compared` gives it.
    """
    texts = [f"{row['pair']} {Interval(row['difference'], row['low'], row['high'])}" for _, row in table.iterrows()]
    return f"Hypervolume of LSB less that of fixed weights, in % of the box, paired 95 % intervals: {'; '.join(texts)}."


def claims(operating: pd.DataFrame) -> list[Verdict]:
    """Judge Section 7: LSB's fronts against those of fixed weights; and ask whether priorities control the tasks.

    The section does not say that a larger priority improves its task, but priorities are of no use otherwise: that
    question is ours. Its range is over seeds, as shares have no Student interval.

    Args:
        operating: As `points` gives it.
    """
    seeds = operating["seed"].nunique()
    found = [
        Verdict(
            "LSB with priorities performs better than fixed weights with the same numbers",
            "Section 7, Figure S-6",
            0.0,
            0.0,
            Interval(-row["difference"], -row["high"], -row["low"]),
            below=True,
            reading=f"hypervolume of fixed weights less LSB's, % of the box, mean of {seeds} seeds [paired 95 %, not "
            "corrected]",
            case=row["pair"],
            finding=4,
        )
        for _, row in compared(operating).iterrows()
        if row["pair"] != EVERY
    ]
    inverted = hypervolume.inversions(operating, PLANES)
    worst = hypervolume.worst(inverted, LSB)
    asked = "A larger priority gives its task the worse metric less often than by chance"
    return [
        *found,
        *(
            Verdict(
                claim,
                "our question",
                50.0,
                0.0,
                measured,
                below=True,
                reading=f"% of all pairs of priorities, mean [range] of {seeds} seeds; chance is 50 %",
                case=case,
                kind="ours",
            )
            for claim, measured, case in (
                (f"{asked}, on average over tasks", hypervolume.obedience(inverted)[LSB], ""),
                (f"{asked}, for the task with which it does so most often", worst.interval, worst.title),
            )
        ),
    ]


# --- exhibits -----------------------------------------------------------------------------------------


def fronts_exhibit(operating: pd.DataFrame) -> Exhibit:
    """The fronts of both methods, a panel for each pair of tasks.

    Args:
        operating: As `points` gives it.
    """
    return Exhibit(
        name="priorities",
        table=operating,
        caption=finding(compared(operating)),
        figure=hypervolume.figure(operating, PLANES),
        alt="Three panels, one a pair of tasks: a curve of operating points of LSB with priorities and one of fixed "
        "weights, with the shares of both tasks at their ends and pale dots for single runs.",
        uses=("scale", "seeds"),
        form="drawing",
    )


def hypervolumes_exhibit(operating: pd.DataFrame) -> Exhibit:
    """Hypervolumes of both methods in pairs of the same seed.

    Args:
        operating: As `points` gives it.
    """
    table = compared(operating)
    caption = (
        f"{finding(table)} p is exact, of the signs of {operating['seed'].nunique()} differences, and cannot be below "
        f"{table['p_reachable'].min():g}; p_holm is corrected over the pairs of tasks. {hypervolume.deciding(table)}"
    )
    texts = ["no number" if np.isinf(seeds) else f"{seeds:.0f}" for seeds in table["seeds"]]
    return Exhibit(name="hypervolumes", table=table.assign(seeds=texts), caption=caption)


def control_exhibit(operating: pd.DataFrame) -> Exhibit:
    """How often a task is worse where its priority or weight is larger.

    Args:
        operating: As `points` gives it.
    """
    inverted = hypervolume.inversions(operating, PLANES)
    return Exhibit(name="control", table=hypervolume.control(inverted), caption=hypervolume.control_finding(inverted))
