"""How the methods of the poster's tables are scored, in both conventions of Delta_m.

The poster names no metrics. For its first table we take the nine of the public benchmark on NYUv2, for its second mAP
and mAP at an IoU of 0.5 of detection, and mIoU of segmentation.
"""

from dataclasses import replace

from mtlrepro.studies.scores import Scores
from mtlrepro.studies.setting import Setting

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
"""Those of the first table; Delta_m is the mean over the metrics of a task, then over tasks, as the poster's."""
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
