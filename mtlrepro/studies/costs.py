"""What runs cost, from a stored benchmark."""

import json

import pandas as pd

from mtlrepro import files
from mtlrepro.bench.train import NETWORKS
from mtlrepro.training.config import RunConfig

BENCHMARKS = {
    scale: files.PROJECT / "book" / "results" / file
    for scale, file in (("cpu", "bench-train.json"), ("gpu", "bench-train-cuda.json"))
}
"""What ``mtlrepro bench train --json FILE`` measured, with where it was measured, by scale."""


def speeds(scale: str = "cpu") -> pd.DataFrame:
    """Read the benchmark's rows, see ``bench_train.train``.

    Args:
        scale: ``cpu`` or ``gpu``.
    """
    return pd.DataFrame(json.loads(BENCHMARKS[scale].read_text(encoding="utf-8"))["rows"])


def minutes(run: RunConfig, speeds: pd.DataFrame, arm: str = "training") -> float | None:
    """Minutes of training on one core or one GPU, without evaluation and start; None for what was not measured.

    Args:
        run: what is trained.
        speeds: rows of a benchmark.
        arm: row of the benchmark whose speed counts.
    """
    measured = speeds[(speeds["network"] == run.model) & (speeds["arm"] == arm)]
    if measured.empty or run.n_train is None or run.dataset != NETWORKS[run.model]:
        return None
    return float(run.n_train * run.epochs / measured["images/s"].iloc[0] / 60)
