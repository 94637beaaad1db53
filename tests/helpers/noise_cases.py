"""Sizes of small experiments on gradient noise, and what all their tables have in common."""

import numpy as np

TASKS = ["left", "right", "sum"]
SEEDS, SAMPLES, BATCH = 2, 64, 8
SMALL = {"learning_rate": 0.05, "batch_size": BATCH, "device": "cpu"}
CHAINS = 3


def check(table, columns, rows):
    """A finite table with these columns, that many rows, and no row twice."""
    assert table.columns.tolist() == columns
    assert len(table) == rows
    assert np.isfinite(table.select_dtypes("number").to_numpy(dtype=float)).all()
    assert not table.isna().any(axis=None)
    assert table.index.tolist() == list(range(rows))
