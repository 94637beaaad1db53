"""Figure S-5 of loss scale balancing (LSB): how eight tasks are learned, and which methods Figures S-7 to S-9 show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, geometric_interval, mean_interval, plus_minus
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import predictions as studies_predictions
from mtlrepro.studies.predictions import SUM, Shown
from mtlrepro.studies.setting import Setting
from mtlrepro.tasks import DISPLAYS
from mtlrepro.training.config import RunConfig

SMALL = ("edges2d", "edges3d", "keypoints2d", "keypoints3d")
"""Tasks whose losses are small, by the supplement."""
FIGURE_METHODS = ("equal", "uncertainty", "dwa", "gls", "lsb")
"""Methods of Figures S-7 to S-9."""
SOURCE = "Section 6, Figure S-5"


def evaluations(setting: Setting, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """Read the test losses without regularisers, with the paper's display factors, of stored runs as they train.

    Returns:
        One row a run, evaluated epoch and task: `method`, `seed`, `epoch`, `task`, `loss`.

    Raises:
        KeyError: A run is not stored.
    """
    records = setting.records(configs)
    rows = [
        (config.method, config.seed, entry["epoch"], task, entry["metrics"][task]["lsb_loss"])
        for config in configs
        for entry in records[config.hash]["history"]
        if entry["metrics"]
        for task in config.tasks
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "epoch", "task", "loss"])


def _quotient(evaluated: pd.DataFrame) -> pd.Series:
    """LSB over equal weighting, one number a task, epoch and seed."""
    methods = evaluated.pivot_table("loss", ["task", "epoch", "seed"], "method", sort=False)
    return methods["lsb"] / methods["equal"]


def quotients(evaluated: pd.DataFrame) -> pd.DataFrame:
    """Test loss under LSB over that under equal weighting in runs of the same seed, epoch by epoch.

    Args:
        evaluated: As `evaluations` gives it.

    Returns:
        One row a task, in the order of the runs: `task` and a column an epoch, `epoch N`, with the geometric mean
        over seeds and its 95 % interval as text.
    """
    groups = _quotient(evaluated).groupby(["task", "epoch"], sort=False)
    table = groups.agg(lambda values: str(geometric_interval(values))).unstack()
    table = table.loc[evaluated["task"].unique()]
    table.columns = [f"epoch {epoch}" for epoch in table.columns]
    return table.rename(index=lambda task: DISPLAYS[task].title).reset_index()


def quotients_finding(evaluated: pd.DataFrame) -> str:
    """State for how many tasks the interval of the quotient lies below 1, at the first and the last evaluation."""
    highs = _quotient(evaluated).groupby(["epoch", "task"]).agg(lambda values: geometric_interval(values).high)
    below = (highs < 1).groupby("epoch").sum()
    counts = {epoch: below[epoch] for epoch in (below.index.min(), below.index.max())}
    parts = [f"after epoch {epoch} on {count}" for epoch, count in counts.items()]
    total = evaluated["task"].nunique()
    return (
        f"Test loss under LSB over that under equal weighting, mean [95 % interval] over "
        f"{evaluated['seed'].nunique()} seeds. It is below 1 {' and '.join(parts)} of {total} tasks."
    )


def final_losses(runs: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Test losses without regularisers, with the paper's display factors, of equal weighting and LSB.

    Args:
        runs: One row a run: `method`, `seed` and `TASK.lsb_loss`.
        tasks: Names of the tasks.

    Returns:
        One row a task: `task`, `equal` and `LSB` as text, mean and half the 95 % interval over seeds;
        `quotient` of LSB over equal weighting in runs of the same seed, geometric mean, with `low` and `high`.
    """
    rows = []
    for task in tasks:
        values = runs.pivot_table(f"{task}.lsb_loss", "seed", "method")
        quotient = geometric_interval(values["lsb"] / values["equal"])
        cells = [plus_minus(mean_interval(values[method])) for method in ("equal", "lsb")]
        rows.append((DISPLAYS[task].title, *cells, quotient.value, quotient.low, quotient.high))
    return pd.DataFrame(rows, columns=["task", "equal", "LSB", "quotient", "low", "high"])


def losses_finding(table: pd.DataFrame) -> str:
    """State which losses are smaller under LSB, and which larger, by intervals over seeds."""
    smaller, larger = table.loc[table["high"] < 1, "task"], table.loc[table["low"] > 1, "task"]
    return (
        f"Test losses, and their quotient, LSB over equal weighting. By the 95 % interval, smaller under LSB: "
        f"{', '.join(smaller) or 'none'}; larger: {', '.join(larger) or 'none'}."
    )


def maps_finding(errors: pd.DataFrame) -> str:
    """State how many tasks LSB has the smaller mean error on, on the shown image after the last epoch."""
    last = errors[(errors["epoch"] == errors["epoch"].max()) & (errors["task"] != SUM)]
    last = last.pivot_table("error", "task", "method", sort=False)
    better = int((last["LSB"] < last["equal"]).sum())
    return (
        f"Loss maps of one test image, one seed. After epoch {errors['epoch'].max()} its mean loss is smaller under "
        f"LSB than under equal weighting on {better} of {len(last)} tasks."
    )


# --- what the supplement says -------------------------------------------------------------------------


def claims(runs: pd.DataFrame, tasks: Sequence[str]) -> list[Verdict]:
    """Judge Section 6: small losses are learned better under LSB, and so are all tasks together.

    Args:
        runs: As for `final_losses`.
        tasks: Names of the tasks.
    """
    quotients = pd.DataFrame(
        {
            task: values["lsb"] / values["equal"]
            for task in tasks
            for values in [runs.pivot_table(f"{task}.lsb_loss", "seed", "method")]
        }
    )
    text = "test loss under LSB over that under equal weighting"
    found = [
        Verdict(f"{DISPLAYS[task].title}: {text}", SOURCE, 1, 0, geometric_interval(quotients[task]), below=True)
        for task in SMALL
        if task in quotients
    ]
    everything = np.exp(np.log(quotients).mean(axis=1))
    claim = f"All {len(quotients.columns)} tasks, geometric mean: {text}"
    return [*found, Verdict(claim, SOURCE, 1, 0, geometric_interval(everything), below=True)]


# --- exhibits -----------------------------------------------------------------------------------------


def loss_maps_exhibit(shown: Shown) -> Exhibit:
    """Loss maps of the first image, a row for every method and epoch.

    Args:
        shown: What `studies.predictions.load` gives.
    """
    losses = studies_predictions.mean_losses(shown)
    return Exhibit(
        name="loss_maps",
        table=losses,
        caption=f"{maps_finding(losses)} This illustrates; the tables below have all seeds.",
        figure=studies_predictions.loss_maps(shown),
        alt="A grid of loss maps, dark where the loss is small: three epochs of equal weighting, then of LSB, one "
        "below the other, and a column for each of eight tasks and for their sum.",
        uses=("scale",),
        form="photograph",
    )


def quotients_exhibit(evaluated: pd.DataFrame) -> Exhibit:
    """Test losses under LSB over those under equal weighting, epoch by epoch.

    Args:
        evaluated: As `evaluations` gives it.
    """
    return Exhibit(name="loss_quotients", table=quotients(evaluated), caption=quotients_finding(evaluated))


def losses_exhibit(runs: pd.DataFrame, tasks: Sequence[str]) -> Exhibit:
    """Test losses after the last epoch; see `final_losses`."""
    table = final_losses(runs, tasks)
    return Exhibit(name="final_losses", table=table, caption=losses_finding(table))
