"""Whether a loss of 0 for the task without a label explains the collapse of MGDA on the poster's BDD100K.

In BDD100K boxes and masks are mostly on different images. Where a task has no label in a batch, a loop that adds up
whatever its losses return gives MGDA a gradient of 0 for it, and the point of least norm between any gradient and 0 is
0: the shared parameters take no step. The poster does not say how its batches are drawn; here both ways are trained on
streets whose boxes and masks are on different images. With batches of one task in turn and the other task absent, MGDA
is left with one gradient, so that its steps are those of equal weights. Runs that diverged are left out and counted,
and a claim about what has lost one is not judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mtlrepro.analysis.compare import with_spread_of
from mtlrepro.analysis.verdicts import Interval, Verdict, bracketed_over, mean_interval, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import bracketed, columns, paired
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.poster import BDD100K
from mtlrepro.studies.mclgs.scores import PAIRED, STREETS, of_task
from mtlrepro.studies.mclgs.tables import COLLAPSE, WITH_ZERO, WITHOUT_ZERO, fall, measured
from mtlrepro.studies.scores import DELTA
from mtlrepro.studies.setting import Setting, diverged

ZERO = {
    "MGDA, union, loss of 0": "MGDA, union",
    "MGDA, alternating, loss of 0": "equal, alternating",
}
"""Runs with a loss of 0, to those that differ in nothing else."""
SINGLE = "single tasks"


@dataclass(frozen=True)
class Unpaired:
    """Runs on labels of different images.

    Attributes:
        single: Single tasks with the same labels, `[seeds, metrics]`.
        runs: Title to its runs: one row a run with `seed` and the columns of the metrics.
        absent: Title to the share in % of batches without a label of each task, where it has a run.
        lost: Title, or `SINGLE`, to how many of its runs diverged and are left out, if any did.
    """

    single: pd.DataFrame
    runs: Mapping[str, pd.DataFrame]
    absent: Mapping[str, Mapping[str, float]]
    lost: Mapping[str, int]

    def improvements(self, title: str) -> pd.DataFrame:
        """Delta of each task and Delta_m of runs by seed against the mean of single tasks, in %."""
        return self._improvements(self.runs[title].set_index("seed")[STREETS.names])

    def spread(self, title: str) -> pd.DataFrame:
        """The same with the spread of the single-task runs of these seeds, see `compare.with_spread_of`."""
        own = self.runs[title].set_index("seed")[STREETS.names]
        own = own.loc[own.index.intersection(self.single.index)]
        return self._improvements(with_spread_of(self.single.loc[own.index], own))

    def _improvements(self, own: pd.DataFrame) -> pd.DataFrame:
        baseline, by_task = self.single.mean(), {}
        for task in BDD100K.tasks:
            scores = of_task(STREETS, task)
            by_task[task] = scores.delta_m(own, baseline[scores.names])
        return pd.DataFrame({**by_task, DELTA: STREETS.delta_m(own, baseline)})


def load(setting: Setting) -> Unpaired:
    """Read the runs, and train what is missing.

    Args:
        setting: That of `grids.streets`.

    Raises:
        RuntimeError: Of single tasks, the baseline, no seed is left, see `Setting.reference`.
    """
    alone, by_title = grids.unpaired_single(setting), grids.unpaired(setting)
    single = setting.trained(setting.reference(SINGLE, alone))
    absent = {}
    for title, configs in by_title.items():
        if left := setting.finite(configs):
            entries = [entry["absent"] for record in setting.records(left).values() for entry in record["history"]]
            absent[title] = {str(task): float(100 * share) for task, share in pd.DataFrame(entries).mean().items()}
    return Unpaired(
        single.groupby("seed")[STREETS.names].first(),
        {title: measured(setting, configs, STREETS) for title, configs in by_title.items()},
        absent,
        setting.lost({**by_title, SINGLE: alone}),
    )


def rows(found: Unpaired) -> pd.DataFrame:
    """Every way to train on labels of different images, those with two runs or more of the seeds of single tasks.

    Returns:
        One row a title: `runs`; `batches without boxes, %` and `batches without masks, %`; and Delta of each task and
        Delta_m in % with `... low` and `... high`, see `over_seeds`, with the spread of single tasks.
    """
    table: list[dict[str, Any]] = []
    for title, absent in found.absent.items():
        spread = found.spread(title)
        if len(spread) < 2:
            continue
        row: dict[str, Any] = {
            "runs": title,
            "batches without boxes, %": absent["detection"],
            "batches without masks, %": absent["segmentation"],
        }
        for name, values in spread.items():
            label = f"{DELTA}, %" if name == DELTA else f"Δ of {name}, %"
            row |= columns(label, over_seeds(values, mean_interval))
        table.append(row)
    return pd.DataFrame(table)


def exhibit(found: Unpaired) -> Exhibit:
    """The table, beside the poster's row of MGDA.

    Args:
        found: As `load` gives it.
    """
    texts = [f"{title}: {bracketed(_changed(found, title), signed=True)} points" for title in ZERO]
    seeds = len(found.single)
    row = ", ".join(f"{BDD100K.printed('mgda', column):.2f} % ({task})" for task, column in BDD100K.tasks.items())
    caption = (
        "Boxes and masks on different images of streets, improvements over single tasks with the same labels and "
        f"about as many steps. The poster prints for MGDA {row}. What the loss of 0 changes in {DELTA}: "
        f"{'; '.join(texts)}.{diverged(found.lost)} "
        f"(Brackets of rows: {bracketed_over(seeds)}, with the spread of single tasks; of changes: "
        "paired 95 %, not corrected. MGDA with batches of one task in turn and the other task absent takes the steps "
        "of equal weights.)"
    )
    return Exhibit(name="unpaired_labels", table=rows(found), caption=caption)


def _changed(found: Unpaired, title: str) -> Interval | None:
    """Delta_m with a loss of 0 less that without, in runs of the same seed, in points of %."""
    gap = found.improvements(title)[DELTA] - found.improvements(ZERO[title])[DELTA]
    return paired(gap.dropna())


def untested() -> list[Verdict]:
    """Say that the loss of 0 is open where the data set has no runs on labels of different images."""
    return [fall(WITH_ZERO, task, None, case=title) for task in BDD100K.tasks for title in ZERO]


def claims(found: Unpaired) -> list[Verdict]:
    """Judge whether the loss of 0 hurts, and whether with it, and it alone, MGDA falls as far as the poster prints.

    Args:
        found: As `load` gives it.
    """
    verdicts = [
        Verdict(
            "A loss of 0 for the task without a label makes MGDA worse",
            "our question",
            0.0,
            0.0,
            None if found.lost.keys() & {title, ZERO[title]} else _changed(found, title),
            below=True,
            reading=f"change of {DELTA}, points of %, mean over seeds {PAIRED}",
            kind="ours",
            case=title,
            finding=COLLAPSE,
        )
        for title in ZERO
    ]
    for claim, titles in ((WITH_ZERO, list(ZERO)), (WITHOUT_ZERO, ["MGDA, union"])):
        for task in BDD100K.tasks:
            for title in titles:
                lost = found.lost.keys() & {title, SINGLE}
                measured = None if lost else over_seeds(found.spread(title)[task], mean_interval)
                verdicts.append(fall(claim, task, measured, case=title))
    return verdicts
