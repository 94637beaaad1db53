"""How the methods of the poster's tables are scored, in both conventions of Delta_m.

The poster names no metrics. For its first table we take the nine of the public benchmark on NYUv2, for its second mAP
and mAP at an IoU of 0.5 of detection, and mIoU of segmentation.
"""

from dataclasses import replace
from typing import Any

import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.studies.scores import DELTA, Scores
from mtlrepro.studies.setting import Setting

PAIRED = "[paired 95 %, not corrected]"

ROOMS = Scores.of(
    (
        "segmentation.miou",
        "segmentation.pixel_accuracy",
        "depth.abs_err",
        "depth.rel_err",
        "normal.mean_angle",
        "normal.median_angle",
        "normal.within_11.25",
        "normal.within_22.5",
        "normal.within_30",
    )
)
"""Those of the first table; Delta_m is the mean over tasks, as the poster's, of each the mean over its metrics."""
STREETS = Scores.of(("detection.map50", "detection.map", "segmentation.miou"))
"""Those of the second table."""


def scores_of(setting: Setting) -> Scores:
    """Scores of the table that a setting is for."""
    return STREETS if setting.network == "detection" else ROOMS


def by_metric(scores: Scores) -> Scores:
    """The same metrics in the other convention, the mean drop over all of them, of which lower is better."""
    return replace(scores, convention="per metric, lower is better")


def of_task(scores: Scores, task: str) -> Scores:
    """The metrics of one task alone."""
    return replace(scores, metrics={name: one for name, one in scores.metrics.items() if name.split(".")[0] == task})


def gains(one: pd.DataFrame, other: pd.DataFrame, equal: pd.DataFrame, scores: Scores) -> pd.Series:
    """By how much runs are better than others of the same seed in Delta_m, in points of %.

    Args:
        one: Runs, one row each, with `seed` and the columns of the metrics.
        other: Likewise.
        equal: Runs of equal weights, whose means are the baseline of Delta_m.
        scores: Metrics, in the poster's convention.

    Returns:
        One number a seed that both have, positive where `one` is better.
    """
    baseline = equal[scores.names].mean()
    first, second = (scores.delta_m(runs, baseline).set_axis(runs["seed"]) for runs in (one, other))
    return (first - second).dropna()


def better(claim: str, gained: Interval | None, **about: Any) -> Verdict:  # noqa: ANN401
    """Verdict on the claim that some runs are better than others in Delta_m.

    Args:
        claim: In a sentence.
        gained: By how much they are, in points of %: the mean over seeds with its paired interval; None if a run of
            either diverged, as there is no mean over the seeds then.
        **about: Further fields of the verdict, `source` at least.
    """
    lost = None if gained is None else Interval(-gained.value, -gained.high, -gained.low)
    reading = f"points of % by which the other's {DELTA} is better, mean over seeds {PAIRED}"
    return Verdict(claim, claimed=0.0, tolerance=0.0, measured=lost, below=True, reading=reading, **about)
