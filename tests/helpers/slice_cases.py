"""Comparisons of gradients that were drawn, not trained, of a network with the parts of MTSGD's."""

import numpy as np
import torch

from mtlrepro.training import gradients
from mtlrepro.training.cosines import HALVES, names, pairs
from mtlrepro.training.slices import Slices, SliceStatistics

TASKS = ("segmentation", "disparity")
SHAPES = {
    "shared.encoder.stages.0.0.weight": (4, 6, 7, 7),
    "shared.encoder.stages.0.1.bias": (4,),
    "shared.encoder.stages.0.4.conv1.weight": (24, 8, 1, 1),
    "shared.encoder.stages.1.conv2.weight": (16, 24, 3, 3),
    "shared.pooling.branches.0.1.weight": (8, 16, 1, 1),
    "shared.projection": (5, 5),
}
"""Parameters by name; the last is a matrix, which is no convolution."""


def compare(*, ratio=1.0, signal=0.0, agreement=0.0, seed=0, batches=2):
    """Compare drawn gradients of segmentation and disparity.

    Each task has a direction of its own, of `signal` in each element, and each half of a batch adds noise of 1.
    Disparity's direction is `agreement` times segmentation's, and its gradient is `ratio` times as long.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}

    def drawn():
        return [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters.values()]

    statistics = SliceStatistics(parameters, pairs(TASKS))
    for _ in range(batches):
        first, other = drawn(), drawn()
        rest = (1 - agreement**2) ** 0.5
        second = [agreement * a + rest * b for a, b in zip(first, other, strict=True)]
        directions = {"segmentation": first, "disparity": second}
        rows = {
            f"{task}/{half}": [size * (signal * a + b) for a, b in zip(directions[task], drawn(), strict=True)]
            for task, size in zip(TASKS, (1.0, ratio), strict=True)
            for half in HALVES
        }
        rows |= {
            task: [(a + b) / 2 for a, b in zip(*(rows[f"{task}/{half}"] for half in HALVES), strict=True)]
            for task in TASKS
        }
        statistics.add(rows)
    return Slices(**{name: np.asarray(value) for name, value in statistics.state().items()})


def write(store, run, epochs):
    """Keep comparisons beside a run's record, by number of epochs."""
    products = {"tasks": TASKS, "names": names(TASKS)} | dict.fromkeys(("indices", "batches", "samples"), np.zeros(0))
    kept = {
        epoch: {
            **{f"slices/{name}": value for name, value in vars(slices).items()},
            **{f"cosines/{name}": value for name, value in products.items()},
        }
        for epoch, slices in epochs.items()
    }
    gradients.write(gradients.path_of(store, run.hash), kept)
