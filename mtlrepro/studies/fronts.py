"""Fronts of fixed weights: a grid of them, the point tuned on the validation split, and methods held against both.

A method that adapts its weights is worth its trouble if it goes beyond what fixed weights reach. Xin et al. (NeurIPS
2022) find none that does; 36 weights for three tasks are the grid of Kirchdorfer et al. (arXiv 2408.07985).
"""

from collections.abc import Iterable
from itertools import product

from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

PARTS = 10
"""Steps of a weight from 0 to 1."""


# --- grids --------------------------------------------------------------------------------------------


def simplex(tasks: int, parts: int = PARTS) -> list[tuple[float, ...]]:
    """Weights that sum to 1, none of them 0, in steps of 1 / `parts`: 36 for three tasks and ten parts, nine for two.

    Args:
        tasks: Number of tasks.
        parts: Steps from 0 to 1.

    Raises:
        ValueError: There are fewer parts than tasks.
    """
    if parts < tasks:
        raise ValueError(f"parts is {parts}; accepted for {tasks} tasks: {tasks} or more")
    counts = product(range(1, parts), repeat=tasks)
    return [tuple(count / parts for count in one) for one in counts if sum(one) == parts]


def grid(setting: Setting, seeds: Iterable[int], network: str = "") -> list[RunConfig]:
    """Every point of the simplex as fixed weights, with metrics of the test and of the validation split.

    Args:
        setting: What all runs share; its tasks are weighted in their order.
        seeds: Seeds, of which all points of the first come first.
        network: Name of the network; empty: that of the setting.
    """
    points = simplex(len(setting.run(network).tasks))
    return [point(setting, weights, seed, network) for seed in seeds for weights in points]


def point(setting: Setting, weights: Iterable[float], seed: int, network: str = "") -> RunConfig:
    """One point of the front."""
    options = {"weights": list(weights)}
    return setting.run(network, method="fixed", method_options=options, seed=seed, evaluate_on="both")
