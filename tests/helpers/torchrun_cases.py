"""Runs for several processes: `torchrun torchrun_cases.py STORE` trains them all; the last one fails."""

import json
import os
import sys
from pathlib import Path

import torch
from training_cases import SMOKE, config

from mtlrepro.training.config import RunConfig
from mtlrepro.training.step import Trainer

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
    "equal": config(**STREETS, gradients={"epochs": [2], "batches": 2, "samples": 1}),
    "pooled": config(**STREETS | {"tasks": ["depth", "disparity"], "protocol": "benchmark"}),
    "lsb": config(**STREETS, method="lsb"),
    "uncertainty": config(**STREETS, method="uncertainty"),
    "cagrad": config(**STREETS, method="cagrad", observe=["classes", "method", "update", "weights"]),
    "alternating": config(
        **STREETS | {"tasks": ["segmentation", "depth"]},
        labels={"segmentation": [0, 0.5], "depth": [0.5, 1]},
        draw="alternating",
        loss_scales={"depth": 3.0},
    ),
    "samples": config(**STREETS | {"epochs": 1}, method="mclgs", method_options={"granularity": "sample", "a0": 2.0}),
}

COMMAND = RunConfig(**SMOKE | {"epochs": 1})
FAILING = config(**STREETS | {"batch_size": 5})


def partly_labelled():
    """An epoch in which half of the images have no disparity, and some batches none at all: losses and parameters."""
    trainer = Trainer(config(**STREETS | {"epochs": 1}, method="mgda"), torch.device("cpu"))
    order = trainer.train_loader._order(0, 0)
    maps = trainer.train_loader._maps
    maps["disparity"][order[:6]] = 0  # the first batch has none
    maps["disparity"][order[6:9]] = 0  # nor the first process's part of the second
    epoch = trainer.epoch()
    return epoch | {"parameters": [p.detach().sum().item() for p in trainer.model.parameters()]}


if __name__ == "__main__":
    from mtlrepro.cli import main
    from mtlrepro.training.run import train

    store = Path(sys.argv[1])
    for run in RUNS.values():
        train(run, store=store, progress=False)
    (store / f"partly_labelled-{os.environ['RANK']}.json").write_text(json.dumps(partly_labelled()))
    path = store / f"config-{os.environ['RANK']}.json"
    path.write_text(COMMAND.to_json())
    assert main(["train", str(path), "--store", str(store)]) == 0
    path.write_text(FAILING.to_json())
    sys.exit(main(["train", str(path), "--store", str(store)]))
