"""The problem that the poster names, on three quadratics whose Pareto set and optimum are known.

One loss is scaled, so that its gradients are larger. The minimum of the mean loss is the centroid of the three minima,
weighted by the factors: that is the "original objective" for which, by the poster, PCGrad's solution is not optimal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from mtlrepro.analysis.verdicts import Verdict, range_interval
from mtlrepro.balancers import create
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import toys
from mtlrepro.studies.comparison import bracketed, columns
from mtlrepro.studies.scores import method_title
from mtlrepro.studies.toys import Recipe, Toy

FACTORS = (1.0, 10.0, 100.0)
"""Factors on the first loss."""
METHODS = ("equal", "pcgrad", "mclgs", "cagrad+mclgs")
CURRICULUM = {"a0": 40.0, "delta_a": 4.0}
"""40 at the start, and 0 from the middle of the run on."""
RECIPE = Recipe(steps=400, learning_rate=0.1, epoch=20, options={"mclgs": CURRICULUM, "cagrad+mclgs": CURRICULUM})
EVERY = 10
"""Steps between two points of a trajectory at which the step is compared with the plain one."""
NEAR = 0.05
"""Distance up to which a point counts as the optimum; the minima of the three losses lie on a circle of radius 1."""


@dataclass(frozen=True)
class Path:
    """One trajectory.

    Attributes:
        factor: On the first loss.
        method: A balancer's name.
        deviation: Mean over the trajectory of |step - mean gradient| / |mean gradient|.
        to_optimum: Distance of its end to the minimum of the mean loss.
        to_front: Distance of its end to the Pareto set.
    """

    factor: float
    method: str
    deviation: float
    to_optimum: float
    to_front: float


def optimum(factor: float) -> Tensor:
    """Minimum [2] of the mean of the three losses, the first of which is scaled."""
    toy = _toy(factor)
    weights = torch.tensor([factor, 1.0, 1.0], dtype=torch.float64)
    found: Tensor = weights @ toy.front / weights.sum()
    return found


def _toy(factor: float) -> Toy:
    return toys.quadratic((factor, 1.0, 1.0))


def deviation(toy: Toy, name: str, points: Tensor, options: Mapping[str, Any]) -> float:
    """Mean over some points of |step - mean gradient| / |mean gradient|, where the latter is not 0.

    Args:
        toy: The problem.
        name: A balancer's name; a curriculum is that of its first step throughout.
        points: `[points, 2]`.
        options: Of the balancer.
    """
    shares = []
    balancer, mean = create(name, toy.n_tasks, **options), create("equal", toy.n_tasks)
    for point in points:
        steps = []
        for method in (balancer, mean):
            x = nn.Parameter(point.clone())
            method.backward(toy.losses(x), [x])
            steps.append(x.grad)
        own, plain = steps
        if own is not None and plain is not None and plain.norm() > 0:
            shares.append(float((own - plain).norm() / plain.norm()))
    return sum(shares) / len(shares)


def paths(factor: float, method: str) -> list[Path]:
    """Follow a method from each start of the problem."""
    toy, options = _toy(factor), RECIPE.options.get(method, {})
    found = []
    for start in toy.starts:
        points = toys.trajectory(toy, method, start, RECIPE).points
        early = points[: RECIPE.steps // 2 : EVERY]
        end = points[-1]
        found.append(
            Path(
                factor,
                method,
                deviation(toy, method, early, options),
                float((end - optimum(factor)).norm()),
                toy.distance(end),
            )
        )
    return found


def load() -> list[Path]:
    """All trajectories, which take seconds."""
    return [path for factor in FACTORS for method in METHODS for path in paths(factor, method)]


def exhibit(found: list[Path]) -> Exhibit:
    """How far each method's steps are from the mean gradient, and where it ends.

    Args:
        found: As `load` gives it.
    """
    rows: list[dict[str, Any]] = []
    for factor in FACTORS:
        for method in METHODS:
            own = [path for path in found if (path.factor, path.method) == (factor, method)]
            row: dict[str, Any] = {"loss times": factor, "method": method_title(method)}
            row |= columns("step less mean, of its length", range_interval([path.deviation for path in own]))
            row |= columns("end to optimum", range_interval([path.to_optimum for path in own]))
            rows.append(row | columns("end to Pareto set", range_interval([path.to_front for path in own])))
    table = pd.DataFrame(rows)
    ends = {
        method: range_interval([path.to_optimum for path in found if path.method == method])
        for method in ("pcgrad", "mclgs")
    }
    caption = (
        "Three quadratics, one of them scaled: how far steps are from the mean gradient in the first half of the way, "
        "and where trajectories end. From the minimum of the mean loss PCGrad ends "
        f"{bracketed(ends['pcgrad'], 3)} away and MCLGS, whose weights are 1 in the second half, "
        f"{bracketed(ends['mclgs'], 3)}. (Adam, {RECIPE.steps} steps; brackets: range over starts and factors.)"
    )
    return Exhibit(name="quadratics", table=table, caption=caption, rtol=1e-4)


def claims(found: list[Path]) -> list[Verdict]:
    """Judge where PCGrad and MCLGS end.

    Args:
        found: As `load` gives it.
    """
    verdicts = []
    for factor in FACTORS:
        by_method = {
            method: [path for path in found if (path.factor, path.method) == (factor, method)]
            for method in ("pcgrad", "mclgs")
        }
        case = f"one loss times {factor:g}"
        away = range_interval([-path.to_optimum for path in by_method["pcgrad"]])
        verdicts += [
            Verdict(
                "On quadratics PCGrad ends away from the optimum of the plain objective",
                "A problem of PCGrad",
                -NEAR,
                0.0,
                away,
                below=True,
                reading=f"distance of the end with a minus, mean [range] over starts; {NEAR:g} counts as there",
                case=case,
                finding=6,
            ),
            Verdict(
                "On quadratics MCLGS ends at the optimum of the plain objective",
                "Proposed method",
                NEAR,
                0.0,
                range_interval([path.to_optimum for path in by_method["mclgs"]]),
                below=True,
                reading="distance of the end, mean [range] over starts",
                case=case,
                finding=6,
            ),
        ]
    return verdicts
