"""Histories of runs made by hand, as `studies.trends.history` gives them."""

import numpy as np
import pandas as pd

TASKS = ("segmentation", "depth", "normal")


def rows(scales, method="LSB", seed=0, tasks=TASKS, weight=0.5):
    """Loss scales `[epochs][tasks]` of one run."""
    return pd.DataFrame(
        [
            {
                "method": method,
                "seed": seed,
                "epoch": epoch,
                "task": task,
                "loss": scale / weight,
                "weight": weight,
                "scale": float(scale),
                "share": 100 * scale / sum(values),
            }
            for epoch, values in enumerate(scales, 1)
            for task, scale in zip(tasks, values, strict=True)
        ]
    )


def runs(tasks, scales):
    """Three runs of each method with these loss scales, times a little noise of their own that keeps every order."""
    return pd.concat(
        [
            rows(np.array(values) * (1 + 0.01 * seed), method, seed, tasks)
            for method, values in scales.items()
            for seed in range(3)
        ]
    )
