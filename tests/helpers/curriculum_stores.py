"""Runs of MCLGS that were never trained: what they keep of their steps, in two steps an epoch."""

import numpy as np
import torch
from study_stores import keep, metrics_of

from mtlrepro.training import observations

STEPS = ([0.5, 0.3, 0.4], [0.2, 0.3, 0.3])
"""Weights of the steps of an epoch while the curriculum lasts: gates of 1.2 and 0.8."""
EVEN = [1 / 3] * 3


def put_steps(folder, run, value, *, changed=10.0, steps=STEPS):
    """Store a run of MCLGS that is as good as a number, with its curriculum in the first half.

    Args:
        folder: The store.
        run: Its configuration.
        value: See `metrics_of`.
        changed: Share in % of the update that the method changes while the curriculum lasts.
        steps: Weights of the two steps of an early epoch.
    """
    weights, history = [], []
    for epoch in range(1, run.epochs + 1):
        early = epoch <= run.epochs // 2
        own = np.array(steps if early else [EVEN, EVEN])
        weights.append(torch.tensor(own))
        lasting = epoch < run.epochs // 2  # after it
        history.append(
            {
                "epoch": epoch,
                "losses": dict.fromkeys(run.tasks, 1.0),
                "weights": dict(zip(run.tasks, own.mean(0).tolist(), strict=True)),
                "observed": {"p": 40.0 * (1 - 2 * (epoch - 1) / run.epochs) if early else 0.0},
                "probe": {
                    "cosines": [[1.0, 0.2, -0.1], [0.2, 1.0, 0.3], [-0.1, 0.3, 1.0]],
                    "update_change": {"shared": changed / 100 if lasting else 0.0, "all": 0.0},
                },
            }
        )
    values = metrics_of(run, value)
    keep(folder, run, history=history, metrics=values, validation_metrics=values)
    observations.write_weights(folder, run.hash, weights)


def put_plain(folder, run, value, weights=EVEN):
    """Store a run with the same weights in every epoch that is as good as a number."""
    row = dict(zip(run.tasks, weights, strict=True))
    history = [{"epoch": epoch, "losses": row, "weights": row} for epoch in range(1, run.epochs + 1)]
    values = metrics_of(run, value)
    keep(folder, run, history=history, metrics=values, validation_metrics=values)
