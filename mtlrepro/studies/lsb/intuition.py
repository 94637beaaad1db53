"""The picture at the head of the chapter: which share of the total each task has, with equal weights and with LSB."""

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, panels
from mtlrepro.studies.lsb import method
from mtlrepro.studies.lsb.grids import TASKONOMY_RATE

EPOCHS = 8
SIZES = {"large loss": 4.0, "small loss": 0.4, "small loss, falls slowly": 0.4}
"""Made-up tasks to their loss in the first epoch."""
HALVED = (3.0, 3.0, 12.0)
"""Epochs in which the loss of each task is halved."""
ARMS = {"equal weights": "equal", "LSB": "lsb"}


def losses() -> pd.DataFrame:
    """Mean losses of three made-up tasks that fall exponentially, `[epochs, tasks]`; epochs count from 1."""
    epochs = np.arange(EPOCHS)
    falls = {task: size * 2 ** (-epochs / half) for (task, size), half in zip(SIZES.items(), HALVED, strict=True)}
    return pd.DataFrame(falls, index=pd.RangeIndex(1, EPOCHS + 1, name="epoch"))


def shares(rate: float = TASKONOMY_RATE) -> pd.DataFrame:
    """Share of each task's loss scale in their sum, in per cent, with equal weights and with LSB's own.

    Args:
        rate: Growth of LSB's beta per epoch.

    Returns:
        One row an arm of `ARMS`, epoch and task: `arm`, `epoch`, `task`, `share`.
    """
    own = losses()
    weights = {"equal": pd.DataFrame(1 / own.shape[1], own.index, own.columns), "lsb": method.weights(own, rate=rate)}
    parts = []
    for arm, name in ARMS.items():
        scales = weights[name] * own
        rows = (100 * scales.div(scales.sum(axis=1), axis=0)).reset_index().melt("epoch", var_name="task")
        parts.append(rows.rename(columns={"value": "share"}).assign(arm=arm))
    return pd.concat(parts, ignore_index=True)[["arm", "epoch", "task", "share"]]


def picture() -> Exhibit:
    """Stacked shares by epoch, equal weights on the left and LSB on the right; see :func:`shares`."""
    table = shares()
    figure, drawn = panels(len(ARMS), height=2.8)
    for axes, arm in zip(drawn, ARMS, strict=True):
        wide = table[table["arm"] == arm].pivot_table("share", "epoch", "task", sort=False)
        bottom = np.zeros(EPOCHS)
        for colour, task in zip(COLOURS, wide, strict=False):
            axes.bar(wide.index, wide[task], bottom=bottom, color=colour, width=0.9, label=task)
            bottom += wide[task].to_numpy()
        axes.set(title=arm, xlabel="epoch", ylim=(0, 100), xticks=wide.index)
    drawn[0].set_ylabel("share of the total, %")
    figure.legend(*drawn[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SIZES))
    last = table[table["epoch"] == EPOCHS].pivot_table("share", "arm", "task", sort=False)
    large, slow = (last[task] for task in (next(iter(SIZES)), list(SIZES)[-1]))
    return Exhibit(
        name="intuition",
        table=table,
        figure=figure,
        caption=f"With equal weights the task with the large loss makes up {number(large['equal weights'], 2)} % of the"
        " total in the last epoch, and so the others hardly count. LSB gives all tasks about the same share in the next"
        f" epoch, and from then on more to the one that falls slowly, {number(slow['LSB'], 2)} % in the last epoch."
        f" (Three made-up losses; β grows by {TASKONOMY_RATE:g} per epoch.)",
        alt="Stacked bars by epoch. On the left one colour fills most of every bar; on the right three colours share"
        " the bars evenly from the second epoch on, and one of them then grows.",
    )
