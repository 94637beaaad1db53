"""Figure S-5 of loss scale balancing (LSB): how eight tasks are learned, and which methods Figures S-7 to S-9 show."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mtlrepro.analysis.significance import holm, paired_p_value
from mtlrepro.analysis.verdicts import Verdict, geometric_interval, joined, number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import predictions as studies_predictions
from mtlrepro.studies.comparison import ALPHA, columns
from mtlrepro.studies.predictions import SUM, Shown
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.tasks import DISPLAYS
from mtlrepro.training.config import RunConfig

SMALL = ("edges2d", "edges3d", "keypoints2d", "keypoints3d")
"""Tasks whose losses are small, by the supplement."""
FIGURE_METHODS = ("equal", "uncertainty", "dwa", "gls", "lsb")
"""Methods of Figures S-7 to S-9."""
SOURCE = "Section 6, Figure S-5"
FINDING = 3
"""Number of the claim about eight tasks in the box of claims."""
BEST = "keypoints2d"
"""Task on which Section 5 says that LSB is best."""
MEASURED = {"normal": "mean_angle"}
"""Error of a task where it is not the supplement's loss without regularisers.

Estimates of normals need not be unit vectors, so that loss, one less the mean inner product, can be negative: it is no
error, and has no quotient. Its mean angle is one.
"""
QUOTIENT = "LSB over equal"
"""Column of the quotient of two losses."""


def measure(task: str) -> str:
    """Metric of a task's error, as in `TASK.METRIC`."""
    return f"{task}.{MEASURED.get(task, 'lsb_loss')}"


