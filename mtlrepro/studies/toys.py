"""Two small problems on which every balancer can be watched."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from mtlrepro.balancers import CONTROLS, METHODS, LossWeighting, create
from mtlrepro.balancers.solvers import min_norm_point
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS


@dataclass(frozen=True)
class Toy:
    """A problem of T losses, each at least 0, over points in the plane.

    Attributes:
        name: Title in figures.
        losses: Maps points [..., 2] to T losses [...].
        starts: Where trajectories begin.
        front: [C, 2], the outline of the Pareto set: a curve, or the corners of a convex polygon.
        convex: Whether it is the polygon.
        extent: Half the width of the region that figures show; distances up to a twentieth of it count as none.
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

    def solves_one_task(self, point: Tensor) -> bool:
        """Whether a point [2] is where a single task is at its minimum: a corner or an end of the Pareto set."""
        minima = self.front if self.convex else self.front[[0, -1]]
        return bool((minima - point).norm(dim=1).min() <= self.extent / 20)


def _classic(x: Tensor) -> list[Tensor]:
    x1, x2 = x[..., :1], x[..., 1:]
    above, below = (0.5 * x2).tanh().clamp_min(0), (-0.5 * x2).tanh().clamp_min(0)
    valleys = 0.5 * (x.new_tensor([-7.0, 7.0]) - x1) + x.new_tensor([1.0, -1.0]) * x2.tanh()
    bowls = ((x1 - x.new_tensor([7.0, -7.0])) ** 2 + 0.1 * (x2 + 8) ** 2) / 10 - 20
    logs = valleys.abs().clamp_min(5e-6).log() + 6
    return list((above * logs + below * bowls + 20).unbind(-1))


def _classic_front() -> Tensor:
    """Minimisers of w L_1 + (1 - w) L_2 below the axis: x_1 = 14 w - 7, and x_2 by fixed-point iteration."""
    w = torch.linspace(0, 1, 41, dtype=torch.float64)
    x1, x2 = 14 * w - 7, torch.full_like(w, -8.0)
    for _ in range(100):
        bowl = (w * (x1 - 7) ** 2 + (1 - w) * (x1 + 7) ** 2 + 0.1 * (x2 + 8) ** 2) / 10 - 20
        x2 = -8 + bowl / (2 * (x2 / 2).cosh() ** 2 * (-x2 / 2).tanh() * 0.02)
    return torch.stack([x1, x2], dim=1)


