"""Tables of single runs or draws, brought to one row for each condition."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, mean_interval

Estimate = Callable[[pd.Series], Interval]
"""What makes an interval of one value per seed; it decides in which domain the interval lies."""


def summarise(table: pd.DataFrame, value: str, by: Sequence[str], interval: Estimate = mean_interval) -> pd.DataFrame:
    """Give the mean and the 95% interval over seeds of column `value`, for each combination of the columns `by`.

    Args:
        table: One row or more for each seed and combination; a seed's rows are averaged first.
        value: What is summarised.
        by: Columns whose combinations are kept apart.
        interval: How the values of the seeds become an interval, and a mean on the same scale.

    Returns:
        Columns `by`, `mean`, `low`, `high`; with a single seed both bounds equal the mean.
    """
    rows = []
    for key, group in table.groupby(list(by), sort=False):
        values = group.groupby("seed")[value].mean()
        found = interval(values)
        bounds = (found.low, found.high) if len(values) > 1 else (found.value, found.value)
        rows.append((*key, found.value, *bounds))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high"])


def with_expected(
    table: pd.DataFrame,
    value: str,
    by: Sequence[str],
    expected: str = "expected",
    interval: Estimate = mean_interval,
) -> pd.DataFrame:
    """Do as `summarise`, and put the same kind of mean of the column `expected` beside the others, as `expected`."""
    summary = summarise(table, value, by, interval)
    summary["expected"] = summarise(table, expected, by, interval)["mean"]
    return summary


def slopes(table: pd.DataFrame, x: str, y: str, by: Sequence[str]) -> pd.DataFrame:
    """Fit log `y` against log `x` by least squares for each combination of `by`: columns `by` and `slope`."""
    rows = []
    for key, group in table.groupby(list(by), sort=False):
        slope = np.polyfit(np.log(group[x].to_numpy(dtype=float)), np.log(group[y].to_numpy()), 1)[0]
        rows.append((*key, slope))
    return pd.DataFrame(rows, columns=[*by, "slope"])
