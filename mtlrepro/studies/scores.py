"""How runs are scored: the metrics of their tasks, ranks, top places, and one number made of the metrics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mtlrepro import tasks
from mtlrepro.analysis import compare
from mtlrepro.analysis.compare import Convention
from mtlrepro.tasks import MAPS

AVERAGE_RANK = "average rank"
DELTA = "Δm"
METHODS = {
    "equal": "equal",
    "fixed": "fixed weights",
    "uncertainty": "uncertainty",
    "dwa": "DWA",
    "gls": "GLS",
    "lagged_gls": "lagged GLS",
    "gradnorm": "GradNorm",
    "lsb": "LSB",
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "graddrop": "GradDrop",
    "cagrad": "CAGrad",
    "mclgs": "MCLGS",
    "cagrad+mclgs": "CAGrad + MCLGS",
    "maxgnr": "MaxGNR",
    "mtsgd": "MTSGD",
    "rlw": "random weights",
    "uw-so": "UW-SO",
    "replay": "replayed weights",
    "warmup": "warm-up",
}
"""Methods as tables and figures call them."""

_SHOWN = {
    "segmentation.miou": ("mIoU", "%", 1),
    "segmentation.pixel_accuracy": ("accuracy", "%", 1),
    "depth.delta1": ("δ₁", "%", 1),
    "depth.rmse": ("RMSE", "m", 3),
    "depth.abs_err": ("error of depth", "m", 3),
    "depth.rel_err": ("relative error of depth", "", 4),
    "normal.mean_angle": ("mean angle", "°", 1),
    "normal.median_angle": ("median angle", "°", 1),
    "normal.within_11.25": ("within 11.25°", "%", 1),
    "normal.within_22.5": ("within 22.5°", "%", 1),
    "normal.within_30": ("within 30°", "%", 1),
    "disparity.aepe": ("error of disparity", "px", 2),
    "disparity.rel_err": ("relative error of disparity", "", 4),
    "detection.map": ("mAP", "%", 1),
    "detection.map50": ("mAP at IoU 0.5", "%", 1),
    "detection.map75": ("mAP at IoU 0.75", "%", 1),
    **{f"{name}.lsb_loss": (f"error of {tasks.DISPLAYS[name].title}", "", 3) for name in MAPS},
}
"""Metrics of all tasks that comparisons show: title, unit and decimals."""


def method_title(name: str) -> str:
    """Title of a method in tables and figures, the name itself where it has no other."""
    return METHODS.get(name, name)


@dataclass(frozen=True)
class Measure:
    """One metric as tables and figures show it.

    Attributes:
        title: Its name in words.
        unit: Empty if it has none.
        higher: Whether higher is better.
        decimals: Digits after the point.
    """

    title: str
    unit: str
    higher: bool
    decimals: int

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


@dataclass(frozen=True)
class Scores:
    """The metrics by which runs are compared.

    Attributes:
        metrics: Column of a table of runs, `TASK.METRIC`, to what it measures.
        convention: How `delta_m` averages, and its better direction.
    """

    metrics: Mapping[str, Measure]
    convention: Convention = "per task, higher is better"

    @classmethod
    def of(cls, names: Iterable[str], convention: Convention = "per task, higher is better") -> "Scores":
        """Scores by some metrics, whose better direction is that of their task.

        Args:
            names: Metrics as `TASK.METRIC`.
            convention: Of `delta_m`.

        Raises:
            ValueError: A metric is unknown.
        """
        names = list(names)
        for name in names:
            if name not in _SHOWN:
                raise ValueError(f"metric is {name!r}; accepted: {', '.join(_SHOWN)}")
        used = tasks.create(sorted({name.split(".")[0] for name in names}))
        higher = {f"{task.name}.{key}": up for task in used for key, up in task.metrics().higher_is_better.items()}
        measures = {}
        for name in names:
            title, unit, decimals = _SHOWN[name]
            measures[name] = Measure(title, unit, higher[name], decimals)
        return cls(measures, convention)

    @classmethod
    def of_tasks(cls, names: Sequence[str], convention: Convention = "per task, higher is better") -> "Scores":
        """Scores by all metrics that comparisons show of some tasks.

        Args:
            names: Tasks, see `tasks.create`.
            convention: Of `delta_m`.

        Raises:
            ValueError: A task is unknown.
        """
        tasks.create(names)
        return cls.of([metric for task in names for metric in _SHOWN if metric.split(".")[0] == task], convention)

    @property
    def names(self) -> list[str]:
        """Columns of the metrics."""
        return list(self.metrics)

    @property
    def higher(self) -> dict[str, bool]:
        """Metric to whether higher is better."""
        return {name: measure.higher for name, measure in self.metrics.items()}

    @property
    def labels(self) -> dict[str, str]:
        """Metric to its title with unit."""
        return {name: measure.label for name, measure in self.metrics.items()}

    @property
    def directed(self) -> dict[str, str]:
        """Metric to its title with unit and, in a second line, its better direction."""
        return {
            name: f"{measure.label}\n{'higher' if measure.higher else 'lower'} is better"
            for name, measure in self.metrics.items()
        }

    @property
    def decimals(self) -> dict[str, int]:
        """Metric to its digits after the point."""
        return {name: measure.decimals for name, measure in self.metrics.items()}

    @property
    def sign(self) -> int:
        """1 if a higher Delta_m is better by this convention, else -1."""
        return 1 if self.convention == "per task, higher is better" else -1

    def ranks(self, table: pd.DataFrame) -> pd.DataFrame:
        """Ranks of all rows on each metric, ties averaged, after removal of rounding errors of sums."""
        return compare.ranks(table[self.names].round(9), self.higher)

    def average_ranks(self, table: pd.DataFrame) -> pd.Series:
        """Mean over metrics of the ranks of each row among all rows; 1 is best."""
        return self.ranks(table).mean(axis=1)

    def measures(self, table: pd.DataFrame) -> pd.DataFrame:
        """Each metric and the average rank of a run among all runs, with signs such that larger is better.

        Args:
            table: One row a run, with the columns of the metrics.

        Returns:
            `[runs, metrics + 1]`.
        """
        signs = [1 if better else -1 for better in self.higher.values()]
        return (table[self.names] * signs).assign(**{AVERAGE_RANK: -self.average_ranks(table)})

    def delta_m(self, runs: pd.DataFrame, baseline: Mapping[str, float] | pd.Series) -> pd.Series:
        """Delta_m of each run in per cent by the convention of these scores, see `compare.delta_m`.

        Args:
            runs: One row a run, with the columns of the metrics.
            baseline: Value of each metric to compare with.
        """
        task = {name: name.split(".")[0] for name in self.metrics}
        return compare.delta_m(runs[self.names], baseline, self.higher, task, convention=self.convention)

    def paired_delta_m(self, runs: pd.DataFrame, single: pd.DataFrame) -> pd.Series:
        """Delta_m of the runs of every method with the spread of its baseline, see `compare.with_spread_of`.

        Its mean over the runs of a method is Delta_m of their means against the mean of the baseline. A single value
        is not that of a run.

        Args:
            runs: One row a run: `method`, `seed` and the columns of the metrics.
            single: Single-task learning, `[seeds, metrics]`, with the seeds of each method.

        Returns:
            `[runs]`, per cent, on the index of `runs`.

        Raises:
            ValueError: A method has other seeds.
        """
        moved = [
            compare.with_spread_of(single[self.names], own.set_index("seed")[self.names]).set_axis(own.index)
            for _, own in runs.groupby("method", sort=False)
        ]
        return self.delta_m(pd.concat(moved).loc[runs.index], single[self.names].mean())

    def top_places(self, table: pd.DataFrame, top: int) -> pd.DataFrame:
        """Count which methods hold the first places of each metric.

        Where a tie reaches beyond the last of them, its methods share the places left.

        Args:
            table: One row a run: `method` and the columns of the metrics.
            top: Number of places.

        Returns:
            One row a metric and method: `metric`, `method`; `places`, the mean over all orders of tied runs, and
            `fewest` and `most` over these orders. `places` add up to `top` on each metric.
        """
        first = compare.ranks(table[self.names].round(9), self.higher, "min")
        last = 2 * self.ranks(table) - first
        rows = []
        for metric in self.metrics:
            inside = last[metric] <= top
            tied = (first[metric] <= top) & ~inside
            left = top - int(inside.sum())
            for method in table["method"].unique():
                own = table["method"] == method
                sure, shared, others = (int(part.sum()) for part in (inside & own, tied & own, tied & ~own))
                places = sure + (left * shared / (shared + others) if shared else 0)
                rows.append((metric, method, places, sure + max(0, left - others), sure + min(left, shared)))
        return pd.DataFrame(rows, columns=["metric", "method", "places", "fewest", "most"])
