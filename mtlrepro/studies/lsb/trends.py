"""Figures S-2 to S-4 of loss scale balancing (LSB): how level loss scales become, and what Section 5 says of it."""

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, geometric_interval, mean_interval, range_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import trends as studies_trends
from mtlrepro.studies.comparison import in_words
from mtlrepro.studies.scores import METHODS, method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.studies.trends import LEVEL
from mtlrepro.tasks import DISPLAYS
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record

SOURCE = "Section 5"
OURS = "our question"
SLOWER = ("equal", "uncertainty", "DWA")
"""Methods that Section 5 says LSB is faster than; it does not compare their speed with that of GLS or GradNorm."""
SMALL = "keypoints2d"
"""Task whose loss is small in the supplement."""
SHOWN = ("equal", "DWA", "uncertainty", "GLS", "LSB")
"""Methods whose weights and loss scales are drawn."""


def reach(table: pd.DataFrame, config: RunConfig, setting: Setting) -> str:
    """State how far uncertainty weighting got, and how far it could get.

    AdamW moves a parameter by about its learning rate a step, whatever the gradient's size, and the weights are
    exponentials of parameters. To level the loss scales takes the quotient that they have under equal weights.

    Args:
        table: As `studies.trends.history` gives it, with both methods.
        config: Any of the stored runs; learning rate and steps are those of all of them.
        setting: Holds the store.

    Raises:
        KeyError: The run is not stored.
    """
    last = table[table["epoch"] == table["epoch"].max()]
    moved = last[last["method"] == method_title("uncertainty")]["weight"].max() * len(config.tasks)
    scales = last[last["method"] == method_title("equal")].groupby("seed")["scale"]
    needed = float((scales.max() / scales.min()).median())
    steps = _steps(setting.records([config])[config.hash])
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
    count = f"{in_words(table['task'].nunique())} tasks"
    epochs = table["epoch"].max()
    found = []
    if "segmentation" in set(table["task"]):
        for method in (method_title("equal"), method_title("dwa")):
            claim = f"{method}: segmentation has the largest loss scale throughout the training; % of epochs"
            share = range_interval(_dominated(table, method, "segmentation"))
            found.append(Verdict(f"{claim}, {count}", SOURCE, 100, 100 / epochs, share))
    spreads = studies_trends.spread(table)
    means = spreads.groupby(["method", "seed"], sort=False)["spread"].mean().unstack(0)
    ends = spreads.query("epoch == 2 or epoch == @epochs").pivot_table("spread", ["method", "seed"], "epoch")
    level = (ends[epochs] / ends[2]).loc[method_title("uncertainty")]
    claim = f"uncertainty: loss scales converge; spread of the last epoch over that of the second, {count}"
    found.append(Verdict(claim, SOURCE, 1, 0, geometric_interval(level), below=True))
    claim = f"uncertainty: loss scales end at a similar level after {epochs} epochs; spread of the last, {count}"
    last = mean_interval(ends.loc[method_title("uncertainty"), epochs])
    found.append(Verdict(claim, SOURCE, round(LEVEL, 3), 0, last, below=True))
    for method in [name for name in METHODS.values() if name in means and name != method_title("lsb")]:
        quotient = geometric_interval(means[method_title("lsb")] / means[method])
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
        if method == method_title("lsb"):
            claim = f"LSB: {title} end with their share of the loss scales, in %"
            found.append(Verdict(claim, SOURCE, fair, fair / 4, own))
        else:
            claim = f"{method}: {title} end with less than half their share, in %"
            found.append(Verdict(claim, SOURCE, fair / 2, 0, own, below=True))
    return found


# --- exhibits -----------------------------------------------------------------------------------------


def balance_exhibit(table: pd.DataFrame, config: RunConfig, setting: Setting) -> Exhibit:
    """How level the loss scales of one set of tasks are.

    Args:
        table: As `studies.trends.history` gives it.
        config: Any of its runs.
        setting: Holds the store.
    """
    count = table["task"].nunique()
    caption = f"{studies_trends.finding(table)} {reach(table, config, setting)}"
    return Exhibit(name=f"balance_{count}", table=studies_trends.summary(table), caption=caption)