CLASSIC = Toy(
    "Two tasks",
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
        toy: The problem.
        method: The balancer's name.
        points: [steps + 1, 2], the start first.
    """

    toy: Toy
    method: str
    points: Tensor


@dataclass(frozen=True)
class Recipe:
    """How trajectories are computed: Adam, and an epoch every so many steps.

    Attributes:
        steps: Number of steps.
        learning_rate: Of Adam at the start, also for a balancer's own parameters; it falls linearly to zero.
        epoch: Steps per epoch.
        options: A balancer's options by its name.
    """

    steps: int = 150
    learning_rate: float = 0.5
    epoch: int = 15
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
        All points, the start included.
    """
    recipe = recipe or Recipe()
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    balancer = create(name, toy.n_tasks, **recipe.options.get(name, {}))
    optimizer = torch.optim.Adam([x, *balancer.parameters()], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, recipe.steps)
    points, values = [x.detach().clone()], []
    for step in range(1, recipe.steps + 1):
        losses = toy.losses(x)
        values.append(torch.stack([loss.detach() for loss in losses]))
        optimizer.zero_grad()
        balancer.backward(losses, [x])
        optimizer.step()
        schedule.step()
        points.append(x.detach().clone())
        if step % recipe.epoch == 0:
            balancer.end_epoch(torch.stack(values[-recipe.epoch :]).mean(0))
    return Run(toy, name, torch.stack(points))


def runs(
    toys: Iterable[Toy] | None = None, names: Iterable[str] | None = None, recipe: Recipe | None = None
) -> list[Run]:
    """Follow balancers on problems from all their starts.

    Args:
        toys: Both problems if not given.
        names: All methods but `CONTROLS` if not given, those that weight losses first.
        recipe: How; the default recipe if not given.

    Returns:
        One run per problem, method and start, in this order.
    """
    everyone = sorted(METHODS.keys() - CONTROLS, key=lambda name: (not issubclass(METHODS[name], LossWeighting), name))
    return [
        trajectory(toy, name, start, recipe)
        for toy in (toys if toys is not None else [CLASSIC, quadratic()])
        for name in (names if names is not None else everyone)
        for start in toy.starts
    ]


STRAYS = 0.05
"""By how much ends may differ between machines: near the optimum of one task, where GLS's gradient grows without bound,
rounding decides where a step ends."""


def distances(followed: Iterable[Run]) -> pd.DataFrame:
    """Tell where runs end.

    Args:
        followed: Runs.

    Returns:
        One row per run: `problem`, `method`, `start`, `distance` to the Pareto set at the end, whether it is
        `reached`, and whether the end has `one task` at its minimum.
    """
    rows = []
    for run in followed:
        end, distance = run.points[-1], run.toy.distance(run.points[-1])
        rows.append(
            {
                "problem": run.toy.name,
                "method": run.method,
                "start": "({:g}, {:g})".format(*run.points[0].tolist()),
                "distance": distance,
                "reached": distance <= run.toy.extent / 20,
                "one task": run.toy.solves_one_task(end),
            }
        )
    return pd.DataFrame(rows)


def finding(table: pd.DataFrame) -> str:
    """State what the rows of `distances` show: which methods reach the Pareto set, and which only one task."""
    sentences = []
    for problem, rows in table.groupby("problem", sort=False):
        always = rows.groupby("method", sort=False)[["reached", "one task"]].all()
        failing = ", ".join(always.index[~always["reached"]])
        count = f"{always['reached'].sum()} of {len(always)} methods reach the Pareto set from every start"
        sentences.append(f"{problem}: {count}{f' (not {failing})' if failing else ''}.")
        if always["one task"].any():
            single = ", ".join(always.index[always["one task"]])
            sentences.append(f"Always where one task is at its minimum: {single}.")
    return " ".join(sentences)


def paths(followed: Sequence[Run], recipe: Recipe) -> Exhibit:
    """Show all runs on one page, with where they end; see `figure` and `distances`."""
    table = distances(followed)
    return Exhibit(
        name="ends",
        atol=STRAYS,
        table=table,
        figure=figure(followed),
        caption=f"{finding(table)} ({recipe.steps} steps of Adam, whose learning rate falls from "
        f"{recipe.learning_rate:g} to 0.)",
        alt="One panel per method and problem with its paths over the mean loss. Two tasks: from above, paths turn and "
        "then go down to a flat black curve. Quadratics: paths enter a black triangle.",
        uses=("steps", "learning_rate"),
    )


def ends(followed: Sequence[Run]) -> Exhibit:
    """Show the distance to the Pareto set at the end of each run, a row a method; a star where it is not reached."""
    table = distances(followed)
    table["run"] = table["problem"] + ", " + table["start"]
    by_method = {name: table.pivot(index="method", columns="run", values=name) for name in ("distance", "reached")}
    order = pd.Index(table["method"].unique(), name="method"), pd.Index(table["run"].unique())
    distance, reached = (part.reindex(index=order[0], columns=order[1]) for part in by_method.values())
    shown = distance.map("{:.2f}".format) + reached.map(lambda there: "" if there else " *")
    return Exhibit(
        name="distances",
        atol=STRAYS,
        table=distance.reset_index(),
        shown=shown.reset_index(),
        caption="Distance to the Pareto set at the end of each run, by problem and start. A star: more than 1/40 of "
        "the panel's width, which does not count as reached.",
    )


def figure(followed: Sequence[Run]) -> Figure:
    """Draw runs over the mean loss (grey, darker is higher), one panel per problem and method, on one page.

    Args:
        followed: Runs, such as those of `runs()`.

    Returns:
        A figure: the Pareto set in black, a dot at each start, a star at each end.
    """
    toys = list(dict.fromkeys(run.toy for run in followed))
    names = list(dict.fromkeys(run.method for run in followed))
    columns = min(5, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)
    result = Figure(figsize=(1.44 * columns, (1.55 * rows + 0.25) * len(toys)), layout="constrained")
    for toy, part in zip(toys, result.subfigures(len(toys), 1, squeeze=False).flat, strict=True):
        part.suptitle(toy.name, fontsize=11)
        axes = list(part.subplots(rows, columns, squeeze=False).flat)
        for name, axis in zip(names, axes, strict=False):
            _panel(axis, [run for run in followed if run.toy is toy and run.method == name])
            axis.set_title(name, fontsize=10, pad=3)
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        lines = [axes[0].lines[i] for i in (0, 2, 3)]
        axes[-1].legend(lines, ["Pareto set", "start", "end"], loc="center", fontsize=9)
    return result


def _panel(axis: Axes, followed: Sequence[Run]) -> None:
    toy = followed[0].toy
    side = np.linspace(-toy.extent, toy.extent, 80)
    grid = torch.from_numpy(np.stack(np.meshgrid(side, side), axis=-1))
    extent = (-toy.extent, toy.extent, -toy.extent, toy.extent)
    mean = torch.stack(toy.losses(grid)).mean(0).numpy()
    axis.imshow(mean, cmap="Greys", vmax=2 * mean.max(), extent=extent, origin="lower")
    front = torch.cat([toy.front, toy.front[:1]]) if toy.convex else toy.front
    axis.plot(*front.T.numpy(), color="black", linewidth=2)
    for run, colour in zip(followed, COLOURS, strict=False):
        points = run.points.T.numpy()
        axis.plot(*points, color=colour, linewidth=1)
        axis.plot(*points[:, 0], color=colour, marker="o", markersize=4, linestyle="none")
        axis.plot(*points[:, -1], color=colour, marker="*", markersize=9, markeredgecolor="black", linestyle="none")
    axis.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
    axis.grid(visible=False)
