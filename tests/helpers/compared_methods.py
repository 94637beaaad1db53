"""Runs of LSB's six methods, made by hand."""

from dataclasses import replace

import pandas as pd

from mtlrepro.studies.comparison import Comparison
from mtlrepro.studies.lsb.grids import METHODS as NAMES
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.scores import method_title

METHODS = [method_title(name) for name in NAMES]
SEEDS = 5
LADDER = {method: float(rank) for rank, method in enumerate(METHODS)}
"""LSB, the last, is best on every metric, and every run of a method is behind every run of the next."""
RATES = dict.fromkeys(NAMES, 0.001) | {"equal": 0.003}


def runs_of(advantage, seeds=SEEDS):
    """Runs in which method m is better than 50 by `advantage[m]` on each metric, seed s by a tenth of s more."""
    rows = []
    for method in METHODS:
        for seed in range(seeds):
            gain = advantage.get(method, 0.0) + 0.1 * seed
            values = {metric: 50 + gain if higher else 50 - gain for metric, higher in TABLE_S3.higher.items()}
            rows.append({"method": method, "seed": seed, **values})
    return pd.DataFrame(rows)


def single(runs):
    """Single-task runs that are as good as equal weighting."""
    return runs[runs["method"] == "equal"].set_index("seed")[TABLE_S3.names]


def compared(network, scale, runs):
    """LSB against the others in runs made by hand."""
    return Comparison("LSB", TABLE_S3, network, scale, runs, single(runs))


def comparison(advantage, **changes):
    """LSB against the others where methods have those advantages."""
    return replace(compared("multi_column", "cpu", runs_of(advantage)), **changes)
