"""Runs for several processes: `torchrun torchrun_cases.py STORE` trains them all, in float32, without the tests."""

import sys
from pathlib import Path

from training_cases import config

STREETS = {
    "dataset": "streets",
    "tasks": ["segmentation", "depth", "disparity"],  # unknown in the sky and in holes
    "classes": 7,
    "size": (32, 64),
    "batch_size": 6,
    "optimizer": "sgd",
    "lr": 1e-3,
    "epochs": 2,
    "probe_every": 2,
}
RUNS = {
    "equal": config(**STREETS),
    "pooled": config(**STREETS | {"tasks": ["depth", "disparity"], "protocol": "benchmark"}),
    "lsb": config(**STREETS, method="lsb"),
    "uncertainty": config(**STREETS, method="uncertainty"),
    "cagrad": config(**STREETS, method="cagrad"),
    "samples": config(**STREETS | {"epochs": 1}, method="mclgs", method_options={"granularity": "sample", "a0": 2.0}),
}

if __name__ == "__main__":
    from mtlrepro.training import train

    for run in RUNS.values():
        train(run, store=Path(sys.argv[1]), progress=False)
