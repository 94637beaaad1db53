"""Tables of single runs or draws, brought to one row for each condition."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import mean_interval


def summarise(table: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Give the mean and the 95% interval over seeds of column `value`, for each combination of the columns `by`.

    Returns:
        Columns `by`, `mean`, `low`, `high`; with a single seed both bounds equal the mean.
    """
    rows = []
    for key, group in table.groupby(list(by), sort=False):
        interval = mean_interval(group.groupby("seed")[value].mean())
        low, high = (interval.low, interval.high) if np.isfinite(interval.low) else (interval.value, interval.value)
        rows.append((*key, interval.value, low, high))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high"])


def with_expected(table: pd.DataFrame, value: str, by: Sequence[str], expected: str = "expected") -> pd.DataFrame:
    """Do as `summarise`, and put the mean of the column `expected` beside the others, as `expected`."""
    summary = summarise(table, value, by)
    summary["expected"] = table.groupby(list(by), sort=False)[expected].mean().to_numpy()
    return summary


def slopes(table: pd.DataFrame, x: str, y: str, by: Sequence[str]) -> pd.DataFrame:
    """Fit log `y` against log `x` by least squares for each combination of `by`: columns `by` and `slope`."""
    rows = []
    for key, group in table.groupby(list(by), sort=False):
        slope = np.polyfit(np.log(group[x].to_numpy(dtype=float)), np.log(group[y].to_numpy()), 1)[0]
        rows.append((*key, slope))
    return pd.DataFrame(rows, columns=[*by, "slope"])
