"""Both metrics in one plane: Figure 7 of the article, and whatever else is held against each other there."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtlrepro.analysis.verdicts import mean_interval, over_seeds
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import columns, fixed
from mtlrepro.studies.mtsgd.grids import JOINT, TABLE_2, TABLE_3, TABLE_4
from mtlrepro.studies.mtsgd.tables import AEPE, ALONE, LABELS, MIOU, Trained, title

X, Y = LABELS[AEPE], LABELS[MIOU]
"""Columns of the two axes; the better corner is the upper left."""


def point(runs: pd.DataFrame) -> dict[str, float]:
    """Both metrics of some runs, with the bounds of 95 %, of up to three seeds the range.

    Args:
        runs: One row a run, with both metrics.
    """
    return {
        name: value
        for metric, label in LABELS.items()
        for name, value in columns(label, over_seeds(runs[metric], mean_interval)).items()
    }


def draw(table: pd.DataFrame, joined: str = "") -> tuple[Figure, Axes]:
    """Draw points with their bars, a group in one colour.

    Args:
        table: One row a point: its `group`, and both metrics as `point` gives them.
        joined: Group whose points a line joins, in their order.
    """
    drawing, axes = figures.canvas(height=4.2)
    looks = figures.styles(list(dict.fromkeys(table["group"])))
    for group, own in table.groupby("group", sort=False):
        colour, marker = looks[str(group)]
        axes.errorbar(
            own[X],
            own[Y],
            xerr=_bars(own, X),
            yerr=_bars(own, Y),
            fmt=marker,
            color=colour,
            capsize=2,
            label=str(group),
            linestyle="--" if group == joined else "none",
            linewidth=1,
        )
    axes.set_xlabel(f"{X} (lower is better)")
    axes.set_ylabel(f"{Y} (higher is better)")
    figures.legend(drawing, axes, 2)
    return drawing, axes


def _bars(table: pd.DataFrame, label: str) -> np.ndarray:
    bars: np.ndarray = np.abs(table[[f"{label} low", f"{label} high"]].to_numpy().T - table[label].to_numpy())
    return bars


def points(trained: Trained) -> pd.DataFrame:
    """Points of Figure 7: each row of the tables with a run or more.

    Args:
        trained: What `tables.load` gives.

    Returns:
        `group`, `name`, and both metrics with their bounds.
    """
    groups = {
        "joint SGD": [JOINT],
        "joint SGD, no decay": list(TABLE_3[:1]),
        "MTSGD, channel": list(TABLE_2[1:]),
        "MTSGD, channel, no decay": list(TABLE_3[1:]),
        **{f"MTSGD, {level}": [cell for cell in TABLE_4 if cell.level == level] for level in ("filter", "parameter")},
    }
    found = [
        {"group": group, "name": title(cell), **point(trained.cells[cell])}
        for group, cells in groups.items()
        for cell in cells
        if len(trained.cells[cell])
    ]
    return pd.DataFrame(found)


def exhibit(trained: Trained) -> Exhibit:
    """Figure 7: the rows of the tables in the plane of both metrics.

    Args:
        trained: What `tables.load` gives.
    """
    table = points(trained)
    drawing, axes = draw(table)
    alone = trained.single.mean()
    axes.axhline(alone[MIOU], color="0.5", linestyle=":", linewidth=1)
    axes.axvline(alone[AEPE], color="0.5", linestyle=":", linewidth=1)
    caption = (
        "Both metrics in one plane (Figure 7 with its axes exchanged): the better corner is the upper left. By their "
        f"means {int((table[Y] < alone[MIOU]).sum())} of {len(table)} rows have less mIoU than segmentation alone, "
        f"{fixed(alone[MIOU])} %, and {int((table[X] > alone[AEPE]).sum())} more error than disparity alone, "
        f"{fixed(alone[AEPE], 3)} px."
        f"{trained.left_out([*map(title, trained.cells), *ALONE])} (Dotted: "
        "single tasks; bars: 95 %, the range of up to three seeds.)"
    )
    return Exhibit(
        name="figure_7",
        table=table,
        caption=caption,
        figure=drawing,
        alt="A plane of AEPE and mIoU with a point for each row of the tables, and dotted lines at single-task "
        "learning.",
        uses=("scale", "comparison_seeds"),
        form="drawing",
    )
