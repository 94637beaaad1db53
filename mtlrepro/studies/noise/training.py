"""Error of momentum while the parameters move: noise, as Eq. 8 says, and lag, which it omits (Eq. 7 and 8)."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch

from mtlrepro.analysis.summaries import summarise
from mtlrepro.analysis.verdicts import Verdict, geometric_interval
from mtlrepro.data.digits import two_digits
from mtlrepro.models.digits import shared_gradient, task_losses
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import curves, legend, panels
from mtlrepro.studies.noise.digits import (
    TASKS,
    check_finite,
    initial_network,
    seeded_generator,
)


def training_error(
    seeds: int, samples: int, gammas: Sequence[float], steps: int, *, learning_rate: float, batch_size: int, device: str
) -> pd.DataFrame:
    """Eq. 7 and 8 while the parameters move: the error of momentum, split into noise and lag.

    Each network trains on the mean of the three losses by `theta -= learning_rate * m`. Beside the momentum of the
    batch gradients, `m`, the momentum of the full gradients at the same parameters, `M`, is kept; with both
    divided by `1 - gamma^t`, `m - g = (m - M) + (M - g)`: the noise that Eq. 8 describes and the lag it omits.

    Returns:
        Columns `seed`, `gamma`, `step`, `noise` = |m - M|^2, `lag` = |M - g|^2, `total` = |m - g|^2
        (noise and lag are correlated, so it is not their sum), `signal` = |g|^2, and `predicted`: the noise by
        Eq. 8 with each step's own |n|^2 in place of tr(C)/B, as C changes on the way.

    Raises:
        ValueError: If no gamma is given.
        FloatingPointError: If a loss is not finite, naming step and task.
    """
    entries = []
    if not gammas or min(gammas) < 0:
        raise ValueError(f"gammas is {list(gammas)}; accepted: one or more, at least 0")
    for seed, gamma in product(range(seeds), gammas):
        data = two_digits(samples, seed=seed).to(device, torch.float64)
        model = initial_network(seed, data)
        generator = seeded_generator(seed, 8)
        parameters = model.shared_parameters()
        heads = [parameter for task in TASKS for parameter in model.task_parameters(task)]
        velocity = [torch.zeros_like(parameter) for parameter in [*parameters, *heads]]
        average = torch.zeros(sum(parameter.numel() for parameter in parameters)).to(data.images)
        predicted = 0.0
        for step in range(1, steps + 1):
            full = shared_gradient(task_losses(model, data).mean(), model)
            index = torch.randint(samples, (batch_size,), generator=generator).to(device)
            losses = task_losses(model, data[index])
            check_finite(losses, step)
            gradients = torch.autograd.grad(losses.mean(), [*parameters, *heads])
            velocity = [gamma * v + (1 - gamma) * g for v, g in zip(velocity, gradients, strict=True)]
            average = gamma * average + (1 - gamma) * full
            batch = torch.cat([gradient.flatten() for gradient in gradients[: len(parameters)]])
            predicted = gamma**2 * predicted + (1 - gamma) ** 2 * (batch - full).square().sum().item()
            unbiased = 1 - gamma**step
            momentum = torch.cat([v.flatten() for v in velocity[: len(parameters)]]) / unbiased
            lagging = average / unbiased
            parts = {"noise": momentum - lagging, "lag": lagging - full, "total": momentum - full, "signal": full}
            powers = {name: part.square().sum().item() for name, part in parts.items()}
            powers["predicted"] = predicted / unbiased**2
            entries.append({"seed": seed, "gamma": gamma, "step": step, **powers})
            with torch.no_grad():
                torch._foreach_add_([*parameters, *heads], velocity, alpha=-learning_rate)
    return pd.DataFrame(entries)


def error_parts(moving: pd.DataFrame) -> pd.DataFrame:
    """Noise, lag and signal of :func:`training_error` at every tenth step, long form.

    Returns:
        Columns `gamma`, `part`, `step`; `mean`, `low`, `high`: geometric mean over seeds with its interval.
    """
    shown = moving[moving["step"] % 10 == 0]
    parts = shown.melt(["seed", "gamma", "step"], ["noise", "lag", "signal"], var_name="part", value_name="power")
    parts = parts[parts["power"] > 0].assign(power=lambda rows: np.log(rows["power"]))
    table = summarise(parts, "power", ["gamma", "part", "step"])
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    return table


def late_error(moving: pd.DataFrame) -> pd.DataFrame:
    """Mean of :func:`training_error` over the second half of training, by gamma and seed."""
    late = moving[moving["step"] > moving["step"].max() / 2]
    means: pd.DataFrame = late.groupby(["gamma", "seed"]).mean()
    return means


def training_claims(moving: pd.DataFrame) -> list[Verdict]:
    """Verdicts on Eq. 8 in the second half of training, from :func:`training_error`."""
    verdicts = []
    for gamma, rows in late_error(moving).groupby("gamma"):
        kept = geometric_interval(rows["noise"] / rows["predicted"])
        excess = geometric_interval(rows["total"] / rows["noise"])
        follows = f"While training, noise follows Eq. 8 (quotient of powers), γ = {gamma:g}"
        equals = f"While training, the error of momentum is its noise (quotient of powers), γ = {gamma:g}"
        verdicts += [
            Verdict(follows, "Eq. 8", 1, 0.25, kept),
            Verdict(equals, "Eq. 8, read so", 1, 0.1, excess),
        ]
    return verdicts


def training_figure(moving: pd.DataFrame) -> Exhibit:
    """Noise and lag of momentum over the steps of training, from :func:`training_error`."""
    table = error_parts(moving)
    figure, axes_by_gamma = panels(table["gamma"].nunique())
    for axes, (gamma, rows) in zip(axes_by_gamma, table.groupby("gamma"), strict=True):
        curves(axes, rows, "step", by="part")
        axes.set(yscale="log", xlabel="training step", title=f"γ = {gamma:g}")
    axes_by_gamma[0].set_ylabel("squared norm")
    legend(figure, axes_by_gamma[0], 3)
    return Exhibit(
        name="momentum_training",
        table=table,
        figure=figure,
        uses=("seeds", "samples", "batch_size", "gammas", "moving_rate"),
        caption=lag_finding(late_error(moving)),
        alt="Squared norms of the noise and the lag of momentum and of the full gradient over training steps, one panel"
        " per momentum.",
    )


def lag_finding(late: pd.DataFrame) -> str:
    """Caption of the training figure: lag over noise per gamma, in the second half of training."""
    quotients = (late["lag"] / late["noise"]).groupby("gamma").apply(geometric_interval)
    by_gamma = ", ".join(f"{interval} at γ = {gamma:g}" for gamma, interval in quotients.items())
    return (
        "Noise and lag of momentum while training, and the full gradient (signal). In the second half the lag's power"
        f" over the noise's is {by_gamma}. Geometric means over seeds."
    )
