"""Two small problems on which every balancer can be watched."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from mtlrepro.balancers import METHODS, create
from mtlrepro.balancers.solvers import min_norm_point


@dataclass(frozen=True)
class Toy:
    """A problem of T losses, each at least 0, over points in the plane.

    Attributes:
        name: Title in figures.
        losses: Maps points [..., 2] to T losses [...].
        starts: Where trajectories begin.
        front: [C, 2], the outline of the Pareto set: a curve, or the corners of a convex polygon.
        convex: Whether it is the polygon.
        extent: Half the width of the region that figures show.
    """

    name: str
    losses: Callable[[Tensor], list[Tensor]]
    starts: tuple[tuple[float, float], ...]
    front: Tensor
    convex: bool
    extent: float

    @property
    def n_tasks(self) -> int:
        """Number of tasks T."""
        return len(self.losses(torch.zeros(2, dtype=torch.float64)))

    def distance(self, point: Tensor) -> float:
        """Distance of a point [2] to the Pareto set."""
        pieces = [self.front] if self.convex else list(self.front.unfold(0, 2, 1).mT)
        offsets = [piece - point for piece in pieces]
        return min(float((min_norm_point(o @ o.T) @ o).norm()) for o in offsets)


def _classic(x: Tensor) -> list[Tensor]:
    x1, x2 = x.unbind(-1)
    above, below = (0.5 * x2).tanh().clamp_min(0), (-0.5 * x2).tanh().clamp_min(0)
    valleys = (0.5 * (-x1 - 7) + x2.tanh(), 0.5 * (-x1 + 3) - x2.tanh() + 2)
    bowls = [((x1 - c) ** 2 + 0.1 * (x2 + 8) ** 2) / 10 - 20 for c in (7, -7)]
    logs = [valley.abs().clamp_min(5e-6).log() + 6 for valley in valleys]
    return [above * f + below * g + 20 for f, g in zip(logs, bowls, strict=True)]


def _classic_front() -> Tensor:
    """Minimisers of w L_1 + (1 - w) L_2 below the axis: x_1 = 14 w - 7, and x_2 by fixed-point iteration."""
    w = torch.linspace(0, 1, 41, dtype=torch.float64)
    x1, x2 = 14 * w - 7, torch.full_like(w, -8.0)
    for _ in range(100):
        bowl = (w * (x1 - 7) ** 2 + (1 - w) * (x1 + 7) ** 2 + 0.1 * (x2 + 8) ** 2) / 10 - 20
        x2 = -8 + bowl / (2 * (x2 / 2).cosh() ** 2 * (-x2 / 2).tanh() * 0.02)
    return torch.stack([x1, x2], dim=1)


CLASSIC = Toy(
    "two tasks (Liu et al., CAGrad)",
    _classic,
    starts=((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0)),
    front=_classic_front(),
    convex=False,
    extent=11.0,
)
"""The two-task problem of the CAGrad authors' code (arXiv 2110.14048) with 20 added to each loss.

The constant changes no gradient and makes the losses non-negative, which geometric and relative weightings
need.
"""


def quadratic(scales: Iterable[float] = (1.0, 0.1, 10.0)) -> Toy:
    """Make L_k = s_k |x - c_k|^2 / 2 with centres on a circle: the Pareto set is their convex hull.

    Args:
        scales: T positive numbers s_k.

    Returns:
        The problem.
    """
    factors = list(scales)
    angle = torch.arange(len(factors), dtype=torch.float64) * 2 * torch.pi / len(factors)
    centres = torch.stack([angle.cos(), angle.sin()], dim=1)

    def losses(x: Tensor) -> list[Tensor]:
        return [s / 2 * (x - c).square().sum(-1) for s, c in zip(factors, centres, strict=True)]

    name = f"{len(factors)} quadratics"
    return Toy(name, losses, ((-2.0, 2.5), (2.5, -1.5)), front=centres, convex=True, extent=3.0)


@dataclass(frozen=True)
class Run:
    """One trajectory.

    Attributes:
        points: [steps + 1, 2].
        losses: [steps + 1, T].
    """

    points: Tensor
    losses: Tensor


@dataclass(frozen=True)
class Recipe:
    """How trajectories are computed: Adam, and an epoch every so many steps.

    Attributes:
        steps: Number of steps.
        learning_rate: Of Adam at the start, also for a balancer's own parameters; it falls linearly to zero.
        epoch: Steps per epoch.
        options: A balancer's options by its name.
    """

    steps: int = 400
    learning_rate: float = 0.1
    epoch: int = 50
    options: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            "mclgs": {"a0": 1.0, "delta_a": 0.1},
            "cagrad+mclgs": {"a0": 1.0, "delta_a": 0.1},
            "mtsgd": {"threshold": -1.0},
        }
    )


def trajectory(toy: Toy, name: str, start: tuple[float, float], recipe: Recipe | None = None) -> Run:
    """Follow one balancer on one problem.

    Args:
        toy: The problem.
        name: A balancer's name.
        start: Where to begin.
        recipe: How; the default recipe if not given.

    Returns:
        All points and losses, the start included.
    """
    recipe = recipe or Recipe()
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    balancer = create(name, toy.n_tasks, **recipe.options.get(name, {}))
    optimizer = torch.optim.Adam([x, *balancer.parameters()], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, recipe.steps)
    points, values = [], []
    for step in range(recipe.steps + 1):
        losses = toy.losses(x)
        points.append(x.detach().clone())
        values.append(torch.stack([loss.detach() for loss in losses]))
        if step == recipe.steps:
            break
        optimizer.zero_grad()
        balancer.backward(losses, [x])
        optimizer.step()
        schedule.step()
        if (step + 1) % recipe.epoch == 0:
            balancer.end_epoch(torch.stack(values[-recipe.epoch :]).mean(0))
    return Run(torch.stack(points), torch.stack(values))


def figure(
    toys: Iterable[Toy] | None = None, names: Iterable[str] | None = None, recipe: Recipe | None = None
) -> Figure:
    """Draw the trajectories of balancers over the mean loss; the Pareto set in black.

    Args:
        toys: Columns; both problems if not given.
        names: Rows; all methods if not given.
        recipe: How trajectories are computed; the default recipe if not given.

    Returns:
        A figure with one panel per method and problem.
    """
    columns = list(toys) if toys is not None else [CLASSIC, quadratic()]
    rows = list(names) if names is not None else sorted(METHODS)
    result = Figure(figsize=(3 * len(columns), 2.6 * len(rows)), layout="constrained")
    axes = result.subplots(len(rows), len(columns), squeeze=False)
    for j, toy in enumerate(columns):
        side = np.linspace(-toy.extent, toy.extent, 200)
        grid = torch.from_numpy(np.stack(np.meshgrid(side, side), axis=-1))
        mean = torch.stack(toy.losses(grid)).mean(0).numpy()
        front = torch.cat([toy.front, toy.front[:1]]) if toy.convex else toy.front
        for i, name in enumerate(rows):
            axis = axes[i, j]
            axis.contour(side, side, mean, levels=25, cmap="Greys", linewidths=0.5)
            axis.plot(*front.T.numpy(), color="black", linewidth=2)
            for start in toy.starts:
                points = trajectory(toy, name, start, recipe).points
                axis.plot(*points.T.numpy(), linewidth=1.2)
                axis.plot(*points[-1].numpy(), marker="*", color="black", markersize=7)
            axis.set(xlim=(-toy.extent, toy.extent), ylim=(-toy.extent, toy.extent), xticks=[], yticks=[])
            axis.set_title(f"{name}: {toy.name}" if i == 0 else name, fontsize=8)
    return result
