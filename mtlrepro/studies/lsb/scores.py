"""How the methods of Table S-3 are scored: its six metrics, ranks, top places, and one number made of the metrics."""

from collections.abc import Mapping

import pandas as pd

from mtlrepro.analysis import compare
from mtlrepro.analysis.compare import delta_m

METRICS = {
    "depth.delta1": ("δ₁", "%", True),
    "depth.rmse": ("RMSE", "m", False),
    "normal.within_30": ("within 30°", "%", True),
    "normal.mean_angle": ("mean angle", "°", False),
    "segmentation.miou": ("mIoU", "%", True),
    "segmentation.pixel_accuracy": ("accuracy", "%", True),
}
"""Metrics of Table S-3, in its order: name, unit, whether higher is better."""
HIGHER = {name: higher for name, (_, _, higher) in METRICS.items()}
TASK = {name: name.split(".")[0] for name in METRICS}
NAMES = {
    "equal": "equal",
    "uncertainty": "uncertainty",
    "dwa": "DWA",
    "gls": "GLS",
    "gradnorm": "GradNorm",
    "lsb": "LSB",
}
"""Methods as tables and figures call them."""
AVERAGE_RANK = "average rank"


def ranks(table: pd.DataFrame, higher: Mapping[str, bool]) -> pd.DataFrame:
    """Ranks of all rows on each metric of ``higher``, ties averaged, after removal of rounding errors of sums."""
    return compare.ranks(table[[*higher]].round(9), higher)


def measures(table: pd.DataFrame, higher: Mapping[str, bool]) -> pd.DataFrame:
    """Each metric and the average rank of a run among all runs, with signs such that larger is better.

    Args:
        table: One row a run, with the columns of ``higher``.
        higher: Metrics, and whether higher is better.

    Returns:
        ``[runs, metrics + 1]``.
    """
    signs = [1 if better else -1 for better in higher.values()]
    return (table[[*higher]] * signs).assign(**{AVERAGE_RANK: -ranks(table, higher).mean(axis=1)})


def top_places(table: pd.DataFrame, higher: Mapping[str, bool], top: int) -> pd.DataFrame:
    """Count which methods hold the first ``top`` places of each metric.

    Where a tie reaches beyond the last of them, its methods share the places left.

    Args:
        table: One row a run: ``method`` and the columns of ``higher``.
        higher: Metrics, and whether higher is better.
        top: Number of places.

    Returns:
        One row a metric and method: ``metric``, ``method``; ``places``, the mean over all orders of tied runs, and
        ``fewest`` and ``most`` over these orders. ``places`` add up to ``top`` on each metric.
    """
    first = compare.ranks(table[[*higher]].round(9), higher, "min")
    last = 2 * ranks(table, higher) - first
    rows = []
    for metric in higher:
        inside = last[metric] <= top
        tied = (first[metric] <= top) & ~inside
        left = top - int(inside.sum())
        for method in table["method"].unique():
            own = table["method"] == method
            sure, shared, others = (int(part.sum()) for part in (inside & own, tied & own, tied & ~own))
            places = sure + (left * shared / (shared + others) if shared else 0)
            rows.append((metric, method, places, sure + max(0, left - others), sure + min(left, shared)))
    return pd.DataFrame(rows, columns=["metric", "method", "places", "fewest", "most"])


def improvements(runs: pd.DataFrame, baseline: Mapping[str, float] | pd.Series) -> pd.Series:
    """Delta_m of each run in per cent: mean over metrics within a task, then over tasks; higher is better.

    Args:
        runs: One row a run, with the columns of ``METRICS``.
        baseline: Value of each metric to compare with.
    """
    return delta_m(runs[[*METRICS]], baseline, HIGHER, TASK, convention="per task, higher is better")


def rate_scores(runs: pd.DataFrame, reference: float) -> pd.DataFrame:
    """Delta_m of each run at each learning rate, against the mean of equal weighting at the rate ``reference``.

    Args:
        runs: One row a run: ``method``, ``lr``, ``seed`` and the columns of ``METRICS``, on the validation split.
        reference: Learning rate of the baseline.

    Returns:
        One row a run: ``method``, ``lr``, ``seed`` and ``score`` in per cent.

    Raises:
        ValueError: the baseline or a run is missing or has no number.
    """
    baseline = runs[(runs["method"] == "equal") & (runs["lr"] == reference)][[*METRICS]].mean()
    return runs[["method", "lr", "seed"]].assign(score=improvements(runs, baseline))


def best_rates(scores: pd.DataFrame) -> dict[str, float]:
    """Choose a learning rate for each method: the one with the largest mean Delta_m on the validation split.

    Args:
        scores: As :func:`rate_scores` gives it, as many seeds for every method and rate.
    """
    best = scores.pivot_table(index="method", columns="lr", values="score", sort=False).idxmax(axis=1)
    return {str(method): float(rate) for method, rate in best.items()}
