"""How the methods of Table S-3 are scored: its six metrics, and one number made of them."""

from collections.abc import Mapping

import pandas as pd

from mtlrepro.compare import delta_m

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


def improvements(runs: pd.DataFrame, baseline: Mapping[str, float] | pd.Series) -> pd.Series:
    """Delta_m of each run in per cent: mean over metrics within a task, then over tasks; higher is better.

    Args:
        runs: One row a run, with the columns of ``METRICS``.
        baseline: Value of each metric to compare with.
    """
    return delta_m(runs[[*METRICS]], baseline, HIGHER, TASK, convention="per task, higher is better")


def best_rates(runs: pd.DataFrame, reference: float) -> dict[str, float]:
    """Choose a learning rate for each method: the one with the largest mean Delta_m on the validation split.

    Args:
        runs: One row a run: ``method``, ``lr`` and the columns of ``METRICS``, as many seeds for every pair.
        reference: Learning rate at which equal weighting is the baseline of Delta_m.

    Raises:
        ValueError: a run is missing or has no number.
    """
    baseline = runs[(runs["method"] == "equal") & (runs["lr"] == reference)][[*METRICS]].mean()
    scores = runs[["method", "lr"]].assign(score=improvements(runs, baseline))
    best = scores.pivot_table(index="method", columns="lr", values="score", sort=False).idxmax(axis=1)
    return {str(method): float(rate) for method, rate in best.items()}