def evaluations(setting: Setting, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """Read the test losses without regularisers, with the paper's display factors, of stored runs as they train.

    Returns:
        One row a run, evaluated epoch and task: `method`, `seed`, `epoch`, `task`, `loss`.

    Raises:
        KeyError: A run is not stored.
    """
    records = setting.records(configs)
    rows = [
        (config.method, config.seed, entry["epoch"], task, entry["metrics"][task][MEASURED.get(task, "lsb_loss")])
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
    """State for how many tasks the whole interval of the quotient lies below 1, at the first and last evaluation."""
    highs = _quotient(evaluated).groupby(["epoch", "task"]).agg(lambda values: geometric_interval(values).high)
    below = (highs < 1).groupby("epoch").sum()
    counts = {epoch: below[epoch] for epoch in (below.index.min(), below.index.max())}
    parts = [f"{count} after epoch {epoch}" for epoch, count in counts.items()]
    total = evaluated["task"].nunique()
    return f"Of {total} tasks, the whole interval lies below 1 for {' and '.join(parts)}."


def final_losses(runs: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Test losses without regularisers, with the paper's display factors, of equal weighting and LSB.

    Args:
        runs: One row a run: `method`, `seed` and the `measure` of each task.
        tasks: Names of the tasks.

    Returns:
        One row a task: `task`; `equal` and `LSB`, and `LSB over equal`, their quotient in runs of the same seed,
        geometric means with `... low` and `... high` of the 95 % interval over seeds; and `p, corrected`, of Student's
        paired test of the logarithms, two-sided, with Holm's correction over the tasks.
    """
    rows, p_values = [], []
    for task in tasks:
        values = runs.pivot_table(measure(task), "seed", "method")
        ratio = values["lsb"] / values["equal"]
        row: dict[str, object] = {"task": DISPLAYS[task].title}
        for title, own in (("equal", values["equal"]), ("LSB", values["lsb"]), (QUOTIENT, ratio)):
            row |= columns(title, geometric_interval(own))
        rows.append(row)
        p_values.append(paired_p_value(np.log(ratio)))
    return pd.DataFrame(rows).assign(**{"p, corrected": holm(p_values)})


def losses_finding(table: pd.DataFrame) -> str:
    """State which losses are smaller under LSB, and which larger, by interval and by the corrected test."""
    low, high = table[f"{QUOTIENT} low"], table[f"{QUOTIENT} high"]
    clear = table["p, corrected"] < ALPHA
    sides = [
        f"{title} {', '.join(table.loc[where, 'task']) or 'none'}"
        for title, where in (
            ("smaller under LSB:", high < 1),
            ("larger:", low > 1),
            ("by the corrected test, smaller:", clear & (high < 1)),
            ("larger:", clear & (low > 1)),
        )
    ]
    return f"By the interval of each task, {'; '.join(sides[:2])}; {'; '.join(sides[2:])}."


def maps_finding(errors: pd.DataFrame) -> str:
    """State how many tasks LSB has the smaller mean error on, on the shown image after the last epoch."""
    last = errors[(errors["epoch"] == errors["epoch"].max()) & (errors["task"] != SUM)]
    last = last.pivot_table("error", "task", "method", sort=False)
    better = int((last["LSB"] < last["equal"]).sum())
    return (
        f"After epoch {errors['epoch'].max()} its mean loss is smaller under LSB than under equal weighting on "
        f"{better} of {len(last)} tasks."
    )


# --- what the supplement says -------------------------------------------------------------------------


def claims(runs: pd.DataFrame, tasks: Sequence[str]) -> list[Verdict]:
    """Judge that LSB is better with eight tasks, and that it is best on keypoints; single tasks are our question.

    Section 6 says of edges and keypoints that they are learned in a balanced manner, which is seen in maps of losses,
    and that LSB is better for it. Whether their own losses are smaller is our question about that sentence, and comes
    first among what answers it. Section 5 says that it has the best result on 2-D keypoints; the best of the
    methods of Figures S-7 to S-9 is picked after the fact, which counts against LSB.

    Args:
        runs: As for `final_losses`, of the methods of Figures S-7 to S-9 at least.
        tasks: Names of the tasks.
    """
    losses = {task: runs.pivot_table(measure(task), "seed", "method") for task in tasks}
    quotients = pd.DataFrame({task: values["lsb"] / values["equal"] for task, values in losses.items()})
    reading = "quotient of test losses, LSB over equal weighting, in runs of one seed [95 %, not corrected]"
    small = [
        Verdict(
            "Edges and keypoints have smaller losses under LSB than under equal weighting",
            "our question",
            1,
            0,
            geometric_interval(quotients[task]),
            below=True,
            reading=reading,
            case=DISPLAYS[task].title,
            kind="ours",
            finding=FINDING,
        )
        for task in SMALL
        if task in quotients
    ]
    everything = Verdict(
        "LSB gives better results with eight tasks than equal weighting",
        SOURCE,
        1,
        0,
        geometric_interval(np.exp(np.log(quotients).mean(axis=1))),
        below=True,
        reading=f"{reading}, geometric mean over the tasks",
        finding=FINDING,
    )
    return [*small, everything, *(_best(losses[task]) for task in (BEST,) if task in losses)]


def slow_claims(runs: pd.DataFrame, slow: pd.DataFrame, tasks: Sequence[str]) -> list[Verdict]:
    """Ask the same of LSB at the growth of beta that it has with three tasks.

    Args:
        runs: As for `claims`.
        slow: Runs of LSB at that growth, which take the place of its others.
        tasks: Names of the tasks.
    """
    others = pd.concat([runs[runs["method"] != "lsb"], slow.assign(method="lsb")])
    return [
        replace(
            one,
            source="our question",
            kind="ours",
            finding=0,
            case=joined(one.case, "slow growth of β"),
        )
        for one in claims(others, tasks)
    ]


def _best(losses: pd.DataFrame) -> Verdict:
    """Whether LSB has the smallest loss of 2-D keypoints, by the losses `[seeds, methods]`."""
    rival = str(losses[[name for name in FIGURE_METHODS if name != "lsb"]].mean().idxmin())
    return Verdict(
        f"LSB has the best result on {DISPLAYS[BEST].title}",
        "Section 5",
        1,
        0,
        geometric_interval(losses["lsb"] / losses[rival]),
        below=True,
        reading="quotient of test losses, LSB over the best of the other methods, in runs of one seed",
        case="eight tasks",
        circumstances=f"best other {method_title(rival)}",
        finding=FINDING,
    )


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
        caption=f"Where the losses of one test image lie as training goes on, and their sum. {maps_finding(losses)} "
        f"Every task is known at {number(100 * studies_predictions.known_share(shown, shown.clear[0]), 2)} % of its "
        f"pixels; where one is not, the sum is magenta.{_only(shown)} (One seed: it illustrates, the tables below have "
        "all seeds.)",
        figure=studies_predictions.loss_maps(shown),
        alt="A grid of loss maps, dark where the loss is small: three epochs of equal weighting, then of LSB, one "
        "below the other, and a column for each of eight tasks and for their sum.",
        uses=("scale",),
        form="photograph",
    )


def _only(shown: Shown) -> str:
    """Say that there was no choice, where the runs keep the predictions for a single image."""
    if len(shown.clear) > 1:
        return ""
    return (
        " It is the first test image, whatever is known of it: these runs keep the estimates for no other, so the rule "
        f"of the other pictures, the first with more than {100 * studies_predictions.CLEAR:.0f} % known, finds no "
        "choice here, and another image would need the runs to be trained again."
    )


def quotients_exhibit(evaluated: pd.DataFrame) -> Exhibit:
    """Test losses under LSB over those under equal weighting, epoch by epoch.

    Args:
        evaluated: As `evaluations` gives it.
    """
    caption = (
        "Test losses under LSB over those under equal weighting, as training goes on. "
        f"{quotients_finding(evaluated)} (Geometric means, brackets: 95 % over {evaluated['seed'].nunique()} seeds, "
        "runs of one seed together, not corrected for the number of tasks.)"
    )
    return Exhibit(name="loss_quotients", table=quotients(evaluated), caption=caption)


def losses_exhibit(runs: pd.DataFrame, tasks: Sequence[str]) -> Exhibit:
    """Test losses after the last epoch; see `final_losses`."""
    table = final_losses(runs, tasks)
    caption = (
        "Test losses after the last epoch, without regularisers, and of normals the mean angle in degrees. "
        f"{losses_finding(table)} (Geometric means, brackets: 95 % over {runs['seed'].nunique()} seeds; quotients of "
        f"runs of one seed; p with Holm's correction over {len(table)} tasks; losses with the supplement's display "
        "factors.)"
    )
    return Exhibit(name="final_losses", table=table, caption=caption)
