"""Combinations of losses as task weights, and steps that no task weights give (Eq. 3 to 5)."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import Parameter

from mtlrepro import noise
from mtlrepro.analysis.summaries import summarise
from mtlrepro.analysis.verdicts import Verdict, number, range_interval, share_interval
from mtlrepro.balancers import Balancer, create
from mtlrepro.models.digits import shared_gradient, task_losses
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, curves, legend
from mtlrepro.studies.noise.digits import TASKS, Snapshot, conditions, task_rows


def universality(snapshots: Sequence[Snapshot], sigma: Sequence[float], p: float) -> pd.DataFrame:
    """Eq. 3-5: effective weights of four combinations, automatic against closed form, and the gradients they imply.

    Returns:
        Columns `seed`, `combination`, `task`, `weight` (automatic), `closed`, `difference` (relative) and
        `gradient`: relative distance of the combination's own gradient over the shared parameters, by one backward
        pass, from the weighted sum of task gradients.
    """
    entries = []
    for snapshot in snapshots:
        scales = torch.tensor(sigma).to(snapshot.losses)
        for combination in noise.combinations(scales, p):
            weights = noise.effective_weights(combination.combine, snapshot.losses)
            closed = combination.weights(snapshot.losses)
            losses = task_losses(snapshot.model, snapshot.data)
            direct = shared_gradient(combination.combine(losses), snapshot.model)
            weighted = closed @ snapshot.gradients.mean(1)
            entries += task_rows(
                snapshot,
                combination=combination.name,
                weight=weights,
                closed=closed,
                difference=(weights - closed).abs() / closed,
                gradient=((direct - weighted).norm() / direct.norm()).item(),
            )
    return pd.DataFrame(entries)


USABLE = (1e-3, 1e3)
"""Bounds of a weight of ordinary size."""
USABLE_TEXT = f"usable: between {USABLE[0]:g} and {USABLE[1]:g}"


def printed_conditions(loss: float = 1.0, distance: float = 1e-9) -> pd.DataFrame:
    """Weights of combinations that are strictly monotone and continuous, the appendix's conditions, at one point.

    Returns:
        Columns `combination`, `weight`: derivative by the second loss, approached to within `distance` of
        `loss`, and `usable`: whether it lies between the bounds `USABLE`.
    """
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "L1 + L2": lambda x: x,
        "L1 + (L2 - 1)^(1/3)": lambda x: torch.sign(x - loss) * (x - loss).abs().pow(1 / 3),
        "L1 + (L2 - 1)^3": lambda x: (x - loss) ** 3,
        "L1 - L2": lambda x: -x,
    }
    point = torch.tensor([loss + distance], dtype=torch.float64)
    entries = []
    for name, function in functions.items():
        (weight,) = noise.effective_weights(_total(function), point).tolist()
        entries.append({"combination": name, "weight": weight, "usable": USABLE[0] < weight < USABLE[1]})
    return pd.DataFrame(entries)


def _total(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda losses: function(losses).sum()


def pcgrad_weights(angles: Sequence[float]) -> pd.DataFrame:
    """Weights that PCGrad gives two tasks of equal loss whose gradients have length 1, against their angle.

    The tasks are `|theta - c_k|^2 / 2` with both centres at distance 1: at every angle between the gradients both
    losses are 1/2, so a combination f(L1, L2) would give the same weights at every angle. PCGrad's weights, by least
    squares from its step (mean over tasks), are `(1 - min(cos, 0)) / 2`.

    Args:
        angles: between the two gradients, in degrees, above 0 and below 180.

    Returns:
        Columns `angle`, `method`, `mean` (the weight of either task).
    """
    entries = []
    for angle in angles:
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        gradients = torch.tensor([[1.0, 0.0], [cosine, sine]], dtype=torch.float64)
        for method, name in {"mean": "equal", "PCGrad": "pcgrad"}.items():
            step = _combined(create(name, 2), gradients)
            weights = torch.linalg.lstsq(gradients.T, step[:, None]).solution
            entries.append({"angle": angle, "method": method, "mean": weights[0].item()})
    return pd.DataFrame(entries)


def span_residual(snapshots: Sequence[Snapshot]) -> pd.DataFrame:
    """Share of an edited gradient that no task weights can produce: its part outside the span of the task gradients.

    Returns:
        Columns `seed`, `method`, `residual` = norm outside the span over whole norm, for the mean, for PCGrad
        (mean over tasks, one draw of its order) and for GradDrop (one draw of its sign mask per coordinate).
    """
    entries = []
    for snapshot in snapshots:
        gradients = snapshot.gradients.mean(1).cpu()
        basis = torch.linalg.qr(gradients.T)[0]
        stream = snapshot.generator(5).initial_seed()
        balancers = {
            "mean": create("equal", len(TASKS)),
            "PCGrad": create("pcgrad", len(TASKS), seed=stream),
            "GradDrop": create("graddrop", len(TASKS), seed=stream),
        }
        for method, balancer in balancers.items():
            gradient = _combined(balancer, gradients)
            outside = gradient - basis @ (basis.T @ gradient)
            entries.append(
                {"seed": snapshot.seed, "method": method, "residual": (outside.norm() / gradient.norm()).item()}
            )
    return pd.DataFrame(entries)


def _combined(balancer: Balancer, gradients: Tensor) -> Tensor:
    """Step `[P]` of a balancer on losses that are linear in one parameter, with gradients `[T, P]`."""
    point = Parameter(torch.zeros_like(gradients[0]))
    point.grad = torch.zeros_like(point)
    balancer.backward([gradient @ point for gradient in gradients], [point])
    return point.grad


def universality_claims(weights: pd.DataFrame) -> list[Verdict]:
    """Verdicts on Eq. 5 from :func:`universality`."""
    readings = {
        "gradient": "largest relative distance of the gradient from the weighted sum of task gradients",
        "difference": "largest relative distance of the derivatives from the closed forms",
    }
    return [
        Verdict(
            "Four combinations of losses act as task weights",
            "Eq. 5",
            0,
            1e-10,
            range_interval(weights.groupby("seed")[column].max()),
            reading=reading,
            finding=2,
        )
        for column, reading in readings.items()
    ]


def condition_claim(found: pd.DataFrame) -> Verdict:
    """Verdict on the conditions of Eq. 3, from :func:`printed_conditions`; one counterexample refutes them."""
    return Verdict(
        "Strict monotonicity and continuity suffice for training",
        "Eq. 3",
        0,
        0,
        range_interval((~found["usable"]).sum()),
        reading=f"number of {len(found)} functions with these properties that give no usable weight ({USABLE_TEXT})",
        finding=2,
    )


def weight_table(weights: pd.DataFrame) -> Exhibit:
    """Mean automatic weight over seeds, one row per combination, one column per task, from :func:`universality`."""
    wide = weights.pivot_table("weight", "combination", "task", sort=False)
    return Exhibit(
        name="universality",
        table=wide.reset_index().rename_axis(columns=None),
        caption="Effective weights of four combinations of losses: each divides attention in its own way."
        f" {conditions(weights['seed'].nunique(), 'means')}",
    )


def condition_table(found: pd.DataFrame) -> Exhibit:
    """Weights of functions that meet the printed conditions, from :func:`printed_conditions`."""
    return Exhibit(
        name="conditions",
        table=found,
        caption=f"Weight of the second task for functions that are strictly monotone and continuous:"
        f" {(~found['usable']).sum()} of {len(found)} give no usable weight. (At L2 = 1 + 1e-9; {USABLE_TEXT}.)",
    )


def angle_figure(angles: pd.DataFrame) -> Exhibit:
    """Weights of the mean and of PCGrad against the angle between gradients, from :func:`pcgrad_weights`."""
    pcgrad = angles.loc[angles["method"] == "PCGrad", "mean"]
    figure, axes = canvas(height=2.8)
    curves(axes, angles, "angle", by="method")
    axes.set(xlabel="angle between the two gradients, degrees", ylabel="weight of each task", ylim=(0, 1.1))
    legend(figure, axes, 2)
    return Exhibit(
        name="pcgrad",
        table=angles,
        figure=figure,
        caption="Weight of each of two tasks with equal losses against the angle between their gradients. PCGrad's goes"
        f" from {number(pcgrad.min(), 2)} to {number(pcgrad.max(), 2)} at unchanged losses: no function of the losses"
        " does that. (By algebra, gradients of length 1.)",
        alt="Task weight against the angle between gradients: a flat line at one half, and PCGrad's, rising beyond"
        " 90°.",
    )


def span_claims(outside: pd.DataFrame) -> list[Verdict]:
    """Verdicts on where Eq. 5 ends, from :func:`span_residual`."""
    return [
        Verdict(
            "A method that edits gradients takes a step that is a weighted sum of task gradients",
            "our question on the scope of Eq. 5",
            0,
            0.01,
            share_interval(rows["residual"]),
            reading="share of the step's norm outside their span",
            case=str(method),
            kind="ours",
        )
        for method, rows in outside[outside["method"] != "mean"].groupby("method")
    ]


def span_table(outside: pd.DataFrame) -> Exhibit:
    """Share of each method's step outside the span of the task gradients, from :func:`span_residual`."""
    return Exhibit(
        name="span",
        table=summarise(outside, "residual", ["method"], share_interval).rename(columns={"mean": "share outside"}),
        caption="Share of the step's norm that no task weights can produce. PCGrad's step has weights, GradDrop's has"
        f" none. {conditions(outside['seed'].nunique(), 'one draw of each method a seed', '95% intervals over seeds')}",
    )
