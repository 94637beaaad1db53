"""How the methods of Table S-3 are scored: its six metrics, in its order."""

from mtlrepro.studies.scores import Scores

TABLE_S3 = Scores.of(
    (
        "depth.delta1",
        "depth.rmse",
        "normal.within_30",
        "normal.mean_angle",
        "segmentation.miou",
        "segmentation.pixel_accuracy",
    )
)
"""The metrics as Table S-3 prints them; Delta_m is the mean over metrics within a task, then over tasks."""
